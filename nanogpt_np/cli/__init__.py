"""The command line: one room per family of commands; argparse only, no logic.

Enter: words. Leave: an exit status; what is printed comes from the rooms that are called.
To read: options, generating, tokenizing, training, finetuning, models, converting, looking, machine, entry.
"""

from .entry import main

__all__ = ["main"]
