"""`python -m nanogpt_np` is the command `nanogpt-np`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
