"""Machines: how much memory, how fast it is read, how many operations a second; published numbers with their sources.

Enter: a name. Leave: a Machine. Operations are those of dense matrix products, without the twofold "sparsity" of data
sheets, float16 with sums in float32. Next: planning/here.py.
"""

import difflib
from dataclasses import dataclass

from ..errors import InputError, shown

THIS = "this"  # the name of the machine that runs this program, see planning/here.py
GB, TERA = 10**9, 10**12


@dataclass(frozen=True)
class Machine:
    """One device.

    `memory`: bytes; `bandwidth`: bytes/s; `float32`, `float16`: operations/s; `watts`: its limit, None where nobody
    publishes one; `per_node`: how many share a fast link, as splitting a matrix asks for; `source`: where that stands.
    """

    name: str
    title: str
    memory: int
    bandwidth: int
    float32: int
    float16: int
    watts: int | None
    per_node: int
    source: str

    def flops(self, dtype):
        """Operations/s with weights of a dtype; int8 and int4 are widened first, so they multiply as float16."""
        return self.float32 if dtype == "float32" else self.float16

    def ridge(self, dtype):
        """Operations per byte above which arithmetic is the limit, not memory (Williams et al. 2009, section 3)."""
        return self.flops(dtype) / self.bandwidth


def _tera(number):
    return round(number * TERA)


PUBLISHED = (
    Machine("v100", "NVIDIA V100 SXM2 32 GB", 32 * GB, 900 * GB, _tera(15.7), _tera(125), 300, 8,
            "NVIDIA V100 data sheet, January 2020"),
    Machine("t4", "NVIDIA T4", 16 * GB, 320 * GB, _tera(8.1), _tera(65), 70, 1,
            "NVIDIA T4 data sheet, 2019"),
    Machine("a100-40gb", "NVIDIA A100 SXM4 40 GB", 40 * GB, 1555 * GB, _tera(19.5), _tera(312), 400, 8,
            "NVIDIA Ampere architecture white paper, 2020"),
    Machine("a100", "NVIDIA A100 SXM4 80 GB", 80 * GB, 2039 * GB, _tera(19.5), _tera(312), 400, 8,
            "NVIDIA A100 80 GB data sheet, 2021"),
    Machine("h100", "NVIDIA H100 SXM5 80 GB", 80 * GB, 3350 * GB, _tera(66.9), _tera(989.4), 700, 8,
            "NVIDIA Hopper architecture white paper, 2022, without sparsity"),
    Machine("rtx4090", "NVIDIA GeForce RTX 4090", 24 * GB, 1008 * GB, _tera(82.6), _tera(165.2), 450, 1,
            "NVIDIA Ada architecture white paper, 2022, appendix A"),
    Machine("m2", "Apple M2, GPU of 10 cores", 24 * GB, 100 * GB, _tera(3.6), _tera(3.6), None, 1,
            "Apple's announcement of 6 June 2022"),
    Machine("m2-ultra", "Apple M2 Ultra, GPU of 76 cores", 192 * GB, 800 * GB, _tera(27.2), _tera(27.2), None, 1,
            "Apple's announcement of 5 June 2023, and its page on the Mac Pro"),
)  # fmt: skip
# what published accelerators can do, by the name that a plan is asked for with
MACHINES = {machine.name: machine for machine in PUBLISHED}


def find_machine(name):
    """A published Machine by its name; InputError with the nearest name where there is none."""
    if isinstance(name, Machine):
        return name
    if not isinstance(name, str) or name.lower() not in MACHINES:
        names = [*MACHINES, THIS]
        close = difflib.get_close_matches(str(name).lower()[:80], names, n=1) if isinstance(name, str) else []
        guess = f"; did you mean {close[0]!r}?" if close else ""
        raise InputError(f"machine: expected one of {', '.join(names)}, got {shown(name)}{guess}")
    return MACHINES[name.lower()]
