"""Runs the notebooks from a clean kernel and stores them with their outputs: `python notebooks/build.py [00_map …]`.

Each NN_name.py (percent format) becomes NN_name.ipynb beside it, and its largest picture thumbnails/NN_name.png.
Needs `pip install -e ".[notebooks]"`.
"""

import base64
import io
import os
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).parent
LIMIT = 60  # seconds that a notebook may take


def built(source):
    """A notebook from its percent script, run from a clean kernel -> it, and the seconds of each cell."""
    import jupytext
    from nbclient import NotebookClient

    notebook = jupytext.read(source)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small models; two threads spin where a core is busy
    seconds, begun = [], {}
    client = NotebookClient(notebook, timeout=10 * LIMIT, resources={"metadata": {"path": str(FOLDER)}})
    client.on_cell_start = lambda cell, cell_index: begun.update({cell_index: time.perf_counter()})
    client.on_cell_executed = lambda cell, cell_index, **_: seconds.append(time.perf_counter() - begun[cell_index])
    client.execute()
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"  # else every run would change every cell
        cell["metadata"] = {}
    notebook["metadata"] = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return notebook, seconds


def thumbnail(notebook, width=320, most_high=220):
    """The largest picture of a notebook, made small -> PNG bytes."""
    from PIL import Image  # which matplotlib brings

    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    pictures = [base64.b64decode(out["data"]["image/png"]) for out in outputs if "image/png" in out.get("data", {})]
    opened = [Image.open(io.BytesIO(png)).convert("RGB") for png in pictures]
    largest = max(opened, key=lambda picture: picture.width * picture.height)
    largest.thumbnail((width, most_high), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    largest.quantize(64).save(out, format="png", optimize=True)
    return out.getvalue()


def main(names):
    """Build those that are named, or all."""
    import nbformat

    for source in sorted(FOLDER.glob("[0-9][0-9]_*.py")):
        if names and source.stem not in names:
            continue
        notebook, seconds = built(source)
        nbformat.write(notebook, source.with_suffix(".ipynb"))
        (FOLDER / "thumbnails").mkdir(exist_ok=True)
        (FOLDER / "thumbnails" / f"{source.stem}.png").write_bytes(thumbnail(notebook))
        print(f"{source.stem}: {sum(seconds):.1f} s, the slowest cell {max(seconds):.1f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
