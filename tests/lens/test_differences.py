"""Two passes side by side, and a text as it grows, against these tests' own pass and against gpt.generate."""

import copy

import numpy as np
import pytest
from lens.reference import forward, softmax
from small import CONFIG, make, random_ids

from nanogpt_np import GPT, lens
from nanogpt_np.errors import InputError
from nanogpt_np.generation import Sampling

IDS, OTHER = random_ids(7, seed=3), random_ids(7, seed=4)


@pytest.fixture(scope="module")
def gpt():
    return GPT(CONFIG, make())


def without(params, parts):
    """The same weights, but what these parts hand over is not written: rows of c_proj are 0, a half's bias too."""
    params = copy.deepcopy(params)
    for layer, what, *unit in parts:
        block = params["h"][layer]
        half, rows = block["attn" if what == "attn" or isinstance(what, int) else "mlp"]["c_proj"], slice(None)
        if isinstance(what, int):
            rows = slice(what * CONFIG.d_head, (what + 1) * CONFIG.d_head)
        elif unit:
            rows = unit[0]
        else:
            half["bias"][:] = 0
        half["weight"][rows] = 0
    return params


@pytest.mark.parametrize("parts", [
    [(0, 1), (0, 2), (1, 0)], [(0, "attn")], [(1, "ffn")], [(0, "ffn", 5), (0, "ffn", 17), (1, "ffn", 0)],
    [(0, "attn"), (0, 1), (0, "ffn", 3), (1, "ffn"), (1, 2)]])  # fmt: skip
def test_parts_taken_out_are_parts_that_write_nothing(gpt, parts):
    wanted = forward(without(gpt.params, parts), CONFIG, IDS)
    found = lens.reading(gpt, IDS, parts)
    np.testing.assert_allclose(found.stream, wanted["stream"], rtol=0, atol=1e-4)  # float32 against float64
    np.testing.assert_allclose(found.logits, wanted["logits"], rtol=0, atol=1e-4)
    assert not np.allclose(found.logits, gpt(IDS)[0], atol=1e-2)


def test_a_part_may_be_named_twice_and_counted_from_the_end(gpt):
    twice = lens.reading(gpt, IDS, [[1, 0], [0, -2], [0, -1], [1, 0], [-1, "ffn", -1]])
    once = lens.reading(gpt, IDS, [(0, 1), (0, 2), (1, 0), (1, "ffn", CONFIG.n_hidden - 1)])
    assert np.array_equal(twice.logits, once.logits)
    assert np.array_equal(lens.reading(gpt, IDS).logits, gpt(IDS)[0])


def test_a_difference_is_what_two_passes_say(gpt):
    first, second = (forward(gpt.params, CONFIG, ids) for ids in (IDS, OTHER))
    view = lens.difference_view(gpt, lens.reading(gpt, IDS), lens.reading(gpt, OTHER), k=5)
    p, q = softmax(first["logits"]), softmax(second["logits"])
    np.testing.assert_allclose(view.kl, (p * np.log(p / q)).sum(-1), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(view.furthest, np.abs(first["logits"] - second["logits"]).max(-1), rtol=1e-3)
    assert view.agree.tolist() == (p.argmax(-1) == q.argmax(-1)).tolist()
    lengths = np.linalg.norm(second["stream"] - first["stream"], axis=-1) / np.linalg.norm(first["stream"], axis=-1)
    np.testing.assert_allclose(view.relative, lengths, rtol=1e-3, atol=1e-5)
    best = set((-p[-1]).argsort()[:5]) | set((-q[-1]).argsort()[:5])
    assert set(view.ids) == best and view.tokens == [f"<{i}>" for i in view.ids]
    np.testing.assert_allclose(view.probs, np.stack([p[-1], q[-1]])[:, view.ids], rtol=1e-3, atol=1e-6)
    assert np.all(np.diff(view.probs.max(axis=0)) <= 0)
    for losses, ids, probs in ((view.losses[0], IDS, p), (view.losses[1], OTHER, q)):
        assert np.isnan(losses[0])
        np.testing.assert_allclose(losses[1:], -np.log(probs[np.arange(6), ids[1:]]), rtol=1e-3)


def test_what_two_passes_do_not_share_is_none(gpt, make_gpt):
    longer = lens.difference_view(gpt, lens.reading(gpt, IDS), lens.reading(gpt, random_ids(9)))
    assert longer.kl is None and longer.relative is None and longer.ids is not None
    other = make_gpt()
    view = lens.difference_view(gpt, lens.reading(gpt, IDS), lens.reading(other, "the cat sat"))
    assert view.ids is None and view.kl is None and view.relative is None and len(view.losses) == 2
    same = lens.difference_view(gpt, lens.reading(gpt, IDS), lens.reading(gpt, IDS))
    assert not same.kl.any() and not same.relative.any() and same.agree.all()


@pytest.mark.parametrize("parts", [
    [5], ["ab"], [[0, 99]], [[9, 0]], [[0, 0, 0]], [[True, 0]], [[0, "mlp"]], [[0, "attn", 1]], [[0, "ffn", 10**6]],
    [[0, "ffn", "a"]], [[0, None]], [[0, "ffn", 1, 2]], [{}], [[]]])  # fmt: skip
def test_a_part_that_is_not_there_is_said(gpt, parts):
    with pytest.raises(InputError, match=r"^(without|layer|head|part|neuron): expected"):
        lens.reading(gpt, IDS, parts)


@pytest.mark.parametrize("sampling", [
    Sampling(), Sampling(0), Sampling(0.7, top_k=5), Sampling(1.3, top_p=0.8), Sampling(0.9, 9, 0.9, 0.05)])
def test_a_text_grows_as_generate_writes_it(gpt, sampling):
    view = lens.generation_view(gpt, IDS, 6, sampling, seed=5, k=4)
    said = dict(temperature=sampling.temperature, top_k=sampling.top_k, top_p=sampling.top_p, min_p=sampling.min_p)
    assert [step.id for step in view.steps] == gpt.generate(IDS.tolist(), 6, seed=5, **said)
    assert [step.n_read for step in view.steps] == [len(IDS), 1, 1, 1, 1, 1] and view.reason == "length"
    text = IDS.tolist()
    for step in view.steps:
        logits = forward(gpt.params, CONFIG, text)["logits"][-1]
        raw = softmax(logits)
        assert step.raw == pytest.approx(raw[step.id], rel=1e-3)
        assert step.entropy == pytest.approx(-(raw * np.log(raw)).sum(), rel=1e-3)
        np.testing.assert_allclose(step.view.probs[0], np.sort(raw)[::-1][:4], rtol=1e-3)
        place = {int(i): column for column, i in enumerate(step.view.ids)}.get(step.id)
        assert step.prob > 0 and (place is None or step.prob == pytest.approx(step.view.probs[-1, place]))
        assert step.cost == lens.cost_view(CONFIG, len(text) - 1)
        text.append(step.id)


def test_a_context_that_ends_ends_the_text(gpt):
    view = lens.generation_view(gpt, random_ids(14), 60, Sampling(0))
    assert len(view.steps) == CONFIG.n_ctx + 1 - 14
    with pytest.raises(InputError, match="n_ctx = 16"):
        lens.generation_view(gpt, random_ids(17), 1, Sampling(0))
