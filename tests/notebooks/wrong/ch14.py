"""Of each exercise of notebook 14, plausible wrong answers, and a word of what the check says to each."""

HEAD = "import numpy as np\nfrom nanogpt_np.lens.tokens import log_softmax\n"  # what the notebook has brought in

EFFECT = """
def effect(gpt, poem, line, other):
    def cost(text):
        ids = [gpt.config.eos_id, *gpt.tokenizer.encode(text)]
        losses = -np.take_along_axis(log_softmax(gpt(ids)[0, :-1]), np.array(ids[1:])[:, None], axis=1)[:, 0]
        return losses[-2] / np.log(2)

    lines = poem.split("\\n")
    lines[line] = lines[line][:-2] + other + lines[line][-1]
    return cost("\\n".join(lines)) - cost(poem)
"""  # right where the last character is one token

WRONG = {  # what an exercise is called -> (an answer, a word of what the check says)
    "units": [
        ("def units(losses, tokens):\n    text = b''.join(tokens)\n    nats = np.sum(losses)\n"
         "    return nats / len(tokens), nats / len(text.decode()), nats / len(text)", "a nat is"),
        ("def units(losses, tokens):\n    text = b''.join(tokens)\n    bits = np.sum(losses) / np.log(2)\n"
         "    return bits / len(tokens), bits / len(text), bits / len(text)", "bits per character"),
        ("def units(losses, tokens):\n    bits = np.sum(losses) / np.log(2)\n    n = len(tokens)\n"
         "    return bits / n, bits / n, bits / len(b''.join(tokens))", "bits per character"),
        ("def units(losses, tokens):\n    text = ''.join(t.decode() for t in tokens)\n    return 1, 1, 1",
         "UnicodeDecodeError"),
    ],
    "may_follow": [
        ("def may_follow(data):\n    return set(range(256))", "no valid text"),
        ("def may_follow(data):\n    if data and data[-1] >= 0xC0:\n        return set(range(0x80, 0xC0))\n"
         "    return {*range(0x80), *range(0xC2, 0xF5)}", "without it"),
        ("def may_follow(data):\n    for back in (1, 2, 3):\n        if len(data) >= back and data[-back] >= 0xC0:\n"
         "            if back < (2 if data[-back] < 0xE0 else 3 if data[-back] < 0xF0 else 4):\n"
         "                return set(range(0x80, 0xC0))\n            break\n"
         "    return {*range(0x80), *range(0xC2, 0xF5)}", "no 0x80"),
        ("def may_follow(data):\n    import codecs\n    found = set()\n    for byte in range(256):\n        try:\n"
         "            codecs.getincrementaldecoder('utf-8')().decode(data + bytes([byte]))\n"
         "            found.add(byte)\n        except UnicodeDecodeError:\n            pass\n    return found",
         "no 0xa0"),
        ("def may_follow(data):\n    return {b for b in range(256) if (data + bytes([b])).decode(errors='ignore')}",
         "without it"),
    ],
    "effect": [
        (EFFECT.replace("losses[-2] / np.log(2)", "losses[-2]"), "bits, not nats"),
        (EFFECT.replace("[gpt.config.eos_id, *gpt.tokenizer.encode(text)]", "gpt.tokenizer.encode(text)"),
         "be read behind"),
        (EFFECT.replace("losses[-2]", "losses[-1]"), "of line 4 alone"),
        (EFFECT.replace("losses[-2]", "losses.sum()"), "of line 4 alone"),
        (EFFECT.replace('cost("\\n".join(lines)) - cost(poem)', 'cost(poem) - cost("\\n".join(lines))'), "not less"),
        (EFFECT.replace("lines[line][:-2] + other", "lines[line][:-1] + other"), "of line 4 alone"),
    ],
}  # fmt: skip
