"""A name, a directory or a file <-> config, params and tokenizer.

Enter: a model's name, a directory, a GGUF or llm.c file. Leave: its parts, checked; or what other programs open too.
To read: header (what a .safetensors file says of itself), contents (which tensors it must hold), together (files that
change as one), mapped (a file's tensors as arrays), crc32c (a checksum), table and tensorflow (OpenAI's own files),
nanogpt (layers the other way round), pickled (what is never loaded), adapter (LoRA, as PEFT has it), checkpoint (a
directory as `transformers` has it), gguf_header, gguf_vocabulary and gguf (llama.cpp's file), llmc (llm.c's), formats
(whichever it is), urls (which addresses may be asked), connection (one answer, within limits of time), transfer (one
file over HTTPS), registry (a name to a directory), about (what there is to know of models without opening one),
conversion (from one format to another), measured and verify (is it the model that it says it is).
"""

from .checkpoint import save
from .formats import load
from .registry import download, resolve

__all__ = ["download", "load", "resolve", "save"]
