"""What texts told, as OpenAI's interface writes it: whole answers, and chunks of a stream.

Enter: Tokens, Scored prompts and Endings of the sequences of one request. Leave: objects that JSON has. A token whose
bytes are no text by themselves is written "bytes:\\xe4", as OpenAI does. Next: explore/api_stream.py.
"""

import time
import uuid

from ..generation.request import LENGTH
from ..tokenizer.streaming import StreamDecoder


def spelled(token, tokenizer):
    """A token as text, or its bytes where they are no text by themselves."""
    raw = tokenizer.token_bytes(token) if token < tokenizer.n_vocab else b""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)


class Offsets:
    """Where each token of a text begins, in characters."""

    def __init__(self, tokenizer, start=0):
        self.decoder, self.at = StreamDecoder(tokenizer), start

    def next(self, token):
        """Where this one begins; the next one begins behind it."""
        at, self.at = self.at, self.at + len(self.decoder.push(token))
        return at


class Legacy:
    """The log-probabilities of /v1/completions: four lists, one entry for each token."""

    def __init__(self, tokenizer, start=0):
        self.tokenizer, self.offsets = tokenizer, Offsets(tokenizer, start)

    def of_prompt(self, ids, scored):
        """Those of an echoed prompt; before its first token comes nothing that could make it likely."""
        rows = [(ids[0], None, None), *zip(ids[1:], scored.log_probs, scored.top, strict=True)]
        return self._lists(rows)

    def of_token(self, token):
        """Those of one step."""
        return self._lists([(token.id, token.log_prob, token.top)])

    def _lists(self, rows):
        return {
            "tokens": [spelled(token, self.tokenizer) for token, _, _ in rows],
            "token_logprobs": [log_prob for _, log_prob, _ in rows],
            "top_logprobs": [None if top is None else self._top(top) for _, _, top in rows],
            "text_offset": [self.offsets.next(token) for token, _, _ in rows],
        }

    def _top(self, top):
        return {spelled(other.id, self.tokenizer): other.log_prob for other in top}


class OfChat:
    """The log-probabilities of /v1/chat/completions: an object for each token."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer

    def of_token(self, token):
        """Those of one step."""
        entry = self._entry(token.id, token.log_prob)
        return {"content": [{**entry, "top_logprobs": [self._entry(t.id, t.log_prob) for t in token.top]}],
                "refusal": None}  # fmt: skip

    def _entry(self, token, log_prob):
        raw = self.tokenizer.token_bytes(token) if token < self.tokenizer.n_vocab else b""
        return {"token": spelled(token, self.tokenizer), "logprob": log_prob, "bytes": list(raw)}


def joined(parts):
    """Several steps' log-probabilities as one: lists go on one another. None of none."""
    found = None
    for part in parts:
        if found is None:
            found = {name: list(value) if isinstance(value, list) else value for name, value in part.items()}
        else:
            for name, value in part.items():
                if isinstance(value, list):
                    found[name].extend(value)
    return found


def finish(reason):
    """Why a text ended, in the interface's words."""
    return "length" if reason == LENGTH else "stop"


class Form:
    """How one kind of answer is written: the fields that all its objects share, and one choice of it."""

    prefix, whole, chunk = "cmpl", "text_completion", "text_completion"

    def __init__(self, model, fingerprint):
        self.id, self.created = f"{self.prefix}-{uuid.uuid4().hex}", int(time.time())
        self.shared = {"created": self.created, "model": model, "system_fingerprint": fingerprint}

    def answer(self, choices, usage):
        """A whole answer."""
        return {"id": self.id, "object": self.whole, **self.shared, "choices": choices, "usage": usage}

    def part(self, choices, **usage):
        """A chunk of a stream; `usage` where it is asked for."""
        return {"id": self.id, "object": self.chunk, **self.shared, "choices": choices, **usage}

    def choice(self, index, text, log_probs, reason):
        """One whole text."""
        return {"text": text, "index": index, "logprobs": log_probs, "finish_reason": reason}

    def opening(self, index):
        """What a stream says of a text before there is any, or None."""
        return None

    piece = choice


class ChatForm(Form):
    """The same of a chat."""

    prefix, whole, chunk = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def choice(self, index, text, log_probs, reason):
        """One whole text, as the assistant's message."""
        message = {"role": "assistant", "content": text, "refusal": None}
        return {"index": index, "message": message, "logprobs": log_probs, "finish_reason": reason}

    def opening(self, index):
        """Who speaks."""
        delta = {"role": "assistant", "content": ""}
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}

    def piece(self, index, text, log_probs, reason):
        """What is new of a text."""
        delta = {"content": text} if text or reason is None else {}
        return {"index": index, "delta": delta, "logprobs": log_probs, "finish_reason": reason}


def usage(n_prompt, n_new):
    """How many tokens were read and made."""
    return {"prompt_tokens": n_prompt, "completion_tokens": n_new, "total_tokens": n_prompt + n_new}
