"""Prompt in, text out.

Enter: prompts, a model's params and config, its tokenizer, and what is asked. Leave: continuations.
To read: sampling (logits -> next id), penalties (what the text so far changes), patterns (a regular expression as an
automaton), automaton (which texts may still match), constraints (the tokens that may follow), request (what is asked),
decoding (the forward pass piece by piece), ragged (rows that come and go), ahead (from one token to the next), tokens
(ids -> ids), text (strings -> strings), budget (does it fit the memory), speculation (guess and check), forcing (words
that must come), beams (search instead of drawing), session (a cache that is kept), contrastive (unlike everything
before), scores (numbers about a text), completions (a continuation with all that is known of it), batches (a file of
prompts), defaults (how a model likes to be sampled), writer (the methods), chat (in turns).
"""

from .beams import Beams
from .completions import Completion
from .request import Request
from .sampling import Sampling
from .scores import NextToken
from .text import generate, stream
from .writer import Session

__all__ = ["Beams", "Completion", "NextToken", "Request", "Sampling", "Session", "generate", "stream"]
