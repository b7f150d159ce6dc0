"""Every public function, every argument, some thirty values that make no sense: one short line, or known to be taken.

A door is what `nanogpt_np`, its tokenizer and its options offer to a caller; rooms behind them trust each other.
"""

import functools
import inspect
import math

import numpy as np
import pytest
from small import mostly_slow

from nanogpt_np import GPT, GPTConfig, InputError, KVCache, Tokenizer
from nanogpt_np import gpt as gpt_room
from nanogpt_np.generation import Beams, Request, Sampling
from nanogpt_np.tokenizer import StreamDecoder
from nanogpt_np.training.evaluation import evaluate_files

MOST = 500  # characters of a line: what is quoted is cut at 80, and paths of pytest's own folders are long
SHAPE = {"n_vocab": 300, "n_ctx": 24, "n_embd": 16, "n_layer": 1, "n_head": 2}

VALUES = {
    "None": None, "True": True, "object": object(), "class": int, "function": len, "3.5": 3.5, "-1": -1, "0": 0,
    "10**9": 10**9, "10**5000": 10**5000, "nan": math.nan, "inf": math.inf, "1j": 1j, "empty text": "", "text": "the",
    "escapes": "\x1b[31m\nred\u202e", "long text": "a" * 5000, "very long text": "a " * 500_000, "surrogate": "a\ud800",
    "null byte": "a\0b", "bytes": b"ab", "empty list": [], "[None]": [None], "[True]": [True], "ragged": [[1], [2, 3]],
    "[['a']]": [["a"]], "long list": [0.5] * 100_000, "dict": {"a": 1}, "set": {1, 2}, "array": np.array([1, 2]),
    "array of floats": np.zeros((3, 40)), "array of text": np.array(["a", "b"]),
    "array without dimensions": np.array(2),
}  # fmt: skip


@functools.cache
def tokenizer():
    return Tokenizer.train(["the cat sat on the mat"] * 3, 260)


@functools.cache
def model():
    return GPT.from_config(GPTConfig(**SHAPE), tokenizer=tokenizer())


def read_all(pieces):
    return list(pieces)


def generate(**settings):
    return model().generate([1, 2], **{"max_new_tokens": 2, "seed": None, **settings})


def stream(**settings):
    return read_all(model().stream([1, 2], **{"max_new_tokens": 2, **settings}))


def complete(**settings):
    return model().complete([1, 2], **{"max_new_tokens": 2, **settings})


def cache_with(method):
    cache = KVCache(GPTConfig(**SHAPE), 2)
    cache.length = 3
    return getattr(cache, method)


GENERATE = (
    "max_new_tokens", "temperature", "top_k", "top_p", "min_p", "typical_p", "repetition_penalty", "frequency_penalty",
    "presence_penalty", "no_repeat_ngram_size", "logit_bias", "banned_ids", "banned_words", "min_new_tokens", "choices",
    "pattern", "penalty_alpha", "seed", "stop", "overflow", "ignore_eos", "speculate",
)  # fmt: skip
DOORS = {
    "GPT config": lambda v: GPT(v, model().params),
    "GPT params": lambda v: GPT(model().config, v),
    "GPT params, one": lambda v: GPT(model().config, model().params | {"wte": {"weight": v}}),
    "GPT params, blocks": lambda v: GPT(model().config, model().params | {"h": v}),
    "GPT tokenizer": lambda v: GPT(model().config, model().params, v),
    "GPT ops": lambda v: GPT(model().config, model().params, ops=v),
    "GPT.from_pretrained name_or_directory": lambda v: GPT.from_pretrained(v),
    "GPT.from_pretrained ops": lambda v: GPT.from_pretrained("nowhere", v),
    "GPT.from_config config": lambda v: GPT.from_config(v),
    "GPT.from_config seed": lambda v: GPT.from_config(model().config, seed=v),
    "GPT.from_config tokenizer": lambda v: GPT.from_config(model().config, tokenizer=v),
    "GPT.from_config ops": lambda v: GPT.from_config(model().config, ops=v),
    "gpt ids": lambda v: model()(v),
    "gpt mask": lambda v: model()([1, 2], mask=v),
    "gpt mask of one": lambda v: model()([1], mask=v),
    "gpt cache": lambda v: model()([1, 2], cache=v),
    "gpt last_only": lambda v: model()([1, 2], last_only=v),
    "gpt keep_acts": lambda v: model()([1, 2], keep_acts=v),
    "gpt.generate prompt": lambda v: model().generate(v, 2),
    "gpt.generate prompts": lambda v: model().generate([[1, 2], v], 2),
    "gpt.stream prompt": lambda v: read_all(model().stream(v, 2)),
    **{f"gpt.generate {name}": lambda v, name=name: generate(**{name: v}) for name in GENERATE},
    **{f"gpt.stream {name}": lambda v, name=name: stream(**{name: v}) for name in GENERATE},
    "gpt.generate num_return_sequences": lambda v: generate(num_return_sequences=v),
    "gpt.generate num_beams": lambda v: generate(num_beams=v),
    "gpt.generate length_penalty": lambda v: generate(num_beams=2, length_penalty=v),
    "gpt.generate early_stopping": lambda v: generate(num_beams=2, early_stopping=v),
    "gpt.generate forced_words": lambda v: generate(num_beams=2, forced_words=v),
    **{f"gpt.complete {name}": lambda v, name=name: complete(**{name: v}) for name in GENERATE},
    "gpt.complete top_logprobs": lambda v: complete(top_logprobs=v),
    "gpt.logprobs prompt": lambda v: model().logprobs(v),
    "gpt.next_tokens prompt": lambda v: model().next_tokens(v),
    "gpt.next_tokens k": lambda v: model().next_tokens([1, 2], v),
    "gpt.hidden prompt": lambda v: model().hidden(v),
    "gpt.explore prompt": lambda v: model().explore(v),
    "gpt.explore layer": lambda v: model().explore("the", v),
    "gpt.explore head": lambda v: model().explore("the", head=v),
    "gpt.explore lang": lambda v: model().explore("the", lang=v),
    "GPT defaults": lambda v: GPT(model().config, model().params, defaults=v),
    "gpt.save directory": lambda v: model().save(v),
    "gpt.save dtype": lambda v: model().save("nowhere", v),
    "gpt.describe_ops asked": lambda v: model().describe_ops(v),
    "find_ops ops": lambda v: gpt_room.find_ops(v),
    "find_ops n_parameters": lambda v: gpt_room.find_ops("auto", v),
    "choose_ops n_parameters": lambda v: gpt_room.choose_ops(v),
    "Sampling banned_ids": lambda v: Sampling(banned_ids=v),
    "Request sampling": lambda v: Request(sampling=v),
    "Request stop": lambda v: Request(stop=v),
    "Beams num_beams": lambda v: Beams(v),
    "Tokenizer vocab": lambda v: Tokenizer(v, []),
    "Tokenizer merges": lambda v: Tokenizer({}, v),
    "Tokenizer.from_merges": lambda v: Tokenizer.from_merges(v),
    "Tokenizer.train texts": lambda v: Tokenizer.train(v, 258),
    "Tokenizer.train n_vocab": lambda v: Tokenizer.train(["ab ab"], v),
    "Tokenizer.train special_tokens": lambda v: Tokenizer.train(["ab ab"], 260, v),
    "Tokenizer.train progress": lambda v: Tokenizer.train(["ab ab"], 258, progress=v),
    "Tokenizer.train exact": lambda v: Tokenizer.train(["ab ab"], 258, exact=v),
    "Tokenizer.load": lambda v: Tokenizer.load(v),
    "Tokenizer.from_files vocab_path": lambda v: Tokenizer.from_files(v, "merges.txt"),
    "Tokenizer.from_files merges_path": lambda v: Tokenizer.from_files("vocab.json", v),
    "tokenizer.save": lambda v: tokenizer().save(v),
    "tokenizer.encode text": lambda v: tokenizer().encode(v),
    "tokenizer.encode allowed_special": lambda v: tokenizer().encode("a", v),
    "tokenizer.encode_batch texts": lambda v: tokenizer().encode_batch(v),
    "tokenizer.encode_batch allowed_special": lambda v: tokenizer().encode_batch(["a"], v),
    "tokenizer.decode ids": lambda v: tokenizer().decode(v),
    "tokenizer.decode skip_special_tokens": lambda v: tokenizer().decode([1], v),
    "tokenizer.decode_bytes ids": lambda v: tokenizer().decode_bytes(v),
    "tokenizer.token_bytes": lambda v: tokenizer().token_bytes(v),
    "tokenizer.explain text": lambda v: tokenizer().explain(v),
    "tokenizer.explain steps": lambda v: tokenizer().explain("a", steps=v),
    "StreamDecoder tokenizer": lambda v: StreamDecoder(v),
    "StreamDecoder skip_special_tokens": lambda v: StreamDecoder(tokenizer(), v),
    "StreamDecoder.push": lambda v: StreamDecoder(tokenizer()).push(v),
    "KVCache config": lambda v: KVCache(v),
    "KVCache n_batch": lambda v: KVCache(model().config, v),
    "KVCache n_ctx": lambda v: KVCache(model().config, 1, v),
    "KVCache dtype": lambda v: KVCache(model().config, dtype=v),
    "KVCache.rewind": lambda v: cache_with("rewind")(v),
    "KVCache.select": lambda v: cache_with("select")(v),
    **{f"GPTConfig {name}": lambda v, name=name: GPTConfig(**{**SHAPE, name: v}) for name in GPTConfig.__annotations__},
    "evaluate_files held_out": lambda v: evaluate_files(model(), ["nowhere"], v),
}

TEXTS = ["escapes", "long text", "null byte", "text", "very long text"]
PROMPTS = ["array", "escapes", "null byte", "text"]
STOPS = ["0", "None", "array", "array of text", "empty list", "set", "surrogate", *TEXTS]
COUNTS = ["0", "10**5000", "10**9"]

# what is taken: by a door of this name, or by every door whose name ends so
TAKEN = {
    "GPT tokenizer": ["None"], "GPT.from_config tokenizer": ["None"], "GPT.from_config seed": ["None", *COUNTS],
    "gpt ids": ["0", "array", "array without dimensions"],
    "gpt mask": ["None"], "gpt mask of one": ["0", "None", "True", "[True]"], "gpt cache": ["None"],
    "gpt last_only": ["True"], "gpt keep_acts": ["True"],
    "gpt.generate prompt": [*PROMPTS, "ragged"],  # which is two prompts
    "gpt.generate prompts": PROMPTS, "gpt.stream prompt": PROMPTS,
    " max_new_tokens": ["0", "None"], " temperature": ["0", "3.5", "None"], " top_p": ["None"], " min_p": ["0", "None"],
    " top_k": ["None", *COUNTS], " repetition_penalty": ["3.5", "None"], " seed": ["None", *COUNTS],
    " banned_ids": ["0", "None", "array", "empty list", "set"], " stop": STOPS, " ignore_eos": ["True"],
    " speculate": ["0"], " length_penalty": ["-1", "0", "3.5", "None"], " early_stopping": ["None", "True"],
    " typical_p": ["None"], " frequency_penalty": ["-1", "0", "3.5"], " presence_penalty": ["-1", "0", "3.5"],
    " no_repeat_ngram_size": ["None", *COUNTS], " logit_bias": ["None", "dict"], " min_new_tokens": ["0", "None"],
    " banned_words": ["None", "array of text", "empty list", "ragged", *TEXTS],
    " forced_words": ["None", "array of text", "empty list", "text"],  # longer ones do not fit the new tokens
    " choices": ["None", "array of text", "empty list", "escapes", "long text", "null byte", "text"],
    " pattern": ["None", "long text", "null byte", "text"], " penalty_alpha": ["0", "None"],
    "gpt.generate num_beams": ["None"], " top_logprobs": COUNTS, "gpt.next_tokens k": COUNTS[1:],
    "gpt.logprobs prompt": PROMPTS, "gpt.next_tokens prompt": PROMPTS, "gpt.hidden prompt": PROMPTS,
    "gpt.explore prompt": PROMPTS, "gpt.explore layer": ["-1", "0", "None"], "gpt.explore head": ["-1", "0", "None"],
    "gpt.explore lang": ["None"],
    "GPT defaults": ["None"],
    "gpt.save directory": ["escapes", "text"], "tokenizer.save": ["escapes", "text"],  # any name that a file may have
    " n_parameters": COUNTS, "Beams num_beams": ["10**5000", "10**9"],
    # ids are compared with a model's vocabulary, which neither of the two knows yet
    "Sampling banned_ids": sorted(VALUES.keys() - {
        "True", "object", "class", "function", "3.5", "nan", "inf", "1j", "bytes", "dict", "array without dimensions",
    }),
    "Request stop": ["-1", "10**5000", "10**9", *STOPS],
    "Tokenizer.from_merges": ["empty list"], "Tokenizer.train progress": ["True"], "Tokenizer.train exact": ["True"],
    "tokenizer.encode text": ["empty text", *TEXTS], "tokenizer.explain text": ["empty text", *TEXTS],
    " allowed_special": ["empty list"], "tokenizer.encode_batch texts": ["array of text", "empty list"],
    "tokenizer.decode ids": ["array", "empty list", "empty text"],
    "tokenizer.decode_bytes ids": ["array", "empty list", "empty text"], " skip_special_tokens": ["True"],
    "tokenizer.token_bytes": ["0", "array without dimensions"],
    "StreamDecoder.push": ["0", "array without dimensions"], "tokenizer.explain steps": ["True"],
    "KVCache n_ctx": ["None"], "KVCache.rewind": ["0"],
    "GPTConfig n_vocab": ["10**9"], "GPTConfig n_ctx": ["10**9"], "GPTConfig n_embd": ["10**9"],
    "GPTConfig n_layer": ["10**9"], "GPTConfig n_inner": ["10**9", "None"],
    "GPTConfig window": ["10**9", "None"], "GPTConfig banded_layers": ["None"],
    "GPTConfig tie_word_embeddings": ["True"],
    "GPTConfig dropout": ["0"], "GPTConfig eos_id": ["0", "None"], "evaluate_files held_out": [],
}  # fmt: skip


def said(door, label):
    """What a door says to a value; None where it takes it."""
    try:
        DOORS[door](VALUES[label])
    except InputError as error:
        return str(error)
    return None


LONG = ["gpt.stream banned_words", "gpt.complete banned_words", "tokenizer.explain text"]  # to say why


@pytest.mark.parametrize("door", mostly_slow(DOORS, DOORS.keys() - LONG))
def test_a_door_takes_a_value_or_says_one_short_line(door, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = {label: said(door, label) for label in VALUES}
    for label, line in lines.items():
        assert line is None or line.isprintable() and 10 < len(line) <= MOST, f"{door}, {label}: {line!r:.600}"
    taken = TAKEN.get(door, next((labels for end, labels in TAKEN.items() if end[0] == " " and door.endswith(end)), []))
    assert sorted(label for label, line in lines.items() if line is None) == sorted(taken)


def test_every_door_that_is_listed_is_there():
    """Else what is taken would be said of nothing."""
    fields = {name for name in TAKEN if name.startswith("GPTConfig ")}  # as many as GPTConfig has
    ends = [end for end in TAKEN.keys() - fields if not any(door == end or door.endswith(end) for door in DOORS)]
    assert not ends
    public = [getattr(thing, name) for thing in (model(), tokenizer()) for name in dir(type(thing)) if name[0] != "_"]
    public = {f.__name__ for f in public if callable(f) and inspect.signature(f).parameters}
    assert public - ALIKE <= {word for door in DOORS for word in door.replace(".", " ").split()}


ALIKE = {"encode_array"}  # the checks of encode; its compiled code would make this file slow
