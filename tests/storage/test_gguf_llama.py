"""llama.cpp itself, in the library xllamacpp, opens what is written here and says what our model says."""

import numpy as np
import pytest
from small import make

from nanogpt_np import GPT, GPTConfig, Tokenizer
from nanogpt_np.bench.llama import Llama
from nanogpt_np.storage.gguf import save_gguf

N_NEW, N_PROBS = 24, 10

# How far llama.cpp's log-probabilities of its ten likeliest tokens may be from ours, which compute in float32 with the
# same dequantized weights; measured at most: 0.0012, 0.0067, 0.098. F32: it looks GELU up in a table of half-precision
# numbers. F16: activations are rounded to half precision before each product. Q8_0: to 8 bits, in groups of 32.
FAR = {"F32": 0.004, "F16": 0.02, "Q8_0": 0.3}


def random_model():
    """Another width inside than GPT-2's, another epsilon, an output of its own, and rows without tokens."""
    tokenizer = Tokenizer.train(["the cat sat on the mat, the dog ate the rat; a hat, a bat"] * 2, 280)
    shape = {"n_vocab": 290, "n_ctx": 64, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_inner": 96}
    config = GPTConfig(**shape, layer_norm_eps=1e-3, tie_word_embeddings=False, eos_id=279)
    params = make(config)
    params["lm_head"]["weight"][280:] = 0  # llama.cpp would say a token that only fills up; with us none is ever said
    return GPT(config, params, tokenizer), [5, 6, 7, 8, 9]


def shipped(name, prompt):
    gpt = GPT.from_pretrained(name, ops="numpy")
    return gpt, gpt.tokenizer.encode(prompt)


MODELS = {
    "stories": lambda: shipped("stories", "Once upon a time, there was a dragon"),
    "poems": lambda: shipped("poems", "春眠"),
    "random": random_model,
}


@pytest.fixture(params=[(name, kind) for name in MODELS for kind in FAR], ids="-".join)
def opened(request, tmp_path):
    """-> our model as it opens what was written, llama.cpp with the same file, a prompt, how far they may be apart."""
    pytest.importorskip("gguf")
    pytest.importorskip("xllamacpp")
    name, kind = request.param
    gpt, prompt = MODELS[name]()
    path = tmp_path / "m.gguf"
    save_gguf(path, gpt.config, gpt.params, gpt.tokenizer, kind)
    settings = {"gguf": str(path), "n_ctx": gpt.config.n_ctx, "threads": 1}
    return GPT.from_pretrained(path, ops="numpy"), Llama(f"llama.cpp {kind}", settings), prompt, FAR[kind]


def ask(engine, prompt, n_new):
    return engine._ask({
        "prompt": prompt, "n_predict": n_new, "temperature": 0, "ignore_eos": True, "cache_prompt": False,
        "return_tokens": True, "n_probs": N_PROBS,
    })  # fmt: skip


def log_softmax(x):
    x = x.astype(np.float64) - x.max()
    return x - np.log(np.exp(x).sum())


@pytest.mark.peers
def test_greedy_ids_and_log_probabilities_are_ours(opened):
    """The ids are equal: no two logits are as near as the engines differ on these texts."""
    gpt, engine, prompt, far = opened
    said = ask(engine, prompt, N_NEW)["tokens"]
    ours = gpt.generate(prompt, N_NEW, temperature=0, ignore_eos=True, banned_ids=[gpt.config.eos_id])
    assert said == ours and len(set(said)) > 8
    compared = 0
    for i in range(0, N_NEW, 3):  # one step at a time: of half a character the server says no probabilities
        so_far = [*prompt, *said[:i]]
        expected = log_softmax(gpt(so_far)[0, -1])
        for step in ask(engine, so_far, 1).get("completion_probabilities", ()):
            for one in step["top_logprobs"]:
                if one["id"] != gpt.config.eos_id:  # ignore_eos takes it away
                    assert abs(one["logprob"] - expected[one["id"]]) < far, (i, one)
                    compared += 1
    assert compared >= 2 * N_PROBS


@pytest.mark.peers
def test_it_reads_text_as_we_do(opened):
    gpt, engine, _, _ = opened
    text = "Once upon a time, there was   a cat's hat. 12 née 猫\n\n Well"
    assert ask(engine, text, 1)["tokens_evaluated"] == len(gpt.tokenizer.encode(text))
