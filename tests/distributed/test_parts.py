"""How a step is divided, and that what is drawn for a part is what one process would have drawn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small import CONFIG, make, random_ids

from nanogpt_np import ops
from nanogpt_np.errors import InputError
from nanogpt_np.model import Dropout
from nanogpt_np.training import backward
from nanogpt_np.training.distributed_parts import (
    RowsOf,
    ahead,
    draws_per_window,
    of_rank,
    parts_of,
    share_idle,
    skip_,
)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 6), st.integers(1, 9), st.integers(1, 12))
def test_each_window_belongs_to_one_part_of_one_rank(n_batches, batch_size, n_ranks):
    if n_ranks > n_batches * batch_size:
        with pytest.raises(InputError, match="expected at most"):
            parts_of(n_batches, batch_size, n_ranks)
        return
    parts = parts_of(n_batches, batch_size, n_ranks)
    dealt = [part for rank in range(n_ranks) for part in of_rank(parts, rank, n_ranks)]
    assert sorted(dealt) == sorted(parts) and all(of_rank(parts, rank, n_ranks) for rank in range(n_ranks))
    windows = [part.batch * batch_size + part.first + i for part in parts for i in range(part.n)]
    assert windows == list(range(n_batches * batch_size))
    assert max(part.n for part in parts) - min(part.n for part in parts) <= 1
    if n_ranks <= n_batches:
        assert len(parts) == n_batches  # whole batches, so that sums are those of one process


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 6), st.integers(1, 9), st.integers(1, 12), st.integers(1, 54))
def test_a_step_that_is_not_full_is_cut_only_where_a_full_one_is(n_batches, batch_size, n_ranks, n_windows):
    n_ranks, n_windows = (min(n, n_batches * batch_size) for n in (n_ranks, n_windows))
    parts = parts_of(n_batches, batch_size, n_ranks, n_windows)
    assert [part.batch * batch_size + part.first + i for part in parts for i in range(part.n)] == list(range(n_windows))
    assert all(part.n >= 1 and part.first + part.n <= batch_size for part in parts)
    if n_ranks <= n_batches:  # a batch is learned from as one process does, whoever has nothing to do meanwhile
        assert [part.n for part in parts[:-1]] == [batch_size] * (len(parts) - 1)
    whole = parts_of(n_batches, batch_size, n_ranks)
    assert max(part.n for part in parts) <= max(part.n for part in whole)  # so it fits the memory if a full step does
    assert parts_of(n_batches, batch_size, n_ranks, n_batches * batch_size) == whole


def test_how_much_waits():
    assert share_idle(parts_of(4, 8, 4), 4) == share_idle(parts_of(1, 8, 2), 2) == 0.0
    assert share_idle(parts_of(3, 8, 2), 2) == 0.25 and share_idle(parts_of(1, 3, 2), 2) == 0.25


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 3), st.integers(0, 40), st.integers(0, 5))
def test_skipping_is_drawing(before, n, after):
    drawn, skipped = np.random.default_rng(3), np.random.default_rng(3)
    for rng in (drawn, skipped):
        rng.random(before, dtype=np.float32)
    drawn.random(n, dtype=np.float32)
    copy = ahead(skipped, n)
    skip_(skipped, n)
    assert skipped.bit_generator.state == drawn.bit_generator.state == copy.bit_generator.state
    np.testing.assert_array_equal(skipped.random(after, np.float32), drawn.random(after, np.float32))


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 7), st.integers(0, 6), st.integers(1, 7), st.integers(1, 3), st.integers(1, 3))
def test_rows_of_what_a_whole_batch_draws(n_rows, first, n, width, n_arrays):
    first = min(first, n_rows - 1)
    n = min(n, n_rows - first)
    whole, some = np.random.default_rng(5), np.random.default_rng(5)
    rows = RowsOf(some, first, n_rows)
    for _ in range(n_arrays):
        expected = whole.random((n_rows, width, 3), dtype=np.float32)[first : first + n]
        np.testing.assert_array_equal(rows.random((n, width, 3), dtype=np.float32), expected)
    assert some.bit_generator.state == whole.bit_generator.state


def test_so_much_is_drawn_for_a_window():
    drawn, left = np.random.default_rng(0), np.random.default_rng(0)
    ids = random_ids(3, CONFIG.n_ctx + 1)
    backward.loss_and_grads(ids[:, :-1], ids[:, 1:], make(), CONFIG, ops, dropout=Dropout(0.1, drawn))
    skip_(left, 3 * draws_per_window(CONFIG))
    assert left.bit_generator.state == drawn.bit_generator.state
