"""The command line: one room per family of commands; argparse only, no logic.

Enter: words. Leave: an exit status; what is printed comes from the rooms that are called.
To read: options, generating, tokenizing, training, evaluating, measuring, asking, finetuning, models, converting,
looking, exploring, machine, serving, planning, llm_plugin (for another program), entry.
"""

from .entry import command, main

__all__ = ["command", "main"]
