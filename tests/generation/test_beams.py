"""beams.py against transformers' own searches (goldens/beams.npz), and against scoring every sequence there is.

The goldens were made with transformers 5.23, which sums log-probabilities in float32 whatever the model's dtype.
"""

import itertools

import numpy as np
import pytest
from goldens import measure, recipe

from nanogpt_np import GPT, InputError, model
from nanogpt_np.cli import entry as cli
from nanogpt_np.generation import beams
from nanogpt_np.generation.beams import Beams
from nanogpt_np.generation.request import Request
from nanogpt_np.generation.sampling import Sampling

SIZES = recipe.TINY._replace(tied=False)
SCORE = 1e-5  # a float32 sum of twelve log-probabilities, up to 100: transformers' own is 1.6e-6 from the exact one
EXACT = 1e-11  # where both sides compute in float64
PROMPTS = [[1, 2, 3], [250], [7, 7, 7, 7, 7, 7, 7, 7, 7], [40, 299, 12, 5]]


@pytest.fixture(scope="module")
def gpt(make_gpt):
    """float64, so that a batch and a cache differ by far less than any two sums do."""
    return make_gpt(dtype=np.float64, scale=0.5, tie_word_embeddings=False)


def search(gpt, prompts, how, max_new, **request):
    return beams.search(prompts, gpt.params, gpt.config, gpt.ops, Request(max_new, **request), how)


# ---------------------------------------------------------------- transformers


@pytest.fixture(scope="module")
def golden():
    return measure.load("beams")


@pytest.fixture(scope="module", params=[np.float64, np.float32])
def tiny(request):
    """The golden's model, in two dtypes."""
    return GPT(measure.config_of(SIZES), measure.tiny_params(measure.load("tiny"), SIZES, request.param))


def check(found, ids, scores, atol):
    """The same ids, and scores that differ by at most `atol`."""
    flat = [hypothesis for best in found for hypothesis in best]
    assert [list(hypothesis.ids) for hypothesis in flat] == [row[row >= 0].tolist() for row in ids]
    np.testing.assert_allclose([hypothesis.score for hypothesis in flat], scores, rtol=0, atol=atol)


@pytest.mark.parametrize("number", range(len(recipe.BEAMS)), ids=[str(tuple(setting)) for setting in recipe.BEAMS])
def test_ids_and_scores_of_a_left_padded_batch(golden, tiny, number):
    setting = recipe.BEAMS[number]
    prompts = [ids[real].tolist() for ids, real in zip(golden["prompts"], golden["mask"] == 1, strict=True)]
    how = Beams(setting.num_beams, setting.length_penalty, setting.early_stopping)
    returned = recipe.BEAMS_RETURNED
    found = search(tiny, prompts, how, recipe.BEAMS_NEW, stop=setting.stop_ids, num_return_sequences=returned)
    check(found, golden["ids"][number], golden["scores"][number], SCORE)
    is_double = tiny.params["wte"]["weight"].dtype == np.float64
    check(found, golden["ids"][number], golden["exact_scores"][number], EXACT if is_double else SCORE)


def test_ids_and_scores_with_repetition_penalty_and_bans(golden, tiny):
    setting, sampling = (
        recipe.BEAMS_PROCESSED,
        Sampling(1.0, repetition_penalty=recipe.BEAMS_PENALTY, banned_ids=tuple(recipe.BEAMS_BANNED)),
    )
    request = {"stop": setting.stop_ids, "num_return_sequences": recipe.BEAMS_RETURNED, "sampling": sampling}
    found = search(tiny, golden["prompts"].tolist(), Beams(setting.num_beams), recipe.BEAMS_NEW, **request)
    check(found, golden["processed/ids"], golden["processed/scores"], SCORE)


def test_the_goldens_tell_the_settings_apart(golden):
    """Ends at many lengths; and for every stop id each of the three settings makes a difference somewhere."""
    lengths = (golden["ids"] >= 0).sum(axis=-1)
    assert len(np.unique(lengths)) >= 8 and (lengths == recipe.BEAMS_NEW).any() and (lengths == 1).any()
    found = dict(zip(recipe.BEAMS, golden["ids"].tolist(), strict=True))
    for stop in {setting.stop_ids for setting in recipe.BEAMS if setting.stop_ids}:
        of_stop = [setting for setting in recipe.BEAMS if setting.stop_ids == stop]
        for name in ("num_beams", "length_penalty", "early_stopping"):
            twins = itertools.combinations(of_stop, 2)
            differ_in_one = [(a, b) for a, b in twins if a._replace(**{name: getattr(b, name)}) == b]
            assert any(found[a] != found[b] for a, b in differ_in_one), (stop, name)


# ---------------------------------------------------------------- every sequence there is


def every_hypothesis(gpt, prompt, length, stop_ids, penalty):
    """(score, ids) of all sequences that end with a stop id or have `length` ids, the best first; one forward pass."""
    rows = np.array(list(itertools.product(range(gpt.config.n_vocab), repeat=length)))
    logits = gpt(np.concatenate([np.tile(prompt, (len(rows), 1)), rows], axis=1))[:, len(prompt) - 1 : -1]
    log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    sums = np.cumsum(np.take_along_axis(log_probs, rows[:, :, None], axis=-1)[:, :, 0], axis=1)
    found = {}
    for row, total in zip(rows.tolist(), sums, strict=True):
        n = next((n for n, token in enumerate(row, 1) if token in stop_ids), length)
        found[tuple(row[:n])] = total[n - 1] / n**penalty
    return sorted(((score, ids) for ids, score in found.items()), reverse=True)


@pytest.fixture(scope="module")
def minuscule(make_gpt):
    return make_gpt(8, np.float64, with_tokenizer=False, scale=0.6, n_vocab=4, n_ctx=8, n_embd=8, eos_id=None)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("penalty", [-1.0, 0.0, 1.0, 2.5])
@pytest.mark.parametrize("stop", [(), (3,), (0, 2)])
def test_with_enough_beams_the_best_of_all_is_found(minuscule, stop, penalty, early_stopping):
    expected = every_hypothesis(minuscule, [1, 2], 4, stop, penalty)[:20]
    how = Beams(4**3, penalty, early_stopping)
    found = search(minuscule, [[1, 2]], how, 4, stop=stop, num_return_sequences=20)[0]
    assert [hypothesis.ids for hypothesis in found] == [ids for _, ids in expected]
    np.testing.assert_allclose([h.score for h in found], [score for score, _ in expected], rtol=0, atol=EXACT)


def test_more_beams_find_what_greedy_misses(minuscule):
    """Else the test above would pass with any search."""
    best = every_hypothesis(minuscule, [1, 2], 4, (), 1.0)[0][1]
    found = [search(minuscule, [[1, 2]], Beams(n), 4)[0][0].ids for n in (1, 2, 64)]
    assert found[0] != best and found[1] != best and found[2] == best


def test_candidates_of_a_large_vocabulary_come_in_order():
    """Among few, or for few, some machines' np.argpartition sorts by the way; not here."""
    log_probs = np.random.default_rng(0).normal(size=(4, 50257))
    running = [beams.Beam((row,), -0.1 * row, 9) for row in range(4)]
    found = beams.extend(running, log_probs, 2000, first_row=3)
    totals = log_probs - 0.1 * np.arange(4)[:, None]
    everything = sorted(((totals[row, i], row, i) for row in range(4) for i in range(50257)), reverse=True)
    assert found == [beams.Beam((row, i), total, 3 + row) for total, row, i in everything[:2000]]


# ---------------------------------------------------------------- batches and ends


def test_one_beam_is_greedy(gpt):
    found = search(gpt, PROMPTS, Beams(1), 12, ignore_eos=True)
    assert [list(best[0].ids) for best in found] == gpt.generate(PROMPTS, 12, temperature=0, ignore_eos=True)


@pytest.mark.parametrize("stop", [(), (51, 77, 120, 200, 11, 288)])
def test_a_batch_equals_each_alone(gpt, stop):
    settings = {"num_beams": 3, "stop": stop, "num_return_sequences": 2}
    together = gpt.generate(PROMPTS, 12, **settings)
    assert together == [new for prompt in PROMPTS for new in gpt.generate(prompt, 12, **settings)]


def test_the_whole_context_can_be_filled(gpt):
    n_ctx = gpt.config.n_ctx
    new = gpt.generate([1] * 5, n_ctx - 4, num_beams=3, ignore_eos=True)  # the last one is never read
    assert len(new) == n_ctx - 4
    with pytest.raises(InputError, match="ask for at most 20 new tokens"):
        gpt.generate([1] * 5, n_ctx - 3, num_beams=3)


def test_a_prompt_is_read_once_and_a_finished_one_no_more(gpt, monkeypatch):
    shapes, forward = [], model.embed
    count = lambda ids, *args, **kw: (shapes.append(ids.shape), forward(ids, *args, **kw))[1]  # noqa: E731
    monkeypatch.setattr(model, "embed", count)
    first = [gpt.generate(prompt, 1, temperature=0)[0] for prompt in PROMPTS[:2]]
    assert first[0] != first[1]
    shapes.clear()
    search(gpt, PROMPTS[:2], Beams(1), 2, stop=(first[0],))  # the first prompt's likeliest id ends it at once
    assert shapes == [(2, 3), (1, 1)]
    shapes.clear()
    search(gpt, PROMPTS[:2], Beams(3), 3, ignore_eos=True)
    assert shapes == [(2, 3), (6, 1), (6, 1)]


def test_the_stop_id_is_scored_but_not_returned(make_parrot, tokenizer):
    gpt = make_parrot([5, 6, 7, tokenizer.eos_id, 9])
    assert gpt.generate([3], 5, num_beams=2) == [5, 6, 7]
    assert gpt.generate([3], 5, num_beams=2, stop=7) == [5, 6]
    assert gpt.generate([3], 5, num_beams=2, ignore_eos=True) == [5, 6, 7, tokenizer.eos_id, 9]
    assert search(gpt, [[3]], Beams(2), 5)[0][0].ids == (5, 6, 7, tokenizer.eos_id)


def test_no_new_tokens(gpt):
    assert gpt.generate(PROMPTS, 0, num_beams=2) == [[]] * 4
    assert gpt.generate("the", 0, num_beams=2, num_return_sequences=2) == ["", ""]


# ---------------------------------------------------------------- text


def test_text_in_text_out(gpt, tokenizer):
    ids = gpt.generate(tokenizer.encode("the cat"), 8, num_beams=4, num_return_sequences=3)
    texts = gpt.generate("the cat", 8, num_beams=4, num_return_sequences=3)
    assert texts == [tokenizer.decode(new) for new in ids] and len(set(texts)) == 3
    assert gpt.generate("the cat", 8, num_beams=4) == texts[0]
    assert gpt.generate(["the cat", "a"], 8, num_beams=4)[0] == texts[0]


def test_rows_without_a_token_are_never_chosen(make_parrot, tokenizer):
    gpt = make_parrot([310, 310, 310], n_vocab=320)  # the vocabulary has 300; here the model insists on another
    new = gpt.generate([3], 3, num_beams=3, num_return_sequences=3)
    assert len(new) == 3 and max(max(ids) for ids in new) < tokenizer.n_vocab
    assert make_parrot([5, 310, 9], n_vocab=320).generate([3], 3, num_beams=3, stop=310) == [5]  # asked for by name


# ---------------------------------------------------------------- what cannot be


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"num_beams": 0}, "num_beams: expected a whole number of at least 1, got 0"),
        ({"num_beams": 2.0}, "num_beams: expected a whole number of at least 1, got 2.0"),
        ({"length_penalty": 2.0}, "length_penalty: expected num_beams above 1 with it, got 1"),
        ({"early_stopping": True}, "early_stopping: expected num_beams above 1 with it, got 1"),
        ({"num_beams": 2, "length_penalty": float("nan")}, "length_penalty: expected a number from -10 to 10, got nan"),
        ({"num_beams": 2, "length_penalty": 11}, "length_penalty: expected a number from -10 to 10, got 11"),
        ({"num_beams": 2, "early_stopping": "ever"}, "early_stopping: expected True, False or 'never', got 'ever'"),
        ({"num_beams": 2, "temperature": 0.7}, "temperature: expected none with num_beams, .* got 0.7"),
        ({"num_beams": 2, "temperature": 0}, "temperature: expected none with num_beams, .* got 0"),
        ({"num_beams": 2, "top_k": 5}, "top_k: expected none with num_beams, .* got 5"),
        ({"num_beams": 2, "top_p": 0.9}, "top_p: expected none with num_beams, .* got 0.9"),
        ({"num_beams": 2, "min_p": 0.1}, "min_p: expected none with num_beams, .* got 0.1"),
        ({"num_beams": 2, "seed": 0}, "seed: expected none with num_beams, .* got 0"),
        ({"num_beams": 2, "stop": [5, "end"]}, "stop: expected ids with num_beams, got 'end'"),
        ({"num_beams": 2, "overflow": "slide"}, "overflow: expected 'error' with num_beams, got 'slide'"),
        ({"num_beams": 2, "num_return_sequences": 3}, "num_return_sequences: expected at most num_beams = 2, got 3"),
        ({"num_beams": 2, "banned_ids": [300]}, "banned_ids: expected ids from 0 to 299, got 300"),
        ({"num_beams": 2, "banned_ids": range(300)}, "expected 1 continuations to choose from, got 0; ban"),
        ({"num_beams": 2, "max_new_tokens": 99}, "expected prompt and new tokens to fit n_ctx = 24"),
    ],
)
def test_what_cannot_be_searched(gpt, settings, message):
    with pytest.raises(InputError, match=message):
        gpt.generate([1, 2, 3], **settings)


def test_fewer_sequences_than_asked_for(minuscule):
    assert len(minuscule.generate([1], 1, num_beams=9, num_return_sequences=4)) == 4
    with pytest.raises(InputError, match="expected 5 continuations to choose from, got 4"):
        minuscule.generate([1], 1, num_beams=9, num_return_sequences=5)


def test_broken_weights_are_said_to_be_broken(make_gpt):
    gpt = make_gpt()
    gpt.params["ln_f"]["bias"][0] = np.nan
    with pytest.raises(InputError, match="got NaN; the weights or the input are broken"):
        gpt.generate([1, 2], 3, num_beams=2)


def test_log_probs_are_those_of_the_logits_with_no_overflow():
    logits = np.array([[1000.0, 999.0, -1000.0], [0.0, 0.0, -np.inf]], np.float32)
    log_probs = beams.next_log_probs(logits, [[0], [0]], Sampling())
    expected = [[-np.log1p(np.exp(-1)), -1 - np.log1p(np.exp(-1)), -2000 - np.log1p(np.exp(-1))],
                [-np.log(2), -np.log(2), -np.inf]]  # fmt: skip
    np.testing.assert_allclose(log_probs, expected, rtol=1e-15)
    assert log_probs.dtype == np.float64


# ---------------------------------------------------------------- the command line


@pytest.fixture(scope="module")
def directory(gpt, tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    gpt.save(path)
    return str(path)


@pytest.mark.parametrize(
    "words, settings",
    [
        ([], {}),
        (["--length-penalty", "2"], {"length_penalty": 2.0}),
        (["--repetition-penalty", "1.4"], {"repetition_penalty": 1.4}),
        (["--num-return-sequences", "2"], {"num_return_sequences": 2}),
    ],
)
def test_command_line(directory, capsys, words, settings):
    command = ["generate", "the cat", "--model", directory, "--max-new-tokens", "9", "--num-beams", "3", *words]
    assert cli.main(command) == 0
    found = GPT.from_pretrained(directory).generate("the cat", 9, num_beams=3, **settings)
    texts = found if "num_return_sequences" in settings else [found]
    assert capsys.readouterr() == (f"\n{'-' * 40}\n".join("the cat" + text for text in texts) + "\n", "")


@pytest.mark.parametrize(
    "words, message",
    [
        (["--num-beams", "0"], "--num-beams: expected a whole number of at least 1, got 0"),
        (["--length-penalty", "2"], "--length-penalty: expected --num-beams above 1 with it, got 1"),
        (["--num-beams", "2", "--temperature", "0.8"], "--temperature: expected none with --num-beams"),
        (["--num-beams", "2", "--top-p", "0.95"], "--top-p: expected none with --num-beams"),
        (["--num-beams", "2", "--seed", "1"], "--seed: expected none with --num-beams"),
        (["--num-beams", "2", "--stop", "x"], "--stop: expected ids with --num-beams"),
    ],
)
def test_command_line_errors(directory, capsys, words, message):
    assert cli.main(["generate", "the", "--model", directory, *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("nanogpt-np: " + message) and err.count("\n") == 1
