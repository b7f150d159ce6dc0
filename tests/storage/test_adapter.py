"""adapter.py: PEFT's files and numbers (goldens/make_lora.py), merging and back, and every way to be refused."""

import json

import numpy as np
import pytest
from goldens import measure, recipe
from hostile import one_line
from safetensors.numpy import load_file, save_file
from small import make

from nanogpt_np import GPT
from nanogpt_np import params as P
from nanogpt_np.errors import FileError, InputError
from nanogpt_np.finetuning import lora
from nanogpt_np.storage import adapter as A
from nanogpt_np.storage import checkpoint, conversion

SIZES = recipe.Sizes(n_vocab=37, n_ctx=12, n_embd=16, n_layer=2, n_head=2)  # as in goldens/make_lora.py
SEED, STD = 20210617, 0.15
CONFIG = measure.config_of(SIZES)
CLOSE = 1e-5  # float32 against PEFT in float64: logits of about 3, a hundred sums of 16 to 64 terms
IDS = np.random.default_rng(SEED).integers(0, SIZES.n_vocab, (10, 2, SIZES.n_ctx + 1))


@pytest.fixture(scope="module")
def golden():
    return measure.load("lora")


def base(dtype=np.float32):
    return P.nest({name: array.astype(dtype) for name, array in recipe.weights(SIZES, SEED, STD).items()})


def put(folder, golden, case="all", **changes):
    """PEFT's folder, as it was written; `changes` of its options."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (A.CONFIG, A.WEIGHTS):
        (folder / name).write_bytes(golden[f"{case}/{name}"].tobytes())
    options = json.loads((folder / A.CONFIG).read_text()) | changes
    (folder / A.CONFIG).write_text(json.dumps(options))
    return folder


def model(tmp_path, params=None, config=CONFIG):
    checkpoint.save(tmp_path / "base", config, params or base())
    return tmp_path / "base"


def fresh(seed=0, **settings):
    """An adapter that changes something."""
    rng = np.random.default_rng(seed)
    found = lora.create(CONFIG, rng, **settings)
    for array in found.params.values():
        array += rng.normal(0, 0.1, array.shape).astype(np.float32)
    return found


# ---------------------------------------------------------------- PEFT


@pytest.mark.parametrize("case", ["attention", "all", "one"])
@pytest.mark.parametrize("way", ["plain", "rslora"])
@pytest.mark.parametrize("ops", ["numpy", "numba"])
def test_what_peft_wrote_gives_peft_s_logits(tmp_path, golden, case, way, ops):
    folder = put(tmp_path / "adapter", golden, case, use_rslora=way == "rslora")
    gpt = GPT.from_pretrained(model(tmp_path), ops=ops, adapter=folder)
    np.testing.assert_allclose(gpt(IDS[0, :, :-1]), golden[f"{case}/{way}/logits"], rtol=0, atol=CLOSE)
    plain = GPT.from_pretrained(tmp_path / "base", ops=ops)
    assert np.abs(plain(IDS[0, :, :-1]) - golden[f"{case}/{way}/logits"]).max() > 100 * CLOSE


@pytest.mark.parametrize("case", ["attention", "all", "one"])
def test_written_again_it_is_what_peft_wrote(tmp_path, golden, case):
    found, made_for = A.load(put(tmp_path / "theirs", golden, case), CONFIG)
    assert made_for is None
    A.save(tmp_path / "ours", found, "tiny")
    ours, theirs = (load_file(tmp_path / name / A.WEIGHTS) for name in ("ours", "theirs"))
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    written, stored = (json.loads((tmp_path / name / A.CONFIG).read_text()) for name in ("ours", "theirs"))
    assert written.pop("base_model_name_or_path") == "tiny"
    assert set(written.pop("target_modules")) == set(stored["target_modules"])
    assert all(stored[name] == value for name, value in written.items())


@pytest.mark.peers
@pytest.mark.parametrize("rslora", [False, True])
def test_peft_opens_what_is_written_here(tmp_path, rslora):
    """One by one, other ends of names too; PEFT adds the correction to each layer's output, here it is merged."""
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    ours = fresh(r=2, alpha=5, target_modules=("attn.c_proj", "c_fc"), rslora=rslora)
    A.save(tmp_path / "adapter", ours, str(model(tmp_path)))
    theirs = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "base")
    theirs = peft.PeftModel.from_pretrained(theirs, tmp_path / "adapter").eval()
    with torch.no_grad():
        expected = theirs(input_ids=torch.from_numpy(IDS[0, :, :-1])).logits.numpy()
    gpt = GPT.from_pretrained(tmp_path / "base", ops="numpy", adapter=tmp_path / "adapter")
    np.testing.assert_allclose(gpt(IDS[0, :, :-1]), expected, rtol=0, atol=CLOSE)


# ---------------------------------------------------------------- merging


def test_unmerging_returns_the_old_weights_bit_for_bit():
    params, found = base(), fresh(r=4, alpha=16, target_modules=("c_attn", "c_proj"))
    before = {name: array.tobytes() for name, array in P.walk(params)}
    merged, kept = A.merge(params, found)
    changed = {name for name, array in P.walk(merged) if array.tobytes() != before[name]}
    layers = ("attn.c_attn", "attn.c_proj", "mlp.c_proj")
    assert changed == {f"h.{i}.{layer}.weight" for i in (0, 1) for layer in layers}
    assert {name: array.tobytes() for name, array in P.walk(params)} == before  # the base stays as it is
    assert {name: array.tobytes() for name, array in P.walk(A.unmerge(merged, kept))} == before


def test_taking_the_correction_off_again_would_not():
    """Why the base is kept."""
    weight, found = base()["h"][0]["attn"]["c_attn"]["weight"], fresh(r=4)
    a, b = (found.params[f"h.0.attn.c_attn.lora_{x}.weight"] for x in "AB")
    back = A.corrected(A.corrected(weight, a, b, 1.0), a, b, -1.0)
    assert not np.array_equal(back, weight) and np.allclose(back, weight, atol=1e-6)


@pytest.mark.parametrize("ops", ["int8", "int4"])
def test_merged_before_it_is_rounded(tmp_path, golden, ops):
    """As a model that was saved merged, bit for bit."""
    folder = put(tmp_path / "adapter", golden)
    conversion.convert(model(tmp_path), tmp_path / "merged", "hf", adapter=folder)
    merged = GPT.from_pretrained(tmp_path / "merged", ops=ops)
    np.testing.assert_array_equal(GPT.from_pretrained(tmp_path / "base", ops=ops, adapter=folder)(IDS[0, :, :-1]),
                                  merged(IDS[0, :, :-1]))  # fmt: skip


def test_a_merged_model_is_a_model_like_any_other(tmp_path, golden):
    folder = put(tmp_path / "adapter", golden)
    conversion.convert(model(tmp_path), tmp_path / "merged", "hf", adapter=folder)
    expected = GPT.from_pretrained(tmp_path / "base", ops="numpy", adapter=folder)(IDS[0, :, :-1])
    np.testing.assert_array_equal(GPT.from_pretrained(tmp_path / "merged", ops="numpy")(IDS[0, :, :-1]), expected)


def test_float16_takes_half(tmp_path):
    found = fresh(r=4, target_modules=("c_attn", "c_fc"))
    for name in ("float32", "float16"):
        A.save(tmp_path / name, found, "tiny", dtype=name)
    read, _ = A.load(tmp_path / "float16", CONFIG)
    for name, array in found.params.items():
        np.testing.assert_allclose(read.params[name], array, rtol=2**-11, atol=2**-25)  # float16's rounding
    sizes = [(tmp_path / name / A.WEIGHTS).stat().st_size for name in ("float32", "float16")]
    assert sizes[0] - sizes[1] == 2 * P.count(found.params)


# ---------------------------------------------------------------- refused


def refused(tmp_path, folder, *words, config=CONFIG):
    """One line with these words; and nothing is opened by the front door either."""
    with pytest.raises(FileError) as caught:
        A.load(folder, config)
    assert all(word in one_line(caught) for word in words), str(caught.value)


@pytest.mark.parametrize("changes, word", [
    ({"r": 0}, "r: expected a rank of at least 1, got 0"),
    ({"r": 10**30}, "r = 1000000000000000000000000000000"),
    ({"r": True}, "r: expected a rank"),
    ({"r": "8"}, "r: expected a rank"),
    ({"r": 4}, "[4, 16]"),
    ({"lora_alpha": 0}, "lora_alpha"),
    ({"lora_alpha": -1}, "lora_alpha"),
    ({"lora_alpha": 1e30}, "lora_alpha"),
    ({"lora_alpha": float("nan")}, "lora_alpha"),
    ({"use_rslora": "yes"}, "rslora"),
    ({"peft_type": "IA3"}, "peft_type: expected 'LORA', got 'IA3'"),
    ({"bias": "all"}, "bias"),
    ({"task_type": "SEQ_CLS"}, "task_type"),
    ({"use_dora": True}, "use_dora"),
    ({"rank_pattern": {"c_attn": 2}}, "rank_pattern"),
    ({"alpha_pattern": {"c_attn": 2}}, "alpha_pattern"),
    ({"modules_to_save": ["wte"]}, "modules_to_save"),
    ({"layers_to_transform": [0]}, "layers_to_transform"),
    ({"init_lora_weights": "pissa"}, "init_lora_weights"),
    ({"something_new": 5}, "something_new"),
    ({"target_modules": ["c_attn"]}, "target_modules do not name"),
    ({"target_modules": ["q_proj"]}, "target_modules: expected some of c_attn"),
    ({"target_modules": []}, "target_modules"),
    ({"target_modules": None}, "target_modules"),
    ({"target_modules": ".*c_attn"}, "target_modules: expected a list"),
    ({"target_modules": [["c_attn"]]}, "target_modules"),
])  # fmt: skip
def test_options_that_make_no_sense_or_are_not_done_here(tmp_path, golden, changes, word):
    refused(tmp_path, put(tmp_path / "adapter", golden, **changes), word)


def test_an_adapter_of_another_shape(tmp_path, golden):
    folder = put(tmp_path / "adapter", golden)
    refused(tmp_path, folder, "h.0.attn.c_attn.lora_A.weight", "[3, 8]", config=CONFIG.replace(n_embd=8))
    refused(tmp_path, folder, "h.2.attn.c_attn.lora_A.weight", "found none", config=CONFIG.replace(n_layer=3))
    refused(tmp_path, folder, "h.1", "do not name", config=CONFIG.replace(n_layer=1))


def test_missing_and_broken_matrices(tmp_path, golden):
    folder = put(tmp_path / "adapter", golden)
    whole = load_file(folder / A.WEIGHTS)
    name = A.PREFIX + "transformer.h.1.mlp.c_fc.lora_B.weight"
    save_file({key: array for key, array in whole.items() if key != name}, folder / A.WEIGHTS)
    refused(tmp_path, folder, "h.1.mlp.c_fc.lora_B.weight", "found none")
    save_file(whole | {name: np.full_like(whole[name], np.nan)}, folder / A.WEIGHTS)
    refused(tmp_path, folder, "h.1.mlp.c_fc.lora_B.weight", "finite")
    save_file(whole | {name: whole[name].astype(np.int32)}, folder / A.WEIGHTS)
    refused(tmp_path, folder, "dtype")
    data = golden[f"all/{A.WEIGHTS}"].tobytes()
    for broken in (data[:-1], data[:100], b"", (2**62).to_bytes(8, "little") + data[8:]):
        (folder / A.WEIGHTS).write_bytes(broken)
        refused(tmp_path, folder, A.WEIGHTS)
    (folder / A.WEIGHTS).unlink()
    refused(tmp_path, folder, A.WEIGHTS)


def test_an_oversized_or_broken_config(tmp_path, golden):
    folder = put(tmp_path / "adapter", golden)
    (folder / A.CONFIG).write_bytes(b"[" * (A.MAX_CONFIG + 1))
    refused(tmp_path, folder, "at most")
    for text in ("[", "[1]", "5"):
        (folder / A.CONFIG).write_text(text)
        refused(tmp_path, folder, A.CONFIG)
    (folder / A.CONFIG).unlink()
    refused(tmp_path, folder, "expected an adapter")


def test_another_base_of_the_same_shape(tmp_path):
    params = base()
    A.save(tmp_path / "adapter", fresh(), "tiny", A.fingerprint(params))
    GPT.from_pretrained(model(tmp_path), ops="int8", adapter=tmp_path / "adapter")  # biases stay floats
    checkpoint.save(tmp_path / "other", CONFIG, make(CONFIG, seed=1))
    with pytest.raises(FileError, match="made for, got others") as caught:
        GPT.from_pretrained(tmp_path / "other", ops="numpy", adapter=tmp_path / "adapter")
    one_line(caught)


def test_one_taken_for_the_other(tmp_path, golden):
    folder = put(tmp_path / "adapter", golden)
    with pytest.raises(FileError, match="got a LoRA adapter"):
        GPT.from_pretrained(folder)
    with pytest.raises(FileError, match="expected a folder with adapter_config.json"):
        GPT.from_pretrained(model(tmp_path), adapter=tmp_path / "base")
    with pytest.raises(InputError, match="adapter: expected a text"):
        GPT.from_pretrained(tmp_path / "base", adapter=5)


def test_nothing_is_written_where_an_adapter_does_not_fit(tmp_path, golden):
    folder = put(tmp_path / "adapter", golden, r=4)
    with pytest.raises(FileError):
        conversion.convert(model(tmp_path), tmp_path / "merged", "hf", adapter=folder)
    assert not (tmp_path / "merged").exists()


def test_values_that_cannot_be_stored(tmp_path):
    found = fresh()
    found.params["h.0.attn.c_attn.lora_B.weight"][0, 0] = 1e6
    with pytest.raises(InputError, match="lora_B.weight: expected finite values within float16"):
        A.save(tmp_path / "adapter", found, "tiny", dtype="float16")
    assert not list(tmp_path.rglob("*.safetensors")) and not (tmp_path / "adapter" / A.CONFIG).exists()


def test_the_same_adapter_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        A.save(tmp_path / name, fresh(), "tiny", "0" * 64)
    assert (tmp_path / "one" / A.WEIGHTS).read_bytes() == (tmp_path / "two" / A.WEIGHTS).read_bytes()
