"""What a page gets is what lens/ and these tests' own pass say, through JSON and back; bad questions are one line."""

import base64
import json

import numpy as np
import pytest

pytest.importorskip("starlette")
from lens.reference import forward, softmax

from nanogpt_np import GPT, GPTConfig, lens
from nanogpt_np.errors import InputError
from nanogpt_np.explore import answers, asked, models, packed
from nanogpt_np.explore.export import OneModel

TEXT = "the cat sat on the mat"


@pytest.fixture(scope="module")
def gpt(make_gpt):
    made = make_gpt()
    return models.Watched(made.config, made.params, made.tokenizer)


@pytest.fixture(scope="module")
def ask(gpt):
    """ask(name, **fields): the answer as a page has it, arrays as arrays."""

    def asked_for(name, /, **fields):
        body = json.loads(json.dumps(fields if name in ("compare", "neighbours") else {"prompt": TEXT, **fields}))
        answer = answers.answer(OneModel(gpt), name, body)
        return unpacked(json.loads(json.dumps(answer, allow_nan=False)))

    return asked_for


def unpacked(value):
    if isinstance(value, dict) and ("f4" in value or "u1" in value):
        kind = "<f4" if "f4" in value else "u1"
        return np.frombuffer(base64.b64decode(value[kind[-2:]]), kind).reshape(value["shape"])
    if isinstance(value, dict):
        return {name: unpacked(item) for name, item in value.items()}
    return [unpacked(item) for item in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def wanted(gpt):
    return forward(gpt.params, gpt.config, gpt.tokenizer.encode(TEXT))


def near(actual, expected, scale=1.0):
    """1e-4: float32 against float64, through two blocks of weights that are large on purpose."""
    np.testing.assert_allclose(np.asarray(actual, np.float64), expected, rtol=1e-3, atol=1e-4 * scale)


def test_arrays_and_numbers_come_back_as_they_went(gpt):
    values = np.array([[1.5, -0.1], [np.nan, -np.inf]], np.float32)
    assert np.array_equal(unpacked(packed.array(values)), values, equal_nan=True)
    assert packed.number(np.float32(0.1)) == 0.100000001 and packed.number(float("nan")) is None
    assert np.float32(packed.number(np.float32(1 / 3))) == np.float32(1 / 3)


def test_small_pictures_of_attention_keep_the_largest(gpt):
    probs = np.random.default_rng(0).random((2, 3, 11, 11))
    small = packed.thumbnails(probs, 4)
    assert small["step"] == 3 and small["shape"] == [2, 3, 4, 4]
    found = unpacked({"shape": small["shape"], "u1": small["u1"]})
    for row in range(4):
        for column in range(4):
            square = probs[:, :, 3 * row : 3 * row + 3, 3 * column : 3 * column + 3]
            assert np.array_equal(found[:, :, row, column], np.round(255 * square.max(axis=(-1, -2))))
    assert packed.thumbnails(probs, 11)["step"] == 1


def test_the_first_picture(ask, gpt, wanted):
    found, ids = ask("look"), gpt.tokenizer.encode(TEXT)
    assert found["ids"] == ids and found["text"] == TEXT and found["model"] == {"id": "model", "stamp": "open"}
    assert "".join(found["tokens"]).replace("␣", " ") == TEXT
    near(found["stream"]["norms"], np.linalg.norm(wanted["stream"], axis=-1))
    near(found["stream"]["added"], np.linalg.norm(np.diff(wanted["stream"], axis=0), axis=-1))
    probs = softmax(wanted["logits"])
    near(found["losses"][1:], -np.log(probs[np.arange(len(ids) - 1), ids[1:]]))
    assert np.isnan(found["losses"][0])
    assert np.abs(found["attention"] / 255 - wanted["probs"]).max() <= 0.5 / 255 + 1e-4
    near(found["lens"]["probs"][-1], probs.max(axis=-1))
    assert found["lens"]["ids"][-1] == probs.argmax(axis=-1).tolist()
    order = np.argsort(-probs[-1])[:20]
    assert found["next"]["ids"] == order.tolist() and found["next"]["position"] == len(ids) - 1
    near(found["next"]["probs"], probs[-1][order])
    near(found["next"]["logits"], wanted["logits"][-1][order])
    near(found["heads"]["previous"], np.diagonal(wanted["probs"], -1, 2, 3).mean(-1))
    near(found["ffn"]["on"], (wanted["pre_gelu"] > 0).mean(-1))
    near(found["ffn"]["values"], np.sort(wanted["hidden"], axis=-1)[..., ::-1][..., :3])


def test_a_text_of_one_token_has_no_kinds_of_heads(ask):
    found = ask("look", prompt=[5])
    assert found["heads"] is None and found["tokens"] == ["\\x05"] and found["text"] == "\x05"


def test_one_head(ask, wanted):
    found = ask("head", layer=1, head=0)
    near(found["scores"], wanted["scores"][1, 0], 10)
    near(found["scaled"], wanted["scores"][1, 0] / np.sqrt(8), 10)
    near(found["probs"], wanted["probs"][1, 0])
    later = np.triu(np.ones(found["masked"].shape, bool), 1)
    assert np.all(found["masked"][later] == -np.inf)
    assert np.array_equal(found["masked"][~later], found["scaled"][~later])
    near(found["q"] @ found["k"].T, wanted["scores"][1, 0], 10)
    near(found["mixed"], found["probs"] @ found["v"])


def test_arrays_and_cells_are_those_of_lens(ask, gpt):
    found = ask("array", name="blocks.1.ffn.hidden", index=[-1])
    view = lens.array_view(gpt, TEXT, "blocks.1.ffn.hidden", [-1])
    assert found["shape"] == list(view.shape) and np.array_equal(found["array"], view.array)
    cell = ask("cell", name="blocks.1.ffn_out", index=[2, 3], top=4)
    whole = lens.cell_view(gpt, TEXT, "blocks.1.ffn_out", (2, 3))
    terms = cell["terms"]
    assert cell["n_terms"] == 64 and len(terms["product"]) == 4 and cell["value"] == packed.number(whole.value)
    assert terms["places"] == whole.largest(4).tolist()
    for a, b, product in zip(terms["a"], terms["b"], terms["product"], strict=True):
        assert product == pytest.approx(a * b, rel=1e-6)
    everything = sum(terms["product"]) + cell["rest"] + cell["bias"]
    assert everything == pytest.approx(cell["sum"], abs=1e-6) and cell["sum"] == pytest.approx(cell["value"], abs=1e-5)
    assert cell["inputs"][0] == {"name": "blocks.1.ffn.hidden", "index": [2, None]}


def test_next_neurons_attribution_neighbours_tokens(ask, gpt, wanted):
    probs = softmax(wanted["logits"])
    assert ask("next", position=2, k=3)["ids"] == np.argsort(-probs[2])[:3].tolist()
    units = ask("neurons", layer=1, k=2)
    assert units["strongest"] == np.argsort(-wanted["hidden"][1], axis=-1)[:, :2].tolist()
    parts = ask("attribution")
    best = int(wanted["logits"][-1].argmax())
    assert parts["token_id"] == best
    near([parts["total"], parts["sum"]], [wanted["logits"][-1, best]] * 2)
    heads = parts["heads"].sum() + parts["ffn"].sum() + parts["attention_bias"].sum()
    rest = parts["token_embedding"] + parts["position_embedding"] + parts["final_bias"]
    near(heads + rest, parts["total"])
    rows = gpt.params["wte"]["weight"].astype(np.float64)
    cosines = rows @ rows[7] / np.linalg.norm(rows, axis=1) / np.linalg.norm(rows[7])
    order = [i for i in np.argsort(-cosines) if i != 7][:4]
    close = ask("neighbours", token=7, k=4)
    assert close["ids"] == order
    near(close["similarities"], cosines[order])
    pieces = ask("tokens")
    assert pieces["ids"] == gpt.tokenizer.encode(TEXT) == [i for chunk in pieces["chunks"] for i in chunk["ids"]]
    for chunk in pieces["chunks"]:
        assert bytes(chunk["bytes"]).decode() == chunk["text"]
        assert not chunk["merges"] or chunk["merges"][-1]["parts"] == chunk["tokens"]


def test_the_loss_backwards(ask, gpt):
    found, view = ask("gradients", position=2), lens.gradients_view(gpt, TEXT, 2)
    assert found["loss"] == packed.number(view.loss) and found["names"] == view.names
    assert np.array_equal(found["norms"], view.norms.astype(np.float32))
    assert set(found["params"]) == set(view.params)
    for name in ("through", "times_ffn"):
        assert np.array_equal(found[name], getattr(view, name).astype(np.float32))
    wanted = lens.pattern_gradients(gpt, TEXT, view)
    limit = np.abs(wanted).max()
    assert found["patterns"].shape == wanted.shape  # so short a text needs no squares
    assert np.abs((found["patterns"].astype(int) - 128) / 127 * limit - wanted).max() <= limit / 254 * 1.001


def test_small_pictures_of_signed_numbers_keep_the_furthest_from_zero():
    values = np.random.default_rng(1).normal(size=(2, 2, 11, 11))
    small = packed.signed_thumbnails(values, 4)
    found, limit = unpacked({"shape": small["shape"], "u1": small["u1"]}).astype(int) - 128, np.abs(values).max()
    assert small["step"] == 3 and small["limit"] == packed.number(limit) and np.abs(found).max() == 127
    for row in range(4):
        for column in range(4):
            square = values[:, :, 3 * row : 3 * row + 3, 3 * column : 3 * column + 3].reshape(2, 2, -1)
            furthest = np.take_along_axis(square, np.abs(square).argmax(-1)[..., None], -1)[..., 0]
            assert np.array_equal(found[:, :, row, column], np.round(127 * furthest / limit))
    assert packed.signed_thumbnails(np.zeros((1, 1, 2, 2)), 4)["limit"] == 0


def kept_by(logits, temperature, top_k, top_p, min_p):
    """Which ids each stage leaves, one at a time, in plain loops."""
    logits, left, stages = logits / temperature, list(range(len(logits))), []
    if top_k:
        least = sorted(logits[left])[-top_k]
        left = [i for i in left if logits[i] >= least]
        stages.append(left)
    if top_p:
        probs, mass, chosen = dict(zip(left, softmax(logits[left]), strict=True)), 0.0, []
        for i in sorted(left, key=lambda i: -logits[i]):
            if mass < top_p:
                chosen.append(i)
            mass += probs[i]
        left = chosen
        stages.append(left)
    if min_p:
        probs = softmax(logits[left])
        left = [i for i, p in zip(left, probs, strict=True) if p >= min_p * probs.max()]
        stages.append(left)
    return stages, dict(zip(left, softmax(logits[left]), strict=True))


def test_what_each_stage_of_sampling_removes(ask, gpt, wanted):
    asked_for = {"temperature": 1.4, "top_k": 60, "top_p": 0.9, "min_p": 0.05}
    found = ask("sampling", **asked_for, k=100)
    stages, final = kept_by(wanted["logits"][-1], **asked_for)
    assert found["names"] == ["raw", "temperature 1.4", "top-k 60", "top-p 0.9", "min-p 0.05"]
    assert [stage["n_left"] for stage in found["stages"]] == [300, 300, *map(len, stages)]
    assert sum(stage["removed"] for stage in found["stages"]) == 300 - len(final)
    near(found["logits"], wanted["logits"][-1])
    for column, token in enumerate(found["ids"]):
        near(found["probs"][-1, column], final.get(token, 0.0))
        gone = [name for name, left in zip(found["names"][2:], stages, strict=True) if token not in left]
        assert found["removed_by"][column] == (gone[0] if gone else None)
    assert ask("sampling")["names"] == ["raw"] == ask("sampling", top_k=0, min_p=0, top_p=None)["names"]
    assert ask("sampling", temperature=0)["stages"][-1]["n_left"] == 1


def test_a_generation_step_by_step(ask, gpt):
    found = ask("generate", n_new=5, seed=3, temperature=0.8, top_k=20)
    ids = gpt.tokenizer.encode(TEXT)
    said = gpt.generate(ids, 5, temperature=0.8, top_k=20, seed=3)
    assert [step["id"] for step in found["steps"]] == said and found["text"] == gpt.tokenizer.decode(said)
    assert [step["cache"]["length"] for step in found["steps"]] == [len(ids) + n for n in range(len(said))]
    assert [step["cache"]["new"] for step in found["steps"]] == [len(ids), *[1] * (len(said) - 1)]
    for n, step in enumerate(found["steps"]):
        again = ask("sampling", prompt=ids + said[:n], temperature=0.8, top_k=20, k=8)
        near(step["candidates"]["probs"], again["probs"][-1])
        assert step["candidates"]["ids"] == again["ids"] and step["cache"]["flops"] < step["cache"]["flops_without"]
    assert found["cache"]["bytes_per_token"] == 2 * 2 * 16 * 4


def test_what_is_in_the_cache_is_not_made_anew(gpt):
    """The keys and values that a longer text has for its beginning are those that were kept: equal to rounding."""
    ids = gpt.tokenizer.encode(TEXT)
    _, longer = gpt(ids, keep_acts=True)
    _, shorter = gpt(ids[:-1], keep_acts=True)
    for more, less in zip(longer.blocks, shorter.blocks, strict=True):
        np.testing.assert_allclose(more.attn.k[:, :, :-1], less.attn.k, rtol=1e-4, atol=1e-5)


def test_the_cost_of_the_next_token(ask, gpt):
    found, view = ask("cache"), lens.cost_view(gpt.config, len(gpt.tokenizer.encode(TEXT)))
    assert found["flops"] == view.flops == sum(part["flops"] for part in found["parts"])
    near(found["growth"], lens.cache_growth(gpt.config))


def test_two_sides(ask, gpt):
    side = {"prompt": TEXT}
    found = ask("compare", a=side, b={**side, "ablate": [[1, 0]]})
    other = lens.ablate(gpt, TEXT, 1, head=0)
    probs = softmax(other.logits[-1].astype(np.float64))
    near(found["next"]["b"], probs[found["next"]["ids"]])
    near(found["next"]["logits_b"], other.logits[-1, found["next"]["ids"]])
    assert found["aligned"] and found["kl"][-1] > 0 and found["stream"]["names"][0] == "embedded"
    assert not found["stream"]["relative"][:3].any() and found["stream"]["relative"][3].any()  # from L1.attn on
    shorter = ask("compare", a=side, b={"prompt": "the cat"})
    assert not shorter["aligned"] and shorter["kl"] is None and shorter["b"]["tokens"] == ["the", "␣cat"]
    near(shorter["loss_a"], np.nanmean(shorter["losses_a"]))


def test_a_pass_is_computed_once(gpt, monkeypatch):
    calls = []
    forward_once = GPT.__call__
    monkeypatch.setattr(GPT, "__call__", lambda self, ids, **how: calls.append(ids) or forward_once(self, ids, **how))
    for name in ("look", "head", "next"):
        answers.answer(OneModel(gpt), name, {"prompt": "the hat"})
    assert len(calls) == 1
    first = gpt([1, 2], keep_acts=True)
    with pytest.raises(ValueError, match="read-only"):
        first[1].blocks[0].attn.q[:] = 0
    for start in range(20):
        gpt([start, 1], keep_acts=True)
    assert len(gpt._passes) == models.PASSES


@pytest.mark.parametrize("name, fields, said", [
    ("look", {"prompt": "a" * 40}, "n_ctx = 24"), ("look", {"prompt": 5}, "prompt: expected text"),
    ("look", {"prompt": None}, "prompt: expected text"), ("look", {"prompt": []}, "at least one token"),
    ("look", {"prompt": [1, 300]}, "ids: expected 0 to 299"), ("look", {"prompt": [[1]]}, "prompt: expected"),
    ("look", {"prompt": "a\ud800"}, "lone surrogate"), ("look", {"layer": 1}, "body: expected"),
    ("look", {"ops": "float16"}, "ops: expected"), ("look", {"ops": ["int8"]}, "ops: expected"),
    ("head", {"layer": 2}, "layer: expected"), ("head", {"head": "0"}, "head: expected"),
    ("next", {"position": 99}, "position: expected"), ("next", {"k": 0}, "k: expected"),
    ("cell", {"name": "x", "index": [0, 0], "top": 1e9}, "top: expected"), ("cell", {}, "name: expected"),
    ("array", {"name": "x", "index": {}}, "index: expected"), ("generate", {"n_new": 65}, "n_new: expected"),
    ("generate", {"seed": -1}, "seed: expected"), ("generate", {"temperature": "hot"}, "temperature: expected"),
    ("sampling", {"top_p": 2}, "top_p: expected"), ("sampling", {"top_k": "9"}, "top_k: expected"),
    ("neurons", {"k": 10**6}, "k: expected"), ("attribution", {"token": 9999}, "token: expected"),
    ("compare", {"a": {"prompt": TEXT}}, "b: expected"), ("compare", {"a": 1, "b": 2}, "a: expected"),
    ("compare", {"a": {"prompt": TEXT}, "b": {"prompt": TEXT, "ablate": 3}}, "ablate: expected"),
    ("compare", {"a": {"prompt": TEXT}, "b": {"prompt": TEXT, "ablate": [3]}}, "without: expected"),
    ("neighbours", {"token": -1}, "token: expected"), ("neighbours", {"token": None}, "token: expected"),
    ("gradients", {"prompt": [1]}, "at least two tokens"), ("tokens", {"prompt": [1, 2]}, "prompt: expected a text"),
])  # fmt: skip
def test_a_bad_question_is_one_line(gpt, name, fields, said):
    body = fields if name in ("compare", "neighbours") else {"prompt": TEXT, **fields}
    with pytest.raises(InputError, match=said) as caught:
        answers.answer(OneModel(gpt), name, body)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize("body", [None, [], "look", 3])
def test_a_question_is_an_object(gpt, body):
    for name in answers.NAMES[1:]:
        with pytest.raises(InputError, match="body: expected"):
            answers.answer(OneModel(gpt), name, body)


def test_a_text_that_memory_is_not_enough_for_is_refused(gpt, monkeypatch):
    monkeypatch.setattr(asked, "MOST_BYTES", 10_000)
    with pytest.raises(asked.TooLong, match="shorten the text"):
        answers.answer(OneModel(gpt), "look", {"prompt": TEXT})
    assert asked.pass_bytes(GPTConfig(), 1024) > 1 << 30


def test_an_array_larger_than_an_answer_is_refused(gpt, monkeypatch):
    monkeypatch.setattr(asked, "MOST_NUMBERS", 300)
    with pytest.raises(InputError, match="leaves at most 300 numbers"):
        answers.answer(OneModel(gpt), "array", {"prompt": TEXT, "name": "logits", "index": []})
    answers.answer(OneModel(gpt), "array", {"prompt": TEXT, "name": "logits", "index": [0]})


@pytest.mark.slow
def test_float_beside_int8(ask, gpt):
    pytest.importorskip("numba")
    found = ask("compare", a={"prompt": TEXT}, b={"prompt": TEXT, "ops": "int8"})
    view = lens.rounding_view(gpt, GPT(gpt.config, gpt.params, gpt.tokenizer, "int8"), TEXT)
    near(found["stream"]["relative"], view.errors)
    near(found["furthest"], view.logits)
    assert found["agree"] == view.agree.tolist()
    with pytest.raises(InputError, match="expected float weights, got int8"):
        ask("cell", ops="int8", name="x", index=[0, 0])
