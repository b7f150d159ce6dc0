"""`python -m nanogpt_np` is the command `nanogpt-np`."""

import sys

from .cli import command

if __name__ == "__main__":
    sys.exit(command())
