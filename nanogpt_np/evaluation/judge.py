"""The same numbers from somebody else's program: a model as lm-evaluation-harness asks for one.

Enter: a GPT; then the harness's requests. Leave: log-probabilities and texts; it is the harness that cuts words into
tokens and texts into windows, and counts. Needs the library lm_eval (the extra `peers`), no PyTorch:
lm_eval.simple_evaluate(Judge(gpt), tasks=["lambada_openai"]). Next: evaluation/intervals.py.
"""

from typing import Any

from ..errors import InputError, check_whole
from ..generation.session import Kept
from . import items, likelihood

try:
    from lm_eval import utils
    from lm_eval.api.model import TemplateLM
except ImportError as error:  # said where a judge is made: the rest of the wing does without
    utils, TemplateLM, MISSING = None, object, error.name
else:
    MISSING = None

MOST_NEW = 256  # tokens, where a task says nothing: the harness's own default
TOGETHER = 16  # batches of requests that are sorted by length together


class Judge(TemplateLM):
    """A GPT as an lm_eval.api.model.LM. InputError where lm_eval is not there, or the model has no vocabulary."""

    def __init__(self, gpt: Any, batch_size: int = 8) -> None:
        if MISSING is not None:
            raise InputError(f"judge: expected the library lm_eval, got no {MISSING}; pip install 'nanogpt-np[peers]'")
        check_whole("batch_size", batch_size, 1)
        super().__init__()
        self.encode, self.eos_id = items.tokenizer_of(gpt).encode, items.end_of_text(gpt)
        self.gpt, self.batch_size, self.kept = gpt, batch_size, Kept()

    @property
    def eot_token_id(self) -> int:
        """The id of <|endoftext|>, which the harness puts before a text that nothing precedes."""
        return self.eos_id

    @property
    def tokenizer_name(self) -> str:
        """Under which the harness keeps what it has asked."""
        return f"nanogpt-np-{self.gpt.config.n_vocab}"

    def tok_encode(self, string: str, add_special_tokens: bool | None = None) -> list[int]:
        """A text -> ids; there are no special tokens to add."""
        return self.encode(string)

    def _loglikelihood_tokens(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """((context, continuation), ids, ids) each -> (log-probability, is it greedy) each."""
        found: list[tuple[float, bool]] = []
        n, n_ctx = TOGETHER * self.batch_size, self.gpt.config.n_ctx
        for start in range(0, len(requests), n):
            pairs = [
                items.fitting(likelihood.Pair(before, said), n_ctx, f"request {start + i}", "cut")
                for i, (_, before, said) in enumerate(requests[start : start + n])
            ]
            parts = (self.gpt.params, self.gpt.config, self.gpt.ops, self.batch_size, self.kept)
            found += [(score.total, score.is_greedy) for score in likelihood.score(pairs, *parts)]
        return found

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """Of each text its log-probability, in the harness's own windows."""
        found = []
        for (text,) in (request.args for request in requests):
            cut = utils.get_rolling_token_windows(self.encode(text), self.eos_id, self.gpt.config.n_ctx, 1)
            windows = [(None, *utils.make_disjoint_window(pair)) for pair in cut]
            found.append(sum(log_prob for log_prob, _ in self._loglikelihood_tokens(windows)))
        return found

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """Of each (prompt, settings) the continuation up to a stop string; greedy, unless `do_sample` is set."""
        return [self._continue(*request.args) for request in requests]

    def _continue(self, prompt, settings):
        """What the model says behind a prompt; of one that is too long the end is read, as the harness has it."""
        asked = settings.get("max_gen_toks", MOST_NEW)
        most = min(asked, self.gpt.config.n_ctx - 1)
        until = settings.get("until") or []
        until = [until] if isinstance(until, str) else list(until)
        ids = self.encode(prompt)[most - self.gpt.config.n_ctx :] or [self.eos_id]
        temperature = settings.get("temperature", 1.0) if settings.get("do_sample") else 0.0
        said = self.gpt.tokenizer.decode(self.gpt.generate(ids, most, temperature=temperature, seed=0))
        ends = [at for text in until if text and (at := said.find(text)) >= 0]
        return said[: min(ends, default=len(said))]
