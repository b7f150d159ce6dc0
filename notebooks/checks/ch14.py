"""The exercises of notebook 14."""

import math

import numpy as np

from nanogpt_np import GPT, Tokenizer, lens

from . import say


def units(function):
    """On made-up losses of texts whose tokens are letters, characters, and parts of them."""
    if say.waiting(function):
        return False
    rng = np.random.default_rng(14)
    gpt2 = Tokenizer.gpt2()
    for text in ("床前明月光", "the moon, 月\n", "霜", "frost"):
        tokens = [gpt2.token_bytes(i) for i in gpt2.encode(text)]
        losses = rng.uniform(0.5, 4, len(tokens))
        bits = math.fsum(losses) / math.log(2)
        expected = (bits / len(tokens), bits / len(text), bits / len(text.encode()))
        given = f"…, {tokens}"
        got, error = say.tried(function, losses, list(tokens))
        if error:
            return say.wrong(function, given, "three numbers", error)
        if got is None or np.shape(got) != (3,):
            return say.wrong(function, given, "three numbers", got)
        if np.allclose(got, np.multiply(expected, math.log(2)), rtol=1e-4):
            return say.wrong(function, given, "bits, of which a nat is 1 / log 2", got)
        for name, mine, yours in zip(
            ("bits per token", "bits per character", "bits per byte"), expected, got, strict=True
        ):
            if not np.isclose(mine, yours, rtol=1e-4):
                what = f"{mine:.4f} {name} for {bits:.4f} bits in all"
                return say.wrong(function, given, what, f"{float(yours):.4f}")
    return say.right(function)


def may_follow(function):
    """Against the table of RFC 3629, behind whole characters and behind each kind of beginning."""
    if say.waiting(function):
        return False
    for data in (b"", b"moon", "月".encode(), b"\xe6", b"\xe6\x9c", b"a\xc3", "月".encode() + b"\xe4",
                 b"\xf0\x9f", b"\xe0", b"\xed", b"\xf0", b"\xf4", b"\xe0\xa0", b"\xf0\x9f\x98"):  # fmt: skip
        expected = _may_follow(data)
        got, error = say.tried(function, data)
        if error:
            return say.wrong(function, data, "a set of byte values", error)
        try:
            got = {int(byte) for byte in got}
        except (TypeError, ValueError):
            return say.wrong(function, data, "a set of byte values", got)
        missing, wrong = sorted(expected - got), sorted(got - expected)
        if missing:
            first = f"0x{missing[0]:02x}"
            return say.wrong(function, data, f"{first}, among others", f"{len(got)} values without it")
        if wrong:
            what = f"no 0x{wrong[0]:02x}: no valid text goes on so"
            return say.wrong(function, data, what, f"it among {len(got)} values")
    return say.right(function)


def _may_follow(data):
    ends = [*range(0x80, 0xC0)]
    tail = data[-3:]
    for back in range(1, len(tail) + 1):
        lead = tail[-back]
        if lead >= 0xC0:
            need = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
            if back >= need:
                break
            low, high = {0xE0: (0xA0, 0xBF), 0xED: (0x80, 0x9F), 0xF0: (0x90, 0xBF), 0xF4: (0x80, 0x8F)}.get(
                lead, (0x80, 0xBF)
            )
            return {byte for byte in ends if back > 1 or low <= byte <= high}
        if lead < 0x80:
            break
    return {*range(0x80), *range(0xC2, 0xF5)}


def effect(function):
    """On two poems and four changes, one with a character of several tokens."""
    if say.waiting(function):
        return False
    gpt = GPT.from_pretrained("poems", ops="numpy")
    poems = (
        "五绝《春雪》\n君诗爱风起，\n不见问心人。\n明月渐还尽，\n青松叶自昏。",
        "七绝《送友人》\n二十年年一别离，\n花前开尽几多悲。\n公家七载无知己，\n只有离宫不复休。",
    )
    for poem, line, other in ((poems[1], 4, "知"), (poems[0], 3, "飗"), (poems[1], 1, "归"), (poems[0], 2, "山")):
        lines = poem.split("\n")
        changed = "\n".join([*lines[:line], lines[line][:-2] + other + lines[line][-1], *lines[line + 1 :]])
        expected = _last_bits(gpt, changed) - _last_bits(gpt, poem)
        given = f"gpt, {poem!r}, {line}, {other!r}"
        got, error = say.tried(function, gpt, poem, line, other)
        if error:
            return say.wrong(function, given, "a number of bits", error)
        if got is None or np.size(got) != 1 or not np.isfinite(got):
            return say.wrong(function, given, "a number of bits", got)
        got = float(np.squeeze(got))
        for factor, what in ((math.log(2), "bits, not nats"), (-1, "what the changed poem costs more, not less")):
            if abs(expected) > 0.02 and math.isclose(got, factor * expected, rel_tol=0.02):
                return say.wrong(function, given, what, round(got, 3))
        if not math.isclose(got, expected, abs_tol=0.02, rel_tol=0.01):
            bare = _last_bits(gpt, changed, first=[]) - _last_bits(gpt, poem, first=[])
            if math.isclose(got, bare, abs_tol=0.005):
                return say.wrong(function, given, "both poems to be read behind <|endoftext|>", round(got, 3))
            what = f"{expected:.3f} bits, for the last character of line 4 alone (line 1 is the one behind the title)"
            return say.wrong(function, given, what, round(got, 3))
    return say.right(function)


def _last_bits(gpt, poem, first=None):
    """What the last character costs, read from the losses of the whole."""
    first = [gpt.config.eos_id] if first is None else first
    ids = [*first, *gpt.tokenizer.encode(poem)]
    n_mark, n_last = len(gpt.tokenizer.encode(poem[-1])), len(gpt.tokenizer.encode(poem[-2]))
    losses = lens.tokens_view(gpt, ids).losses
    return losses[len(ids) - n_mark - n_last : len(ids) - n_mark].sum() / math.log(2)
