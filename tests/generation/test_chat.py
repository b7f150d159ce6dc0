"""chat.py with a written script in place of the keyboard."""

from types import SimpleNamespace

import numpy as np
import pytest

from nanogpt_np.errors import InputError
from nanogpt_np.generation.chat import HELP, converse, join, reply

SETTINGS = {"max_new_tokens": 6, "temperature": 1.0}


class Terminal:
    """Reads the lines of a script, then the end of the input; keeps what is written. A line may be an exception."""

    def __init__(self, *lines):
        self.lines, self.written = list(lines), []

    def read(self, prompt):
        line = self.lines.pop(0) if self.lines else EOFError()
        if isinstance(line, BaseException):
            raise line
        return line

    def write(self, text="", end="\n", flush=False):
        assert isinstance(text, str)
        self.written.append(text + end)

    @property
    def screen(self):
        """What stands on the screen below the first help."""
        return "".join(self.written).removeprefix(HELP + "\n")


def run(gpt, *lines, **settings):
    terminal = Terminal(*lines)
    converse(gpt, {**SETTINGS, **settings}, terminal.read, terminal.write)
    assert not terminal.lines
    return terminal.screen


class FakeGPT:
    """Says "1", "2", "3" … and notes what it was asked; `interrupt`: Ctrl-C after its first piece."""

    def __init__(self, n_ctx=100, interrupt=False):
        self.config, self.asked, self.interrupt = SimpleNamespace(n_ctx=n_ctx), [], interrupt
        self.tokenizer = SimpleNamespace(encode=list, decode="".join)

    def session(self):
        return self

    def stream(self, text, **settings):
        self.asked.append((text, settings))
        yield f"<{len(self.asked)}"
        if self.interrupt:
            raise KeyboardInterrupt
        yield ">"

    @property
    def texts(self):
        return [text for text, _ in self.asked]


def test_help_first_and_every_command_in_it():
    terminal = Terminal()
    converse(FakeGPT(), {}, terminal.read, terminal.write)
    assert terminal.written[0] == HELP + "\n"
    assert all(f"/{name}" in HELP for name in ("new", "again", "more", "text", "help", "quit"))
    assert run(FakeGPT(), "/help") == HELP + "\n\n"


def test_lines_and_answers_grow_into_one_text():
    gpt = FakeGPT()
    assert run(gpt, "One day", "and then", "/text") == "<1>\n<2>\nOne day<1> and then<2>\n\n"
    assert gpt.texts == ["One day", "One day<1> and then"]


def test_more_again_and_new():
    gpt = FakeGPT()
    screen = run(gpt, "a", "/more", "/again", "/again", "/text", "/new", "b", "/text")
    assert gpt.texts == ["a", "a<1>", "a<1>", "a<1>", "b"]
    assert "a<1><4>\n" in screen and screen.endswith("b<5>\n\n")


def test_again_after_a_line_replaces_only_the_answer():
    gpt = FakeGPT()
    screen = run(gpt, "a", "b", "/again", "/text")
    assert gpt.texts == ["a", "a<1> b", "a<1> b"] and "a<1> b<3>\n" in screen


@pytest.mark.parametrize("lines", [["/again"], ["/more"], ["a", "/new", "/again"], ["a", "/new", "/more"]])
def test_nothing_to_go_on_from(lines):
    gpt = FakeGPT()
    assert "there is no text yet" in run(gpt, *lines)
    assert gpt.texts in ([], ["a"])


def test_an_empty_line_goes_on_and_spaces_around_commands_do_not_matter():
    gpt = FakeGPT()
    run(gpt, "", "a", "", " /more ", "  /quit  ")
    assert gpt.texts == ["a", "a<1>", "a<1><2>"]


def test_quit_leaves_at_once():
    terminal = Terminal("/quit", "never read")
    converse(FakeGPT(), {}, terminal.read, terminal.write)
    assert terminal.lines == ["never read"]


def test_the_end_of_the_input_ends_the_line():
    assert run(FakeGPT()) == "\n"  # so that the shell's prompt does not stand behind ours


@pytest.mark.parametrize("command", ["/exit", "/New", "/", "/again please"])
def test_unknown_commands_change_nothing(command):
    gpt = FakeGPT()
    screen = run(gpt, "a", command, "/text")
    assert f"unknown command {command}; /help shows them\n" in screen and screen.endswith("a<1>\n\n")


def test_ctrl_c_stops_the_answer_and_keeps_what_was_said():
    gpt = FakeGPT(interrupt=True)
    screen = run(gpt, "a", "/text", "/again", "/text")
    assert screen == "<1\na<1\n<2\na<2\n\n" and gpt.texts == ["a", "a"]


def test_ctrl_c_at_the_prompt_keeps_the_text():
    gpt = FakeGPT()
    screen = run(gpt, "a", KeyboardInterrupt(), "/text")
    assert "/quit or Ctrl-D leaves" in screen and "a<1>\n" in screen


def test_a_line_that_cannot_be_used_costs_nothing(make_gpt):
    gpt = make_gpt()
    screen = run(gpt, "the cat", "a \udcff b", "/text", seed=1)
    first = gpt.generate("the cat", seed=1, overflow="slide", **SETTINGS)
    assert "expected UTF-8 text" in screen and screen.endswith(f"the cat{first}\n\n")


def test_settings_reach_the_model_and_stay_as_they_were():
    gpt, settings = FakeGPT(), {"temperature": 0.5, "stop": ["x"], "seed": 7}
    terminal = Terminal("a", "/again", "/more")
    converse(gpt, settings, terminal.read, terminal.write)
    assert [asked["seed"] for _, asked in gpt.asked] == [7, 8, 9]
    assert all(asked["temperature"] == 0.5 and asked["stop"] == ["x"] for _, asked in gpt.asked)
    assert settings == {"temperature": 0.5, "stop": ["x"], "seed": 7}
    gpt = FakeGPT()
    run(gpt, "a", "/again")
    assert [asked["seed"] for _, asked in gpt.asked] == [None, None]


def test_the_same_seed_and_script_give_the_same_screen(make_gpt):
    gpt = make_gpt(eos_id=None)
    script = ["the cat", "/again", "sat on", "/more", "/text"]
    assert run(gpt, *script, seed=3) == run(gpt, *script, seed=3) != run(gpt, *script, seed=4)
    assert run(gpt, *script) != run(gpt, *script)


def test_again_says_something_else(make_gpt):
    gpt = make_gpt(eos_id=None)
    for seed in (None, 5):
        screen = run(gpt, "the cat", "/text", "/again", "/text", seed=seed)
        first, second = (part.split("\n\n")[0] for part in screen.split("the cat")[1:])
        assert first != second


def test_a_text_longer_than_the_context_goes_on(make_gpt):
    gpt = make_gpt(eos_id=None)
    assert gpt.config.n_ctx == 24
    screen = run(gpt, "the cat sat on the mat " * 5, "/more", "床前明月光" * 9, "/more", "/text", max_new_tokens=40)
    assert screen.count("床前明月光") == 9


def test_only_the_last_half_of_the_context_is_read():
    gpt = FakeGPT(n_ctx=10)
    run(gpt, "abcdefghij", "k")
    assert gpt.texts == ["ghij", "<1> k"]


def test_a_cut_through_a_character_leaves_no_half_of_it(make_gpt, tokenizer):
    gpt = make_gpt(n_ctx=18)
    asked = []
    gpt.stream = lambda text, **_: asked.append(text) or iter([])
    text = "月" * 8
    assert len(tokenizer.encode("月")) > 1
    for n in range(4):
        reply(gpt, text + "a" * n, None, {}, lambda *_, **__: None)
    assert asked and all("\ufffd" not in text and text.startswith("月") for text in asked)


def test_a_model_without_vocabulary_is_refused(make_gpt):
    with pytest.raises(InputError, match="chat: expected a model with vocabulary files"):
        run(make_gpt(with_tokenizer=False))


def test_broken_weights_are_said(make_gpt):
    gpt = make_gpt()
    gpt.params["ln_f"]["bias"][0] = np.nan
    assert "got NaN; the weights or the input are broken" in run(gpt, "the cat")


def test_a_line_that_is_no_text_is_not_taken():
    gpt = FakeGPT()
    screen = run(gpt, "one", "a\udcff", UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "/more")
    assert gpt.texts == ["one", "one<1>"]
    assert screen.count("expected UTF-8 text, got other bytes; the line is not taken\n") == 2


@pytest.mark.parametrize(
    "text, line, expected",
    [
        ("One", "day", "One day"),
        ("One ", "day", "One day"),
        ("One", " day", "One day"),
        ("One\n", "day", "One\nday"),
        ("", "day", "day"),
        ("One", "", "One"),
        ("One", ", two", "One, two"),
        ("One.", "Two", "One. Two"),
        ("床前", "明月", "床前明月"),
        ("床前", "moon", "床前moon"),
        ("", "", ""),
    ],
)
def test_join(text, line, expected):
    assert join(text, line) == expected
