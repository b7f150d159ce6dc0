"""A page inside a notebook: what `gpt.explore(prompt)` returns.

Enter: a GPT and a prompt. Leave: an object that a notebook shows as the page, in a frame of its own that can reach
neither the notebook nor anything else. Next: explore/sequences.py.
"""

import html

from ..errors import check_choice
from . import export

MOST = 1_500_000  # bytes of a page in a notebook's file, where each quote takes six
HEIGHT = 760  # pixels
LANGUAGES = ("en", "zh")


class Page:
    """One page; `html` is the whole file's text."""

    def __init__(self, text, height=HEIGHT):
        self.html, self.height = text, height

    def _repr_html_(self):
        """What a notebook shows: a frame that may run its own script and nothing else."""
        frame = f'sandbox="allow-scripts" width="100%" height="{self.height}" style="border:0" title="nanogpt_np"'
        return f'<iframe srcdoc="{html.escape(self.html)}" {frame}></iframe>'

    def __repr__(self):
        return f"Page({len(self.html.encode()):,} bytes)"


def explore(gpt, prompt, layer=0, head=0, lang=None, most=MOST):
    """The page for a text -> Page; see export.page. InputError for int8 weights, which are not at hand as numbers."""
    if lang is not None:
        check_choice("lang", lang, LANGUAGES)
    return Page(export.page(gpt, prompt, state={"layer": layer, "head": head, "lang": lang}, most=most))
