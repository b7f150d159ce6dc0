"""Make decoding.npz and contrastive.npz: `python -m tests.goldens.make_decoding` from the project's root.

Enter: seeded weights and ids (recipe.py). Leave: what each way of decoding gives in someone else's hands.
transformers 5 makes decoding.npz; contrastive search is no longer in it, so 4.46.3 makes contrastive.npz: run the
script with either, it makes the one that the version can. Nothing of nanogpt_np is used here. A constraint is what
Python's `regex` says of the beginning of a text.
"""

from pathlib import Path

import numpy as np
import regex
import torch
import transformers
from transformers.generation import logits_process as processors

from . import recipe
from .reference import build

HERE = Path(__file__).parent


def processed():
    """Random logits behind random texts, as single processors leave them."""
    rng = np.random.Generator(np.random.PCG64(21))
    logits = 3 * rng.standard_normal((4, 23), dtype=np.float32)
    previous = rng.integers(0, 23, (4, 40))
    previous[0, -3:], previous[0, 10:14] = [5, 6, 7], [5, 6, 7, 8]  # what came once can come again
    previous[1, -2:] = previous[1, 4:6] = [9, 2]
    run = {f"no_repeat_ngram/{n}": processors.NoRepeatNGramLogitsProcessor(n) for n in (1, 2, 3, 4)}
    run |= {f"typical_p/{p}": processors.TypicalLogitsWarper(p) for p in (0.1, 0.3, 0.6, 0.9, 0.99)}
    run["sequence_bias"] = processors.SequenceBiasLogitsProcessor(dict(recipe.BIASES))
    run["ban_words"] = processors.NoBadWordsLogitsProcessor([list(word) for word in recipe.BANNED_WORDS])
    file = {"logits": logits, "previous_ids": previous}
    for name, processor in run.items():
        file[name] = processor(torch.from_numpy(previous), torch.from_numpy(logits.copy())).numpy()
    return {f"processed/{name}": array for name, array in file.items()}


def settings_of(asked):
    """Keyword arguments of transformers' generate for one recipe.Decoding."""
    return {
        "max_new_tokens": recipe.DECODING_NEW, "do_sample": False, "pad_token_id": 0, **asked.of_transformers,
        "eos_token_id": list(asked.stop_ids) or None, "num_beams": asked.num_beams, "return_dict_in_generate": True,
        "output_scores": True,
    }  # fmt: skip


def new_ids(out, n_prompt, stop_ids, n_new):
    """The new ids of each row, -1 behind the stop id."""
    found = np.full((len(out.sequences), n_new), -1)
    for row, sequence in zip(found, out.sequences[:, n_prompt:].tolist(), strict=True):
        end = next((i + 1 for i, token in enumerate(sequence) if token in stop_ids), len(sequence))
        row[:end] = sequence[:end]
    return found


def generated():
    """Whole generations: greedy and by beams, with every processor, and under "never"."""
    sizes = recipe.TINY._replace(tied=False)
    model = build(sizes, recipe.weights(sizes, recipe.TINY_SEED, recipe.TINY_STD))
    prompts = recipe.tokens(sizes, 25, (4, 7))
    file = {"prompts": prompts}
    for name, asked in recipe.DECODINGS.items():
        out = model.generate(torch.from_numpy(prompts), attention_mask=torch.ones(prompts.shape, dtype=torch.int64),
                             **settings_of(asked))  # fmt: skip
        file[f"{name}/ids"] = new_ids(out, prompts.shape[1], asked.stop_ids, recipe.DECODING_NEW).astype(np.int16)
        if asked.num_beams > 1:
            file[f"{name}/scores"] = out.sequences_scores.numpy()
    return {f"generated/{name}": array for name, array in file.items()}


def guided():
    """Greedy and by beams under patterns: what may follow is asked of `regex`, token by token."""
    sizes, pieces = recipe.GUIDED, recipe.GUIDED_PIECES
    model, eos = build(sizes, recipe.weights(sizes, 33, 0.3)), recipe.GUIDED.n_vocab - 1
    prompts, file = recipe.tokens(sizes, 34, (3, 5)), {}
    file["prompts"] = prompts
    for i, pattern in enumerate(recipe.GUIDED_PATTERNS):
        whole = regex.compile(pattern)

        def allowed(_, ids, whole=whole):
            if eos in ids[5:]:
                return [eos]  # what stands behind the end is not looked at
            said = b"".join(pieces[j] for j in ids.tolist()[5:])
            follow = [j for j, piece in enumerate(pieces[:-1]) if fits(whole, said + piece, partial=True)]
            return follow + [eos] * fits(whole, said)

        for n_beams in (1, 3):
            out = model.generate(
                torch.from_numpy(prompts), attention_mask=torch.ones(prompts.shape, dtype=torch.int64), do_sample=False,
                max_new_tokens=12, num_beams=n_beams, eos_token_id=eos, pad_token_id=0,
                prefix_allowed_tokens_fn=allowed, return_dict_in_generate=True, output_scores=True,
            )  # fmt: skip
            file[f"{i}/{n_beams}/ids"] = new_ids(out, 5, (eos,), 12).astype(np.int16)
    return {f"guided/{name}": array for name, array in file.items()}


def fits(whole, said, partial=False):
    """Does a text match, or may it with more behind it? Of a text to go on with, half a character may be said."""
    for rest in (b"", *HALVES) if partial else (b"",):
        try:
            if whole.fullmatch((said + rest).decode(), partial=partial) is not None:
                return True
        except UnicodeDecodeError:
            continue
    return False


# what may stand behind half a character: its next byte, whichever, and one choice of those behind that, which is enough
# for the recipe's patterns, where longer characters all mean the same
HALVES = [bytes([a]) + rest for a in range(0x80, 0xC0) for rest in (b"", b"\x80", b"\x80\x80")]


def contrastive():
    """Contrastive search of left-padded prompts, for several alphas and k."""
    sizes = recipe.TINY._replace(tied=False)
    model = build(sizes, recipe.weights(sizes, recipe.TINY_SEED, recipe.TINY_STD))
    prompts, mask = recipe.tokens(sizes, 25, (4, 7)), np.ones((4, 7), dtype=np.int64)
    mask[1, :2] = mask[2, :4] = mask[3, :6] = 0
    file = {"prompts": prompts, "mask": mask}
    for i, (alpha, k, stop) in enumerate(recipe.CONTRASTS):
        out = model.generate(
            torch.from_numpy(prompts), attention_mask=torch.from_numpy(mask), penalty_alpha=alpha, top_k=k,
            max_new_tokens=recipe.CONTRAST_NEW, eos_token_id=list(stop) or None, pad_token_id=0, do_sample=False,
            return_dict_in_generate=True,
        )  # fmt: skip
        file[f"{i}/ids"] = new_ids(out, 7, stop, recipe.CONTRAST_NEW).astype(np.int16)
    return file


def main():
    torch.use_deterministic_algorithms(True)
    made_with = np.array([f"{library.__name__} {library.__version__}" for library in (torch, transformers, np)])
    if transformers.__version__.startswith("4."):
        name, file = "contrastive", contrastive()
    else:
        name, file = "decoding", processed() | generated() | guided()
    np.savez_compressed(HERE / f"{name}.npz", made_with=made_with, **file)
    print(f"{name}.npz: {(HERE / f'{name}.npz').stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
