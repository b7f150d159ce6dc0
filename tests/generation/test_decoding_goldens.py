"""Every way of decoding against someone else's: goldens/decoding.npz (transformers 5) and contrastive.npz (4.46.3).

The processors were run in float32, as transformers does; whole generations are compared by their ids, which do not
depend on rounding: the seeds are chosen so that no two candidates nearly tie.
"""

import numpy as np
import pytest
from goldens import measure, recipe

from nanogpt_np import GPT, Tokenizer
from nanogpt_np import params as P
from nanogpt_np.generation import beams, penalties, sampling
from nanogpt_np.generation.beams import Beams
from nanogpt_np.generation.defaults import split
from nanogpt_np.tokenizer.vocab import to_letters

SIZES = recipe.TINY._replace(tied=False)
SINGLE = 1e-5  # sums of log-probabilities in float32 on their side, as in test_beams.py; times the length at -1


@pytest.fixture(scope="module")
def golden():
    return measure.load("decoding")


@pytest.fixture(scope="module", params=[np.float64, np.float32])
def tiny(request):
    return GPT(measure.config_of(SIZES), measure.tiny_params(measure.load("tiny"), SIZES, request.param))


# ---------------------------------------------------------------- single processors


@pytest.mark.parametrize("name", ["no_repeat_ngram", "typical_p", "sequence_bias", "ban_words"])
def test_a_processor(golden, name):
    logits, previous = golden["processed/logits"], golden["processed/previous_ids"].tolist()
    run = {
        "no_repeat_ngram": lambda n: penalties.no_repeat_ngram(logits, previous, int(n)),
        "typical_p": lambda p: sampling.typical_p(logits, float(p)),
        "sequence_bias": lambda _: penalties.sequence_bias(logits, previous, recipe.BIASES),
        "ban_words": lambda _: penalties.ban_words(logits, previous, recipe.BANNED_WORDS),
    }[name]
    found = {key.split("/")[-1]: key for key in golden if key.startswith(f"processed/{name}")}
    assert found
    for value, key in found.items():
        np.testing.assert_allclose(run(value), golden[key], rtol=1e-6, err_msg=key)  # one addition in float32
        assert np.isneginf(golden[key]).any() or name == "sequence_bias"


# ---------------------------------------------------------------- whole generations


@pytest.mark.parametrize("name", recipe.DECODINGS)
def test_a_generation(golden, tiny, name):
    asked, prompts = recipe.DECODINGS[name], golden["generated/prompts"].tolist()
    expected = [row[row >= 0].tolist() for row in golden[f"generated/{name}/ids"]]
    settings = {"max_new_tokens": recipe.DECODING_NEW, "stop": asked.stop_ids, **asked.ours}
    if asked.num_beams == 1:
        found = tiny.generate(prompts, temperature=0, **settings)
        assert found == [[i for i in row if i not in asked.stop_ids] for row in expected]
        return
    request, how = split({**settings, "num_beams": asked.num_beams})
    request = request.spelled(tiny.config, None)
    best = beams.search(prompts, tiny.params, tiny.config, tiny.ops, request, how)
    assert [list(one.ids) for (one,) in best] == expected
    scores = golden[f"generated/{name}/scores"]
    np.testing.assert_allclose([one.score for (one,) in best], scores, rtol=1e-6, atol=SINGLE)


def test_each_setting_makes_a_difference(golden, tiny):
    """Else the test above would pass with settings that do nothing."""
    prompts = golden["generated/prompts"].tolist()
    for name, asked in recipe.DECODINGS.items():
        if name.startswith("never"):
            continue
        plain = tiny.generate(prompts, recipe.DECODING_NEW, temperature=None if asked.num_beams > 1 else 0,
                              stop=asked.stop_ids, num_beams=asked.num_beams)  # fmt: skip
        expected = [[i for i in row if i >= 0 and i not in asked.stop_ids]
                    for row in golden[f"generated/{name}/ids"].tolist()]  # fmt: skip
        assert plain != expected, name


def test_never_searches_on_where_false_has_stopped(golden, tiny):
    prompts, differ = golden["generated/prompts"].tolist(), 0
    for name, asked in recipe.DECODINGS.items():
        if name.startswith("never"):
            how = {"length_penalty": asked.ours["length_penalty"], "num_beams": asked.num_beams}
            sooner = tiny.generate(prompts, recipe.DECODING_NEW, stop=asked.stop_ids, **how)
            later = tiny.generate(prompts, recipe.DECODING_NEW, stop=asked.stop_ids, **how, early_stopping="never")
            differ += sooner != later
    assert differ


# ---------------------------------------------------------------- constraints


@pytest.fixture(scope="module")
def led():
    """A model whose vocabulary is the recipe's."""
    pieces = [to_letters(piece) for piece in recipe.GUIDED_PIECES[:-1]]
    vocab = {piece: i for i, piece in enumerate([*pieces, "<|endoftext|>"])}
    weights = recipe.weights(recipe.GUIDED, 33, 0.3)
    params = P.nest({name: array.astype(np.float64) for name, array in weights.items()})
    config = measure.config_of(recipe.GUIDED).replace(eos_id=262)
    return GPT(config, params, Tokenizer(vocab, recipe.GUIDED_MERGES))


@pytest.mark.parametrize("n_beams", [1, 3])
@pytest.mark.parametrize("number", range(len(recipe.GUIDED_PATTERNS)), ids=recipe.GUIDED_PATTERNS)
def test_a_pattern_leads_as_a_list_of_allowed_tokens_does(golden, led, number, n_beams):
    expected = [[i for i in row if 0 <= i < 262] for row in golden[f"guided/{number}/{n_beams}/ids"].tolist()]
    how = {"temperature": 0} if n_beams == 1 else {"num_beams": n_beams}
    prompts = golden["guided/prompts"].tolist()
    assert led.generate(prompts, 12, pattern=recipe.GUIDED_PATTERNS[number], **how) == expected
    if recipe.GUIDED_PATTERNS[number] == "yes|no|maybe":
        assert led.generate(prompts, 12, choices=["maybe", "no", "yes"], **how) == expected


# ---------------------------------------------------------------- contrastive search


@pytest.mark.parametrize("number", range(len(recipe.CONTRASTS)), ids=map(str, recipe.CONTRASTS))
def test_contrastive_search(tiny, number):
    golden = measure.load("contrastive")
    alpha, k, stop = recipe.CONTRASTS[number]
    prompts = [ids[real].tolist() for ids, real in zip(golden["prompts"], golden["mask"] == 1, strict=True)]
    expected = [[i for i in row if i >= 0 and i not in stop] for row in golden[f"{number}/ids"].tolist()]
    settings = {"penalty_alpha": alpha, "top_k": k, "stop": stop}
    assert tiny.generate(prompts, recipe.CONTRAST_NEW, **settings) == expected
    assert [tiny.generate(prompt, recipe.CONTRAST_NEW, **settings) for prompt in prompts] == expected


def test_the_contrasts_differ():
    golden = measure.load("contrastive")
    assert len({golden[f"{i}/ids"].tobytes() for i in range(len(recipe.CONTRASTS))}) >= 12


def test_early_stopping_is_one_of_three():
    assert [Beams(2, early_stopping=value).early_stopping for value in (True, False, "never")] == [True, False, "never"]
