"""A value that others published of a model, and the same value as this model gives it.

Enter: an entry of published/values.json, whose "kind" says what was measured, and a GPT. Leave: what the model says, in
the shape of the published value: a list of numbers, of ids or of texts. Text becomes ids by GPT-2's own vocabulary.
Next: storage/verify.py.
"""

import numpy as np

from .. import ops
from ..errors import InputError, printable
from ..tokenizer.bpe import Tokenizer


def value_of(gpt, entry):
    """What a GPT gives for a published entry; InputError for a kind that nobody knows."""
    if entry["kind"] not in KINDS:
        raise InputError(f"kind: expected one of {', '.join(KINDS)}, got {printable(entry['kind'])}")
    return KINDS[entry["kind"]](gpt, entry)


def _token_ids(gpt, entry):
    allowed = "all" if entry.get("special") else ()
    return (gpt.tokenizer or Tokenizer.gpt2()).encode(entry["text"], allowed_special=allowed)


def _greedy_ids(gpt, entry):
    return gpt.generate(entry["ids"], entry["n_new"], temperature=0)


def _greedy_text(gpt, entry):
    return _texts(gpt, entry, temperature=0)


def _beam_text(gpt, entry):
    return _texts(gpt, entry, num_beams=entry["num_beams"])


def _texts(gpt, entry, **how):
    """The continuations of several prompts, as one batch padded on the left."""
    tokenizer = Tokenizer.gpt2()
    prompts = [tokenizer.encode(prompt) for prompt in entry["prompts"]]
    return [tokenizer.decode(ids) for ids in gpt.generate(prompts, entry["n_new"], **how)]


def _logits(gpt, entry):
    return gpt(entry["ids"])[0, entry["position"], entry["at"]].tolist()


def _mean_of_logits(gpt, entry):
    return [float(gpt(entry["ids"]).mean(dtype=np.float64))]


def _likeliest(gpt, entry):
    return gpt(entry["ids"])[0].argmax(axis=-1).tolist()


def _last_likeliest(gpt, entry):
    return _likeliest(gpt, entry)[-1:]


def _log_probs(gpt, entry):
    return _log_probs_of(gpt, Tokenizer.gpt2().encode(entry["text"]), entry["then"])


def _loss(gpt, entry):
    first, *then = Tokenizer.gpt2().encode(entry["text"], allowed_special="all")
    return [-float(np.mean(_log_probs_of(gpt, [first], then)))]


def _log_probs_of(gpt, prompt, then):
    """The log-probability of each id of `then`, given all before it."""
    logits = gpt([*prompt, *then[:-1]])[0, len(prompt) - 1 :].astype(np.float64)
    return np.log(ops.softmax(logits))[np.arange(len(then)), then].tolist()


def _hidden(gpt, entry):
    _, acts = gpt(Tokenizer.gpt2().encode(entry["text"]), keep_acts=True)
    return acts.final[0, entry["position"], : len(entry["value"])].tolist()


def _row_of_wte(gpt, entry):
    return gpt.params["wte"]["weight"][entry["id"], : len(entry["value"])].tolist()


def _normed_row(gpt, entry):
    row = gpt.params["wte"]["weight"][entry["id"]]
    return ops.layer_norm(row, **gpt.params["h"][0]["ln_1"])[: len(entry["value"])].tolist()


KINDS = {
    "token ids": _token_ids,
    "greedy ids": _greedy_ids,
    "greedy text": _greedy_text,
    "beam text": _beam_text,
    "logits": _logits,
    "mean of all logits": _mean_of_logits,
    "likeliest at each position": _likeliest,
    "likeliest at the end": _last_likeliest,
    "log-probabilities": _log_probs,
    "loss": _loss,
    "last hidden state": _hidden,
    "row of wte": _row_of_wte,
    "first layer norm of a row of wte": _normed_row,
}
