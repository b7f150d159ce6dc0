"""GPT-2 to read, step through, trust and run: plain NumPy, checked against someone else's GPT-2.

Enter: `GPT` in gpt.py is the handle to everything; `Tokenizer` stands in tokenizer/bpe.py. To read: errors.py, and on
by each file's last words, or docs/architecture.md. Three words of the comments: a *room* is one file, a *twin* a module
with the same functions, but faster, *acts* are the arrays that a forward pass keeps to be looked at.

A name is loaded when it is first used, so that the command line answers Ctrl-C from its first moment on, and
`nanogpt-np tokenize` need not wait for the arithmetic.
"""

import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what the names below are, for editors and type checkers
    from .config import PRESETS, GPTConfig
    from .errors import FileError, InputError, TokenizerError
    from .gpt import GPT
    from .kv_cache import KVCache
    from .tokenizer import Tokenizer

__version__ = "0.1.0"
__all__ = ["GPT", "GPTConfig", "KVCache", "PRESETS", "Tokenizer", "FileError", "InputError", "TokenizerError"]

_ROOM_OF = {
    "GPT": "gpt", "GPTConfig": "config", "KVCache": "kv_cache", "PRESETS": "config", "Tokenizer": "tokenizer",
    "FileError": "errors", "InputError": "errors", "TokenizerError": "errors",
}  # fmt: skip


def _load(name: str) -> Any:
    """A name of __all__ from its room, or a room itself, at first use; Python asks here only while it is missing."""
    if name in _ROOM_OF:
        value = getattr(importlib.import_module(f".{_ROOM_OF[name]}", __name__), name)
        globals()[name] = value
        return value
    if not name.startswith("_") and importlib.util.find_spec(f"{__name__}.{name}"):
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if not TYPE_CHECKING:  # who checks types would take every misspelt name for one of these
    __getattr__ = _load


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
