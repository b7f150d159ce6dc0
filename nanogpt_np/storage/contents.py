"""Which tensors the files of a GPT-2 must hold, in which shapes, and which they may hold besides.

Enter: a config and what headers list. Leave: the names that the config asks for, or a line that says which tensor is
missing, too many or of another shape. Next: storage/together.py.
"""

import re

from .. import files
from ..errors import FileError, printable
from ..params import shapes

CONFIG = "config.json"

# the format's dtypes that can hold weights -> how NumPy reads them; BF16 is the upper half of a float32
STORED = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "F64": "<f8"}

# the causal masks that older `transformers` stored beside the weights; the model draws its own
_MASK = re.compile(r"h\.\d+\.attn\.(masked_)?bias")

# tensors by which `transformers` tells a model that gives something else than texts
_OTHER_HEADS = {
    "score.weight": "a classifier of texts (GPT2ForSequenceClassification), which nanogpt-np classify opens",
    "classifier.weight": "a classifier of tokens (GPT2ForTokenClassification)",
    "qa_outputs.weight": "a model that marks answers (GPT2ForQuestionAnswering)",
    "multiple_choice_head.summary.weight": "a model that chooses among texts (GPT2DoubleHeadsModel)",
}


def is_linear(name):
    """Whether a parameter is the matrix of a linear layer: [n_in, n_out] with us, [n_out, n_in] in other formats.

    is_linear("h.0.attn.c_attn.weight") -> True; is_linear("wte.weight") -> False
    """
    return name.startswith("h.") and name.endswith(".weight") and ".ln_" not in name


def check_tensors(directory, config, tensors):
    """The names that the config asks for, once the file is known to hold exactly them, with their shapes."""
    for name in _OTHER_HEADS.keys() & tensors.keys():
        raise _other_head(tensors[name][0], name)
    for i in range(config.n_layer):  # before shapes(): a config that lies must not make us list a billion layers
        if f"h.{i}.ln_1.weight" not in tensors:
            raise _wrong(directory, f"h.{i}.ln_1.weight", f"{config.n_layer} layers as {CONFIG} says", f"{i}")
    expected = shapes(config)
    if missing := [name for name in expected if name not in tensors]:
        raise _wrong(directory, missing[0], "the tensor", f"none ({len(missing)} missing in all)")
    table = {"lm_head.weight": expected["wte.weight"], "wpe.weight": (config.n_ctx, config.n_embd), **expected}
    for name, (path, info) in tensors.items():
        if name not in table:
            if _MASK.fullmatch(name) and len(info.shape) in (0, 4):
                continue
            raise _wrong(path, name, f"only the tensors of a GPT-2 with {config.n_layer} layers", "this one as well")
        if info.shape != table[name]:
            raise _wrong(path, name, f"shape {list(table[name])}", f"{list(info.shape)}")
        if info.dtype not in STORED:
            raise _wrong(path, name, f"a dtype of {', '.join(STORED)}", info.dtype)
    return expected


def _other_head(path, name):
    return FileError(
        f"{files.short(path)}: {name}: expected a model that continues texts, got {_OTHER_HEADS[name]}; "
        "open the model that it was made from"
    )


def _wrong(path, name, expected, got):
    return FileError(
        f"{files.short(path)}: {printable(name)}: expected {expected}, got {printable(got)}; "
        "config and weights must be of one GPT-2, copy both again"
    )
