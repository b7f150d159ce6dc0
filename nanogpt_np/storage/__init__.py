"""A name or a directory <-> config, params and tokenizer, in the layout of the `transformers` library.

Enter: a model's name, or a directory. Leave: its parts, checked; or a directory that other libraries open too.
To read: header (what a .safetensors file says of itself), contents (which tensors it must hold), together (files that
change as one), crc32c (a checksum), table and tensorflow (OpenAI's own files), nanogpt (layers the other way round),
pickled (what is never loaded), checkpoint (a directory), urls (which addresses may be asked), connection (one answer,
within limits of time), transfer (one file over HTTPS), registry (a name to a directory), about (what there is to know
of models without opening one), measured and verify (is it the model that it says it is).
"""

from .checkpoint import load, save
from .registry import download, resolve

__all__ = ["download", "load", "resolve", "save"]
