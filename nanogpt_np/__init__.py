"""GPT-2 to read, step through, trust and run: plain NumPy, checked against someone else's GPT-2."""

from .config import PRESETS, GPTConfig
from .errors import FileError, InputError, TokenizerError
from .gpt import GPT
from .kv_cache import KVCache
from .tokenizer import Tokenizer

__version__ = "0.1.0"
__all__ = ["GPT", "GPTConfig", "KVCache", "PRESETS", "Tokenizer", "FileError", "InputError", "TokenizerError"]
