"""docs/misconceptions.md: what is said there is so, claim by claim, with numbers."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from small import CONFIG, make, random_ids

from nanogpt_np import GPT, PRESETS, KVCache, Tokenizer, lens, ops
from nanogpt_np import params as P
from nanogpt_np.generation import sampling
from nanogpt_np.training import backward, data, optim

PAGE = (Path(__file__).parent.parent / "docs" / "misconceptions.md").read_text(encoding="utf-8")
IDS = random_ids(9, seed=3)
BLOCK = {"ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj"}


@pytest.fixture(scope="module")
def gpt():
    return GPT(CONFIG, make())


def layers(config):
    """The layers of a block, by their names in a checkpoint."""
    names = [name.removeprefix("h.0.").rpartition(".")[0] for name in P.shapes(config) if name.startswith("h.0.")]
    return set(names)


def test_the_page_and_this_file_name_the_same_tests():
    named = set(re.findall(r"Test: `(\w+)`", PAGE))
    here = {name for name in globals() if name.startswith("test_") and "the_page_and" not in name}
    assert named == here
    assert PAGE.count("\n### ") == len(re.findall(r"Test: `", PAGE)) >= 20, "every claim has its test"


def test_positions_are_learned(gpt):
    assert P.shapes(PRESETS["gpt2"])["wpe.weight"] == (1024, 768)
    _, grads = backward.loss_and_grads(IDS[None, :-1], IDS[None, 1:], gpt.params, CONFIG, ops)
    assert (np.abs(grads["wpe"]["weight"][:8]).max(axis=1) > 0).all(), "each position that was used is corrected"


def test_a_sum_of_sines_is_no_position():
    terms = [math.sin(i / 10000 ** (2 / 3)) * math.cos(2 * i / 10000 ** (2 / 3)) for i in range(768)]
    assert isinstance(sum(terms), float)  # and no position occurs in it
    table = ops.sinusoidal_positions(np.arange(1024), 768, np.float64)
    assert table.shape == (1024, 768) and len(np.unique(table.round(9), axis=0)) == 1024, "each has its own vector"
    assert table[5, 2] == pytest.approx(math.sin(5 / 10000 ** (2 / 768)))
    assert table[5, 3] == pytest.approx(math.cos(5 / 10000 ** (2 / 768)))


def test_there_is_no_encoder(gpt):
    assert layers(PRESETS["gpt2"]) == BLOCK
    outside = {name.partition(".")[0] for name in P.shapes(PRESETS["gpt2"])}
    assert outside == {"wte", "wpe", "h", "ln_f"}
    changed = IDS.copy()
    changed[6:] = (changed[6:] + 1) % 31
    np.testing.assert_array_equal(gpt(IDS)[0, :6], gpt(changed)[0, :6])  # nobody has looked ahead


def test_gpt3_is_made_of_the_same_blocks():
    for name, config in PRESETS.items():
        assert layers(config) == BLOCK, name
    assert P.size(PRESETS["gpt3-175b"]) == 174_604_259_328 and PRESETS["gpt3-175b"].n_ctx == 2048


def test_a_band_is_a_mask_and_nothing_else():
    for name, config in PRESETS.items():
        dense = config.replace(window=None)
        assert P.size(config) == P.size(dense) and config.is_banded == name.startswith("gpt3")
    assert np.array_equal(ops.band_mask(4, 4, 4), ops.causal_mask(4, 4))
    assert ops.band_mask(4, 4, 2).sum() == 7


def test_a_band_forgets_nothing_at_once():
    """How many tokens move the last output: 4 layers of window 4 reach 1 + 4 * 3; one dense layer, and all do."""
    for layers, wanted in (((0, 1, 2, 3), 13), ((0, 1, 3), 24)):
        config = CONFIG.replace(n_ctx=24, n_layer=4, window=4, banded_layers=layers)
        some, ids = GPT(config, make(config)), np.arange(24) % 30
        last = some(ids)[0, -1]
        moved = [np.any(some(np.where(np.arange(24) == at, 30, ids))[0, -1] != last) for at in range(24)]
        assert np.count_nonzero(moved) == wanted


def test_the_ffn_bends_once(gpt):
    _, acts = gpt(IDS, keep_acts=True)
    params, block = gpt.params["h"][0]["mlp"], acts.blocks[0]
    u = block.ffn.x @ params["c_fc"]["weight"] + params["c_fc"]["bias"]
    bent = 0.5 * u * (1 + np.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u**3)))
    out = bent @ params["c_proj"]["weight"] + params["c_proj"]["bias"]
    np.testing.assert_allclose(block.ffn_out, out, atol=1e-5)
    assert 0.2 < (block.ffn_out < 0).mean() < 0.8, "no ReLU stands behind it"


def test_values_are_averaged(gpt):
    _, acts = gpt(IDS, keep_acts=True)
    attn = acts.blocks[0].attn
    by_hand = sum(attn.probs[0, 1, 8, key] * attn.v[0, 1, key] for key in range(9))
    np.testing.assert_allclose(attn.merged[0, 8, 8:16], by_hand, atol=1e-6)
    low, high = attn.v[0, 1].min(axis=0), attn.v[0, 1].max(axis=0)
    assert (low - 1e-6 <= by_hand).all() and (by_hand <= high + 1e-6).all(), "an average lies between"


def test_every_query_asks_something_else(gpt):
    scores = lens.attention_view(gpt, IDS, 0, 0).scaled
    differences = np.abs(scores[:, None] - scores[None]).max(axis=-1)
    assert (differences[~np.eye(9, dtype=bool)] > 0.1).all()


def test_nothing_is_squeezed_into_a_state(gpt):
    assert KVCache(CONFIG, n_ctx=16).n_bytes == 16 * KVCache(CONFIG, n_ctx=1).n_bytes  # it grows with the text
    whole, cache = gpt(IDS)[0], KVCache(CONFIG)
    one_by_one = np.stack([gpt(IDS[i : i + 1], cache=cache)[0, 0] for i in range(9)])
    np.testing.assert_allclose(whole, one_by_one, atol=1e-4)  # one pass over all of it says the same


def test_nothing_is_reconstructed(gpt):
    _, acts = gpt(IDS, keep_acts=True)
    assert {block.x.shape for block in acts.blocks} == {acts.x.shape} == {(1, 9, 24)}
    for last in (4, 5):  # position 4 does not know what it is to say
        np.testing.assert_array_equal(gpt([*IDS[:5], last])[0, 4], gpt(IDS[:6])[0, 4])


def test_other_texts_change_nothing(gpt):
    alone, among = gpt(IDS)[0], gpt(np.stack([IDS, random_ids(9, seed=8), random_ids(9, seed=9)]))[0]
    np.testing.assert_allclose(alone, among, atol=1e-5)  # BLAS rounds a larger product otherwise
    x = np.random.default_rng(0).normal(3.0, 2.0, (4, 24))
    normed = ops.layer_norm(x, np.ones(24), np.zeros(24))
    np.testing.assert_allclose(normed.mean(axis=1), 0, atol=1e-9)  # over a token's own numbers
    assert np.abs(normed.mean(axis=0)).max() > 0.1  # not over the batch


def test_embeddings_begin_at_random():
    first, second = (P.init(CONFIG, np.random.default_rng(seed)) for seed in (0, 1))
    assert not np.array_equal(first["wte"]["weight"], second["wte"]["weight"])
    assert first["wte"]["weight"].std() == pytest.approx(0.02, rel=0.1)
    _, grads = backward.loss_and_grads(IDS[None, :-1], IDS[None, 1:], first, CONFIG, ops)
    assert np.abs(grads["wte"]["weight"]).max() > 0


@pytest.mark.slow
def test_targets_are_the_next_tokens():
    row = np.arange(100, dtype=np.uint16) % 31
    ids, targets = data.Windows(row, 8, seed=0).batch(0, 4)
    np.testing.assert_array_equal(ids[:, 1:], targets[:, :-1])
    # X to X: nothing is left to learn, and yet what comes next is known no better than by chance; in a text that
    # counts from 0 to 30 again and again it could not be easier
    text = np.arange(400) % 31
    copying, following = (_trained(text, shift) for shift in (0, 1))
    assert copying[0] < 0.1 and copying[1] > math.log(31)
    assert following[0] == following[1] < 0.2


def _trained(text, shift):
    """A tiny model after 60 steps towards the token `shift` places on -> its loss there, and at the next token."""
    params = P.init(CONFIG, np.random.default_rng(0))
    adam = optim.AdamW(params)
    rows = np.stack([text[i : i + 17] for i in range(0, 380, 17)])
    for _ in range(60):
        _, grads = backward.loss_and_grads(rows[:, :16], rows[:, shift : 16 + shift], params, CONFIG, ops)
        adam.step(params, grads, 1e-2)
    return [backward.loss_and_grads(rows[:, :16], rows[:, i : 16 + i], params, CONFIG, ops)[0] for i in (shift, 1)]


def test_the_loss_is_cross_entropy(gpt):
    logits = gpt(IDS)[0].astype(np.float64)
    probs = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    loss, _ = backward.loss_and_grads(IDS[None, :-1], IDS[None, 1:], gpt.params, CONFIG, ops)
    assert loss == pytest.approx(-np.log(probs[range(8), IDS[1:]]).mean(), abs=1e-5)
    # softmax minus one-hot: with the identity as unembedding, the gradient at x is that at the logits
    x, targets = np.array([[0.5, -1.0, 2.0]]), np.array([2])
    _, log_z = ops.cross_entropy(x, np.eye(3), targets)
    dx, _ = ops.cross_entropy_backward(np.ones(1), x, np.eye(3), targets, log_z)
    np.testing.assert_allclose(dx, ops.softmax(x) - [[0, 0, 1]], atol=1e-12)


def test_every_token_of_one_stream_is_a_target():
    tokenizer = Tokenizer.train(["a b c d"], 260, special_tokens=("<|endoftext|>",), exact=False)
    row = data.encode_documents(["a b", "c d"], tokenizer)
    text = tokenizer.decode(row)
    assert text == "<|endoftext|>a b<|endoftext|>c d<|endoftext|>"  # no question, no answer, no other language
    ids, targets = data.Windows(row, len(row) - 1, seed=0).batch(0, 1)
    np.testing.assert_array_equal(targets[0], row[1:])
    assert (targets != ops.IGNORE).all()


def test_sizes():
    sizes = {name: P.size(config) for name, config in PRESETS.items()}
    largest = max(size for name, size in sizes.items() if name.startswith("gpt2"))
    assert largest == sizes["gpt2-xl"] == 1_557_611_200
    assert sizes["gpt2"] == 124_439_808
    assert max(sizes, key=sizes.get) == "gpt3-175b" and round(sizes["gpt3-175b"] / 1e9) == 175


def test_tokens_are_not_words():
    tokenizer = Tokenizer.gpt2()
    tokens = [tokenizer.token_bytes(i) for i in tokenizer.encode("unbelievable tokenization")]
    assert len(tokens) > 2 and b"".join(tokens) == b"unbelievable tokenization"
    assert all(len(tokenizer.encode(chr(i))) == 1 for i in range(32, 127)), "a character is a token where it must be"


def test_chinese_is_read():
    tokenizer = Tokenizer.gpt2()
    text = "床前明月光，疑是地上霜。"
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert len(text) < len(ids) <= len(text.encode())  # at most a token for each byte


def test_argmax_draws_nothing(gpt):
    texts = {tuple(gpt.generate(IDS.tolist(), 6, temperature=0, seed=seed)) for seed in range(5)}
    assert len(texts) == 1
    drawn = gpt.generate(IDS.tolist(), 1, temperature=1.0, seed=0, num_return_sequences=2000)
    probs = lens.next_tokens(gpt, IDS, 31)
    shares = np.bincount(np.ravel(drawn), minlength=31)[probs.ids] / 2000
    # a share of 2,000 draws has a standard deviation of at most 0.0112; four of them
    assert np.abs(shares - probs.probs).max() < 0.045 and (shares > 0).sum() > 3


def test_temperature_keeps_the_order(gpt):
    logits = gpt(IDS)[:, -1]
    order = np.argsort(-logits[0], kind="stable")
    for t in (0.1, 0.5, 1.0, 2.0, 10.0):
        scaled = sampling.temperature(logits, t)
        np.testing.assert_array_equal(np.argsort(-scaled[0], kind="stable"), order)
    hot, cold = (sampling.probabilities(sampling.temperature(logits, t)).max() for t in (2.0, 0.5))
    assert hot < cold


def test_padding_stands_on_the_left(gpt):
    wanted = gpt(IDS)[0, -1]
    padded_right = gpt([*IDS, 0, 0, 0])[0, -1]
    assert np.abs(padded_right - wanted).max() > 0.5
    mask = [0, 0, 0] + [1] * 9
    np.testing.assert_allclose(gpt([0, 0, 0, *IDS], mask=mask)[0, -1], wanted, atol=1e-4)


def test_the_past_is_not_computed_again(gpt):
    cache = KVCache(CONFIG)
    gpt(IDS[:8], cache=cache)
    keys = cache.keys[:, :, :, :8].copy()
    np.testing.assert_allclose(gpt(IDS[8:], cache=cache)[0, -1], gpt(IDS)[0, -1], atol=1e-4)
    np.testing.assert_array_equal(cache.keys[:, :, :, :8], keys)  # what was kept stays as it was
    view = lens.cost_view(PRESETS["gpt2"], 511)
    assert view.flops_without / view.flops > 400  # after 511 tokens
