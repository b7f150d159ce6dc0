"""Planning: what a model asks of a machine, before it is made: memory, time, energy, how many devices.

Enter: a GPTConfig or a model's name, a machine's name. Leave: a Plan, a frozen dataclass; its text, its picture.
Nothing is allocated, and nothing is run but the short measurement of "this" machine.
To read: sizes, work, machines, here, options, splits, clusters, times, scaling, naming, whole, wording, pictures.
"""

from .clusters import Cluster
from .machines import MACHINES, Machine
from .options import Options
from .pictures import draw_plan, draw_roofline, draw_scaling
from .splits import RankMemory, Split, rank_memory
from .whole import Plan, plan
from .wording import to_dict, to_text

__all__ = [
    "MACHINES", "Cluster", "Machine", "Options", "Plan", "RankMemory", "Split", "draw_plan", "draw_roofline",
    "draw_scaling", "plan", "rank_memory", "to_dict", "to_text",
]  # fmt: skip
