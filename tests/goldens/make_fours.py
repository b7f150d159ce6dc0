"""Make fours.npz with the library gguf: `python -m tests.goldens.make_fours` from the project's root.

Enter: seeded rows, and rows at the limits of float16. Leave: for each case the rows, the bytes that gguf makes of them
in its format Q4_0, and the float32 values that it reads from those bytes. Nothing of nanogpt_np is used here.
gguf wants whole groups of 32, so the case "filled" is filled up with zeros here; its rows are stored without them.
"""

import argparse
from importlib.metadata import version
from pathlib import Path

import gguf
import numpy as np

HERE = Path(__file__).parent
GROUP = 32


def cases():
    """Name -> float32 rows [n_out, n_in]."""
    rng = np.random.Generator(np.random.PCG64(4))
    found = {f"{n_out} by {n_in}": 0.05 * rng.standard_normal((n_out, n_in)) for n_out, n_in in ((1, 32), (17, 320))}
    found["heavy tails"] = rng.standard_t(2, (20, 256))
    found["filled"] = rng.standard_normal((6, 75))
    found["zeros"] = np.where(np.arange(128) < 64, 0, rng.standard_normal((3, 128)))
    halves = rng.integers(-16, 17, (40, 64)) / 2  # numbers exactly between two steps, and two largest of unlike sign
    halves[:, ::32] = 8 * rng.choice([-1, 1], (40, 2))
    found["halves"] = halves * np.exp2(rng.integers(-12, 4, (40, 1)))
    found["nearly halves"] = halves * rng.uniform(0.01, 1, (40, 1))  # where x / step and x * (1 / step) fall apart
    found["huge"] = rng.uniform(-1, 1, (8, 64)) * np.geomspace(1e4, 524_159, 8)[:, None]
    found["too huge"] = rng.uniform(0.5, 1, (4, 32)) * np.array([[524_160 * 2], [-1e7], [1e30], [3e38]])
    found["small"] = rng.standard_normal((12, 64)) * np.geomspace(1e-3, 1e-8, 12)[:, None]
    found["vanishing"] = rng.uniform(-1, 1, (4, 64)) * np.array([[1e-30], [1e-38], [1e-40], [3e-45]])
    return {name: rows.astype(np.float32) for name, rows in found.items()}


def golden(rows):
    """-> the bytes [n_out, n_groups * 18]: a float16 scale, 16 bytes of two numbers; and what they are worth."""
    filled = np.pad(rows, ((0, 0), (0, -rows.shape[1] % GROUP)))
    packed = gguf.quantize(filled, gguf.GGMLQuantizationType.Q4_0)
    return packed, gguf.dequantize(packed, gguf.GGMLQuantizationType.Q4_0)


def main():
    parser = argparse.ArgumentParser(description="Make fours.npz.")
    parser.add_argument("--out", type=Path, default=HERE, help="where the file goes (default: beside this script)")
    path = parser.parse_args().out / "fours.npz"
    file = {"made_with": np.array([f"gguf {version('gguf')}", f"numpy {np.__version__}"])}
    with np.errstate(all="ignore"):
        for name, rows in cases().items():
            packed, values = golden(rows)
            file |= {f"{name}/rows": rows, f"{name}/packed": packed, f"{name}/values": values}
    np.savez_compressed(path, **file)
    print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
