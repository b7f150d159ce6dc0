"""The plugin of `llm`: the real program, told of it by the entry point that pyproject.toml names, and from Python."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nanogpt_np import GPT
from nanogpt_np.generation.chat import one_text

ROOT = Path(__file__).parents[2]
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
(ENTRY,) = re.findall(r"^\[project\.entry-points\.llm\]\n(\S+) = \"(\S+)\"\n", PYPROJECT, flags=re.MULTILINE)


def test_the_entry_point_leads_to_a_room():
    name, module = ENTRY
    source = (ROOT / module.replace(".", "/")).with_suffix(".py").read_text(encoding="utf-8")
    assert name == "nanogpt-np" and "@llm.hookimpl\ndef register_models(register):" in source
    assert re.search(r"^llm = \[\"llm>=", PYPROJECT, flags=re.MULTILINE), "the extra"


@pytest.mark.parametrize(
    "turns, text",
    [
        ([], ""),
        ([("system", "A tale."), ("user", "Once")], "A tale. Once"),
        ([("user", "Onc"), ("assistant", "e upon a time"), ("user", ", Tom")], "Once upon a time, Tom"),
        ([("user", "One"), ("assistant", " day"), ("user", "Tom"), ("assistant", "")], "One day Tom"),
    ],
)
def test_a_conversation_is_one_text(turns, text):
    assert one_text(turns) == text


@pytest.fixture
def llm(tmp_path):
    """llm(words, typed="") -> what the real program gives, its settings and logs in a folder of its own."""
    pytest.importorskip("llm", reason='needs pip install -e ".[llm]"')
    about = tmp_path / "site" / "nanogpt_np-0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: nanogpt-np\nVersion: 0\n")
    (about / "entry_points.txt").write_text("[llm]\n{} = {}\n".format(*ENTRY))
    paths = os.pathsep.join(map(str, (about.parent, ROOT)))
    environment = os.environ | {"PYTHONPATH": paths, "LLM_USER_PATH": str(tmp_path / "user"), "PYTHONUTF8": "1"}
    environment["NANOGPT_NP_HOME"] = str(tmp_path / "home")

    def run(*words, typed=""):
        command = [sys.executable, "-m", "llm", *words]
        return subprocess.run(
            command, input=typed, env=environment, capture_output=True, text=True, timeout=300, encoding="utf-8"
        )

    return run


def answer(done):
    assert done.returncode == 0, done.stderr
    return done.stdout.removesuffix("\n")


@pytest.fixture(scope="module")
def stories():
    return GPT.from_pretrained("stories")


@pytest.mark.peers
def test_a_text_is_what_the_model_gives(llm, stories):
    """With the model's own settings, those of the caller, and the numbers of tokens; streamed or not."""
    done = llm("-m", "stories", "Once", "-o", "seed", "7", "-o", "max_tokens", "20", "--usage")
    text = stories.generate("Once", 20, seed=7)
    assert answer(done) == text and "1 input, 20 output" in done.stderr
    words = ("-m", "stories", "Once", "-o", "temperature", "0", "-o", "stop", ".", "--no-stream", "--usage")
    done = llm(*words, "-o", "repetition_penalty", "1.2")
    (one,) = stories.complete("Once", temperature=0, stop=".", repetition_penalty=1.2)
    assert answer(done) == one.text and f"1 input, {len(one.ids) + 1} output" in done.stderr  # and the one that ends it


@pytest.mark.peers
def test_any_model_that_lies_somewhere(llm, stories, tmp_path):
    gpt = GPT.from_config(stories.config, tokenizer=stories.tokenizer)
    gpt.save(tmp_path / "mine")
    where = ("-m", "nanogpt-np", "-o", "path", str(tmp_path / "mine"))
    done = llm(*where, "Once", "-o", "seed", "1", "-o", "max_tokens", "5")
    usual = gpt.generate("Once", 5, seed=1, temperature=0.8, top_p=0.95)  # as `nanogpt-np generate`
    assert answer(done) == usual != gpt.generate("Once", 5, seed=1)
    listed = answer(llm("models"))
    assert all(f"nanogpt-np: {name}\n" in listed for name in ("stories", "poems", "gpt2-xl", "nanogpt-np"))


@pytest.mark.peers
def test_a_conversation_goes_on_with_its_text(llm, stories):
    """In one process and from the log of another; the second turn begins where the first one ended."""
    options = ("-m", "stories", "-o", "temperature", "0", "-o", "max_tokens", "6")
    said = answer(llm("chat", *options, typed="Once upon a time\nTom\nquit\n"))
    first = stories.generate("Once upon a time", 6, temperature=0)
    second = stories.generate(f"Once upon a time{first} Tom", 6, temperature=0)
    assert re.findall(r"^> (.*)$", said, flags=re.MULTILINE)[:2] == [first, second]
    assert answer(llm("Tom", "-c", *options)) == stories.generate(
        f"Once upon a time{first} Tom{second} Tom", 6, temperature=0
    )
    assert answer(llm("a time", "-s", "Once upon", *options)) == first


@pytest.mark.peers
@pytest.mark.parametrize(
    "words, line",
    [
        (("-m", "gpt2", "Once"), "fetch them with: nanogpt-np download gpt2"),
        (("-m", "stories", "Once", "-o", "top_p", "3"), "Error: top_p: expected a share above 0, at most 1, got 3.0"),
        (("-m", "stories", "Once", "-o", "max_tokens", "900"), "ask for at most 256 new tokens, or use overflow slide"),
        (("-m", "stories", "Once", "-o", "max_tokens", "-1"), "Error: max_tokens: expected a whole number of at least"),
        (("-m", "stories", "Once", "-o", "ops", "cuda"), "Error: ops: expected one of auto, numpy"),
        (("-m", "nanogpt-np", "Once", "-o", "path", "nowhere"), "Error: 'nowhere': expected a model directory or"),
        (("chat", "-m", "stories", "-o", "top_k", "-2"), "Error: top_k: expected a whole number"),
        (("-m", "stories", "Once", "-o", "colour", "red"), "colour"),
    ],
)  # fmt: skip
def test_an_error_is_one_line(llm, words, line):
    done = llm(*words, typed="Once\n" if words[0] == "chat" else "")
    assert done.returncode == 1 and line in done.stderr and "Traceback" not in done.stderr
    assert words[-2] == "colour" or done.stderr.count("\n") == 1, "llm's own message of an unknown option has two"


@pytest.fixture
def plugin():
    pytest.importorskip("llm", reason='needs pip install -e ".[llm]"')
    from nanogpt_np.cli import llm_plugin

    return llm_plugin


@pytest.mark.peers
def test_a_long_conversation_forgets_its_beginning(plugin, stories):
    """Also that only what is new of it is read: the cache that was kept holds what the turns have in common."""
    conversation = plugin.Continuing("stories").conversation()
    for turn in range(6):
        response = conversation.prompt("Tom and Sue went to the park.", seed=turn, max_tokens=60)
        response.text()
        assert response.usage().input <= stories.config.n_ctx // 2 and response.usage().output <= 60
    assert 60 < conversation.model._read[2].length <= stories.config.n_ctx
    assert conversation.model._read[0] == conversation.id


@pytest.mark.peers
def test_two_conversations_in_turn_are_as_each_alone(plugin):
    model = plugin.Continuing("stories")
    one, other = model.conversation(), model.conversation()
    for words in ("Once upon a", "Then"):
        found = [talk.prompt(words, temperature=0, max_tokens=8).text() for talk in (one, other)]
        assert found[0] == found[1]
    alone = model.prompt("Once upon a", temperature=0, max_tokens=8).text()
    assert alone == one.responses[0].text(), "no conversation at all"
    free = {model.prompt("Once", max_tokens=30).text() for _ in range(3)}
    assert len(free) > 1, "without a seed"


@pytest.mark.peers
def test_what_was_read_by_one_model_is_nothing_to_another(plugin, stories, tmp_path):
    """A conversation that goes on with another model of the same shape: its keys and values would fit, and be wrong."""
    gpt = GPT.from_config(stories.config, seed=5, tokenizer=stories.tokenizer)
    gpt.save(tmp_path / "mine")
    talk = plugin.Anywhere("nanogpt-np").conversation()
    first = talk.prompt("Once upon a", temperature=0, max_tokens=8).text()
    second = talk.prompt("Then", temperature=0, max_tokens=8, path=str(tmp_path / "mine")).text()
    whole = one_text([("user", "Once upon a"), ("assistant", first), ("user", "Then")])
    assert second == gpt.generate(whole, 8, temperature=0) != stories.generate(whole, 8, temperature=0)
    with pytest.raises(plugin.Refused, match="ops: expected one of"):
        talk.prompt("Then", path=str(tmp_path / "mine"), ops="cuda").text()


@pytest.mark.peers
@pytest.mark.parametrize("asked, reason", [({"max_tokens": 3}, "length"), ({"stop": ","}, "stop"), ({}, "eos")])
def test_why_a_text_ended_is_said(plugin, asked, reason):
    """The seed is the README's, whose story comes to an end."""
    response = plugin.Continuing("stories").prompt("Once upon a time", seed=16, **asked)
    response.text()
    assert response.response_json == {"reason": reason} and response.resolved_model == "stories"


@pytest.mark.peers
def test_from_python_an_error_is_llms_own(plugin):
    import llm

    with pytest.raises(llm.ModelError, match="min_tokens: expected a whole number of at least 0, got -1"):
        plugin.Continuing("stories").prompt("Once", min_tokens=-1).text()
