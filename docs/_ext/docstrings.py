"""Docstrings are plain text, for an editor; here they become what Sphinx reads, so that shapes and examples stay code.

Enter: "causal_mask(2, 3) -> [[True, …" as it stands in a source. Leave: reStructuredText. What reads as code is set as
code: `backticks`, calls, [n_batch, n_seq], names with an underscore or a dot, files. Next: api.py.
"""

import re

import package

OPENING = {"(": ")", "[": "]", "{": "}"}
WORD = re.compile(r"[A-Za-z_][\w.]*\w|[A-Za-z_]")
PATH = re.compile(r"\.?\w[\w.-]*(?:/[\w.-]+)*\.(?:py|md|json|txt|csv|png|safetensors)\b|\w+(?:/\w+)+/(?!\w)")
VALUE = re.compile(r"""-?\d[\d_,.]*(?<![,.])|[rb]?"(?:\\.|[^"\\])*"|[rb]?'(?:\\.|[^'\\])*'|True\b|False\b|None\b""")
SPECIAL = re.compile(r"<\|\w+\|>|\"[\w./-]+\"(?!\w)")  # a special token, a word in quotes
EXAMPLE = re.compile(r"[A-Za-z_][\w.]*\(.* -> |\{")  # how a line begins that stands by itself
SECTION = re.compile(r"(?:^|(?<=[.!?…)] ))(?=(?:Enter and leave|Enter|Leave|To read|Next): )")
ITEM = re.compile(r"(?:`[\w.]+`(?:, )?)+: ")


def balanced(text, at):
    """Behind the bracket that closes the one at `at`: balanced("f(a[1]) b", 1) -> 7; None where none does."""
    waiting, quote, i = [], "", at
    while i < len(text):
        letter = text[i]
        if quote:
            i += letter == "\\"
            quote = "" if letter == quote else quote
        elif letter in "\"'" and not text[i - 1].isalpha():
            quote = letter
        elif letter in OPENING:
            waiting.append(OPENING[letter])
        elif letter in OPENING.values():
            if letter != waiting.pop():
                return None
            if not waiting:
                return i + 1
        i += 1
    return None


def code_end(text, at):
    """Where the code that begins at `at` ends; None where none begins there."""
    if text[at] == "`":
        return text.find("`", at + 1) + 1 or None
    if at and (text[at - 1].isalnum() or text[at - 1] in "_."):
        return None
    if text[at] in "[{":
        return balanced(text, at)
    found = SPECIAL.match(text, at) or PATH.match(text, at)
    if found:
        return found.end()
    word = WORD.match(text, at)
    return word and word_end(text, word)


def word_end(text, word):
    """A name with all that is called, subscripted or asked of it; None for a word of prose."""
    end, is_code = word.end(), "_" in word[0] or ("." in word[0] and package.find(word[0]) is not None)
    is_result = text[: word.start()].endswith("-> ")  # "One pass -> Run.": a class, not a verb
    is_compound = re.search("[A-Z]", word[0][1:]) and text[end : end + 1] != "-"  # GPT, but not GPT-2
    is_code |= word[0] in package.classes() and bool(is_result or is_compound)
    while end < len(text) and text[end] in "([":
        closed = balanced(text, end)
        if closed is None:
            break
        after = re.compile(r"(?:\.\w+)*").match(text, closed)
        end, is_code = after.end(), True
    return end if is_code else None


def escape(text):
    """Prose for reStructuredText; *a word* stays emphasized."""
    text = re.sub(r"([\\`_|]|\*)", r"\\\1", text.replace("<->", "↔").replace("->", "→"))
    return re.sub(r"(?<!\w)\\\*(\w[\w ]*)\\\*(?!\w)", r"*\1*", text)


def inline(text):
    """One paragraph: prose escaped, code as literals."""
    made, prose, at = [], "", 0
    while at < len(text):
        end = code_end(text, at)
        if end is None and made and prose == " -> ":  # what an example gives is code as well
            value = VALUE.match(text, at)
            end = value and value.end()
        if end is None:
            prose, at = prose + text[at], at + 1
            continue
        made += [escape(prose), rf"\ ``{text[at:end].strip('`')}``\ "]
        prose, at = "", end
    return "".join([*made, escape(prose)]).strip().removesuffix("\\")


def paragraph(lines):
    """One paragraph -> its lines: prose, a list of `names`: with what they mean, or indented code as it stands."""
    if all(line.startswith("  ") for line in lines):
        return ["::", "", *(f"  {line}" for line in lines), ""]
    if ITEM.match(lines[0]):
        items = re.split(r"\n(?=(?:`[\w.]+`(?:, )?)+: |(?<=[.]\n)[A-Z])", "\n".join(lines))
        marks = ["- " if ITEM.match(item) else "\n" for item in items]
        return [*(mark + inline(one_line(item)) for mark, item in zip(marks, items, strict=True)), ""]
    made = []
    for part in SECTION.split(one_line("\n".join(lines))):
        head = re.match(r"(Enter and leave|Enter|Leave|To read|Next): ", part)
        made += [f"**{head[1]}:** {inline(part[head.end() :])}" if head else inline(part), ""]
    return made


def one_line(text):
    return " ".join(text.split())


def paragraphs(doc):
    """The paragraphs of a docstring as lists of lines; a line that is an example is one of its own."""
    found = [[]]
    for line in doc.strip("\n").splitlines():
        is_example = EXAMPLE.match(line) is not None
        if not line.strip() or is_example or found[-1] and EXAMPLE.match(found[-1][-1]):
            found.append([])
        if line.strip():
            found[-1].append(line)
    return [lines for lines in found if lines]


def rst(doc):
    """A docstring -> lines of reStructuredText."""
    return [line for lines in paragraphs(doc) for line in "\n".join(paragraph(lines)).splitlines() + [""]]


def fields(name):
    """What is said of the fields of a NamedTuple or dataclass, as a list; types and defaults are in its signature."""
    made = [f"- **{escape(field.name)}**: {inline(field.says)}" for field in name.fields if field.says]
    return [*made, ""] if made else []


def process(app, what, full, obj, options, lines):
    """autodoc's docstring -> ours, with the shapes behind the signature, and the fields of a tuple."""
    path = full.removeprefix("nanogpt_np").lstrip(".")
    name = package.names().get(path)
    made = rst("\n".join(lines))
    if name and name.shapes:
        made += [f":shapes: ``{name.shapes}``", ""]
    lines[:] = made + (fields(name) if name else [])


def forget_overloads(app):
    """One signature each: an editor picks among the overloads of GPT.generate; to a reader they are three walls."""
    from sphinx.pycode import ModuleAnalyzer

    for room in {name.room for name in package.names().values() if name.is_overloaded}:
        analyzer = ModuleAnalyzer.for_module(f"nanogpt_np.{package.dotted(room)}")
        analyzer.analyze()
        analyzer.overloads.clear()


def setup(app):
    app.connect("autodoc-process-docstring", process)
    app.connect("builder-inited", forget_overloads)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
