"""budget.py: what is asked for is compared with the memory before any of it is taken."""

import tracemalloc

import numpy as np
import pytest

from nanogpt_np import GPT, GPTConfig, InputError, KVCache, memory
from nanogpt_np.generation import budget

CONFIG = GPTConfig(n_vocab=2000, n_ctx=64, n_embd=32, n_layer=2, n_head=2)


@pytest.fixture(scope="module")
def gpt():
    return GPT.from_config(CONFIG)


@pytest.fixture
def free(monkeypatch):
    """free(n): from now on so many bytes are available."""
    return lambda n_bytes: monkeypatch.setattr(memory, "available", lambda: n_bytes)


def sequence_bytes(gpt, n_prompt, max_new, num_beams=1):
    return budget.sequence_bytes(n_prompt, max_new, gpt.params, gpt.config, gpt.ops, num_beams)


def test_so_many_as_fit_and_not_one_more(gpt, free):
    free(5 * sequence_bytes(gpt, 3, 4))
    assert len(gpt.generate([1, 2, 3], 4, num_return_sequences=5, seed=0)) == 5
    assert len(gpt.generate([[1, 2, 3]] * 5, 4, seed=0)) == 5
    takes = r"as a sequence takes [0-9.]+ [kMG]B and [0-9.]+ [kMG]B are free"
    message = rf"num_return_sequences: expected at most 5, {takes}, got 6; ask for"
    with pytest.raises(InputError, match=message):
        gpt.generate([1, 2, 3], 4, num_return_sequences=6, seed=0)
    with pytest.raises(InputError, match="prompts: expected fewer, .* got 6"):
        gpt.generate([[1, 2, 3]] * 6, 4, seed=0)
    with pytest.raises(InputError, match="num_return_sequences: expected at most 2, .* got 3"):
        gpt.generate([[1, 2, 3]] * 2, 4, num_return_sequences=3, seed=0)


def test_beams_are_counted_too(gpt, free):
    free(3 * sequence_bytes(gpt, 3, 4, num_beams=3))
    assert len(gpt.generate([1, 2, 3], 4, num_beams=3)) == 4
    with pytest.raises(InputError, match="num_beams: expected at most 3, .* got 4"):
        gpt.generate([1, 2, 3], 4, num_beams=4)


@pytest.mark.parametrize("name", ["num_return_sequences", "num_beams"])
@pytest.mark.parametrize("n", [10**9, 10**5000], ids=["many", "more"])  # no test can be named by the second
def test_a_number_alone_takes_no_memory(gpt, name, n):
    """Of the machine as it is: no machine holds a thousand million of them."""
    tracemalloc.start()
    with pytest.raises(InputError, match=f"{name}: expected at most"):
        gpt.generate([1, 2, 3], 4, **{name: n})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_one_alone_is_always_tried(gpt, free):
    free(0)
    assert len(gpt.generate([1, 2, 3], 4, seed=0)) == 4
    free(None)  # a system that does not say
    assert len(gpt.generate([1, 2, 3], 4, seed=0, num_return_sequences=2)) == 2


@pytest.mark.parametrize("speculate", [3, 10**6, 10**9])
def test_guesses_are_never_longer_than_what_can_be_checked(gpt, speculate):
    prompt = [5, 6, 7] * 5
    tracemalloc.start()
    new = gpt.generate(prompt, 40, temperature=0, speculate=speculate)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert new == gpt.generate(prompt, 40, temperature=0)
    assert peak < 10_000_000  # a list of 10**6 guesses at each step would be 40 MB, one of 10**9 40 GB


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0},
        {"seed": 0, "temperature": 0.8, "top_k": 50, "top_p": 0.95, "min_p": 0.01, "repetition_penalty": 1.2},
        {"num_beams": 30},
    ],
)
def test_the_estimate_is_an_upper_bound_and_no_wild_one(gpt, settings):
    """What Python and NumPy took at most, as tracemalloc counts it, against what was said."""
    prompt, n = list(range(40)), 30
    if "num_beams" not in settings:
        settings = {**settings, "num_return_sequences": n}
    gpt.generate(prompt, 2, **settings)  # what is imported or made only once
    tracemalloc.start()
    gpt.generate(prompt, 20, **settings)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    said = n * sequence_bytes(gpt, 40, 20, settings.get("num_beams", 1))
    assert said / 4 < peak < said


def test_a_cache_knows_its_bytes():
    cache = KVCache(CONFIG, 3, 10)
    assert cache.n_bytes == cache.keys.nbytes + cache.values.nbytes == 2 * 2 * 3 * 10 * 32 * 4
    assert KVCache(CONFIG, n_ctx=1, dtype=np.float64).n_bytes == 2 * 2 * 32 * 8


def test_a_model_that_does_not_fit_is_not_begun(free):
    free(10**6)
    message = r"config: expected weights within the [0-9.]+ [kM]B that are free, got \d+ MB; make it smaller"
    with pytest.raises(InputError, match=message):
        GPT.from_config(GPTConfig(n_layer=6, n_head=12))
