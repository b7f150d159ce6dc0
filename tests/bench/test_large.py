"""The measurement of the largest shape, from end to end with a tiny one. No time is ever asserted."""

import shutil
from collections import namedtuple

import numpy as np

from nanogpt_np import GPT
from nanogpt_np import params as P
from nanogpt_np.bench import large as room
from nanogpt_np.bench import ours as bench_ours
from nanogpt_np.bench.suites import SUITES, Bench, BenchOptions, tables

TINY = bench_ours.SIZES["tiny"]


def test_shards_hold_a_whole_model_of_any_size(tmp_path):
    assert room.ShardMaker({"directory": str(tmp_path / "m")}).run({"size": "tiny"}) == {"shards": 3}
    assert len(list((tmp_path / "m").glob("model-0000?-of-00003.safetensors"))) == 3
    gpt = GPT.from_pretrained(tmp_path / "m", ops="numpy")
    named = dict(P.walk(gpt.params))
    assert gpt.config == TINY and list(named) == list(P.shapes(TINY))
    assert abs(named["h.1.mlp.c_fc.weight"].std() - 0.02) < 0.002 and (named["h.1.ln_1.weight"] == 1).all()
    assert not np.array_equal(named["h.0.attn.c_attn.weight"], named["h.1.attn.c_attn.weight"])


def test_the_published_shape_is_meant():
    assert P.size(room.config_of(room.NAME)) == 1_557_611_200


def test_our_engines_from_end_to_end(monkeypatch, tmp_path):
    monkeypatch.setattr(room, "ENGINES", ["numpy"])
    bench = Bench(BenchOptions(("large",), size="tiny", runs=2), 1, tmp_path, pause=0.0)
    opened, token = tables(bench)
    assert (opened.title, token.title, token.unit) == ("large: to open", "large: a token", "s")
    for table, n_values in ((opened, 1), (token, 2)):
        (row,) = table.rows
        assert row.engine == "numpy" and not row.note and len(row.values) == n_values
        assert row.values[0] > 0 and row.peak_mib > 0


def test_without_room_on_the_disk_nothing_is_written(monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: namedtuple("usage", "free")(1_000_000_000))
    (table,) = tables(Bench(BenchOptions(("large",)), 1, tmp_path, pause=0.0))
    assert "6.2 GB in shards" in table.setting and not table.rows and not list(tmp_path.iterdir())
    assert "1.0 GB are free" in table.notes[0] and "TMPDIR" in table.notes[0]


def test_it_is_measured_only_by_name():
    assert "large" not in SUITES
    BenchOptions(("large",))
