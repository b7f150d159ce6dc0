"""`python -m nanogpt_np` is the command `nanogpt-np`."""

import sys

from .cli import main

sys.exit(main())
