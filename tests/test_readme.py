"""What README.md shows is so: its links lead somewhere, its commands are known, its samples are what is written."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from small import module_at

from nanogpt_np import GPT
from nanogpt_np import params as P
from nanogpt_np.bench.ours import Loss
from nanogpt_np.cli import main
from nanogpt_np.cli.entry import parser
from nanogpt_np.storage.registry import weights_dir
from nanogpt_np.training.report import Log

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CHINESE = (ROOT / "README.zh.md").read_text(encoding="utf-8")
PAGES = [ROOT / name for name in ("README.md", "README.zh.md", ".github/CONTRIBUTING.md")]
PAGES += [*ROOT.glob("docs/*.md"), *ROOT.glob("weights/*/*.md")]
STORIES = ROOT.parent / "shared" / "data" / "stories" / "tinystories.txt"
SHAKESPEARE = ROOT.parent / "shared" / "data" / "shakespeare" / "input.txt"


def blocks(kind, page=README):
    """The fenced blocks of one kind, as text."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)


def one_line(text):
    """Text without its line breaks: the README wraps what a terminal does not."""
    return " ".join(text.split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    inside = [target for target in targets if "://" not in target]
    assert not [target for target in inside if not (page.parent / target).exists()]


def test_every_command_is_one():
    lines = [line.removeprefix("$ ") for block in blocks("text") for line in block.splitlines()]
    lines += [part for block in blocks("sh") for part in block.split("&&")]
    commands = [line[line.index("nanogpt-np") :] for line in lines if re.match(r"\s*(echo .*\| )?nanogpt-np ", line)]
    assert len(commands) >= 12
    for command in commands:
        parser().parse_args(shlex.split(command, comments=True)[1:])


def test_the_sample_is_what_the_model_writes(capsys):
    """With NumPy, and the first command's own words; the last block of README's first command is the same."""
    command, _, sample = blocks("text")[0].partition("\n")
    words = shlex.split(command.removeprefix("$ "))
    assert words[0] == "nanogpt-np" and command.removeprefix("$ ") in blocks("sh")[0]
    assert main(words[1:]) == 0
    assert one_line(capsys.readouterr().out) == one_line(sample)


def test_what_is_typed_in_python_runs(capsys):
    (code,) = blocks("python")
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    said = capsys.readouterr().out
    assert "(1, 8, 5, 5)" in said and "float32 [1, 5, 256]" in said
    assert np.isfinite(names["logits"]).all()


def test_guessing_ahead_is_worth_it():
    """The README's example of --speculate: the same text in fewer passes."""
    (line,) = [line for line in blocks("text")[1].splitlines() if "--speculate" in line]
    args = parser().parse_args(shlex.split(line, comments=True)[1:])
    gpt = GPT.from_pretrained("stories", ops="numpy")
    plain = gpt.generate(args.prompt, args.max_new_tokens, temperature=0)
    passes, whole = [], gpt.ops.unembed
    try:
        gpt.ops.unembed = lambda *given: passes.append(1) or whole(*given)
        guessed = gpt.generate(args.prompt, args.max_new_tokens, temperature=0, speculate=args.speculate)
    finally:
        gpt.ops.unembed = whole
    assert guessed == plain
    assert len(passes) < 0.9 * len(gpt.tokenizer.encode(plain))


def test_numbers_of_the_shipped_model():
    million = P.count(GPT.from_pretrained("stories", ops="numpy").params) / 1e6
    assert f"*stories* ({million:.1f} million parameters" in README
    log = Log.load(weights_dir() / "stories" / "log.csv", last_step=10**9)
    assert f"*stories* took {round(log.seconds / 60)} minutes on two cores" in README


def test_numbers_that_were_measured_are_those_of_the_page():
    page = one_line((ROOT / "docs" / "performance.md").read_text(encoding="utf-8"))
    int8, int4 = shares_of_small_weights()
    assert f"on the 304 stories that it has not seen changes by {int8} % in int8" in page
    assert f"{int4} % (int8: {int8} %)" in page
    first, _, behind = page.partition("Round by round")
    with_avx2 = behind.partition("AVX2 alone")[2].partition("Round by round")[0]
    assert of_ours(first) in re.findall(
        r"decodes about (\d+) tokens/s with it, (\d+) with `--ops numba` and (\d+) with `--ops int8`", one_line(README)
    )
    assert of_ours(with_avx2) in re.findall(r"with AVX2 alone (\d+), (\d+) and (\d+)\)", one_line(README))


def of_ours(table):
    """Tokens per second of three ops in a table, rounded, as text."""
    rows = dict(re.findall(r"\| ours, `(\w+)`[^|]*\| ([\d.]+)", table))
    return tuple(str(round(float(rows[name]))) for name in ("numpy", "numba", "int8"))


def shares_of_small_weights():
    """What is said that int8 and int4 cost, in percent."""
    said = r"on text it has not seen changes by ([+-][\d.]+) % in int8, by ([+-][\d.]+) % in int4"
    return re.findall(said, one_line(README))[0]


@pytest.mark.slow
@pytest.mark.skipif(not STORIES.exists(), reason=f"needs the stories, {STORIES}")
def test_what_int8_and_int4_cost_is_what_is_said():
    before, *after = (Loss(engine, {"data": str(STORIES)}).run({})["loss"] for engine in ("numba", "int8", "int4"))
    assert [f"{loss / before - 1:+.2%}" for loss in after] == [f"{share}%" for share in shares_of_small_weights()]


def test_the_picture_is_of_the_model_that_ships(tmp_path):
    """Drawn anew it is the same but for fonts' edges: another model's tokens and colours would differ by far more."""
    image = pytest.importorskip("matplotlib.image")
    inside = module_at(ROOT / "docs" / "inside.py")
    inside.main(tmp_path / "again.png")
    kept, again = (image.imread(path)[..., :3] for path in (ROOT / "docs" / "inside.png", tmp_path / "again.png"))
    n_rows, n_columns = (min(pair) for pair in zip(kept.shape[:2], again.shape[:2], strict=True))
    assert max(kept.shape[0], again.shape[0]) - n_rows < 20
    assert np.abs(kept[:n_rows, :n_columns] - again[:n_rows, :n_columns]).mean() < 0.03


def shown_of_shakespeare():
    """-> the words of the command, what it said."""
    (block,) = [block for block in blocks("text") if block.startswith("$ nanogpt-np train")]
    command, _, said = block.partition("\n")
    return shlex.split(command.removeprefix("$ "))[1:], said


@pytest.mark.slow
@pytest.mark.skipif(not SHAKESPEARE.exists(), reason=f"needs tiny Shakespeare, {SHAKESPEARE}")
def test_shakespeare_is_what_is_shown(tmp_path, monkeypatch, capsys):
    """The plan to the letter; the loss to 0.02 nats, as other CPUs round otherwise, and 600 steps carry that on."""
    words, shown = shown_of_shakespeare()
    monkeypatch.chdir(tmp_path)
    Path("input.txt").write_bytes(SHAKESPEARE.read_bytes())
    assert main(words) == 0
    said = capsys.readouterr().out
    plan = [line for line in shown.splitlines() if line.startswith(("model: ", "plan: "))]
    assert len(plan) == 2 and all(line in said for line in plan)
    (stated,) = re.findall(r"step 600 of 600: .*held-out ([\d.]+) nats", shown)
    (got,) = re.findall(r"step 600 of 600: .*held-out ([\d.]+) nats", said)
    assert float(got) == pytest.approx(float(stated), abs=0.02)


def without_comments(block):
    return [re.sub(r"\s+# .*", "", line) for line in block.splitlines()]


@pytest.mark.parametrize("kind", ["sh", "text", "python"])
def test_the_chinese_page_has_the_same_commands(kind):
    assert list(map(without_comments, blocks(kind, CHINESE))) == list(map(without_comments, blocks(kind)))


def test_the_chinese_page_is_built_alike():
    def shape(page):
        links = [link for link in re.findall(r"\]\(([^)]+)\)", page) if link not in ("README.md", "README.zh.md")]
        rows, points = (len(re.findall(rf"^{mark}", page, flags=re.MULTILINE)) for mark in (r"\|", "- "))
        return re.findall(r"^#+", page, flags=re.MULTILINE), rows, points, sorted(links)

    assert shape(CHINESE) == shape(README)
    english, chinese = (re.sub(r"```.*?```", "", page, flags=re.DOTALL) for page in (README, CHINESE))
    numbers = set(re.findall(r"\d[\d,.]*\d", chinese)) - {"590"}  # 5.9 million is 590 万
    assert numbers <= set(re.findall(r"\d[\d,.]*\d", english)), "every number of it stands in the English one"
