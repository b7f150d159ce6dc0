"""Small models that several test files share: a tokenizer that splits characters, random weights, a fixed script."""

import os

# Where tests run side by side, BLAS stays on one core: its threads spin while they wait, on the cores of the others.
# It is told before NumPy is imported; tests that run alone use all cores.
if int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1)) > 1:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pytest

from nanogpt_np import GPT, GPTConfig, Tokenizer
from nanogpt_np import params as P

# Few enough merges that Chinese characters and emoji stay in pieces of one to three bytes.
TEXTS = ["the cat sat on the mat, and the hat sat on the cat. ", "床前明月光，疑是地上霜。", "moon 🌕 and star ⭐ "] * 3


@pytest.fixture(scope="session")
def tokenizer():
    """300 tokens, <|endoftext|> the last of them; most Chinese characters take three."""
    return Tokenizer.train(TEXTS, 300, special_tokens=("<|endoftext|>",), progress=False)


@pytest.fixture(scope="session")
def make_gpt(tokenizer):
    """make_gpt(seed=, dtype=, **config): random weights, wide enough that the logits differ by several units."""

    def make(seed=0, dtype=np.float32, with_tokenizer=True, scale=0.3, **changes):
        shape = {"n_vocab": tokenizer.n_vocab, "n_ctx": 24, "n_embd": 16, "n_layer": 2, "n_head": 2}
        config = GPTConfig(**{**shape, "eos_id": tokenizer.eos_id, **changes})
        rng = np.random.default_rng(seed)
        named = P.walk(P.init(config, rng, dtype))
        params = P.nest({name: (array + scale * rng.normal(size=array.shape)).astype(dtype) for name, array in named})
        return GPT(config, params, tokenizer if with_tokenizer else None)

    return make


@pytest.fixture(scope="module")
def directory(gpt, tmp_path_factory):
    """The folder of a test file's own `gpt`."""
    path = tmp_path_factory.mktemp("model")
    gpt.save(path)
    return str(path)


@pytest.fixture(scope="session")
def make_parrot(tokenizer):
    """make_parrot(ids): a model that has learned one text by heart: after a prompt of one token it says `ids`.

    Its blocks do nothing (all 0), position p is the p-th unit vector, and the row of a token in lm_head is the sum of
    the positions that it follows. So the token with the clearly largest logit depends on the position alone.
    """

    def make(ids, n_vocab=None, sharpness=20.0, with_tokenizer=True):
        n = max(len(ids), 8)
        config = GPTConfig(
            n_vocab=n_vocab or tokenizer.n_vocab, n_ctx=n, n_embd=n, n_layer=1, n_head=1, tie_word_embeddings=False,
            eos_id=tokenizer.eos_id,
        )  # fmt: skip
        params = P.nest({name: np.zeros(shape, np.float32) for name, shape in P.shapes(config).items()})
        params["ln_f"]["weight"][:] = 1
        params["wpe"]["weight"][:] = np.eye(n)
        for position, token in enumerate(ids):
            params["lm_head"]["weight"][token, position] += sharpness
        return GPT(config, params, tokenizer if with_tokenizer else None)

    return make
