"""What the maker of the goldens and the tests must both know: sizes, seeded weights and ids, fixed places to look at.

NumPy only, and nothing of nanogpt_np. The wide model's 54 million weights are not stored: both sides draw them here.
"""

from typing import NamedTuple

import numpy as np


class Sizes(NamedTuple):
    """The sizes of a GPT-2; `tied`: the output layer is the token embedding; `n_inner`: None is 4 * n_embd."""

    n_vocab: int
    n_ctx: int
    n_embd: int
    n_layer: int
    n_head: int
    tied: bool = True
    n_inner: int | None = None


TINY = Sizes(n_vocab=97, n_ctx=32, n_embd=32, n_layer=2, n_head=4)
NARROW = TINY._replace(n_inner=40)  # feed-forward networks hardly wider than the residual stream
WIDE = Sizes(n_vocab=50257, n_ctx=1024, n_embd=768, n_layer=2, n_head=12)

TINY_SEED, TINY_STD = 20190214, 0.15  # wider than 0.02, so that 32 columns already give attention with some contrast
WIDE_SEED, WIDE_STD = 20200528, 0.02  # GPT-2's own
TINY_LR, WIDE_LR = 1e-3, 1e-4
N_STEPS = 10
ADAMW = {"betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}
CLIP_NORM = 1.0
N_PLACES = 64


class BeamSetting(NamedTuple):
    """One beam search; `stop_ids` end a hypothesis."""

    num_beams: int
    length_penalty: float
    early_stopping: bool
    stop_ids: tuple


BEAMS_NEW, BEAMS_RETURNED = 12, 2  # tokens asked for, sequences returned per prompt
BEAMS = [  # 13, 23, 47 and 50 are ids that the untied tiny model likes, so that hypotheses end early, late and never
    BeamSetting(n, penalty, early, stop)
    for stop in ((13,), (47,), (23, 50))
    for n in (2, 3, 5)
    for penalty in (0.5, 1.0, 2.0)
    for early in (False, True)
] + [BeamSetting(n, 1.0, False, ()) for n in (2, 3, 5)]
BEAMS_PROCESSED, BEAMS_PENALTY, BEAMS_BANNED = BeamSetting(3, 1.0, False, (23,)), 1.3, [13, 50]


class Decoding(NamedTuple):
    """One way to decode: what `transformers` calls it, what it is called here, and how many beams."""

    of_transformers: dict
    ours: dict
    num_beams: int = 1
    stop_ids: tuple = ()


# ids that the untied tiny model likes, so that each setting changes something
BIASES = {(3,): 2.5, (7,): -1.5, (5, 6): 4.0, (9, 2, 11): float("-inf"), (2, 4): 1.25, (6, 7, 8): 3.0}
BANNED_WORDS = [(4,), (7, 3), (9, 2, 1), (2, 20), (6, 7, 8)]
DECODING_NEW = 16
DECODINGS = {
    "ngram2": Decoding({"no_repeat_ngram_size": 2}, {"no_repeat_ngram_size": 2}),
    "ngram1": Decoding({"no_repeat_ngram_size": 1}, {"no_repeat_ngram_size": 1}),
    "bias": Decoding({"sequence_bias": {(13,): -3.0, (50, 23): 6.0}}, {"logit_bias": {13: -3.0, (50, 23): 6.0}}),
    "words": Decoding({"bad_words_ids": [[13], [50, 50], [23, 47]]}, {"banned_words": [[13], [50, 50], [23, 47]]}),
    "least": Decoding({"min_new_tokens": 9}, {"min_new_tokens": 9}, stop_ids=(13, 23, 47, 50)),
    "all": Decoding(
        {"sequence_bias": {(13,): -3.0, (50, 23): 6.0}, "repetition_penalty": 1.3, "no_repeat_ngram_size": 3,
         "bad_words_ids": [[23, 47]], "min_new_tokens": 5, "suppress_tokens": [1, 2]},
        {"logit_bias": {13: -3.0, (50, 23): 6.0}, "repetition_penalty": 1.3, "no_repeat_ngram_size": 3,
         "banned_words": [[23, 47]], "min_new_tokens": 5, "banned_ids": [1, 2]},
        stop_ids=(50,),
    ),
}  # fmt: skip
DECODINGS |= {f"{name}, beams": DECODINGS[name]._replace(num_beams=3) for name in ("ngram2", "words", "least", "all")}
DECODINGS |= {
    f"never {penalty} {stop} {n}": Decoding(
        {"early_stopping": "never", "length_penalty": penalty}, {"early_stopping": "never", "length_penalty": penalty},
        n, stop,
    )
    for stop in ((13,), (23, 50)) for n in (2, 4) for penalty in (-1.0, 0.0, 1.0, 2.0)
}  # fmt: skip

# a vocabulary of all bytes, six longer pieces, and the end of text
GUIDED_MERGES = [("a", "b"), ("ab", "c"), ("1", "2"), ("12", "3"), ("Ã", "©"), ("-", "-")]  # Ã© is how "é" is spelled
GUIDED_PIECES = [bytes([b]) for b in range(256)] + [b"ab", b"abc", b"12", b"123", "é".encode(), b"--", b""]
GUIDED = Sizes(n_vocab=263, n_ctx=32, n_embd=32, n_layer=2, n_head=4, tied=False)
GUIDED_PATTERNS = ["(abc|ab|b)+", "[0-9]{2,4}-+x?", "yes|no|maybe", "(?:é|[à-ÿ]b|c){2,5}", "[^a-z]{3}.*z", "1*2*3*"]

CONTRAST_NEW = 14
CONTRASTS = [(alpha, k, stop) for alpha in (0.2, 0.6, 0.9) for k in (2, 4, 8) for stop in ((), (13, 50))]


def shapes(sizes):
    """Name -> shape of every weight, in forward order; an untied output layer comes last."""
    n, n_hidden = sizes.n_embd, sizes.n_inner or 4 * sizes.n_embd
    found = {"wte.weight": (sizes.n_vocab, n), "wpe.weight": (sizes.n_ctx, n)}
    for i in range(sizes.n_layer):
        for layer, shape in (
            ("ln_1", (n,)),
            ("attn.c_attn", (n, 3 * n)),
            ("attn.c_proj", (n, n)),
            ("ln_2", (n,)),
            ("mlp.c_fc", (n, n_hidden)),
            ("mlp.c_proj", (n_hidden, n)),
        ):
            found[f"h.{i}.{layer}.weight"] = shape
            found[f"h.{i}.{layer}.bias"] = shape[-1:]
    found["ln_f.weight"] = found["ln_f.bias"] = (n,)
    if not sizes.tied:
        found["lm_head.weight"] = (sizes.n_vocab, n)
    return found


def weights(sizes, seed, std):
    """Name -> float32 weight. Layer norms are 1 + 0.1 normal and biases `std` normal, so that each of them counts."""
    rng = np.random.Generator(np.random.PCG64(seed))
    named = {}
    for name, shape in shapes(sizes).items():
        named[name] = rng.standard_normal(shape, dtype=np.float32)
        named[name] *= np.float32(0.1 if ".ln_" in f".{name}" and name.endswith("weight") else std)
        if ".ln_" in f".{name}" and name.endswith("weight"):
            named[name] += np.float32(1)
    return named


def tokens(sizes, seed, shape):
    """Seeded token ids, int64."""
    return np.random.Generator(np.random.PCG64(seed)).integers(0, sizes.n_vocab, shape)


def places(array):
    """Flat indices worth comparing: half drawn at random (seeded by the size), half where the magnitude is largest.

    The very largest is always among them, so max|array| can be read from the values kept.
    """
    flat = np.abs(array).ravel()
    half = N_PLACES // 2
    drawn = np.random.Generator(np.random.PCG64(flat.size)).integers(0, flat.size, half)
    largest = np.argsort(flat, kind="stable")[-half:] if flat.size < 10**6 else np.argpartition(flat, -half)[-half:]
    return np.resize(np.concatenate([np.sort(largest), drawn]), N_PLACES)


def digest(array):
    """Three numbers about a whole array, summed in float64: [sum, sum of magnitudes, Euclidean norm]."""
    flat = np.asarray(array, dtype=np.float64).ravel()
    return np.array([flat.sum(), np.abs(flat).sum(), np.sqrt(flat @ flat)])


# what the wing evaluation/ is asked: passages with a last word, questions with choices; for the model "stories"
PASSAGES = [
    "Lily had a red ball. She threw the ball to Tom. Tom was very happy and he threw back the ball",
    "One day, a little boy named Tim went to the park with his mom. He saw a big dog. Tim wanted to pet the dog",
    "Once upon a time",
    "The bird sat in the tree and sang a song. All the animals came to hear the bird sing its lovely song",
    "Mom made a cake.\n\n\"It is for you,\" she said to Ben. Ben said, \"Thank you, mom",
    "It was raining, so Sara took her umbrella",
    "The king lived in a castle with his daughter, the princess. The king loved to eat strawberries",
    "Tim was sad because he lost his toy car. He looked under the bed. He found it under the table",
]  # fmt: skip
QUESTIONS = [
    ("Once upon a time, there was a little girl named", ["Lily.", "table and chairs.", "ran to the", "a"], 0),
    ("Tom was hungry. He went to the kitchen and ate", ["the moon.", "an apple.", "quickly because", "his shoes"], 1),
    ("The dog barked and", ["read a book about the sea.", "ran after the ball.", "sky."], 1),
    ("Sue was very tired, so she went to", ["bed.", "the top of a tall mountain far away.", "blue.", "eat a car."], 0),
    ("Ben and Mia saw a big slide at the park. They", ["cried.", "wanted to go down the slide.", "é 床"], 1),
]  # fmt: skip
N_PAIRS, LONGEST = 12, 33  # random texts for the tiny model; its context of 32 and what is said last
ROW_STRIDES = (32, 20, 7, 1)  # for a row of ids that is longer than its context
STORY_STRIDES = (256, 100)


def pairs(sizes, seed):
    """Random ids before and behind, some with one beginning in common: lists of (before, said)."""
    rng = np.random.Generator(np.random.PCG64(seed))
    found = []
    for i in range(N_PAIRS):
        ids = rng.integers(0, sizes.n_vocab, rng.integers(4, LONGEST + 1) if found else LONGEST).tolist()
        n_said = int(rng.integers(1, min(len(ids), 6)))
        same = found and i % 3  # two of three go on from what stood before the last one
        before = found[-1][0] if same else ids[:-n_said]
        found.append((before, ids[-n_said:][: LONGEST - len(before)]))
    return found


def story():
    """A text of more than two contexts of the model "stories": sentences of the passages in a seeded order."""
    sentences = [part for text in PASSAGES for part in text.split(". ")]
    order = np.random.Generator(np.random.PCG64(41)).integers(0, len(sentences), 60)
    return ". ".join(sentences[i] for i in order)
