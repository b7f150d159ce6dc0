"""instructions.py: what is learned of a pair, and in which order."""

import json

import numpy as np
import pytest
from hostile import one_line

from nanogpt_np import model, ops
from nanogpt_np.errors import InputError
from nanogpt_np.finetuning import instructions
from nanogpt_np.finetuning.instructions import Pair, Pairs
from nanogpt_np.tokenizer.bpe import Tokenizer

BYTES = Tokenizer.train(["ab"], n_vocab=257)  # an id for each byte, and <|endoftext|>
TWO = [Pair([5, 6], [7, 8, 9]), Pair([1], [2])]


def write(path, *rows):
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n", encoding="utf-8")
    return str(path)


def test_read_and_encoded(tmp_path):
    rows = {"prompt": "a", "completion": " b", "id": 5}, {"prompt": "é", "completion": "x"}
    path = write(tmp_path / "pairs.jsonl", *rows)
    read = instructions.read_pairs([path, path])
    assert read == [("a", " b"), ("é", "x")] * 2
    fitting, n_left = instructions.encode_pairs(read[:2], BYTES, n_ctx=3)
    assert fitting == [Pair([97], [32, 98, 256]), Pair([195, 169], [120, 256])] and n_left == 0
    assert instructions.encode_pairs([*read, ("a" * 9, "b")], BYTES, n_ctx=3)[1] == 1
    with pytest.raises(InputError, match="expected some of at most n_ctx = 2"):
        instructions.encode_pairs([("aa", "bb")], BYTES, n_ctx=2)


def test_only_completions_are_learned():
    ids, targets, weights = instructions.to_batch(TWO)
    assert ids.tolist() == [[5, 6, 7, 8], [1, 0, 0, 0]]
    assert targets.tolist() == [[-100, 7, 8, 9], [2, -100, -100, -100]] and (weights == 1).all()
    _, targets, _ = instructions.to_batch(TWO, learn_prompts=True)
    assert targets.tolist() == [[6, 7, 8, 9], [2, -100, -100, -100]]


def test_what_a_prompt_asks_for_weighs_more():
    """Ids 1 and 2 are the prompts' form, as all have them; 30 is asked for by one of them."""
    pairs = [Pair([1, i, 2], [1, i, 99]) for i in range(30, 45)]
    usual = instructions.usual_ids(pairs)
    assert usual == {1, 2}
    _, targets, weights = instructions.to_batch(pairs[:2], False, 8.0, usual)
    assert targets.tolist() == [[-100, -100, 1, 30, 99], [-100, -100, 1, 31, 99]]
    assert weights[:, 2:].tolist() == [[1, 8, 1], [1, 8, 1]]
    assert Pairs(pairs, 0, emphasis=8.0).batch(0, 2)[2][:, 2:].tolist() == [[1, 8, 1], [1, 8, 1]]
    again = [Pair([1, 30, 2], [1, 30, 2, 30])]  # said again, it weighs as all else does, and so it does in the prompt
    for learn_prompts in (False, True):
        assert instructions.to_batch(again, learn_prompts, 8.0, usual)[2].tolist() == [[1, 1, 1, 8, 1, 1]]


def test_padding_changes_no_loss():
    """Nothing before it sees it: the mean over both texts is what each gives alone."""
    from small import CONFIG, make

    params = make(CONFIG)

    def losses(pairs):
        ids, targets, _ = instructions.to_batch(pairs)
        final, _ = model.trunk(ids, params, CONFIG, ops)
        rows, _ = ops.cross_entropy(final.reshape(-1, CONFIG.n_embd), model.unembedding(params), targets.reshape(-1))
        return rows.sum()

    assert losses(TWO) == pytest.approx(losses(TWO[:1]) + losses(TWO[1:]), rel=1e-6)


def test_every_pair_once_in_an_epoch_and_all_from_seed_and_step():
    pairs = [Pair([i], list(range(i % 7 + 2))) for i in range(40)]
    data = Pairs(pairs, seed=3)
    first = [data.batch(4 * step, 4) for step in range(20)]
    for epoch in (first[:10], first[10:]):
        assert sorted(int(row[0]) for ids, *_ in epoch for row in ids) == list(range(40))
    assert [ids.tolist() for ids, *_ in first[:10]] != [ids.tolist() for ids, *_ in first[10:]]
    for step in (13, 2, 19):  # as a resumed run asks
        assert np.array_equal(Pairs(pairs, seed=3).batch(4 * step, 4)[1], first[step][1])
    assert any(not np.array_equal(Pairs(pairs, seed=4).batch(4 * s, 4)[0], first[s][0]) for s in range(10))
    alike = [len({len(pairs[int(row[0])].completion) for row in ids}) for ids, *_ in first]
    assert np.mean(alike) < 3  # of 4 lengths; unsorted about 3.3 are different
    assert Pairs(pairs[:3], seed=0).batch(0, 8)[0].shape[0] == 3


@pytest.mark.parametrize("text, words", [
    ("", "expected a pair on each line, got an empty file"),
    ("{", "line 1: expected JSON"),
    ('{"prompt": "a", "completion": "b"}\n[1]', "line 2: expected"),
    ('{"prompt": "a"}', "line 1: expected"),
    ('{"prompt": "a", "completion": ""}', "line 1: expected"),
    ('{"prompt": 5, "completion": "b"}', "line 1: expected"),
    ("[" * 100_000, "line 1: expected JSON"),
])  # fmt: skip
def test_lines_that_are_no_pairs(tmp_path, text, words):
    (tmp_path / "pairs.jsonl").write_text(text)
    with pytest.raises(InputError) as caught:
        instructions.read_pairs([tmp_path / "pairs.jsonl"])
    assert words in one_line(caught)
