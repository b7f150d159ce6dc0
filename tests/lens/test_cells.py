"""Arrays by name against a pass of these tests' own; every number's terms against the arrays and weights they name."""

import numpy as np
import pytest
from lens.reference import forward, softmax
from small import CONFIG, make, random_ids

from nanogpt_np import GPT, lens
from nanogpt_np import params as P
from nanogpt_np.errors import InputError

IDS = random_ids(7, seed=3)
VARIANTS = [{}, {"tie_word_embeddings": False, "activation": "relu", "n_inner": 40}, {"positions": "sinusoidal"},
            {"window": 3}]


@pytest.fixture(scope="module", params=VARIANTS, ids=["gpt2", "untied relu", "sinusoidal", "banded"])
def gpt(request):
    config = CONFIG.replace(**request.param)
    return GPT(config, make(config))


@pytest.fixture(scope="module")
def plain():
    return GPT(CONFIG, make())


def value_of(gpt, name):
    return lens.array_view(gpt, IDS, name).array.astype(np.float64)


def close(actual, wanted, scale):
    """2e-6 of the sum of what was added: float32 rounds each of some 20 to 100 additions by 6e-8 (measured: 5e-7)."""
    assert abs(actual - wanted) <= 2e-6 * max(scale, 1e-3)


def test_the_arrays_are_those_of_a_pass_of_its_own(plain):
    wanted = forward(plain.params, plain.config, IDS)
    for layer in range(CONFIG.n_layer):
        scaled = wanted["scores"][layer] / np.sqrt(CONFIG.d_head)
        later = np.triu(np.ones(scaled.shape[1:], bool), 1)
        places = {"attn.scores": wanted["scores"][layer], "attn.scaled": scaled, "attn.probs": wanted["probs"][layer],
                  "attn.masked": np.where(later, -np.inf, scaled), "ffn.hidden": wanted["hidden"][layer],
                  "ffn.pre_gelu": wanted["pre_gelu"][layer], "ffn_out": wanted["ffn"][layer],
                  "x": wanted["stream"][2 * layer], "x_mid": wanted["stream"][2 * layer + 1]}  # fmt: skip
        for name, array in places.items():  # 1e-5: float32 against float64, through two blocks
            np.testing.assert_allclose(value_of(plain, f"blocks.{layer}.{name}"), array, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(value_of(plain, "x"), wanted["stream"][-1], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(value_of(plain, "logits"), wanted["logits"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(value_of(plain, "probs"), softmax(wanted["logits"]), rtol=1e-3, atol=1e-6)
    tokens = plain.params["wte"]["weight"][IDS]
    assert np.array_equal(value_of(plain, "tokens"), tokens)
    assert np.array_equal(value_of(plain, "positions"), plain.params["wpe"]["weight"][: len(IDS)])


def test_every_name_is_an_array_and_no_two_gradients_are_the_same(gpt):
    names = lens.array_names(gpt.config)
    found = [lens.array_view(gpt, IDS, name) for name in names]
    assert all(np.isfinite(view.array).all() or view.name.endswith("masked") for view in found)
    places = [view for view in found if view.name.startswith("grad.")]
    view = lens.gradients_view(gpt, IDS)
    assert np.array_equal(places[0].array, view.stream[0]) and np.array_equal(places[-1].array, view.stream[-1])
    assert [np.array_equal(a.array, b) for a, b in zip(places[1:-1], view.stream[:-1], strict=True)] == [True] * (
        2 * gpt.config.n_layer
    )
    assert len({name for name in names}) == len(names)


def indices(shape, n=4, seed=0):
    rng = np.random.default_rng(seed)
    return [tuple(int(rng.integers(size)) for size in shape) for _ in range(n)] + [tuple(size - 1 for size in shape)]


def part(gpt, name, index):
    """The numbers that an input of a cell names: of a pass's array, or of a parameter."""
    weights = dict(P.walk(gpt.params))
    array = weights[name] if name in weights else lens.array_view(gpt, IDS, name).array
    return np.asarray(array[tuple(slice(None) if place is None else place for place in index)], np.float64)


def check_cell(gpt, cell):
    """What a cell says made it, from the arrays and weights that it names and nothing else."""
    parts = [part(gpt, *named) for named in cell.inputs]
    if cell.kind == "lookup" and parts:
        assert parts[0] == cell.value
    if cell.kind == "sum":
        assert np.array_equal(cell.products, parts)
        close(sum(parts), cell.value, np.abs(parts).sum())
    if cell.kind == "dot":
        assert np.array_equal(cell.a, parts[0]) and np.array_equal(cell.b, parts[1])
        bias = parts[2] if len(parts) > 2 else 0.0
        assert cell.bias is None or cell.bias == bias
        close((parts[0] * parts[1]).sum() + bias, cell.value, np.abs(parts[0] * parts[1]).sum() + abs(bias))
        close(cell.sum, cell.value, np.abs(cell.products).sum())
    if cell.kind == "scale":
        close(parts[0] / np.sqrt(gpt.config.d_head), cell.value, abs(cell.value))
        close(cell.extra["x"] * cell.extra["factor"], cell.value, abs(cell.value))
    if cell.kind == "mask":
        window = gpt.config.window_of(int(cell.name.split(".")[1])) or len(IDS)
        _, query, key = cell.index
        assert cell.value == (parts[0] if query - window < key <= query else -np.inf)
    if cell.kind == "softmax":
        wanted = softmax(parts[0])[cell.index[-1]]
        close(wanted, cell.value, 1)
        close(cell.extra["exp"] / cell.extra["total"], wanted, 1)
        assert np.array_equal(cell.a, parts[0]) and cell.extra["total"] == pytest.approx(cell.products.sum())
    if cell.kind == "layer_norm":
        row, weight, bias = parts
        std = np.sqrt(((row - row.mean()) ** 2).mean() + gpt.config.layer_norm_eps)
        close((row[cell.index[1]] - row.mean()) / std * weight + bias, cell.value, 1)
        assert cell.extra["weight"] == weight and cell.extra["mean"] == pytest.approx(row.mean())
        assert cell.extra["std"] == pytest.approx(std)
    if cell.kind == "activation":
        x = parts[0]
        bent = max(x, 0.0) if gpt.config.activation == "relu" else (
            0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))))  # fmt: skip
        close(bent, cell.value, 1)


def test_every_number_is_what_its_terms_say(gpt):
    kinds = {}
    for name in lens.array_names(gpt.config):
        array = lens.array_view(gpt, IDS, name).array
        for index in indices(array.shape):
            cell = lens.cell_view(gpt, IDS, name, index)
            assert (cell.name, cell.index, cell.value) == (name, index, float(array[index]))
            check_cell(gpt, cell)
            kinds[cell.kind] = kinds.get(cell.kind, 0) + 1
    assert set(kinds) == {"lookup", "sum", "dot", "scale", "mask", "softmax", "layer_norm", "activation", "gradient"}


def test_the_slope_of_an_activation_is_its_derivative(plain):
    cell = lens.cell_view(plain, IDS, "blocks.1.ffn.hidden", (3, 5))
    x, h = cell.extra["x"], 1e-5

    def bent(x):
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))

    assert cell.extra["slope"] == pytest.approx((bent(x + h) - bent(x - h)) / (2 * h), rel=1e-6)


def test_the_largest_terms_come_first(plain):
    cell = lens.cell_view(plain, IDS, "blocks.0.ffn_out", (2, 3))
    best = cell.largest(3)
    assert len(best) == 3 and abs(cell.products[best[0]]) == np.abs(cell.products).max()
    assert np.all(np.diff(np.abs(cell.products[cell.largest(100)])) <= 0)


def test_an_index_leaves_a_part_and_may_count_from_the_end(plain):
    whole = lens.array_view(plain, IDS, "blocks.1.attn.q")
    view = lens.array_view(plain, IDS, "blocks.1.attn.q", [-1])
    assert view.index == (CONFIG.n_head - 1,) and view.shape == whole.shape
    assert np.array_equal(view.array, whole.array[-1])


@pytest.mark.parametrize("name, index, said", [
    ("blocks.9.x", [], "name: expected"), ("blocks.0.nothing", [], "name: expected"), (None, [], "name: expected"),
    ("blocks.0.__class__", [], "name: expected"), ("grad.blocks.0.ffn.x", [], "name: expected"), (7, [], "name"),
    ("x", [99], "index: expected"), ("x", [0, 0, 0], "index: expected"), ("x", "no", "index: expected"),
    ("x", [True], "index: expected"), ("x", [0.5], "index: expected"),
])  # fmt: skip
def test_what_is_not_there_is_said(plain, name, index, said):
    with pytest.raises(InputError, match=said):
        lens.array_view(plain, IDS, name, index)
    with pytest.raises(InputError, match=said):
        lens.cell_view(plain, IDS, name, index)


def test_a_cell_needs_a_place_on_each_axis(plain):
    with pytest.raises(InputError, match="index: expected 2 whole numbers for x, got 1"):
        lens.cell_view(plain, IDS, "x", [0])
