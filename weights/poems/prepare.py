"""Tang quatrains as a training text, and a vocabulary in which nearly every character is one token.

    python weights/poems/prepare.py tang_quatrains_simp.tsv OUT

Enter: tab-separated form (5x4 or 7x4), title, poet, text. Leave: OUT/poems.txt and OUT/vocabulary/.
A poem becomes its form and title on one line, then four lines of verse:

    五绝《咏弓》
    上弦明月半，
    激箭流星远。
    落雁带书惊，
    啼猿映枝转。
"""

import re
import sys
from pathlib import Path

from nanogpt_np import Tokenizer
from nanogpt_np.files import read_text, write_text
from nanogpt_np.tokenizer.bpe import END_OF_TEXT

FORMS = {"5x4": "五绝", "7x4": "七绝"}


def poem(form, title, text):
    """One poem in the layout above; each line ends with its punctuation mark."""
    lines = re.findall(r"[^，。？！；：、]+[，。？！；：、]", text)
    return f"{FORMS[form]}《{title}》\n" + "\n".join(lines)


def main(source, out):
    """Write the text and the vocabulary."""
    rows = [line.split("\t") for line in read_text(source).splitlines()]
    poems = [poem(form, title, text) for form, title, _, text in rows]
    poems = [text for text in poems if text.count("\n") == 4]
    Path(out).mkdir(parents=True, exist_ok=True)
    write_text(Path(out) / "poems.txt", f"\n{END_OF_TEXT}\n".join(poems) + "\n")
    # one "document" per character: merges never cross characters, so the model counts characters by counting tokens
    characters = (character for text in poems for character in text)
    Tokenizer.train(characters, n_vocab=4096).save(Path(out) / "vocabulary")
    print(f"{len(poems):,} poems of {len(rows):,}")


if __name__ == "__main__":
    main(*sys.argv[1:])
