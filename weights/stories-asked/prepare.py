"""Requests for stories, made of stories: a title and three words in, the story with them out.

    python weights/stories-asked/prepare.py tinystories.txt OUT

Enter: stories, separated by <|endoftext|>. Leave: OUT/train.jsonl and OUT/test.jsonl, a request and its story on each
line, {"prompt": 'Title: Tim and the bug. Words: arrow, hero, yard.', "completion": "\n…"}; test.jsonl holds 200, of
the stories that the model never saw (`train --held-out 0.02` of weights/stories). Title and words are chosen from the
story itself: the name that it says most often, the thing that it is most about, and three more words that it says often
and others seldom, in the order in which it comes to them. A request is obeyed where
none is missing().
"""

import collections
import json
import math
import random
import re
import sys
from pathlib import Path

from nanogpt_np.files import write_text
from nanogpt_np.training.data import read_documents, split_held_out

N_TESTS, N_EACH = 200, 3  # requests to be judged by; requests made of each story to learn from
LONGEST, FEW = 160, 6  # words of a story to learn from, as the context has room for; words that a request chooses from
RARE, COMMON = 200, 0.2  # a word to be asked for stands in so many stories at least, and in such a share at most
THING = r"\b(?:the|a|an|his|her|their) (?:[a-z]+ )?([a-z]{3,})(?=[.,!?]| (?:was|is|to|in|on|with|that|had|for|at)\b)"
# no picture comes with these
STOP = set(
    """about above across after again against all almost alone along already also always and another any anyone
    anything are around ask asked away back became because become been before began behind being below beside best
    better between beyond big both but by called came can cannot come could day did didn does doesn doing done
    down during each else enough even ever every everyone everything far felt few first for found from gave get
    gets getting give gives going gone good got had has have having her here hers herself him himself his how
    however idea inside instead into its itself just keep kept knew know known last later less let like liked
    little long longer look looked lot lots made make makes making many may maybe might moral more morning most
    much must name named near need never new next nice nobody none nor not nothing now off often old once one only
    onto other others our out outside over own part people place please put quite rather ready really right said
    same saw say says see seem seemed seen shall she should since some someone something sometimes soon still
    story such take takes than thank that the their them themselves then there these they thing things think this
    those though thought through time times today together told tomorrow too took toward towards tried try trying
    two three under until upon use used using very want wanted wants was way well went were what when where which
    while who why will with without word words would yes yet you your yours yourself mom dad mommy daddy mrs later
    finally suddenly happened start started stop stopped answer answered replied""".split()
)


def words_of(text):
    """All words of a text in small letters."""
    return re.findall(r"[a-z]+(?:'[a-z]+)?", text.lower())


def asked(request):
    """The words that a story has to hold: those of the title but "and the", then the three."""
    title, words = re.fullmatch(r"Title: (.*)\. Words: (.*)\.", request).groups()
    return [word for word in words_of(title) if word not in ("and", "the")] + words_of(words)


def missing(request, story):
    """The words that were asked for and do not stand in the story as words; small and capital letters are one."""
    there = set(words_of(story))
    return [word for word in asked(request) if word not in there]


def ask(story, usual, rng):
    """A request whose answer is the story, or None where it says too little.

    The words are among the FEW that the story says most often and others seldom, in the order of its saying.
    """
    names = collections.Counter(re.findall(r"(?<=[a-z,] )([A-Z][a-z]+)\b", story))
    names = [name for name, _ in names.most_common() if name.lower() not in usual and name.lower() not in STOP]
    things = collections.Counter(word for word in re.findall(THING, story) if word in usual)
    if not names or not things:
        return None
    weight = {word: n * usual[word] for word, n in collections.Counter(words_of(story)).items() if word in usual}
    thing = max(things, key=lambda word: (things[word], usual[word]))
    chosen = [thing]
    for word in sorted(weight, key=weight.get, reverse=True):
        if word != names[0].lower() and all(word[:4] != other[:4] for other in chosen):  # not "jump" and "jumped"
            chosen.append(word)
    if len(chosen) < 4:
        return None
    words = rng.sample(chosen[1 : FEW + 1], 3) if len(chosen) > FEW else chosen[1:4]
    in_order = sorted(words, key=words_of(story).index)
    return f"Title: {names[0]} and the {thing}. Words: {', '.join(in_order)}."


def usual_words(stories):
    """{word: log of how few stories say it} of the words that may be asked for: not rare, not in every fifth story."""
    counts = collections.Counter(word for story in stories for word in set(words_of(story)))
    names = (word.lower() for story in stories for word in set(re.findall(r"(?<=[a-z,] )[A-Z][a-z]+", story)))
    named = collections.Counter(names)  # how many stories write a word as a name
    most = COMMON * len(stories)
    plain = (word for word in counts if len(word) > 2 and word not in STOP and "'" not in word)
    return {
        word: math.log(len(stories) / counts[word])
        for word in plain if RARE <= counts[word] <= most and named[word] < 0.1 * counts[word]
    }  # fmt: skip


def pairs(stories, usual, n_each, rng):
    """(request, story), up to `n_each` of a story."""
    for story in stories:
        for request in dict.fromkeys(ask(story, usual, rng) for _ in range(n_each)):
            if request:
                yield request, story


def main(source, out):
    """Write the two files."""
    learned, unseen = split_held_out(read_documents([source]), 0.02)
    usual, rng = usual_words(learned), random.Random(0)
    tests = list(pairs(unseen, usual, 1, rng))[:N_TESTS]
    learned = [story for story in learned if len(words_of(story)) <= LONGEST]
    Path(out).mkdir(parents=True, exist_ok=True)
    for name, found in (("train", list(pairs(learned, usual, N_EACH, rng))), ("test", tests)):
        lines = [json.dumps({"prompt": request, "completion": "\n" + story}) for request, story in found]
        write_text(Path(out) / f"{name}.jsonl", "\n".join(lines) + "\n")
        print(f"{name}.jsonl: {len(found):,} requests")


if __name__ == "__main__":
    main(*sys.argv[1:])
