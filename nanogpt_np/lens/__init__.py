"""Looking inside: a model and a text in, named arrays out. No hooks, no hidden state: all of it is read from `acts`.

Enter: a GPT and a text (or ids). Leave: a NamedTuple of arrays and tokens, which a picture, a page or a test can read.
To read: seen, tokens, attention, residual, logits, attribution, sampling.
"""

from .attention import attention_grid, attention_view, head_summaries, induction_scores
from .attribution import attribution_view
from .logits import logit_lens_view
from .residual import layer_norms, neuron_texts, neurons, residual_view
from .sampling import sampling_view
from .seen import look, stream
from .tokens import next_tokens, tokens_view

__all__ = [
    "attention_grid", "attention_view", "attribution_view", "head_summaries", "induction_scores", "layer_norms",
    "logit_lens_view", "look", "neuron_texts", "neurons", "next_tokens", "residual_view", "sampling_view", "stream",
    "tokens_view",
]  # fmt: skip
