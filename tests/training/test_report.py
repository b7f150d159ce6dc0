"""log.csv: a log never stops a run, whatever has become of it."""

import csv
import os
from pathlib import Path

import pytest

from nanogpt_np.training import report
from nanogpt_np.training.report import Log


def write(path, n=4):
    log = Log(path)
    for step in range(1, n + 1):
        log.add(step=step, tokens=100 * step, lr=0.1, train_loss=1.0 / step, seconds=float(step))
    return log


def test_log_forgets_what_is_done_again(tmp_path):
    write(tmp_path / "log.csv", 3)
    again = Log.load(tmp_path / "log.csv", last_step=2)
    assert [row["step"] for row in again.rows] == ["1", "2"] and again.seconds == 2.0
    again.add(step=3, seconds=9.0)
    with open(tmp_path / "log.csv") as file:
        assert [row["seconds"] for row in csv.DictReader(file)] == ["1", "2", "9"]


def test_a_log_with_nothing_damaged_says_nothing(tmp_path, capsys):
    for last_step in (0, 2, 9):
        write(tmp_path / "log.csv")
        assert len(Log.load(tmp_path / "log.csv", last_step).rows) == min(last_step, 4)
        assert Log.load(tmp_path / "none.csv", last_step).rows == []
    assert capsys.readouterr().err == ""


GOOD = "step,tokens,lr,train_loss,grad_norm,held_out_loss,held_out_bits_per_byte,seconds\n1,100,0.1,1,,,,1\n"


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\n", b"\xff", b"\0" * 99, b"step\n1\n", GOOD.encode()[:-12], GOOD.replace("1,100", "x,100").encode(),
        GOOD.replace(",1\n", ",1,5\n").encode(), GOOD.replace(",1\n", ",\n").encode(), GOOD.encode()[10:],
        GOOD.replace(",1\n", ",1.x\n").encode(), GOOD.replace(",1\n", ",nan\n").encode(), GOOD.encode() + b'2,"3\r4',
        GOOD.replace("\n1,", "\n-1,").encode(), GOOD.encode() + b"2,\r,3", GOOD.replace("loss", "l\ross", 1).encode(),
        GOOD.replace("0.1", "9" * 200_000).encode(),
    ],
)  # fmt: skip
def test_a_damaged_log_is_set_aside(tmp_path, capsys, content):
    path = tmp_path / "log.csv"
    path.write_bytes(content)
    log = Log.load(path, 9)
    said = capsys.readouterr().err
    assert said.startswith("nanogpt-np: ") and said.endswith("called log.damaged.csv now, and a new one begins\n")
    assert said.count("\n") == 1 and len(said) < 600 and not path.exists()
    assert (tmp_path / "log.damaged.csv").read_bytes() == content
    log.add(step=7, seconds=1.0)
    assert [row["step"] for row in Log.load(path, 9).rows] == ["7"]


def test_any_bit_of_a_log_may_turn(tmp_path, capsys):
    """Each seventh: the rows are read, or set aside; what is left can be added to, and drawn."""
    write(tmp_path / "log.csv", 2)
    good = (tmp_path / "log.csv").read_bytes()
    for place in range(0, 8 * len(good), 7):
        bad = bytearray(good)
        bad[place // 8] ^= 1 << place % 8
        (tmp_path / "log.csv").write_bytes(bad)
        log = Log.load(tmp_path / "log.csv", 9)
        assert log.seconds >= -9 and len(log.series("tokens", "train_loss")) == 2
        (tmp_path / "log.damaged.csv").unlink(missing_ok=True)


def test_several_damaged_logs_have_several_names(tmp_path, capsys):
    for _ in range(3):
        (tmp_path / "log.csv").write_text("x")
        Log.load(tmp_path / "log.csv", 9)
    assert sorted(os.listdir(tmp_path)) == ["log.damaged-2.csv", "log.damaged-3.csv", "log.damaged.csv"]


def test_what_is_no_file_at_all_is_set_aside_too(tmp_path, capsys):
    path = tmp_path / "log.csv"
    path.mkdir()
    assert Log.load(path, 9).rows == [] and (tmp_path / "log.damaged.csv").is_dir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(path)  # to read it would take for ever
        assert Log.load(path, 9).rows == [] and not path.exists()
    assert capsys.readouterr().err.count("\n") >= 1


def test_a_log_that_cannot_be_written_is_said_once(tmp_path, capsys):
    log = Log(tmp_path / "none" / "log.csv")
    for step in (1, 2):
        log.add(step=step, seconds=1.0)
    said = capsys.readouterr().err
    assert "log.csv: cannot be written" in said and said.endswith("the run goes on without its log\n")
    assert said.count("\n") == 1
    Path(log.path).parent.mkdir()
    log.add(step=3, seconds=1.0)
    assert [row["step"] for row in Log.load(log.path, 9).rows] == ["1", "2", "3"]


def test_columns_are_what_a_row_has():
    assert report.COLUMNS[0] == "step" and report.COLUMNS[-1] == "seconds"  # what a run needs of its log
