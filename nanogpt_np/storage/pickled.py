"""Weights as PyTorch pickles them, which are never loaded: reading a pickle runs whatever it says.

Enter: a directory without other weights. Leave: a line with the one command that converts what lies there, to be run by
who trusts the file; it needs the library that wrote it. Next: storage/adapter.py.
"""

from pathlib import Path

from .. import files
from ..errors import FileError

KINDS = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")
NANOGPT = "ckpt.pt"  # beside the weights it holds what config.json must say
BEGINNINGS = (b"PK", b"\x80")  # PyTorch's archives of pickles since 1.6, and a pickle alone

_TRANSFORMERS_CODE = 'from transformers import GPT2LMHeadModel as G; G.from_pretrained(".").save_pretrained(".")'
_NANOGPT_CODE = (
    'import json, torch, safetensors.torch as s; c = torch.load("ckpt.pt", "cpu"); s.save_file({k: v.clone() for k, v '
    'in c["model"].items()}, "model.safetensors"); json.dump(c["model_args"], open("config.json", "w"))'
)


def refusal(directory):
    """The FileError for a directory whose weights are pickled, None where no file there is a pickle."""
    found = [path.name for kind in KINDS for path in sorted(Path(directory).glob(kind)) if _is_pickle(path)]
    if not found:
        return None
    code = _NANOGPT_CODE if found[0] == NANOGPT else _TRANSFORMERS_CODE
    return FileError(
        f"{files.short(directory)}: expected model.safetensors, got {files.short(found[0], 40)}, a pickle, which can "
        f"run code and is never loaded; where you trust it, convert it in that folder: python -c '{code}'"
    )


def _is_pickle(path):
    try:
        with files.open_regular(path) as file:
            return file.read(2).startswith(BEGINNINGS)
    except FileError:
        return False
