"""A loop at the terminal: you write some text, the model goes on, you write more, and so on.

Enter: a GPT and two streams. Leave: text, as it is made. GPT-2 was not taught to answer questions: it continues
what stands there, so the whole conversation is one growing text. Next: tokenizer/training.py.
"""

import re

from ..errors import InputError

UNSPACED = re.compile("[\u2e80-\u9fff\uff00-\uffef]")  # Chinese and Japanese are written without spaces

HELP = """\
Write the beginning of a text and press Enter; the model goes on.
What you write next is added to the same text.
  /new    begin a new text        /again  try the model's last part again
  /more   go on without adding    /text   show the whole text
  /help   show this               /quit   leave (or Ctrl-D)
Ctrl-C stops the model in mid-sentence."""


def converse(gpt, settings, read=input, write=print):
    """Run the loop until /quit or the end of the input; `settings` are keyword arguments of GPT.stream.

    `read(prompt)` returns a line or raises EOFError; `write` is like print. InputError for a model without vocabulary.
    """
    if gpt.tokenizer is None:
        raise InputError("chat: expected a model with vocabulary files, got one without; add vocab.json and merges.txt")
    gpt.stream([0], overflow="slide", **settings)  # settings that cannot be used show now, not after the first line
    write(HELP)
    settings, session = dict(settings), gpt.session()
    text, before, seed = "", "", settings.pop("seed", None)
    while (line := read_line(read, write)) is not None and line.strip() != "/quit":
        start, told = begin(line, text, before)
        if told:
            write(told)
        if line.strip() == "/new":
            text = ""
        if not start:
            continue
        try:
            text, before = start + reply(session, start, seed, settings, write), start
        except InputError as error:  # the line is not taken; what stood there before still stands
            write(str(error))
        else:
            seed = None if seed is None else seed + 1  # the same seed throughout would make /again say the same


def read_line(read, write):
    """The next line, or None at the end of the input."""
    while True:
        try:
            line = read("\n> ")
            line.encode()
            return line
        except EOFError:
            write()
            return None
        except UnicodeError:
            write("expected UTF-8 text, got other bytes; the line is not taken")
        except KeyboardInterrupt:  # one Ctrl-C too many must not cost the text
            write("\n/quit or Ctrl-D leaves")


def begin(line, text, before):
    """-> what the model is to go on from ("": nothing), and what to tell the user ("": nothing)."""
    command = line.strip()
    if command in ("/more", "/again"):
        start = before if command == "/again" else text
        return (start, "") if text else ("", "there is no text yet; write its beginning")
    if command.startswith("/"):
        answers = {"/help": HELP, "/text": text, "/new": ""}
        return "", answers.get(command, f"unknown command {command}; /help shows them")
    return join(text, line), ""


def reply(session, text, seed, settings, write):
    """Stream one continuation -> what was written; Ctrl-C ends it early. Only what is new of the text is read."""
    said, text = "", in_view(text, session.tokenizer, session.config.n_ctx)
    try:
        pieces = session.stream(text, seed=seed, overflow="slide", **settings)
        for piece in pieces:
            write(piece, end="", flush=True)
            said += piece
    except KeyboardInterrupt:
        pass
    write()
    return said


def in_view(text, tokenizer, n_ctx):
    """The end of a text that leaves at least half of the context to go on in; the cut may go through a character.

    It is cut a quarter of the context at a time, so that most lines begin where the last one did, and are read on.
    """
    ids, quarter = tokenizer.encode(text), max(n_ctx // 4, 1)
    over = len(ids) - n_ctx // 2
    return text if over <= 0 else tokenizer.decode(ids[-(-over // quarter) * quarter :]).lstrip("\ufffd")


def one_text(turns):
    """The whole of a conversation as the text that the model goes on with.

    Turns are pairs of who and what; what an "assistant" said goes on as it stands, what others said as a line typed
    in the chat: one_text([("user", "One"), ("assistant", " day"), ("user", "Tom")]) -> "One day Tom"
    """
    text = ""
    for who, said in turns:
        text = text + said if who == "assistant" else join(text, said)
    return text


def join(text, line):
    """Add a line to the text; a space where two words would otherwise touch: join("One", "day") -> "One day" """
    if not text or not line or text[-1].isspace() or line[0].isspace() or line[0] in ",.;:!?)":
        return text + line
    return text + line if UNSPACED.search(text[-1] + line[0]) else f"{text} {line}"
