"""Prompt in, text out.

Enter: prompts, a model's params and config, its tokenizer, and what is asked. Leave: continuations.
To read: sampling (logits -> next id), request (what is asked), decoding (the forward pass piece by piece), tokens (ids
-> ids), text (strings -> strings), budget (does it fit the memory), speculation (guess and check), beams (search
instead of drawing), chat (in turns).
"""

from .beams import Beams
from .request import Request
from .sampling import Sampling
from .text import generate, stream

__all__ = ["Beams", "Request", "Sampling", "generate", "stream"]
