"""Draws inside.png: what *stories* would say after each block, a token at a time. `python docs/inside.py [OUT.png]`"""

import sys
from pathlib import Path

from nanogpt_np import GPT, files, lens

PICTURE = Path(__file__).with_name("inside.png")
TEXT = "Once upon a time, there was a little girl named Lily. One day,"


def main(out=PICTURE):
    gpt = GPT.from_pretrained("stories", ops="numpy")
    figure = lens.draw_logit_lens(lens.logit_lens_view(gpt, TEXT), "stories")
    with files.replacing(out) as part:
        figure.savefig(part, format="png", dpi=90)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
