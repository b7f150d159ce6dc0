"""Text <-> ids: GPT-2's byte-level BPE, written out by hand.

Enter: a string. Leave: a list of ids, from which the string returns byte for byte; or a vocabulary made from texts.
To read: training (counted chunks -> merges), merging (the bytes of a chunk -> its tokens), vocab (how files spell it),
reading (from which files), bpe (the Tokenizer), streaming (ids as they come), display (its steps for a person);
compiled is the same for long texts.
"""

from .bpe import END_OF_TEXT, Tokenizer
from .streaming import StreamDecoder

__all__ = ["END_OF_TEXT", "StreamDecoder", "Tokenizer"]
