"""lens/: every array against a GPT-2 that shares no code with it (reference.py, float64), or against its sum.

float32 differs from that by rounding: 2e-5 of the largest value here (measured: below 4e-6).
"""

import numpy as np
import pytest
from lens.reference import forward, softmax
from small import CONFIG, make, random_ids

from nanogpt_np import GPT, lens
from nanogpt_np import ops as numpy_ops
from nanogpt_np.errors import InputError
from nanogpt_np.generation.sampling import Sampling

IDS = random_ids(12, seed=3)
ROUNDING = 2e-5  # of the largest value


@pytest.fixture(scope="module", params=["tied", "untied"])
def gpt(request):
    config = CONFIG.replace(tie_word_embeddings=request.param == "tied")
    return GPT(config, make(config))


@pytest.fixture(scope="module")
def expected(gpt):
    return forward(gpt.params, gpt.config, IDS)


def close(actual, wanted):
    np.testing.assert_allclose(actual, wanted, rtol=0, atol=ROUNDING * np.abs(wanted[np.isfinite(wanted)]).max())


def test_the_reference_is_a_gpt2(gpt, expected):
    close(gpt(IDS)[0], expected["logits"])


def test_tokens(gpt, expected):
    view = lens.tokens_view(gpt, IDS)
    probs = softmax(expected["logits"])
    close(view.losses[1:], -np.log(probs[range(11), IDS[1:]]))
    assert np.isnan(view.losses[0]) and view.ranks[0] == -1
    assert [sum(row > row[i]) for row, i in zip(probs, IDS[1:], strict=False)] == view.ranks[1:].tolist()
    assert view.tokens == [f"<{i}>" for i in IDS]  # a model without a vocabulary


@pytest.mark.parametrize("position", [0, 5, -1])
def test_next_tokens(gpt, expected, position):
    found = lens.next_tokens(gpt, IDS, 4, position)
    probs = softmax(expected["logits"][position])
    assert found.ids.tolist() == np.argsort(-probs)[:4].tolist() and found.position == position % 12
    close(found.probs, np.sort(probs)[::-1][:4])


def test_attention(gpt, expected):
    close(lens.attention_grid(gpt, IDS).probs, expected["probs"])
    view = lens.attention_view(gpt, IDS, 1, -1)
    assert (view.layer, view.head) == (1, 2)
    close(view.scores, expected["scores"][1, 2])
    close(view.scaled, expected["scores"][1, 2] / 8**0.5)
    close(view.probs, expected["probs"][1, 2])
    close(softmax(view.masked.astype(np.float64)), expected["probs"][1, 2])
    weight = gpt.params["h"][1]["attn"]["c_proj"]["weight"][16:24]
    close(view.mixed @ weight, expected["heads"][1, 2])


def test_head_summaries(gpt, expected):
    found, probs = lens.head_summaries(gpt, IDS), expected["probs"]
    rows = range(1, 12)
    close(found.previous, np.mean([probs[:, :, i, i - 1] for i in rows], axis=0))
    close(found.first, np.mean([probs[:, :, i, 0] for i in rows], axis=0))
    close(found.itself, np.mean([probs[:, :, i, i] for i in rows], axis=0))
    entropy = [-(p * np.log(p)).sum(-1) / np.log(i + 1) for i in rows for p in [probs[:, :, i, : i + 1]]]
    close(found.entropy, np.mean(entropy, axis=0))
    pairs = [[j for j in range(1, i + 1) if IDS[j - 1] == IDS[i] and j - 1 < i] for i in range(12)]
    some = [(i, js) for i, js in enumerate(pairs) if js]
    assert some  # the ids repeat themselves somewhere
    close(found.induction, np.mean([probs[:, :, i, js].sum(-1) for i, js in some], axis=0))


def test_induction_is_nothing_where_nothing_comes_twice(gpt):
    assert np.isnan(lens.head_summaries(gpt, [1, 2, 3]).induction).all()


def test_a_head_that_continues_what_it_has_seen_scores_one():
    """Weights by hand: each token looks only at the place behind the earlier occurrence of itself, by its own clock."""
    n, config = 6, CONFIG.replace(n_vocab=6, n_ctx=12, n_embd=24, n_layer=1, n_head=1)
    gpt = GPT(config, make(config))
    probs = np.zeros((1, 1, 2 * n, 2 * n))
    for i in range(2 * n):
        probs[0, 0, i, i - n + 1 if i >= n else i] = 1.0
    from nanogpt_np.lens.attention import _induction

    ids = np.tile(np.arange(n), 2)
    assert _induction(probs, ids) == 1.0
    assert _induction(np.roll(probs, 1, axis=-1), ids) == 0.0
    assert lens.induction_scores(gpt).shape == (1, 1)


def test_residual_stream(gpt, expected):
    view, x = lens.residual_view(gpt, IDS), expected["stream"]
    assert view.names == ["embedded", "L0.attn", "L0.ffn", "L1.attn", "L1.ffn"]
    close(view.norms, np.sqrt((x**2).sum(-1)))
    added = x[1:] - x[:-1]
    close(view.added, np.sqrt((added**2).sum(-1)))
    close(view.along, (added * x[:-1]).sum(-1) / np.sqrt((added**2).sum(-1) * (x[:-1] ** 2).sum(-1)))


def test_layer_norms(gpt, expected):
    view, x = lens.layer_norms(gpt, IDS), expected["stream"]
    assert view.names == ["L0.ln_1", "L0.ln_2", "L1.ln_1", "L1.ln_2", "ln_f"]
    close(view.means, x.mean(-1))
    close(view.stds, np.sqrt(((x - x.mean(-1, keepdims=True)) ** 2).mean(-1) + 1e-5))


def test_neurons(gpt, expected):
    view = lens.neurons(gpt, IDS, 1, k=3)
    hidden = expected["hidden"][1]
    close(view.on, (expected["pre_gelu"][1] > 0).mean(-1))
    close(view.values, np.sort(hidden)[:, ::-1][:, :3])
    assert view.strongest.tolist() == np.argsort(-hidden)[:, :3].tolist()


def test_texts_that_excite_one_neuron(gpt):
    texts = [random_ids(n, seed=n).tolist() for n in (5, 9, 7)]
    hidden = [forward(gpt.params, gpt.config, ids)["hidden"][0, :, 7] for ids in texts]
    places = sorted(((-value, n, i) for n, row in enumerate(hidden) for i, value in enumerate(row)))[:4]
    found = lens.neuron_texts(gpt, texts, 0, 7, k=4)
    close(found.values, np.array([-value for value, *_ in places]))
    assert found.positions.tolist() == [i for *_, i in places]
    assert found.texts == [[f"<{i}>" for i in texts[n]] for _, n, _ in places]


def test_logit_lens(gpt, expected):
    view = lens.logit_lens_view(gpt, IDS)
    head = gpt.params["lm_head" if "lm_head" in gpt.params else "wte"]["weight"].astype(np.float64)
    x = expected["stream"]
    normed = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    normed = normed * gpt.params["ln_f"]["weight"] + gpt.params["ln_f"]["bias"]
    probs = softmax(normed @ head.T)
    assert view.ids.tolist() == probs.argmax(-1).tolist()
    close(view.probs, probs.max(-1))
    close(view.entropy, -(probs * np.log(probs)).sum(-1))
    close(view.kl, (probs[-1] * np.log(probs[-1] / probs)).sum(-1))
    assert (view.kl[-1] == 0).all()


@pytest.mark.parametrize("against", [None, 4])
@pytest.mark.parametrize("position", [0, 7, -1])
def test_attribution(gpt, expected, against, position):
    view = lens.attribution_view(gpt, IDS, token=9, against=against, position=position)
    logits = expected["logits"][position]
    wanted = logits[9] - (0 if against is None else logits[against])
    assert view.total == pytest.approx(wanted, abs=ROUNDING * np.abs(logits).max())
    # the sum, to the tolerance that is promised
    assert sum(view.parts().values()) == pytest.approx(view.total, abs=1e-4)
    # each part: how the logit moves where it alone is taken away and the scale stays
    head = gpt.params["lm_head" if "lm_head" in gpt.params else "wte"]["weight"].astype(np.float64)
    row = head[9] - (0 if against is None else head[against])
    x = expected["stream"][-1, position]
    std = np.sqrt(x.var() + 1e-5)

    def part(vector):
        return ((vector - vector.mean()) / std * gpt.params["ln_f"]["weight"]) @ row

    close(view.heads, np.array([[part(head[position]) for head in layer] for layer in expected["heads"]]))
    close(view.ffn, np.array([part(layer[position]) for layer in expected["ffn"]]))
    close(view.attention_bias, np.array([part(bias) for bias in expected["attn_bias"]]))
    token = gpt.params["wte"]["weight"][IDS[position]].astype(np.float64)
    assert view.token_embedding == pytest.approx(part(token), abs=1e-4)
    assert len(view.parts()) == 2 + 2 * (3 + 2) + 1


def test_attribution_by_finite_differences(gpt, expected):
    """A little more of what a head wrote at the last position moves the logit by its part, the scale held fixed."""
    view = lens.attribution_view(gpt, IDS, token=9)
    x, head = expected["stream"][-1, -1], expected["heads"][1, 2, -1]
    rows = gpt.params["lm_head" if "lm_head" in gpt.params else "wte"]["weight"].astype(np.float64)

    def logit(x, std):
        return ((x - x.mean()) / std * gpt.params["ln_f"]["weight"] + gpt.params["ln_f"]["bias"]) @ rows[9]

    std = np.sqrt(x.var() + 1e-5)
    slope = (logit(x + 1e-6 * head, std) - logit(x - 1e-6 * head, std)) / 2e-6
    assert view.heads[1, 2] == pytest.approx(slope, abs=1e-4)


def test_sampling_stages(gpt, expected):
    how = Sampling(temperature=0.5, top_k=8, top_p=0.9, min_p=0.05, repetition_penalty=1.3, banned_ids=[2])
    view = lens.sampling_view(gpt, IDS, how)
    names = ["raw", "repetition penalty 1.3", "1 banned", "temperature 0.5", "top-k 8", "top-p 0.9", "min-p 0.05"]
    assert view.names == names
    logits = expected["logits"][-1].copy()
    wanted = [softmax(logits)]
    said = sorted(set(IDS.tolist()))
    logits[said] = [logit / 1.3 if logit > 0 else logit * 1.3 for logit in logits[said]]
    wanted.append(softmax(logits))
    logits[2] = -np.inf
    wanted.append(softmax(logits))
    wanted.append(softmax(logits / 0.5))
    order = np.argsort(-wanted[-1])
    for keep in (8, int(np.searchsorted(np.cumsum(np.sort(wanted[3] / wanted[3][order[:8]].sum())[::-1]), 0.9)) + 1):
        kept = np.zeros_like(wanted[3])
        kept[order[:keep]] = wanted[3][order[:keep]]
        wanted.append(kept / kept.sum())
    kept = np.where(wanted[-1] >= 0.05 * wanted[-1].max(), wanted[-1], 0)
    wanted.append(kept / kept.sum())
    for i, row in enumerate(wanted):
        close(view.probs[i], row[view.ids])
        assert view.n_left[i] == (row > 0).sum()
        assert view.mass[i] == pytest.approx(1 if i == 0 else wanted[i - 1][row > 0].sum(), abs=1e-5)


def test_greedy_is_a_stage(gpt):
    view = lens.sampling_view(gpt, IDS, Sampling(temperature=0))
    assert view.names == ["raw", "greedy"] and view.n_left.tolist() == [31, 1] and view.probs[1, 0] == 1


def test_tokens_as_a_person_reads_them(make_gpt):
    gpt = make_gpt(n_vocab=303)
    ids = [*gpt.tokenizer.encode("a cat 床\n"), gpt.tokenizer.eos_id, 301]
    tokens = lens.look(gpt, ids).tokens
    text = "".join(tokens)
    assert "␣" in text and " " not in text and "\\n" in text and "\\xe5" in text
    assert tokens[-2:] == ["<|endoftext|>", "<301>"]
    assert lens.look(gpt, "a cat").ids.tolist() == gpt.tokenizer.encode("a cat")


@pytest.mark.parametrize("name", ["numba", "int8"])
def test_compiled_ops_are_looked_into_too(gpt, name):
    """The same arrays to their rounding: float32's, or int8's, which moves these logits by less than a fifth."""
    pytest.importorskip("numba")
    other = GPT(gpt.config, make(gpt.config), ops=name)
    if name == "int8":
        wanted, got = lens.logit_lens_view(gpt, IDS), lens.logit_lens_view(other, IDS)
        assert np.abs(wanted.entropy - got.entropy).max() < 0.2 * wanted.entropy.max()
        with pytest.raises(InputError, match="attribution: expected float weights, got int8 or int4; open the model"):
            lens.attribution_view(other, IDS)
        return
    for view in (lens.residual_view, lens.logit_lens_view, lens.layer_norms, lens.attribution_view):
        for wanted, got in zip(view(gpt, IDS), view(other, IDS), strict=True):
            if isinstance(wanted, np.ndarray):
                close(got, wanted)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda gpt: lens.tokens_view(gpt, []), "prompt: expected at least one token, got none"),
        (lambda gpt: lens.tokens_view(gpt, "a"), "prompt: expected a list of ids, got text"),
        (lambda gpt: lens.tokens_view(gpt, [1] * 17), "expected at most n_ctx = 16 tokens, got 17"),
        (lambda gpt: lens.tokens_view(gpt, [31]), "ids: expected 0 to 30"),
        (lambda gpt: lens.next_tokens(gpt, [1], 0), "k: expected a whole number of at least 1"),
        (lambda gpt: lens.next_tokens(gpt, [1], 3, 1), "position: expected a whole number from -1 to 0, got 1"),
        (lambda gpt: lens.attention_view(gpt, [1], 2, 0), "layer: expected a whole number from -2 to 1, got 2"),
        (lambda gpt: lens.attention_view(gpt, [1], 0, 1.5), "head: expected a whole number from -3 to 2, got 1.5"),
        (lambda gpt: lens.head_summaries(gpt, [1]), "prompt: expected at least two tokens, got one"),
        (lambda gpt: lens.induction_scores(gpt, 9), "n_tokens: expected at most 8, as they are said twice, got 9"),
        (lambda gpt: lens.neurons(gpt, [1], 0, None), "k: expected a whole number of at least 1, got None"),
        (lambda gpt: lens.neuron_texts(gpt, [[1]], 0, 96), "neuron: expected a whole number from -96 to 95, got 96"),
        (lambda gpt: lens.attribution_view(gpt, [1], " cat"), "token: expected one token, got a text, and the model"),
        (lambda gpt: lens.attribution_view(gpt, [1], 3, 31), "against: expected an id from 0 to 30 or a text, got 31"),
    ],
)
def test_mistakes_are_one_line(call, message):
    with pytest.raises(InputError, match=message) as caught:
        call(GPT(CONFIG, make(), ops=numpy_ops))
    assert "\n" not in str(caught.value)


def test_a_text_for_a_token(make_gpt):
    gpt = make_gpt()
    assert lens.attribution_view(gpt, "the cat", "a").token == "a"
    with pytest.raises(InputError, match="token: expected one token, got 'zebra', which is 5; give its id, or"):
        lens.attribution_view(gpt, "the cat", "zebra")
