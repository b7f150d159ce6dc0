"""defaults.py: generation_config.json as transformers 5.24 writes it, and what a caller says against it."""

import json
import warnings

import numpy as np
import pytest

from nanogpt_np import GPT, FileError, InputError
from nanogpt_np.cli import entry as cli
from nanogpt_np.generation import defaults

# what GenerationConfig(…).to_json_string() of transformers 5.24 gave for the settings beside it
WRITTEN = '''{
  "bad_words_ids": [[5], [6, 7]], "bos_token_id": 9, "do_sample": true, "eos_token_id": [9, 10], "max_new_tokens": 4,
  "no_repeat_ngram_size": 3, "repetition_penalty": 1.1, "sequence_bias": [[[3], 1.5], [[4, 5], -2.0]],
  "stop_strings": ["END"], "suppress_tokens": [8], "temperature": 0.7, "top_k": 0, "top_p": 0.9,
  "transformers_version": "5.24.0"
}'''
MEANT = {
    "banned_words": [[5], [6, 7]], "max_new_tokens": 4, "no_repeat_ngram_size": 3, "repetition_penalty": 1.1,
    "logit_bias": {(3,): 1.5, (4, 5): -2.0}, "stop": ["END"], "banned_ids": [8], "temperature": 0.7, "top_k": 0,
    "top_p": 0.9,
}  # fmt: skip
PUBLISHED = '{"_from_model_config": true, "bos_token_id": 50256, "eos_token_id": 50256}'


@pytest.fixture
def saved(make_gpt, tmp_path):
    """saved(text or values): a directory with that generation_config.json."""

    def save(values):
        make_gpt().save(tmp_path)
        text = values if isinstance(values, str) else json.dumps(values)
        (tmp_path / defaults.NAME).write_text(text)
        return tmp_path

    return save


def test_what_transformers_writes_is_read(saved):
    gpt = GPT.from_pretrained(saved(WRITTEN), ops="numpy")
    assert gpt.defaults == MEANT
    assert (gpt.config.eos_id, gpt.config.more_eos_ids) == (9, (10,))
    assert gpt.generate("the cat", seed=3) == gpt.generate("the cat", seed=3, **MEANT)
    assert gpt.generate("the cat", seed=3) != gpt.generate("the cat", seed=3, temperature=1.5)


def test_the_published_file_says_nothing(saved):
    gpt = GPT.from_pretrained(saved(PUBLISHED), ops="numpy")
    assert gpt.defaults == {} and gpt.config.eos_id == 299  # 50256 is none of this vocabulary


@pytest.mark.parametrize(
    "values, expected",
    [
        ({"do_sample": True, "temperature": 0.7}, {"temperature": 0.7, "top_k": 50}),  # transformers' own top_k
        ({"do_sample": False, "temperature": 0.7, "top_p": 0.9}, {"temperature": 0.0}),
        ({"temperature": 0.7}, {"temperature": 0.7}),
        ({"num_beams": 4, "length_penalty": 2.0, "early_stopping": "never"},
         {"num_beams": 4, "length_penalty": 2.0, "early_stopping": "never"}),
        ({"do_sample": False, "num_beams": 2}, {"num_beams": 2}),
        ({"length_penalty": 2.0}, {}),  # which says nothing without beams
        ({"penalty_alpha": 0.6, "top_k": 4, "do_sample": False}, {"penalty_alpha": 0.6}),
        ({"max_length": 20, "use_cache": True, "output_scores": False, "pad_token_id": 0}, {}),
    ],
)  # fmt: skip
def test_what_a_file_means(saved, values, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert GPT.from_pretrained(saved(values), ops="numpy").defaults == expected


def test_what_is_not_done_here_is_said(saved):
    with pytest.warns(UserWarning, match="asks for what is not done here: diversity_penalty = 0.5, max_length = 50"):
        GPT.from_pretrained(saved({"diversity_penalty": 0.5, "max_length": 50}), ops="numpy")


@pytest.mark.parametrize(
    "values, message",
    [
        ("[1]", "expected an object of settings"), ("{", "expected JSON"),
        ({"temperature": "hot"}, "temperature: expected 0 .* got 'hot'; mend the file"),
        ({"eos_token_id": [-1]}, "expected eos_token_id to be an id or a list of ids"),
        ({"sequence_bias": 5}, "sequence_bias: expected"), ({"bad_words_ids": {"a": 1}}, "banned_words: expected"),
        ({"num_beams": 0}, "num_beams: expected"), ({"max_new_tokens": -1}, "max_new_tokens: expected"),
        ('{"a": "' + "b" * (1 << 20) + '"}', "expected at most 1,048,576 bytes"),
        ({"sequence_bias": {"a": 1}}, "sequence_bias: expected"), ({"top_k": 1e400}, "top_k: expected"),
    ],
)  # fmt: skip
def test_a_broken_file_is_one_line(saved, values, message):
    with pytest.raises(FileError, match=message) as caught:
        GPT.from_pretrained(saved(values), ops="numpy")
    assert "generation_config.json" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("own", [
    {"temperature": 0.7, "top_p": 0.9}, {"temperature": 0}, {"num_beams": 3, "length_penalty": 0.5}, {"top_k": 5},
    {"penalty_alpha": 0.6, "top_k": 4}, MEANT, {"logit_bias": {3: 1.0, (4, 5): 2.0}},
])  # fmt: skip
def test_what_is_saved_comes_back(make_gpt, tmp_path, own):
    plain = make_gpt()
    gpt = GPT(plain.config, plain.params, plain.tokenizer, defaults=own)
    gpt.save(tmp_path)
    again = GPT.from_pretrained(tmp_path, ops="numpy")
    draws = not own.keys() & {"num_beams", "penalty_alpha"} and own.get("temperature") != 0
    settings = {"seed": 1} if draws else {}  # who names a seed draws
    assert gpt.generate("the cat", 5, **settings) == again.generate("the cat", 5, **settings)
    assert again.config == gpt.config


def test_nothing_of_an_earlier_model_is_left(make_gpt, tmp_path):
    gpt = make_gpt()
    GPT(gpt.config, gpt.params, gpt.tokenizer, defaults={"temperature": 0}).save(tmp_path)
    assert (tmp_path / defaults.NAME).exists()
    gpt.save(tmp_path)
    assert not (tmp_path / defaults.NAME).exists()


@pytest.mark.parametrize(
    "said, own, expected",
    [
        ({"top_k": None}, {"top_k": 5}, {"top_k": 5}),
        ({"top_k": 0}, {"top_k": 5}, {"top_k": 0}),
        ({"num_beams": 3}, {"temperature": 0.7, "top_p": 0.9}, {"num_beams": 3}),
        ({"temperature": 0.5}, {"num_beams": 3, "length_penalty": 2.0, "top_p": 0.9},
         {"temperature": 0.5, "top_p": 0.9}),
        ({"penalty_alpha": 0.6}, {"temperature": 0.7, "top_k": 9}, {"penalty_alpha": 0.6}),
        ({"seed": 1}, {"penalty_alpha": 0.6, "top_k": 9}, {"seed": 1, "top_k": 9}),
        ({}, {"penalty_alpha": 0.6, "top_k": 9, "temperature": 0.7}, {"penalty_alpha": 0.6, "top_k": 9}),
        ({"num_beams": 1}, {"num_beams": 3, "length_penalty": 2.0}, {"num_beams": 1}),
        ({"max_new_tokens": 3}, {"min_new_tokens": 5}, {"max_new_tokens": 3}),
        ({"stop": ()}, {"stop": ["a"]}, {"stop": ()}),
        ({"seed": None}, {}, {"seed": None}),
    ],
)  # fmt: skip
def test_what_a_caller_says_counts_first(said, own, expected):
    assert defaults.settle(said, own) == expected


def test_what_can_be_no_default(make_gpt):
    gpt = make_gpt()
    for wrong in ({"seed": 1}, {"temperature": -1}, [1], {"nonsense": 1}):
        with pytest.raises(InputError, match="expected"):
            GPT(gpt.config, gpt.params, defaults=wrong)


def test_the_command_line_takes_a_models_own(saved, capsys):
    directory = str(saved({"do_sample": False}))
    assert cli.main(["generate", "the cat", "--model", directory, "--max-new-tokens", "9"]) == 0
    greedy = GPT.from_pretrained(directory).generate("the cat", 9, temperature=0)
    assert capsys.readouterr().out == f"the cat{greedy}\n"
    assert cli.main(["generate", "the cat", "--model", directory, "--max-new-tokens", "9", "--temperature", "2",
                     "--seed", "1"]) == 0  # fmt: skip
    assert capsys.readouterr().out != f"the cat{greedy}\n"


@pytest.mark.peers
def test_transformers_reads_what_is_written(make_gpt, tmp_path):
    transformers = pytest.importorskip("transformers")
    plain = make_gpt()
    GPT(plain.config, plain.params, plain.tokenizer, defaults=MEANT).save(tmp_path)
    theirs = transformers.GenerationConfig.from_pretrained(tmp_path)
    for name in ("temperature", "top_p", "top_k", "repetition_penalty", "no_repeat_ngram_size", "max_new_tokens"):
        assert getattr(theirs, name) == MEANT[name], name
    assert theirs.do_sample is True and theirs.bad_words_ids == MEANT["banned_words"]
    assert theirs.sequence_bias == [[[3], 1.5], [[4, 5], -2.0]] and theirs.suppress_tokens == [8]
    assert np.ravel(theirs.eos_token_id).tolist() == [299]
