"""lm-evaluation-harness as the judge: its tokens, windows and counting on our log-probabilities give our numbers."""

import json
import sys

import numpy as np
import pytest
from goldens import recipe

from nanogpt_np import GPT, InputError
from nanogpt_np.evaluation import choices, judge, last_words, texts

CLOSE = 1e-5  # relative: float32 sums in other batches; measured: 1e-7
HELLASWAG = [
    {"ctx_a": "Tom is in the kitchen.", "ctx_b": "he", "activity_label": "Cooking [title] food", "label": label,
     "endings": ["eats a cake.", "[step] runs to the park and plays.", "sleeps  well.", "is a big red ball"]}
    for label in "0123"
]  # fmt: skip


def write(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture(scope="module", params=["stories", "random"])
def gpt(request, make_gpt):
    return GPT.from_pretrained("stories", ops="numpy") if request.param == "stories" else make_gpt(n_ctx=96)


@pytest.fixture
def judged(gpt, tmp_path):
    """judged(task settings, rows) -> the harness's results for one task on a local file."""
    pytest.importorskip("datasets", reason="lm_eval, the judge, is not installed: pip install 'nanogpt-np[peers]'")
    lm_eval = pytest.importorskip("lm_eval", reason="lm_eval is not installed: pip install 'nanogpt-np[peers]'")
    from lm_eval.tasks import TaskManager

    def run(settings, rows):
        data = write(tmp_path / "rows.jsonl", rows)
        task = {"task": "local", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(data)}},
                "test_split": "test", **settings}  # fmt: skip
        ours_only = TaskManager(include_defaults=False)  # its own thousands take a minute to list
        found = lm_eval.simple_evaluate(judge.Judge(gpt, 3), tasks=[task], task_manager=ours_only, bootstrap_iters=0)
        return {name.removesuffix(",none"): value for name, value in found["results"]["local"].items()}, data

    return run


def metrics(*names):
    return [{"metric": name} for name in names]


@pytest.mark.peers
def test_last_words(gpt, judged):
    settings = {
        "output_type": "loglikelihood", "doc_to_text": "{{text.split(' ')[:-1]|join(' ')}}",
        "doc_to_target": "{{' '+text.split(' ')[-1]}}", "metric_list": metrics("perplexity", "acc"),
    }  # fmt: skip  # lambada_openai's own
    theirs, data = judged(settings, [{"text": text} for text in recipe.PASSAGES])
    ours = last_words.summary(last_words.measure(last_words.read_passages(data, gpt, overflow="cut"), gpt))
    assert theirs["acc"] == ours["last_word_accuracy"]
    assert theirs["perplexity"] == pytest.approx(ours["last_word_perplexity"], rel=CLOSE)


@pytest.mark.peers
def test_choices(gpt, judged):
    settings = {
        "output_type": "multiple_choice", "doc_to_text": "{{context}}", "doc_to_choice": "choices",
        "doc_to_target": "label", "metric_list": metrics("acc", "acc_norm", "acc_bytes"),
    }  # fmt: skip
    rows = [{"context": context, "choices": some, "label": label} for context, some, label in recipe.QUESTIONS]
    theirs, data = judged(settings, rows)
    ours = choices.summary(choices.measure(choices.ask(choices.read_questions(data), gpt, "", overflow="cut"), gpt))
    for name, key in (("acc", "by_sum"), ("acc_norm", "by_character"), ("acc_bytes", "by_byte")):
        assert theirs[name] == ours[f"accuracy_{key}"]


@pytest.mark.peers
def test_hellaswag(gpt, judged):
    """With the harness's own preparation of the questions."""
    from lm_eval.tasks.hellaswag import utils

    settings = {
        "output_type": "multiple_choice", "process_docs": utils.process_docs, "doc_to_text": "{{query}}",
        "doc_to_target": "{{label}}", "doc_to_choice": "choices", "metric_list": metrics("acc", "acc_norm"),
    }  # fmt: skip
    theirs, data = judged(settings, HELLASWAG)
    questions = choices.read_questions(data)
    ours = choices.summary(choices.measure(choices.ask(questions, gpt, "", overflow="cut"), gpt))
    assert (theirs["acc"], theirs["acc_norm"]) == (ours["accuracy_by_sum"], ours["accuracy_by_character"])
    assert 0.2 < theirs["acc"] < 0.3  # four labels of one question: one of them is right
    [doc] = [utils.process_docs(_Rows([row])) for row in HELLASWAG[:1]]
    assert (doc["query"], doc["choices"]) == (questions[0].context, questions[0].choices)


class _Rows(list):
    """As much of a `datasets.Dataset` as that takes."""

    def map(self, function):
        return function(self[0])


@pytest.mark.peers
@pytest.mark.parametrize("original", [False, True])
def test_perplexity(gpt, judged, original):
    """Windows, and words and bytes of the original page, as the task wikitext has them."""
    from lm_eval.tasks.wikitext import preprocess_wikitext

    documents = recipe.story(), "A cat. " * 9
    rows = [{"text": text, "page": f" \n {text} @-@  x" if original else text} for text in documents]
    settings = {
        "output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{text}}",
        "process_results": preprocess_wikitext.process_results,
        "metric_list": metrics("word_perplexity", "byte_perplexity", "bits_per_byte"),
    }  # fmt: skip
    theirs, data = judged(settings, rows)
    documents = texts.read_pages(data)
    ours = texts.summary(texts.measure(texts.pieces(documents, gpt), gpt), documents)
    for name in ("word_perplexity", "byte_perplexity", "bits_per_byte"):
        assert theirs[name] == pytest.approx(ours[name], rel=CLOSE)


@pytest.mark.peers
def test_few_shot_generation(gpt, judged):
    """Greedy up to a stop string, as the model itself says it; examples stand before, as the harness puts them."""
    settings = {
        "output_type": "generate_until", "doc_to_text": "{{context}}", "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": ["\n", "."], "max_gen_toks": 12}, "metric_list": metrics("exact_match"),
    }  # fmt: skip
    prompts = ["Once upon a", "Lily and Tom like to", "The dog"]
    said = [gpt.generate(prompt, 12, temperature=0, stop=["\n", "."]) for prompt in prompts]
    rows = [{"context": prompt, "answer": text} for prompt, text in zip(prompts, said, strict=True)]
    theirs, _ = judged(settings, [*rows, {"context": "A", "answer": "zeppelin"}])
    assert theirs["exact_match"] == 0.75


@pytest.mark.peers
def test_single_requests(gpt):
    """An empty context is <|endoftext|>; one that is too long loses its beginning."""
    pytest.importorskip("lm_eval", reason="lm_eval is not installed: pip install 'nanogpt-np[peers]'")
    from lm_eval.api.instance import Instance

    def ask(kind, *args):
        return getattr(judge.Judge(gpt), kind)([Instance(kind, {}, args, 0)])[0]

    eos, encode = gpt.config.eos_id, gpt.tokenizer.encode
    log_prob, is_greedy = ask("loglikelihood", "", "Once upon")
    assert log_prob == pytest.approx(np.nansum(gpt.logprobs([eos, *encode("Once upon")])), rel=CLOSE)
    long = "the cat sat on the mat. " * 60
    ids = encode(long + "The end")[-gpt.config.n_ctx - 1 :]
    n = len(encode(long + "The end")) - len(encode(long.rstrip()))
    logits = gpt(ids[:-1])[0, -n:].astype(np.float64)
    expected = (logits[np.arange(n), ids[-n:]] - np.logaddexp.reduce(logits, axis=-1)).sum()
    assert ask("loglikelihood", long, "The end")[0] == pytest.approx(expected, rel=1e-4)
    assert isinstance(ask("generate_until", long, {"until": ["."], "max_gen_toks": 5}), str)
    drawn = {"do_sample": True, "temperature": 1.0, "max_gen_toks": 8}
    assert ask("generate_until", "The", drawn) == ask("generate_until", "The", drawn)  # of a fixed seed


def test_without_lm_eval_it_says_so(monkeypatch, make_gpt):
    monkeypatch.setattr(judge, "MISSING", "lm_eval")
    with pytest.raises(InputError) as caught:
        judge.Judge(make_gpt())
    assert str(caught.value) == "judge: expected the library lm_eval, got no lm_eval; pip install 'nanogpt-np[peers]'"


def test_the_wing_does_not_load_it():
    assert "lm_eval" not in sys.modules or judge.MISSING is None
