"""The vocabulary inside a GGUF file <-> a Tokenizer.

Enter: the keys tokenizer.ggml.… of a file, or a tokenizer. Leave: a tokenizer, or those keys. llama.cpp wants a token
for each row of the embedding: rows without one are called [PAD300] and marked as unused. Next: storage/gguf.py.
"""

import numpy as np

from .. import files
from ..errors import FileError, InputError, TokenizerError, printable
from ..tokenizer.bpe import Tokenizer
from .gguf_header import broken, one_value

NORMAL, CONTROL, UNUSED = 1, 3, 5  # kinds of tokens
NOTHING = "no_vocab"  # what llama.cpp calls the vocabulary of a model without one

_KEYS = "tokenizer.ggml"
_ADVICE = "only the byte-level BPE of GPT-2 can be read"


def read_vocabulary(header, n_vocab):
    """The Tokenizer that a GGUF file's keys spell, None where they say that there is none.

    FileError where it is not GPT-2's byte-level BPE, or has more tokens than n_vocab.
    """
    path = header.path
    model = one_value(header, f"{_KEYS}.model", NOTHING)
    if model == NOTHING:
        return None
    if model != "gpt2":
        raise broken(path, f"{_KEYS}.model", "'gpt2'", model, _ADVICE)
    if (pre := one_value(header, f"{_KEYS}.pre", "gpt-2")) != "gpt-2":  # older converters did not say
        raise broken(path, f"{_KEYS}.pre", "'gpt-2'", pre, _ADVICE)
    tokens, merges = (_texts(header, name) for name in ("tokens", "merges"))
    if len(tokens) > n_vocab:
        raise broken(path, f"{_KEYS}.tokens", f"at most n_vocab = {n_vocab:,}", f"{len(tokens):,}", _ADVICE)
    types = header.keys.get(f"{_KEYS}.token_type")
    types = types if isinstance(types, np.ndarray) and len(types) == len(tokens) else None
    tokens = tokens[: _n_used(tokens, types)]
    vocab = {token: i for i, token in enumerate(tokens)}
    if len(vocab) < len(tokens):
        twin = next(token for i, token in enumerate(tokens) if vocab[token] != i)
        raise broken(path, f"{_KEYS}.tokens", "every token once", f"'{twin}' twice", _ADVICE)
    pairs = [_pair(path, i, merge) for i, merge in enumerate(merges)]
    try:
        tokenizer = Tokenizer(vocab, pairs)
    except TokenizerError as error:
        raise FileError(f"{files.short(path)}: {_KEYS}: {error}") from None
    _check_made(header, tokenizer, types)
    return tokenizer


def _texts(header, name):
    texts = header.keys.get(f"{_KEYS}.{name}")
    if not isinstance(texts, list):
        raise broken(header.path, f"{_KEYS}.{name}", "a list of texts", "none" if texts is None else texts, _ADVICE)
    return texts


def _check_made(header, tokenizer, types):
    """A token marked as an ordinary one is made by a merge; older converters marked the end of a text so too."""
    for token, i in tokenizer.special_tokens.items():
        if types is not None and types[i] == NORMAL and i != one_value(header, f"{_KEYS}.eos_token_id"):
            expected = f"one that makes '{printable(token, 40)}' (token {i:,})"
            raise broken(header.path, f"{_KEYS}.merges", expected, "none", _ADVICE)


def _n_used(tokens, types):
    """How many tokens there are before those at the end that only fill up."""
    n = len(tokens)
    while types is not None and n and types[n - 1] == UNUSED and tokens[n - 1] == _filler(n - 1):
        n -= 1
    return n


def _filler(i):
    return f"[PAD{i}]"


def _pair(path, number, merge):
    pair = tuple(merge.split(" "))
    if len(pair) != 2 or not all(pair):
        got = f"'{merge}'"
        raise broken(path, f"{_KEYS}.merges[{number}]", "two tokens with one space between them", got, _ADVICE)
    return pair


def add_vocabulary(writer, config, tokenizer):
    """Give a gguf.GGUFWriter the keys of a tokenizer; no id is put before a prompt, as with us."""
    if tokenizer is None:
        writer.add_tokenizer_model(NOTHING)
        writer.add_vocab_size(config.n_vocab)
    else:
        _add_tokens(writer, config, tokenizer)
    if config.eos_id is not None:
        writer.add_bos_token_id(config.eos_id)
        writer.add_eos_token_id(config.eos_id)
    writer.add_add_bos_token(False)


def _add_tokens(writer, config, tokenizer):
    if tokenizer.n_vocab > config.n_vocab:
        expected = f"at most n_vocab = {config.n_vocab:,} tokens"
        raise InputError(f"tokenizer: expected {expected}, got {tokenizer.n_vocab:,}; take the model's own")
    tokens, merges = tokenizer.spelled()
    special = set(tokenizer.special_tokens.values())
    fillers = [_filler(i) for i in range(len(tokens), config.n_vocab)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([*tokens, *fillers])
    types = [CONTROL if i in special else NORMAL for i in range(len(tokens))]
    writer.add_token_types([*types, *(UNUSED for _ in fillers)])
    writer.add_token_merges([f"{left} {right}" for left, right in merges])
