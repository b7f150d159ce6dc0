"""Ids back to text one at a time, as a model says them: characters of several tokens wait for their last byte.

Enter: an id. Leave: the text that is complete by now. Next: tokenizer/display.py.
"""

from __future__ import annotations

import codecs
import operator

from ..errors import TokenizerError, check_truth, shown
from .bpe import Tokenizer


class StreamDecoder:
    """Ids in, one at a time; text out as soon as a character is complete, never half of one.

    All pieces together equal tokenizer.decode(ids, skip_special_tokens).
    """

    def __init__(self, tokenizer: Tokenizer, skip_special_tokens: bool = False) -> None:
        if not hasattr(tokenizer, "token_bytes"):
            raise TokenizerError(f"tokenizer: expected a Tokenizer, got {shown(tokenizer)}")
        check_truth("skip_special_tokens", skip_special_tokens)
        self._tokenizer = tokenizer
        self._skipped = frozenset(tokenizer.special_tokens.values() if skip_special_tokens else ())
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token_id: int) -> str:
        """The text that this id completes; "" while a character still waits for its last byte, or for one skipped."""
        data = self._tokenizer.token_bytes(token_id)
        is_skipped = bool(self._skipped) and operator.index(token_id) in self._skipped
        return self._decoder.decode(b"" if is_skipped else data)

    def flush(self) -> str:
        """What is left at the end: U+FFFD for a character that never became whole, else ""; then start afresh."""
        return self._decoder.decode(b"", final=True)
