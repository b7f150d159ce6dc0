"""A run's folder: one process at a time, what may lie in it, what is cleaned away, and what training.json says."""

import dataclasses
import hashlib
import json
import os
import threading
import types
from pathlib import Path

import pytest
from runs import write_stories

from nanogpt_np import GPT, files, ops
from nanogpt_np.cli import main
from nanogpt_np.storage import adapter, checkpoint
from nanogpt_np.training import folder, loop
from nanogpt_np.training.folder import resume_options
from nanogpt_np.training.loop import train
from nanogpt_np.training.options import TrainOptions

MODEL, STATE = "model.safetensors", "training_state.safetensors"


def options(tmp_path, out="run", **changes):
    settings = dict(n_vocab=270, n_ctx=8, n_embd=8, n_layer=1, n_head=2, steps=3, batch_size=2, warmup=1,
                    eval_every=2, log_every=1, held_out=0.1)  # fmt: skip
    text = tmp_path / "stories.txt"
    text = str(text) if text.exists() else write_stories(text, n=60)
    return TrainOptions([text], str(tmp_path / out), **settings | changes)


def start(run, resume=False, ops=ops):
    return train(resume_options(run.out) if resume else run, ops, resume, progress=False)


# ---- one process at a time


def test_the_second_of_two_starts_is_told_before_anything_is_read(tmp_path, monkeypatch):
    """The first one is held where it reads its text; flock counts open files, so one process can stand for two."""
    reading, go_on = threading.Event(), threading.Event()
    read = loop.data.read_documents

    def slowly(*arguments):
        reading.set()
        assert go_on.wait(60)
        return read(*arguments)

    monkeypatch.setattr(loop.data, "read_documents", slowly)
    first = options(tmp_path, seed=1)
    thread = threading.Thread(target=start, args=(first,))
    thread.start()
    try:
        assert reading.wait(60)
        with pytest.raises(ValueError, match="run: another process is training here"):
            start(options(tmp_path, seed=2))
    finally:
        go_on.set()
        thread.join(60)
    assert resume_options(first.out).seed == 1
    alone = options(tmp_path, out="alone", seed=1)
    start(alone)
    assert (Path(first.out) / MODEL).read_bytes() == (Path(alone.out) / MODEL).read_bytes()


def test_the_lock_is_one_file_for_good(tmp_path):
    run = options(tmp_path)
    with folder.held(run.out, resume=False):
        inode = (Path(run.out) / folder.LOCK).stat().st_ino
    start(run)
    start(run, resume=True)
    assert (Path(run.out) / folder.LOCK).stat().st_ino == inode


def test_a_folder_that_is_not_ours_gets_no_lock(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / STATE).write_text("dear")
    with pytest.raises(ValueError, match="expected an empty folder or none, got one with other files"):
        start(options(tmp_path, out="home"))
    with pytest.raises(ValueError, match=r"expected a training run \(training.json\) to resume, found none"):
        start(options(tmp_path, out="home"), resume=True)
    assert [path.name for path in home.iterdir()] == [STATE]


# ---- what killed runs leave


def test_a_start_that_was_killed_before_training_json_is_no_obstacle(tmp_path, capsys):
    out = tmp_path / "run"
    out.mkdir()
    (out / ".training.json.bs2ks22w.part").write_text("{")
    assert main(["train", "--resume", "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert "start a new one without --resume" in said and said.count("\n") == 1
    start(options(tmp_path))
    assert not list(out.glob(".*"))


def test_unfinished_files_go_and_others_stay(tmp_path):
    run = options(tmp_path)
    start(run)
    out = Path(run.out)
    for name in folder.FILES:
        with pytest.raises(KeyboardInterrupt), files.replacing(out / name) as part:
            raise KeyboardInterrupt
        part.touch()
        part.with_suffix(".part.kept").touch()  # the same name and more
    (out / ".letter.txt.abcdefgh.part").touch()
    n = len(folder.FILES)
    assert len(list(out.glob(".*.part"))) == n + 1
    start(run, resume=True)
    assert [path.name for path in out.glob(".*.part")] == [".letter.txt.abcdefgh.part"]
    assert len(list(out.glob(".*.kept"))) == n


def test_everything_a_run_writes_is_known(tmp_path):
    run = options(tmp_path, sample=["the"])
    start(run)
    written = {path.name for path in Path(run.out).rglob("*") if path.is_file()}
    assert written == {folder.LOCK, *folder.FILES} - {adapter.WEIGHTS, adapter.CONFIG}  # which a LoRA's run writes


def test_a_finished_model_without_its_state_is_not_begun_again(tmp_path, capsys):
    run = options(tmp_path)
    start(run)
    (Path(run.out) / STATE).unlink()
    before = {path: path.read_bytes() for path in Path(run.out).rglob("*") if path.is_file()}
    capsys.readouterr()
    assert main(["train", "--resume", "--out", run.out]) == 2
    said = capsys.readouterr().err
    assert "expected training_state.safetensors beside model.safetensors, found none" in said
    assert "copy it back, or start a new run in another --out" in said and said.count("\n") == 1
    assert {path: path.read_bytes() for path in Path(run.out).rglob("*") if path.is_file()} == before


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_again(tmp_path):
    run = options(tmp_path)
    start(run)
    expected = (Path(run.out) / MODEL).read_bytes()
    for name in (STATE, MODEL):
        (Path(run.out) / name).unlink()
    start(run, resume=True)
    assert (Path(run.out) / MODEL).read_bytes() == expected


# ---- training.json


def test_every_bit_of_training_json_counts(tmp_path):
    """Each seventh, which is each bit of a byte in turn, in a short file of the same kind as a run's."""
    folder.write(tmp_path, {"options": {"lr": 0.5, "steps": 7}, "data_sha256": "0a", "own_ops": None, "version": "1"})
    path = tmp_path / folder.NAME
    good, about = path.read_bytes(), folder.read(tmp_path)
    for place in range(0, 8 * len(good), 7):
        bad = bytearray(good)
        bad[place // 8] ^= 1 << place % 8
        path.write_bytes(bad)
        try:
            assert folder.read(tmp_path) == about, bytes(bad)  # white space between values may change
        except ValueError as error:
            assert "training.json: expected " in str(error) and "\n" not in str(error)


def test_training_json_of_earlier_versions_is_read(tmp_path):
    run = options(tmp_path)
    start(run)
    path = Path(run.out) / folder.NAME
    about = json.loads(path.read_text())
    path.write_text(json.dumps({name: about[name] for name in ("options", "data_sha256", "version")}))
    start(run, resume=True)


def test_training_json_that_says_nonsense(tmp_path, capsys):
    run = options(tmp_path)
    start(run)
    path = Path(run.out) / folder.NAME
    good = json.loads(path.read_text())

    def check(about, expected, checksum=True):
        path.write_text(json.dumps(about))
        if checksum:
            folder.write(run.out, about)
        capsys.readouterr()
        assert main(["train", "--resume", "--out", run.out]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and f"{path}: expected {expected}" in said and len(said) < 500, said

    check([], "data_sha256, options, version, got []", checksum=False)
    check({"options": {}}, "data_sha256, options, version, got {", checksum=False)
    check(good | {"version": "9"}, "what its checksum was made of", checksum=False)
    check({name: value for name, value in good.items() if name != "sha256"}, "what its checksum", checksum=False)
    check(good | {"options": 5}, "the options of a run, got: ")
    check(good | {"options": good["options"] | {"wings": 2}}, "the options of a run, got: ")


# ---- the text


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_text_from_a_pipe_is_read_once(tmp_path):
    run = options(tmp_path)
    text = Path(run.data[0])
    run.data = [str(tmp_path / "pipe")]
    os.mkfifo(run.data[0])
    writer = threading.Thread(target=Path(run.data[0]).write_bytes, args=(text.read_bytes(),))
    writer.start()
    start(run)
    writer.join(60)
    os.unlink(run.data[0])
    with pytest.raises(ValueError, match="pipe: expected the text this run began with, found none; name it by --data"):
        resume_options(run.out)
    assert folder.read(run.out)["data_sha256"] == hashlib.sha256(text.read_bytes()).hexdigest()
    again = resume_options(run.out, [text])
    train(again, ops, resume=True, progress=False)


def test_several_files_are_one_text(tmp_path):
    """The hash of all bytes in order, as earlier versions made it."""
    run = options(tmp_path)
    whole = Path(run.data[0]).read_bytes()
    (tmp_path / "more").write_bytes(b"\xef\xbb\xbfwe said no\r\n")
    run.data.append(str(tmp_path / "more"))
    start(run)
    expected = hashlib.sha256(whole + (tmp_path / "more").read_bytes()).hexdigest()
    assert folder.read(run.out)["data_sha256"] == expected


# ---- ops of one's own


def test_a_run_with_ops_of_ones_own_says_so(tmp_path, capsys):
    own = types.ModuleType("my_ops")
    vars(own).update({name: value for name, value in vars(ops).items() if not name.startswith("__")})
    run = options(tmp_path)
    start(run, ops=own)
    with pytest.raises(ValueError, match="the ops that this run began with, the module my_ops, got numpy or numba; go"):
        start(run, resume=True)
    start(run, resume=True, ops=own)
    # the model knows too
    expected = "trained with the ops of the module my_ops, opened with nanogpt_np.ops, which may compute something else"
    with pytest.warns(UserWarning, match=expected):
        opened = GPT.from_pretrained(run.out, ops="numpy")
    GPT.from_pretrained(run.out, ops=own).save(tmp_path / "copy")
    opened.save(tmp_path / "with others")  # they are the same weights still
    for place in (run.out, f"{run.out}/best", tmp_path / "copy", tmp_path / "with others"):
        assert checkpoint.trained_with(place) == "my_ops", place
    capsys.readouterr()
    assert main(["generate", "the", "--model", str(tmp_path / "copy"), "--max-new-tokens", "1"]) == 0
    said = capsys.readouterr().err
    assert "copy: trained with the ops of the module my_ops" in said and said.count("\n") == 1


@pytest.mark.filterwarnings("error")
def test_ops_of_the_package_are_one_definition(tmp_path):
    twin = types.ModuleType("nanogpt_np.kernels")
    vars(twin).update({name: value for name, value in vars(ops).items() if not name.startswith("__")})
    run = options(tmp_path)
    start(run)
    start(run, resume=True, ops=twin)
    GPT.from_pretrained(run.out, ops=twin)
    other = types.ModuleType("other")
    vars(other).update({name: value for name, value in vars(ops).items() if not name.startswith("__")})
    with pytest.raises(ValueError, match="began with, numpy or numba, got the module other"):
        start(run, resume=True, ops=other)


def test_a_file_name_need_not_be_unicode(tmp_path):
    about = {"options": dataclasses.asdict(options(tmp_path)) | {"data": ["\udcff"]}, "data_sha256": "", "version": ""}
    folder.write(tmp_path, about)
    assert folder.read(tmp_path)["options"]["data"] == ["\udcff"]


# ---- files that are none of a run's


def test_files_of_senseless_size_are_not_read(tmp_path):
    """What a run reads again when it goes on; each as a file that claims four gigabytes and takes no space."""
    run = options(tmp_path, sample=["the"])
    start(run)
    too_large = r"expected at most [\d,]+ bytes, got 4,294,967,296"
    for name, message in ((folder.NAME, too_large), ("samples.txt", too_large), ("best/measured.json", "damaged note")):
        path = Path(run.out) / name
        kept = path.read_bytes()
        os.truncate(path, 4 << 30)
        with pytest.raises(files.FileError, match=rf"{name}: .*{message}"):
            start(run, resume=True)
        path.write_bytes(kept)
    start(run, resume=True)
