"""Make tokenizer.json, as `transformers` 5 saves a vocabulary, and tokenizer_ids.json, how it splits hard texts.

Run by make.py, or alone: `python -m tests.goldens.vocabulary`. Nothing of nanogpt_np is used here.
Enter: a few lines of text. Leave: a byte-level BPE of 300 tokens that the `tokenizers` library learned, two tokens
that were added to it, and for each text the ids that AutoTokenizer gives.
"""

import json
import shutil
import tempfile
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, GPT2TokenizerFast

HERE = Path(__file__).parent
LEARNED_FROM = [
    "the cat sat on the mat, and the hat sat on the cat. ",
    "床前明月光，疑是地上霜。",
    "it's 1234 naïve 🌕 ",
]
SPLIT = [
    "", "the cat sat on the mat", " the  the\n\nthe\t", "it's I'll we've they'd I'm you're", "12345 1.5 ½ ²",
    "床前明月光 moon 🌕🌕👍🏽", "naïve café İ ß", "<|endoftext|>the<|endoftext|>", "a<|pad|> b<|pa", "othello hello",
    "\u00a0\u2003 x\r\n\x00\x7f", "x" * 40,
]  # fmt: skip


def learn():
    """A byte-level BPE with GPT-2's pattern; <|endoftext|> is its first token."""
    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    learned.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    learned.train_from_iterator(LEARNED_FROM * 3, trainer)
    return learned


def save(folder):
    """Save it as a model's tokenizer, with one special token and one word added -> AutoTokenizer of that folder."""
    made = GPT2TokenizerFast(tokenizer_object=learn())
    made.add_special_tokens({"pad_token": "<|pad|>"})
    made.add_tokens(["hello"])
    made.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def main():
    """Write both files beside this script."""
    with tempfile.TemporaryDirectory() as folder:
        opened = save(folder)
        shutil.copy(Path(folder) / "tokenizer.json", HERE / "tokenizer.json")
    lines = [json.dumps({"text": text, "ids": opened(text)["input_ids"]}) for text in SPLIT]
    (HERE / "tokenizer_ids.json").write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
