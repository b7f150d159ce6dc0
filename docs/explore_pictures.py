"""Draws docs/explore_*.png: the page in Chromium, at two widths, light and dark, in both languages.

`python docs/explore_pictures.py`; needs the extra `explore`, Debian's chromium and PyPI's playwright, as its tests do.
"""

import io
import sys
from pathlib import Path

from PIL import Image

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent / "tests"))
PROMPT = "Once upon a time, there was a little girl named"
PICTURES = {
    "model": (1280, "light", {"lang": "en", "view": "next", "temperature": 0.8, "top_p": 0.95}),
    "attention": (1280, "dark", {"lang": "en", "view": "attention", "layer": 3, "head": 4, "tour": 3}),
    "number": (1280, "light", {"lang": "zh", "view": "attention", "layer": 1, "head": 2, "stage": "scores",
                               "cell": "blocks.1.attn.scores[2,10,6]"}),
    "phone": (390, "light", {"lang": "en", "view": "next", "top_k": 5}),
    "phone_dark": (390, "dark", {"lang": "zh", "view": "write", "step": 6}),
    "backward": (1280, "dark", {"lang": "zh", "view": "backward"}),
    "run": (1280, "light", {"lang": "en", "view": "training"}),
}  # fmt: skip


def main():
    """Each picture anew."""
    from explore import browser as b

    with b.serving("stories", "--prompt", PROMPT) as (address, _), b.chromium() as chromium:
        for name, (width, theme, query) in PICTURES.items():
            page = b.Page(chromium, address, width, theme).go(limit=120_000, **query)
            page.tab.set_viewport_size({"width": width, "height": 900 if width > 500 else 844})
            page.tab.wait_for_timeout(500)
            save(page.tab.screenshot(), DOCS / f"explore_{name}.png")
            page.tab.close()


def save(png, path):
    """A PNG as small as it gets; with a palette the colours that mean something would shift."""
    Image.open(io.BytesIO(png)).convert("RGB").save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
