"""Saving over a model, and the machine stops: at every place the old model, the new one, or none that opens.

A stop is simulated in this process: from a certain rename, removal or flush on, none of them happens any more.
"""

import json
import os
import shutil

import numpy as np
import pytest
from safetensors.numpy import save_file

from nanogpt_np import params as P
from nanogpt_np.config import GPTConfig
from nanogpt_np.errors import FileError, InputError
from nanogpt_np.storage import checkpoint
from nanogpt_np.storage.together import replacing_together
from nanogpt_np.tokenizer.bpe import Tokenizer

CONFIG = GPTConfig(n_vocab=262, n_ctx=6, n_embd=8, n_layer=1, n_head=2, eos_id=256)
OLD_TEXT, NEW_TEXT = "the cat sat on the mat, the cat sat", "a dog ran over the hill, a dog ran"
CHANGES = ("replace", "unlink", "fsync")


class Stopped(BaseException):
    pass


class Machine:
    """Counts what changes names or flushes, and stops before number `last`; nothing happens afterwards."""

    def __init__(self, monkeypatch, last):
        self.n, self.last, self.stopped = 0, last, False
        for name in CHANGES:
            change = getattr(os, name) if name != "fsync" else lambda handle: None  # no disk is waited for here
            monkeypatch.setattr(os, name, self._watch(change))

    def _watch(self, change):
        def watched(*args, **options):
            self.stopped = self.stopped or self.n == self.last
            if self.stopped:
                raise Stopped
            self.n += 1
            return change(*args, **options)

        return watched


def new_params(config=CONFIG, seed=0):
    rng = np.random.default_rng(seed)
    return P.nest({name: rng.standard_normal(shape, dtype=np.float32) for name, shape in P.shapes(config).items()})


def train(text):
    return Tokenizer.train([text] * 3, n_vocab=262)


OLD, NEW = train(OLD_TEXT), train(NEW_TEXT)


def nothing(directory):
    directory.mkdir()


def ours(directory, config=CONFIG, tokenizer=OLD):
    checkpoint.save(directory, config, new_params(config), tokenizer)


def ours_with_another_end(directory):
    ours(directory, CONFIG.replace(eos_id=7))


def ours_with_other_heads(directory):
    ours(directory, CONFIG.replace(n_head=4))


def ours_with_another_vocabulary(directory):
    ours(directory, tokenizer=NEW)


THEIR_CONFIG = CONFIG.replace(n_head=4, eos_id=7)


def theirs(directory, config=THEIR_CONFIG):
    """A model of the same shapes without one line of ours: no stamp in its weights."""
    directory.mkdir()
    OLD.save(directory)
    (directory / "config.json").write_text(json.dumps(config.to_dict()))
    named = {f"transformer.{name}": array for name, array in P.walk(new_params(config))}
    save_file(named, directory / "model.safetensors", {"format": "pt"})


def theirs_in_shards(directory):
    theirs(directory)
    os.rename(directory / "model.safetensors", directory / "model-1.safetensors")
    names = dict.fromkeys((f"transformer.{name}" for name in P.shapes(CONFIG)), "model-1.safetensors")
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


def theirs_with_one_vocabulary_file(directory):
    theirs(directory)
    vocab = json.loads((directory / "vocab.json").read_text(encoding="utf-8"))
    merges = (directory / "merges.txt").read_text(encoding="utf-8").split("\n")[1:-1]
    steps = {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False}}
    text = json.dumps({**steps, "model": {"type": "BPE", "vocab": vocab, "merges": merges}})
    (directory / "tokenizer.json").write_text(text, encoding="utf-8")
    for name in ("vocab.json", "merges.txt"):
        (directory / name).unlink()


def theirs_with_added_tokens(directory):
    theirs(directory, CONFIG.replace(n_vocab=263))
    (directory / "added_tokens.json").write_text('{"<|pad|>": 262}')


def seen(directory):
    """What opens: config, fingerprint of the vocabulary, the weights' bytes."""
    config, params, tokenizer = checkpoint.load(directory)
    weights = b"".join(array.tobytes() for _, array in P.walk(params))
    return config, tokenizer and tokenizer.fingerprint, weights


BEFORE = [
    nothing, ours, ours_with_another_end, ours_with_other_heads, ours_with_another_vocabulary, theirs,
    theirs_in_shards, theirs_with_one_vocabulary_file, theirs_with_added_tokens,
]  # fmt: skip


@pytest.mark.parametrize("before", BEFORE)
def test_wherever_the_machine_stops(tmp_path, monkeypatch, before):
    params = new_params(seed=1)
    before(tmp_path / "old")
    old = None if before is nothing else seen(tmp_path / "old")
    checkpoint.save(tmp_path / "new", CONFIG, params, OLD)
    new, found = seen(tmp_path / "new"), set()
    for last in range(100):
        directory = tmp_path / str(last)
        shutil.copytree(tmp_path / "old", directory)
        with monkeypatch.context() as patch:
            machine = Machine(patch, last)
            try:
                checkpoint.save(directory, CONFIG, params, OLD)
            except Stopped:
                pass
        found.add(state(directory, old, new))
        if not machine.stopped:
            break
    assert state(directory, old, new) == "new" and last > 10
    assert found == {nothing: {"refused", "new"}, ours: {"old", "new"}}.get(before, {"old", "refused", "new"})


def state(directory, old, new):
    try:
        got = seen(directory)
    except FileError as error:
        assert "expected config.json in it, found none" in str(error) and "\n" not in str(error)
        return "refused"
    assert got in (old, new), "a mixture of two models opens"
    return "old" if got == old else "new"


def test_a_broken_save_is_saved_again(tmp_path, monkeypatch):
    theirs(tmp_path / "a")
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        Machine(patch, 9)
        checkpoint.save(tmp_path / "a", CONFIG, new_params(seed=1), NEW)
    with pytest.raises(FileError, match="saving a model in it broke off: save it again"):
        checkpoint.load(tmp_path / "a")
    checkpoint.save(tmp_path / "a", CONFIG, new_params(seed=1), NEW)
    assert seen(tmp_path / "a")[1] == NEW.fingerprint


def test_vocabulary_files_of_the_old_model_go(tmp_path):
    for before in (theirs_with_one_vocabulary_file, theirs_with_added_tokens):
        directory = tmp_path / before.__name__
        before(directory)
        if before is theirs_with_one_vocabulary_file:
            with pytest.raises(InputError, match="holds tokenizer.json of an earlier model"):
                checkpoint.save(directory, CONFIG, new_params())
        checkpoint.save(directory, CONFIG, new_params(), NEW)
        assert sorted(os.listdir(directory)) == ["config.json", "merges.txt", "model.safetensors", "vocab.json"]
        assert seen(directory)[1] == NEW.fingerprint


def test_a_body_that_fails_changes_nothing(tmp_path):
    texts = {"door": "new", "small": "new"}
    for name in ("door", "small", "large", "stale"):
        (tmp_path / name).write_text("old")
    with pytest.raises(ZeroDivisionError), replacing_together(tmp_path, "door", texts, "large", ["stale"]) as part:
        part.write_text("new")
        1 / 0  # noqa: B018
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(
        ("door", "small", "large", "stale"), "old"
    )
    with replacing_together(tmp_path, "door", texts, "large", ["stale"]) as part:
        part.write_text("new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {**texts, "large": "new"}
