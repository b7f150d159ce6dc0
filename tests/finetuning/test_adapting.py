"""adapting.py: a LoRA run is resumed bit for bit, leaves what PEFT opens, and says no in one line."""

import json
import signal

import numpy as np
import pytest
from hostile import one_line
from runs import WORDS, files_of, options, write_stories

from nanogpt_np import GPT, cli
from nanogpt_np import ops as numpy_ops
from nanogpt_np.errors import InputError
from nanogpt_np.finetuning import adapting
from nanogpt_np.finetuning.adapting import LoraOptions
from nanogpt_np.storage import adapter as A
from nanogpt_np.training import folder, loop, start

WRITTEN = (A.CONFIG, A.WEIGHTS, "training_state.safetensors")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A small model that has learned a little."""
    place = tmp_path_factory.mktemp("base")
    made = options(place, out="base", steps=40, lr=1e-2, held_out=0.1, eval_every=40, n_ctx=32)
    loop.train(made, numpy_ops, progress=False)
    return place / "base"


def lora_options(tmp_path, base, out="run", **changes):
    data = changes.pop("data", None) or [write_stories(tmp_path / "stories.txt")]
    settings = {"steps": 6, "batch_size": 2, "warmup": 1, "eval_every": 2, "log_every": 1, "held_out": 0.1, "lora": 2}
    return LoraOptions(data, str(tmp_path / out), **start.shape_of(base) | {"init": str(base)} | settings | changes)


def write_pairs(path, n=30):
    rng = np.random.default_rng(0)
    rows = [{"prompt": f"Words: {' '.join(rng.choice(WORDS, 2))}.", "completion": f" {' '.join(rng.choice(WORDS, 4))}."}
            for _ in range(n)]  # fmt: skip
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(path)


def run(options, resume=False):
    return adapting.run(options, numpy_ops, resume, progress=False)


@pytest.mark.parametrize("kind", ["text", "pairs"])
def test_stopped_and_resumed_it_is_the_same_bit_for_bit(tmp_path, base, kind, monkeypatch):
    changes = {"pairs": True, "data": [write_pairs(tmp_path / "pairs.jsonl")]} if kind == "pairs" else {}
    changes["dropout"] = 0.1
    done = run(lora_options(tmp_path, base, "whole", **changes))
    assert done.is_finished and done.evaluation.loss > 0
    assert done.evaluation.n_bytes > 0 and done.log.seconds > 0
    first = lora_options(tmp_path, base, "parts", **changes)
    taken = loop.Run.train_step
    with monkeypatch.context() as patched:
        patched.setattr(loop.Run, "train_step", lambda self: (taken(self), self.step == 3 and interrupt())[0])
        assert not run(first).is_finished
    assert json.loads((tmp_path / "parts" / "training.json").read_text())["options"]["lora"] == 2
    resumed = folder.resume_options(first.out, kind=LoraOptions)
    assert run(resumed, resume=True).is_finished
    whole, parts = files_of(tmp_path / "whole", *WRITTEN), files_of(tmp_path / "parts", *WRITTEN)
    assert whole[A.WEIGHTS] == parts[A.WEIGHTS] and whole[A.CONFIG] == parts[A.CONFIG]
    written = {path.name for path in (tmp_path / "whole").rglob("*") if path.is_file()}
    assert {A.WEIGHTS, A.CONFIG} <= written <= {folder.LOCK, *folder.FILES}
    assert (tmp_path / "whole" / "best" / A.WEIGHTS).read_bytes() == (tmp_path / "parts/best" / A.WEIGHTS).read_bytes()


def interrupt():
    """As Ctrl-C: the step is finished and saved."""
    signal.raise_signal(signal.SIGINT)


def test_it_learns_and_what_it_leaves_opens(tmp_path, base):
    before = files_of(base, "model.safetensors")
    options = lora_options(tmp_path, base, steps=40, lr=5e-2, lora=8, eval_every=20)
    done = run(options)
    assert files_of(base, "model.safetensors") == before
    losses = [float(row["train_loss"]) for row in done.log.rows]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.05
    gpt = GPT.from_pretrained(base, ops="numpy", adapter=options.out)
    np.testing.assert_array_equal(gpt.params["h"][1]["mlp"]["c_fc"]["weight"],
                                  done.current()["h"][1]["mlp"]["c_fc"]["weight"])  # fmt: skip
    assert json.loads((tmp_path / "run" / A.CONFIG).read_text())["base_model_name_or_path"] == str(base)
    size = (tmp_path / "run" / "training_state.safetensors").stat().st_size
    assert size < (base / "training_state.safetensors").stat().st_size / 2  # A's and B's state alone


def test_of_pairs_only_completions_are_measured(tmp_path, base):
    done = run(lora_options(tmp_path, base, pairs=True, data=[write_pairs(tmp_path / "pairs.jsonl")], steps=2))
    expected = sum(len(pair.completion) for pair in done.held_out)
    assert done.evaluation.n_tokens == expected and len(done.held_out) == 3


@pytest.mark.parametrize("changes, words", [
    ({"lora": 0}, "--lora: expected a rank of at least 1, got 0"),
    ({"lora": 99}, "r: expected at most 16"),
    ({"lora_alpha": 0.0}, "--lora-alpha"), ({"lora_alpha": float("nan")}, "--lora-alpha"),
    ({"target_modules": ["wte"]}, "target_modules: expected some of"), ({"target_modules": []}, "target_modules"),
    ({"freeze": 1}, "--freeze"), ({"layer_decay": 0.5}, "--layer-decay"), ({"keep_every": 5}, "--keep-every"),
    ({"learn_prompts": True}, "--learn-prompts"),
    ({"emphasis": 2.0}, "--emphasis"), ({"emphasis": 0.5}, "--emphasis"), ({"init": None}, "--init"),
    ({"pairs": True}, "line 1: expected JSON"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused_and_nothing_written(tmp_path, base, changes, words):
    with pytest.raises(InputError) as caught:
        run(lora_options(tmp_path, base, **changes))
    assert words in one_line(caught)
    assert not (tmp_path / "run" / A.CONFIG).exists() and not (tmp_path / "run" / "training.json").exists()


def test_a_run_goes_on_with_its_own_base_alone(tmp_path, base):
    run(lora_options(tmp_path, base))
    other = loop.run(options(tmp_path, out="other", steps=1, n_ctx=32, seed=5), numpy_ops, progress=False)
    resumed = folder.resume_options(tmp_path / "run", steps=8, kind=LoraOptions)
    resumed.init = str(other.out)
    with pytest.raises(InputError, match="--model: expected the weights of"):
        run(resumed, resume=True)


def test_the_command(tmp_path, base, capsys):
    text, out = write_stories(tmp_path / "stories.txt"), str(tmp_path / "run")
    begin = ["finetune", "--task", "text", "--model", str(base), "--data", text, "--out", out, "--lora", "2"]
    assert cli.main([*begin, "--steps", "2", "--warmup", "1", "--target-modules", "c_fc", "--lora-alpha", "4"]) == 0
    said = capsys.readouterr()
    assert "LoRA: r = 2, alpha = 4" in said.out + said.err and f"--adapter {out}" in said.out + said.err
    options = json.loads((tmp_path / "run" / A.CONFIG).read_text())
    assert (options["r"], options["lora_alpha"], options["target_modules"]) == (2, 4, ["c_fc"])
    assert cli.main(["finetune", "--task", "text", "--lora", "2", "--resume", "--out", out, "--steps", "3"]) == 0
    assert cli.main(["generate", "The cat", "--model", str(base), "--adapter", out, "--max-new-tokens", "3"]) == 0
    assert cli.main(["convert", str(base), str(tmp_path / "merged"), "--to", "hf", "--adapter", out]) == 0
    assert (tmp_path / "merged" / "model.safetensors").exists()
    capsys.readouterr()


@pytest.mark.parametrize("words, said", [
    (["--lora-alpha", "4"], "--lora-alpha: expected --lora with it"),
    (["--lora", "0"], "--lora: expected a rank"),
    (["--lora", "2", "--resume", "--lr", "1"], "--resume: expected only --out"),
    (["--task", "instructions"], "--lora R"),
    (["--lora", "2", "--epochs", "2"], "--epochs: expected options of --task text"),
])  # fmt: skip
def test_words_that_contradict_each_other(tmp_path, base, capsys, words, said):
    given = ["finetune", "--task", "text", "--data", write_stories(tmp_path / "s.txt"), "--out", str(tmp_path / "run")]
    given += [] if "--resume" in words else ["--model", str(base)]
    assert cli.main([*given, *words]) == 2
    line = capsys.readouterr().err
    assert said in line and line.count("\n") == 1 and not (tmp_path / "run").exists()


def test_generating_with_an_adapter_that_is_none(tmp_path, base, capsys):
    assert cli.main(["generate", "a", "--model", str(base), "--adapter", str(tmp_path)]) == 2
    assert "adapter: expected a folder with adapter_config.json" in capsys.readouterr().err
