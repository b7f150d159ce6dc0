"""Prompt lookup: guess the next tokens from the text itself, and check several guesses in one forward pass.

Enter: prompts as lists of ids, and a greedy request. Leave: the ids that greedy decoding gives, sooner where a text
repeats itself: a pass over eight tokens costs about as much as two over one. The guesses are those of Saxena 2023
("prompt lookup decoding"), the check is that of Leviathan et al. 2023 at temperature 0: what the model would have said
itself is kept, and its own next token comes on top. Next: generation/forcing.py.
"""

from itertools import zip_longest

import numpy as np

from ..errors import InputError
from ..kv_cache import slide
from . import decoding
from .ahead import Continuation
from .request import EOS, LENGTH, STOP, Step

# A wrong draft costs as much as a right one, so it only pays to check while a text is being repeated. Both numbers were
# chosen on greedy texts of the shipped models: repeating ones are 2 times as fast, the others as fast as without.
TRUSTED = 3  # so many tokens in a row must have been guessed right before guesses are checked
FEW = 8  # tokens that compiled decoding reads in one pass at the cost of little more than one
GROWTH = 2  # a draft is at most so many times as long as what was guessed right before it


def draft(ids, n_draft, longest=3):  # a list or array of ids -> a list of at most n_draft ids
    """Guess how a text goes on: as it did where its last `longest` ids, or fewer, stood before; [] if they never did.

    More ids in a row win, then the later place: draft([1, 2, 9, 3, 1, 2], 2) -> [9, 3]. Where what followed there
    reaches the end of the text, it is read on into the guesses themselves: draft([7, 8, 7], 5) -> [8, 7, 8, 7, 8].
    """
    ids = np.asarray(ids, np.int64)
    ends = np.flatnonzero(ids[:-1] == ids[-1:])  # where the last id stood before
    if n_draft < 1 or not ends.size:
        return []
    for back in range(1, longest):
        longer = ends[ends >= back]
        longer = longer[ids[longer - back] == ids[-1 - back]]
        if not longer.size:
            break
        ends = longer
    return np.resize(ids[ends[-1] + 1 :], n_draft).tolist()  # resize begins again at the front: a copy of a copy


def check_request(request, guide=None):
    """InputError where tokens are drawn, or led: a guess is compared with the one token that greedy would choose."""
    t = request.sampling.temperature
    if t != 0:
        raise InputError(f"speculate: expected temperature 0 with it, got {t}; set it to 0, or leave speculate out")
    for name, is_asked in (("min_new_tokens", request.min_new_tokens), ("choices or pattern", guide is not None)):
        if is_asked:
            raise InputError(f"speculate: expected no {name} with it, got both; leave speculate out")


def stream_steps(prompts, params, config, ops, request, max_new, kept=None, only_ids=False):
    """Yield what tokens.stream_steps yields, for a greedy request: the next id of each, None once it has ended.

    Several sequences take turns, each with a cache of its own. Nothing is read for all of them at once, so a batch of
    texts that do not repeat themselves is faster without.
    "The same ids" holds where the two best logits differ by more than rounding: a product of several rows may add up
    in another order than one of a single row, and logits then differ in their last bits (float32: about 1e-6), as
    they do between a batch and each prompt alone. Ops whose rows depend on each other would give other ids.
    """
    n = request.num_return_sequences
    reasons = [None] * (len(prompts) * n)
    each = [
        follow(prompt, params, config, ops, request, max_new, reasons, row * n + i, kept, only_ids)
        for row, prompt in enumerate(prompts)
        for i in range(n)
    ]
    has_said = False
    for said in zip_longest(*each, fillvalue=(None, None)):
        has_said = True
        yield Step([token for token, _ in said], [logits for _, logits in said], reasons)
    if not has_said and max_new:  # as elsewhere, the first step says why
        yield Step([None] * len(each), [None] * len(each), reasons)
    reasons[:] = [reason or LENGTH for reason in reasons]


def follow(prompt, params, config, ops, request, max_new, reasons, row, kept, only_ids):
    """Yield (id, its logits) of one sequence; each pass reads what is not in the cache yet, and guesses trusted so far.

    `reasons[row]`: where to write why it ended. `only_ids`: None will do for logits; what no guess is trusted for may
    then come several at a time, as without guesses.
    """
    text, seen, end = list(prompt), slide(list(prompt), config.n_ctx), len(prompt) + max_new  # seen: what is in view
    if kept is None:
        cache = decoding.new_cache(1, min(config.n_ctx, end), params, config, ops)
    else:
        cache = kept.shared(seen, params, config, ops)
    model, stop_ids, trust = (params, config, ops), request.stop_ids(config), TRUSTED
    is_plain = only_ids and not request.sampling.processes
    going = Continuation(model, cache, 1, stop_ids=stop_ids) if is_plain else None
    while len(text) < end:
        if cache.length == config.n_ctx:
            seen = slide(seen, config.n_ctx)
            cache.rewind(0)
        if kept is not None:
            kept.hold(seen, cache)
        room = min(end - len(text) - 1, config.n_ctx - len(seen))  # a pass says one token more than it checks
        unread = seen[cache.length :]  # one token; at first, and where the text slid, all of it
        # what is wrong will be forgotten, which a cache with bands can do of few positions
        most = min(room, GROWTH * trust, FEW - 1 if hasattr(ops, "decode_plan") else room, cache.spare or room)
        guesses = draft(text[-config.n_ctx :], min(request.speculate, max(most, 1)))  # one is compared unchecked
        is_known = going is not None and going.said  # what comes next needs no guess
        checked = guesses[:most] if trust >= TRUSTED and len(unread) == 1 and not is_known else []
        said = []
        for token, of_token in passed(model, cache, going, unread, checked, text, request.sampling, len(prompt), end):
            if token in stop_ids:
                reasons[row] = STOP if token in request.stop else EOS
                return
            said.append(token)
            yield token, of_token
        seen += said
        cache.rewind(len(seen) - 1)  # the last token was said, not read; behind it are guesses that were wrong
        trust = renewed(trust, guesses[: max(len(checked), 1)], said)


def passed(model, cache, going, unread, checked, text, sampling, n_prompt, end):
    """Read what is not in the cache, and guesses -> what agreeing() yields; without guesses `going` says it."""
    if going is None or checked or len(unread) > 1:
        forward = decoding.decode if len(unread) == 1 else decoding.read
        logits = forward(np.array([unread + checked]), *model, cache)
    else:
        ids, logits = going.next([text], end - len(text))
        if ids is not None:
            text += ids.tolist()
            yield text[-1], None
            return
    yield from agreeing(logits[0], checked, text, sampling, n_prompt)


def agreeing(logits, checked, text, sampling, n_prompt):  # [1 + n_checked, n_vocab]
    """Yield what is said after each row, and the row, adding it to `text`; end with the first that was not guessed."""
    for row, guess in zip(logits, [*checked, None], strict=True):
        (token,) = sampling.choose(row[None], [text], [None], [n_prompt]).tolist()  # greedy needs no generator
        text.append(token)
        yield token, row
        if token != guess:
            return


def renewed(trust, guesses, said):
    """How many tokens in a row were guessed right by now: renewed(4, [1, 2], [1, 2, 3]) -> 6, with [1, 5] said -> 1

    A guess that was not checked counts too: so trust comes back, at no cost, where a text begins to repeat itself.
    """
    right = 0
    while right < len(guesses) and guesses[right] == said[right]:
        right += 1
    return trust + right if guesses and right == len(guesses) else right
