"""Other people's clients, against our server: the package openai, llm, lm-evaluation-harness, Prometheus."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from explore import serving

from nanogpt_np import GPT
from nanogpt_np.evaluation import items, likelihood
from nanogpt_np.explore.api import Api, make_app
from nanogpt_np.explore.batching import Job
from nanogpt_np.explore.guard import guarded

pytestmark = pytest.mark.peers
ROOT = Path(__file__).parents[2]
KEY, PROMPT = "correct-horse", "Once upon a time"
CLOSE = 1e-4  # nats: sums of float32 in another order


@pytest.fixture(scope="module")
def gpt():
    return GPT.from_pretrained("stories", ops="numpy")


@pytest.fixture(scope="module")
def api(gpt):
    return Api(gpt, "stories", n_rows=4, most_waiting=20)


@pytest.fixture(scope="module")
def running(api):
    with serving.Running(guarded(make_app(api), key=KEY)) as running:
        yield running


# ---- the package openai


@pytest.fixture(scope="module")
def openai():
    return pytest.importorskip("openai", reason="the package openai is not installed: pip install openai")


@pytest.fixture
def client(openai, running):
    return openai.OpenAI(base_url=f"{running.url}/v1", api_key=KEY, max_retries=0)


def test_openai_completes(client, gpt):
    said = client.completions.create(model="stories", prompt=PROMPT, max_tokens=20, seed=7, temperature=0.8, n=2)
    assert [c.text for c in said.choices] == gpt.generate(PROMPT, 20, seed=7, temperature=0.8, num_return_sequences=2)
    assert said.usage.completion_tokens == 40 and said.choices[0].finish_reason == "length"


def test_openai_streams(client, gpt):
    options = {"include_usage": True}
    parts = list(client.completions.create(model="stories", prompt=PROMPT, max_tokens=20, seed=7, stream=True,
                                           stream_options=options))  # fmt: skip
    assert "".join(c.text for part in parts for c in part.choices) == gpt.generate(PROMPT, 20, seed=7)
    assert parts[-1].usage.completion_tokens == 20


def test_openai_tells_logprobs(client, gpt):
    said = client.completions.create(model="stories", prompt=PROMPT, max_tokens=3, logprobs=2, echo=True, temperature=0)
    found, ids = said.choices[0].logprobs, gpt.tokenizer.encode(said.choices[0].text)
    np.testing.assert_allclose(found.token_logprobs[1:], gpt.logprobs(ids)[1:], atol=CLOSE)
    assert list(found.top_logprobs[1]) == [token.text for token in gpt.next_tokens(ids[:1], 2)]
    assert "".join(found.tokens) == said.choices[0].text and found.text_offset[1] == len(found.tokens[0])


def test_openai_chats(client, gpt):
    messages = [{"role": "system", "content": "Once upon"}, {"role": "user", "content": "a time"}]
    said = client.chat.completions.create(model="stories", messages=messages, max_tokens=9, seed=1, logprobs=True,
                                          top_logprobs=2)  # fmt: skip
    assert said.choices[0].message.content == gpt.generate(PROMPT, 9, seed=1)
    content = said.choices[0].logprobs.content
    assert "".join(entry.token for entry in content) == said.choices[0].message.content
    assert len(content[0].top_logprobs) == 2
    parts = client.chat.completions.create(model="stories", messages=messages, max_tokens=9, seed=1, stream=True)
    assert "".join(p.choices[0].delta.content or "" for p in parts if p.choices) == said.choices[0].message.content


def test_openai_many_at_once(openai, running, gpt):
    async def ask(client, i):
        stream = await client.completions.create(model="stories", prompt=PROMPT, max_tokens=12, seed=i, stream=True)
        return "".join([choice.text async for part in stream for choice in part.choices])

    async def main():
        async with openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key=KEY, max_retries=0) as client:
            return await asyncio.gather(*(ask(client, i) for i in range(12)))

    assert asyncio.run(main()) == [gpt.generate(PROMPT, 12, seed=i) for i in range(12)]


def test_openai_hangs_up(client, api):
    stream = client.completions.create(model="stories", prompt=PROMPT, max_tokens=200, stream=True,
                                       extra_body={"ignore_eos": True})  # fmt: skip
    before = api.metrics.counts["sequences_left_total"]
    next(iter(stream))
    stream.close()
    serving.until(lambda: not api.batcher.live)
    assert api.metrics.counts["sequences_left_total"] <= before + 1


def test_openai_embeds(client, gpt):
    said = client.embeddings.create(model="stories", input=[PROMPT, "One day"])  # as base64, which it then reads
    for entry, text in zip(said.data, (PROMPT, "One day"), strict=True):
        mean = gpt.hidden(text).mean(axis=0)
        np.testing.assert_allclose(entry.embedding, mean / np.linalg.norm(mean), atol=1e-6)  # rounded to float32


def test_openai_lists_models(client):
    assert [model.id for model in client.models.list()] == ["stories"]
    assert client.models.retrieve("stories").owned_by == "nanogpt-np"


def test_openai_says_what_most_clients_say(client, gpt):
    """Each field that means nothing here, in the package's own words; the text is what it is without them."""
    messages = [{"role": "user", "content": PROMPT, "name": "Tom"}]
    said = client.chat.completions.create(
        model="stories", messages=messages, max_completion_tokens=9, seed=1, n=1, user="Tom", metadata={"a": "b"},
        store=True, response_format={"type": "text"}, modalities=["text"], service_tier="default", logit_bias={},
        tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}], tool_choice="none",
        parallel_tool_calls=False, prompt_cache_key="c", safety_identifier="d", stop=None, frequency_penalty=0,
        presence_penalty=0, top_p=1, temperature=0.7, timeout=60, extra_headers={"X-Anything": "e"},
    )  # fmt: skip
    assert said.choices[0].message.content == gpt.generate(PROMPT, 9, seed=1)
    turns = [*messages, said.choices[0].message, {"role": "user", "content": "One day"}]  # as clients go on
    again = client.chat.completions.create(model="stories", messages=turns, max_tokens=5, temperature=0)
    assert again.choices[0].message.content == gpt.generate(
        f"{PROMPT}{said.choices[0].message.content} One day", 5, temperature=0)  # fmt: skip


def test_openai_streams_a_chat_with_its_helper(client, gpt):
    """It takes a text that reached its length for an error, so this one stops."""
    asked = {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": 100, "seed": 1, "stop": "."}
    with client.chat.completions.stream(model="stories", **asked) as stream:
        events = [event.type for event in stream]
        said = stream.get_final_completion()
    assert said.choices[0].message.content == gpt.generate(PROMPT, 100, seed=1, stop=".")
    assert "content.delta" in events and said.choices[0].finish_reason == "stop"


def test_openai_asks_for_more_than_there_is(openai, client, running):
    """What would change the text is refused by name, never passed over."""
    messages = [{"role": "user", "content": PROMPT}]
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    for field, value in (("tools", [tool]), ("response_format", {"type": "json_object"}), ("reasoning_effort", "low"),
                         ("modalities", ["text", "audio"]), ("web_search_options", {})):  # fmt: skip
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model="stories", messages=messages, **{field: value})
        assert (caught.value.code, caught.value.param) == ("unknown_parameter", field)
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="stories", prompt=PROMPT, n=2, best_of=4)
    assert caught.value.param == "best_of"
    two = client.completions.create(model="stories", prompt=PROMPT, n=2, best_of=2, max_tokens=2)
    assert len(two.choices) == 2
    n_embd = client.models.retrieve("stories").embedding_length
    assert len(client.embeddings.create(model="stories", input="a", dimensions=n_embd).data[0].embedding) == n_embd
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model="stories", input="a", dimensions=8)
    assert caught.value.param == "dimensions"
    for ask in (lambda: client.responses.create(model="stories", input="a"), lambda: client.files.list(),
                lambda: client.models.delete("stories"), lambda: client.chat.completions.list()):  # fmt: skip
        with pytest.raises(openai.APIStatusError) as caught:
            ask()
        assert caught.value.status_code in (404, 405) and caught.value.code == "unknown_url"


def test_openai_knows_our_errors(openai, client, running, api):
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="stories", prompt=PROMPT * 100)
    assert caught.value.code == "context_length_exceeded" and caught.value.param == "prompt"
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="gpt-4", prompt=PROMPT)
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{running.url}/v1", api_key="wrong-horse").models.list()
    inside, go = (serving.threading.Event() for _ in range(2))
    api.batcher.submit([Job(lambda: (inside.set(), go.wait(60)), lambda value: None)])
    assert inside.wait(60)
    with pytest.raises(openai.RateLimitError) as caught:
        try:
            client.completions.create(model="stories", prompt=[PROMPT] * 21)
        finally:
            go.set()
    assert int(caught.value.response.headers["retry-after"]) >= 1


# ---- the program llm


@pytest.fixture
def llm(running, tmp_path):
    """llm(words) -> what the real program says, told of our server by its own file of settings."""
    pytest.importorskip("llm", reason="llm is not installed: pip install 'nanogpt-np[llm]'")
    about = "- model_id: {0}\n  model_name: stories\n  api_base: {1}/v1\n  api_key_name: ours\n{2}\n"
    both = about.format("ours", running.url, "  completion: true") + about.format("ours-chat", running.url, "")
    (tmp_path / "extra-openai-models.yaml").write_text(both)
    (tmp_path / "keys.json").write_text(json.dumps({"ours": KEY}))

    def run(*words):
        environment = os.environ | {"LLM_USER_PATH": str(tmp_path), "PYTHONUTF8": "1"}
        done = subprocess.run([sys.executable, "-m", "llm", *words], env=environment, capture_output=True, text=True,
                              timeout=300)  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.mark.parametrize("model", ["ours", "ours-chat"])
@pytest.mark.parametrize("more", [(), ("--no-stream",)])
def test_llm_asks(llm, gpt, model, more):
    said = llm("-m", model, PROMPT, "-o", "max_tokens", "20", "-o", "temperature", "0", "-o", "seed", "3", *more)
    assert said == gpt.generate(PROMPT, 20, temperature=0) + "\n"


# ---- lm-evaluation-harness


def test_lm_eval_comes_to_our_numbers(running, gpt, monkeypatch):
    """Its local-completions ask for an echoed prompt with log-probabilities, and sum those behind the context."""
    completions = pytest.importorskip("lm_eval.models.openai_completions", reason="lm_eval[api] is not installed")
    pytest.importorskip("transformers")
    from lm_eval.api.instance import Instance

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    theirs = completions.LocalCompletionsAPI(
        base_url=f"{running.url}/v1/completions", model="stories", tokenizer_backend="huggingface",
        tokenizer=str(ROOT / "weights/stories"), max_length=gpt.config.n_ctx, batch_size=3, num_concurrent=2,
    )  # fmt: skip
    wanted = [
        ("Once upon a time, there was a little", " girl"), ("Tom and Lily went to the", " park to play."),
        ("The dog was", " very happy"), ("One day", ", a boy"), ("She said", ' "Hello"'), ("He ran to the", " zebra"),
    ]  # fmt: skip
    requests = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(wanted)]
    found = theirs.loglikelihood(requests)
    pairs = [items.pair_of(context, words, gpt, "pair") for context, words in wanted]
    ours = likelihood.score(pairs, gpt.params, gpt.config, gpt.ops)
    for (total, is_greedy), score in zip(found, ours, strict=True):
        assert total == pytest.approx(score.total, abs=CLOSE) and is_greedy == score.is_greedy
    assert {is_greedy for _, is_greedy in found} == {True, False}


def test_lm_eval_generates(running, gpt, monkeypatch):
    completions = pytest.importorskip("lm_eval.models.openai_completions", reason="lm_eval[api] is not installed")
    pytest.importorskip("transformers")
    from lm_eval.api.instance import Instance

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    theirs = completions.LocalCompletionsAPI(
        base_url=f"{running.url}/v1/completions", model="stories", tokenizer_backend="huggingface",
        tokenizer=str(ROOT / "weights/stories"), max_length=gpt.config.n_ctx,
    )  # fmt: skip
    how = {"until": ["."], "max_gen_toks": 30, "do_sample": False}
    (said,) = theirs.generate_until([Instance("generate_until", {}, (PROMPT, how), 0)])
    assert said == gpt.generate(PROMPT, 30, temperature=0, stop=".")


# ---- Prometheus


def test_prometheus_reads_the_metrics(running):
    parser = pytest.importorskip("prometheus_client.parser", reason="pip install prometheus-client")
    httpx = pytest.importorskip("httpx")
    text = httpx.get(f"{running.url}/metrics", headers={"authorization": f"Bearer {KEY}"}).text
    families = {family.name: family for family in parser.text_string_to_metric_families(text)}
    assert families["nanogpt_np_generated_tokens"].type == "counter"
    buckets = families["nanogpt_np_time_to_first_token_seconds"]
    assert buckets.type == "histogram" and all(family.documentation for family in families.values())
    counts = [sample.value for sample in buckets.samples if sample.name.endswith("_bucket")]
    assert counts == sorted(counts) and families["nanogpt_np_rows"].samples[0].value == 4
