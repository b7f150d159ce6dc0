"""A name -> a model's shape: a preset, a registered model, a directory or a file; weights are not read.

Enter: "gpt3-175b", "stories", a path. Leave: a GPTConfig. Next: planning/whole.py.
"""

import difflib
import os

from .. import files
from ..config import PRESETS
from ..errors import InputError, shown
from ..storage import formats, registry


def find_config(name):
    """The GPTConfig behind a name; InputError with the nearest name for an unknown one, FileError for a broken file."""
    if isinstance(name, str) and name in PRESETS:
        return PRESETS[name]
    path = files.as_path(name, "model")
    registered = registry.read_registry()
    if str(name) not in registered and not os.path.exists(path):
        names = list(dict.fromkeys([*PRESETS, *registered]))
        close = difflib.get_close_matches(str(name).lower()[:80], names, n=2)
        guess = f"did you mean {' or '.join(map(repr, close))}?" if close else "check the name"
        raise InputError(f"model: expected {', '.join(names)} or a model's directory, got {shown(str(name))}; {guess}")
    return formats.read_config(registry.resolve(name))
