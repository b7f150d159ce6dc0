"""The shape of a model and its weights: published sizes, and one-line errors for what cannot be."""

import json
import math

import numpy as np
import pytest

from nanogpt_np import params as P
from nanogpt_np.config import PRESETS, GPTConfig
from nanogpt_np.errors import InputError

TINY = GPTConfig(n_vocab=11, n_ctx=6, n_embd=8, n_layer=2, n_head=2)


def n_params(config):
    return sum(math.prod(shape) for shape in P.shapes(config).values())


@pytest.mark.parametrize(
    ("name", "published"),  # counted by others on the published files
    [("gpt2", 124439808), ("gpt2-medium", 354823168), ("gpt2-large", 774030080), ("gpt2-xl", 1557611200)],
)
def test_gpt2_sizes_are_the_published_ones(name, published):
    assert n_params(PRESETS[name]) == published


@pytest.mark.parametrize(
    "changes", [{}, {"tie_word_embeddings": False}, {"positions": "sinusoidal"}, {"n_layer": 1}, {"n_inner": 5}]
)
def test_size_counts_without_listing(changes):
    config = TINY.replace(**changes)
    assert P.size(config) == n_params(config) == P.count(P.init(config, np.random.default_rng(0)))


@pytest.mark.parametrize(
    ("name", "published"),  # Brown et al. 2020, table 2.1
    [
        ("gpt3-small", 125e6),
        ("gpt3-medium", 350e6),
        ("gpt3-large", 760e6),
        ("gpt3-xl", 1.3e9),
        ("gpt3-2.7b", 2.7e9),
        ("gpt3-6.7b", 6.7e9),
        ("gpt3-13b", 13.0e9),
        ("gpt3-175b", 175.0e9),
    ],
)
def test_gpt3_sizes_are_those_of_the_paper(name, published):
    assert n_params(PRESETS[name]) == pytest.approx(published, rel=0.02)  # the paper rounds to two or three digits


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_vocab": 0}, "n_vocab: expected a whole number of at least 1, got 0"),
        ({"n_ctx": -3}, "n_ctx: expected a whole number"),
        ({"n_embd": 8.0}, "n_embd: expected a whole number"),
        ({"n_layer": True}, "n_layer: expected a whole number"),
        ({"n_head": "2"}, "n_head: expected a whole number"),
        ({"n_head": 3}, "n_embd: expected a multiple of n_head = 3, got 8"),
        ({"activation": "swish"}, "activation: expected one of gelu_new, gelu, relu, got 'swish'"),
        ({"n_inner": 0}, "n_inner: expected a whole number of at least 1, got 0"),
        ({"n_inner": 32.0}, "n_inner: expected a whole number"),
        ({"n_inner": True}, "n_inner: expected a whole number"),
        ({"activation": ["gelu"]}, "activation: expected one of"),
        ({"positions": None}, "positions: expected one of learned, sinusoidal, got None"),
        ({"positions": "sinusoidal", "n_embd": 7, "n_head": 1}, "n_embd: expected an even number"),
        ({"dropout": 1.0}, "dropout: expected a share"),
        ({"dropout": "0.1"}, "dropout: expected a share"),
        ({"dropout": float("nan")}, "dropout: expected a share"),
        ({"layer_norm_eps": 0}, "layer_norm_eps: expected a positive number"),
        ({"layer_norm_eps": "1e-5"}, "layer_norm_eps: expected a positive number"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps: expected a positive number"),
        ({"layer_norm_eps": float("inf")}, "layer_norm_eps: expected a positive number"),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings: expected true or false, got 'no'"),
        ({"eos_id": 11}, "eos_id: expected an id below n_vocab = 11, got 11"),
        ({"eos_id": [1]}, "eos_id: expected an id"),
        ({"eos_id": -1}, "eos_id: expected an id"),
        ({"eos_id": 1, "more_eos_ids": (11,)}, "more_eos_ids: expected an id below n_vocab = 11, got 11"),
        ({"eos_id": 1, "more_eos_ids": [2]}, "more_eos_ids: expected a tuple"),
        ({"more_eos_ids": (2,)}, "more_eos_ids: expected a tuple of ids beside eos_id"),
        ({"n_embd": 9 * 10**4299, "n_head": 1}, "n_embd: expected a whole number of at least 1, at most 2147483647"),
        ({"n_vocab": 10**5000}, "n_vocab: .*, got int without a text"),
        ({"layer_norm_eps": 10**400}, "layer_norm_eps: expected a positive number from 1e-38 to 1.0, got 1000"),
        ({"layer_norm_eps": 1e308}, "layer_norm_eps: expected a positive number .*, got 1e.308"),
        ({"layer_norm_eps": 1e39}, "layer_norm_eps: expected a positive number .*, got 1e.39"),
        ({"layer_norm_eps": 1e-300}, "layer_norm_eps: expected a positive number .*, got 1e-300"),
        ({"dropout": 10**400}, "dropout: expected a share"),
        ({"activation": "gelu\x1b[31m" + "x" * 1000}, r"got 'gelu\\x1b\[31mx+…'"),
        ({"positions": ["x" * 1000]}, "positions: expected one of"),
    ],
)
def test_impossible_configs(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        TINY.replace(**changes)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 200


def test_config_goes_through_json_and_back():
    config = TINY.replace(
        activation="gelu", positions="sinusoidal", layer_norm_eps=1e-6, tie_word_embeddings=False, dropout=0.1,
        eos_id=3, more_eos_ids=(4, 9),
    )  # fmt: skip
    for wanted in (config, config.replace(activation="relu", n_inner=20), *PRESETS.values()):
        assert GPTConfig.from_dict(json.loads(json.dumps(wanted.to_dict()))) == wanted


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "llama"}, "expected model_type 'gpt2', got 'llama'"),
        ({"scale_attn_weights": False}, "expected scale_attn_weights = True, got False"),
        ({"scale_attn_by_inverse_layer_idx": True}, "expected scale_attn_by_inverse_layer_idx = False"),
        ({"n_inner": -16}, "n_inner: expected a whole number of at least 1, got -16"),
        ({"n_inner": {}}, "n_inner: expected a whole number"),
        ({"n_embd": {}}, "n_embd: expected a whole number"),
        ({"n_embd": "8"}, "n_embd: expected a whole number"),
        ({"resid_pdrop": "much"}, "dropout: expected a share"),
        ({"eos_token_id": [3, "4"]}, "expected eos_token_id to be an id or a list of ids, got .3, '4'."),
        ({"eos_token_id": [-3]}, "eos_id: expected an id"),
        ({"eos_token_id": True}, "expected eos_token_id to be"),
        ({"eos_token_id": {}}, "expected eos_token_id to be"),
        ({"model_type": "\x1b[2J" * 100}, r"got '\\x1b\[2J"),
        ({"add_cross_attention": "\n" * 100}, r"got '\\n"),
        ({"vocab_size": 1e400}, "n_vocab: expected a whole number"),
    ],
)
def test_configs_of_other_models(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        GPTConfig.from_dict({**TINY.to_dict(), **changes})
    assert str(caught.value).isprintable() and len(str(caught.value)) < 200


def test_the_inner_width_is_four_times_the_outer_unless_said():
    assert TINY.n_inner is None and TINY.n_hidden == 32 and TINY.replace(n_embd=16).n_hidden == 64
    narrow = GPTConfig.from_dict({**TINY.to_dict(), "n_inner": 20})
    assert narrow.n_hidden == 20
    assert P.shapes(narrow)["h.1.mlp.c_fc.weight"] == (8, 20) and P.shapes(narrow)["h.1.mlp.c_fc.bias"] == (20,)
    assert P.shapes(narrow)["h.1.mlp.c_proj.weight"] == (20, 8)


@pytest.mark.parametrize("raw", [None, [], "gpt2", 3])
def test_a_config_that_is_no_table(raw):
    with pytest.raises(InputError, match="expected model_type 'gpt2'"):
        GPTConfig.from_dict(raw)


def test_the_config_published_with_gpt2():
    raw = {  # the fields of openai-community/gpt2 that matter, as they stand there
        "activation_function": "gelu_new", "attn_pdrop": 0.1, "bos_token_id": 50256, "embd_pdrop": 0.1,
        "eos_token_id": 50256, "layer_norm_epsilon": 1e-05, "model_type": "gpt2", "n_ctx": 1024, "n_embd": 768,
        "n_head": 12, "n_layer": 12, "n_positions": 1024, "resid_pdrop": 0.1, "vocab_size": 50257,
    }  # fmt: skip
    assert GPTConfig.from_dict(raw) == PRESETS["gpt2"].replace(dropout=0.1)


def test_an_end_token_outside_the_vocabulary_never_comes():
    # `transformers` writes 50256 by default, whatever the vocabulary
    assert GPTConfig.from_dict({**TINY.to_dict(), "eos_token_id": 50256}).eos_id is None


@pytest.mark.parametrize(
    ("stored", "eos_id", "more"),
    [(3, 3, ()), (None, None, ()), ([], None, ()), ([3], 3, ()), ([3, 4, 3], 3, (4,)), ([50256, 5, 4], 5, (4,))],
)
def test_one_end_token_or_several(stored, eos_id, more):
    config = GPTConfig.from_dict({**TINY.to_dict(), "eos_token_id": stored})
    assert (config.eos_id, config.more_eos_ids) == (eos_id, more)
    assert GPTConfig.from_dict(config.to_dict()) == config


def test_the_tanh_formula_has_two_names():
    config = GPTConfig.from_dict({**TINY.to_dict(), "activation_function": "gelu_pytorch_tanh"})
    assert config == TINY and config.activation == "gelu_new"


def test_init_follows_the_paper():
    config = TINY.replace(n_embd=64, n_vocab=500, n_layer=8)
    params = P.init(config, np.random.default_rng(0))
    assert {name: array.shape for name, array in P.walk(params)} == P.shapes(config)
    assert {array.dtype for _, array in P.walk(params)} == {np.dtype(np.float32)}
    # 4,096 draws or more: their standard deviation is within 5 sigma = 6 % of the true one
    assert params["wte"]["weight"].std() == pytest.approx(0.02, rel=0.06)
    assert params["h"][3]["attn"]["c_proj"]["weight"].std() == pytest.approx(0.02 / math.sqrt(2 * 8), rel=0.06)
    assert (params["h"][3]["ln_1"]["weight"] == 1).all() and (params["ln_f"]["bias"] == 0).all()
    again = P.init(config, np.random.default_rng(0))
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(P.walk(params), P.walk(again), strict=True))


def test_walk_undoes_nest():
    named = {name: np.zeros(shape) for name, shape in P.shapes(TINY.replace(tie_word_embeddings=False)).items()}
    assert list(dict(P.walk(P.nest(named)))) == list(named)
    assert P.count(P.nest(named)) == n_params(TINY) + 11 * 8
    assert P.nest({"ln_f.bias": 1}) == {"ln_f": {"bias": 1}}


def test_params_print_a_line_for_each_array():
    params = P.init(TINY, np.random.default_rng(0))
    lines = repr(params).splitlines()
    assert len(lines) == len(P.shapes(TINY)) and max(map(len, lines)) < 60
    assert [line.split(maxsplit=1) for line in lines[:3]] == [
        ["wte.weight", "float32 [11, 8]"], ["wpe.weight", "float32 [6, 8]"], ["h.0.ln_1.weight", "float32 [8]"]
    ]  # fmt: skip
    assert repr(params["h"]).splitlines()[-1].split(maxsplit=1) == ["1.mlp.c_proj.bias", "float32 [8]"]
    assert repr(params["h"][1]["attn"]["c_proj"]) == "weight  float32 [8, 8]\nbias    float32 [8]"
    assert repr(P.nest({})) == "(no arrays)"


def test_params_are_plain_dicts_and_lists_in_all_else():
    params = P.init(TINY, np.random.default_rng(0))
    assert isinstance(params, dict) and isinstance(params["h"], list) and params["h"][0] == {**params["h"][0]}
    assert (lambda weight, bias: weight is params["ln_f"]["weight"])(**params["ln_f"])
    assert dict(params).keys() == params.keys() == (params | {"h": params["h"] * 2}).keys()
    assert len(params["h"] * 2) == 4 and P.nest({"a.b": 1, "a.c": 2}) == {"a": {"b": 1, "c": 2}}


def test_the_table_of_parameters():
    config = TINY.replace(tie_word_embeddings=False)
    lines = P.table(P.init(config, np.random.default_rng(0))).splitlines()
    assert len(lines) == 1 + len(P.shapes(config)) + 1 and len({len(line) for line in lines}) == 1
    rows = {line.split()[0]: line.split() for line in lines}
    total = n_params(config)
    assert rows["h.0.mlp.c_fc.weight"] == ["h.0.mlp.c_fc.weight", "float32", "[8,", "32]", "256", f"{256 / total:.2%}"]
    assert rows["total"] == ["total", f"{total:,}", "100.00%"]
    assert sum(int(row[-2].replace(",", "")) for name, row in rows.items() if name not in ("name", "total")) == total


def test_eleven_blocks_keep_their_order():
    named = {f"h.{i}.ln_1.bias": i for i in range(11)}
    assert [block["ln_1"]["bias"] for block in P.nest(named)["h"]] == list(range(11))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda params: params.pop("wpe"), r"parameters: expected wpe.weight, which is missing \(1 in all\)"),
        (lambda params: params["h"].pop(), r"expected h.1.attn.c_attn.bias, which is missing \(12 in all\)"),
        (lambda params: params.update(head={"weight": np.zeros(3)}), "got head.weight, which this config"),
        (lambda params: params["wte"].update(weight=np.zeros((8, 11))), r"wte.weight: expected shape \[11, 8\], got"),
    ],
)
def test_params_that_do_not_fit(damage, message):
    params = P.init(TINY, np.random.default_rng(0))
    P.check(params, TINY)
    damage(params)
    with pytest.raises(InputError, match=message):
        P.check(params, TINY)
