"""OpenAI's interface over a real socket: what is asked for comes as the model itself gives it."""

import base64
import json
import re
import socket

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("httpx")

import httpx
from explore import serving

from nanogpt_np import GPT
from nanogpt_np.explore import batching
from nanogpt_np.explore.api import Api, make_app
from nanogpt_np.explore.batching import Job
from nanogpt_np.explore.guard import guarded

PROMPT = "Once upon a time"
CLOSE = 1e-4  # nats: sums of float32 in another order


@pytest.fixture(scope="module")
def gpt():
    return GPT.from_pretrained("stories", ops="numpy")


@pytest.fixture(scope="module")
def api(gpt):
    return Api(gpt, "stories", n_rows=4, most_waiting=12)


@pytest.fixture(scope="module")
def running(api):
    with serving.Running(guarded(make_app(api))) as running:
        yield running


@pytest.fixture(scope="module")
def client(running):
    with httpx.Client(base_url=running.url, timeout=120, trust_env=False) as client:
        yield client


def complete(client, status=200, path="/v1/completions", **body):
    answer = client.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def chunks(answer):
    """The objects of a stream, which ends as it should."""
    *events, last, end = answer.text.split("\n\n")
    assert answer.headers["content-type"].startswith("text/event-stream") and (last, end) == ("data: [DONE]", "")
    assert all(event.startswith("data: ") and "\n" not in event for event in events)
    return [json.loads(event[6:]) for event in events]


def stream(client, path="/v1/completions", **body):
    answer = client.post(path, json={**body, "stream": True})
    assert answer.status_code == 200
    return chunks(answer)


def text_of(parts, index=0):
    return "".join(c["text"] for part in parts for c in part["choices"] if c["index"] == index)


# ---- completions


def test_the_text_is_the_models_own(client, gpt):
    said = {"max_tokens": 20, "temperature": 0.8, "top_p": 0.9, "seed": 3}
    found = complete(client, model="stories", prompt=PROMPT, **said)
    expected = gpt.generate(PROMPT, 20, temperature=0.8, top_p=0.9, seed=3)
    (choice,) = found["choices"]
    assert choice == {"text": expected, "index": 0, "logprobs": None, "finish_reason": "length"}
    n = len(gpt.tokenizer.encode(PROMPT))
    assert found["usage"] == {"prompt_tokens": n, "completion_tokens": 20, "total_tokens": n + 20}
    assert found["object"] == "text_completion" and found["id"].startswith("cmpl-") and found["model"] == "stories"
    assert re.fullmatch("fp_[0-9a-f]{12}", found["system_fingerprint"])


def test_several_prompts_of_both_kinds_and_several_of_each(client, gpt):
    ids = gpt.tokenizer.encode("One day")
    found = complete(client, prompt=[PROMPT, ids], n=2, max_tokens=8, seed=1, temperature=1.0)
    texts = [choice["text"] for choice in found["choices"]]
    expected = gpt.generate([PROMPT, "One day"], 8, num_return_sequences=2, seed=1, temperature=1.0)
    assert texts == expected and [choice["index"] for choice in found["choices"]] == [0, 1, 2, 3]
    assert complete(client, prompt=ids, n=1, max_tokens=8, seed=1, temperature=1.0)["choices"][0]["text"] == expected[2]
    assert complete(client, prompt=[ids], max_tokens=8, seed=1, temperature=1.0)["choices"][0]["text"] == expected[2]


@pytest.mark.parametrize("theirs, ours", [
    ({"presence_penalty": 1.5, "frequency_penalty": 0.5}, {"presence_penalty": 1.5, "frequency_penalty": 0.5}),
    ({"logit_bias": {"13": -100, "11": 3}}, {"logit_bias": {13: -100.0, 11: 3.0}}),
    ({"stop": " was"}, {"stop": [" was"]}), ({"stop": ["xyz", "a big"]}, {"stop": ["xyz", "a big"]}),
    ({"top_k": 3, "min_p": 0.1}, {"top_k": 3, "min_p": 0.1}), ({"typical_p": 0.5}, {"typical_p": 0.5}),
    ({"repetition_penalty": 1.4, "no_repeat_ngram_size": 2}, {"repetition_penalty": 1.4, "no_repeat_ngram_size": 2}),
    ({"temperature": 0}, {"temperature": 0}), ({"seed": 12345678901234567890}, {"seed": 12345678901234567890}),
])  # fmt: skip
def test_each_way_to_choose_is_generations_own(client, gpt, theirs, ours):
    found = complete(client, prompt=PROMPT, max_tokens=24, **{"seed": 4, **theirs})
    assert found["choices"][0]["text"] == gpt.generate(PROMPT, 24, **{"seed": 4, **ours})


def test_null_is_nothing_said_and_a_negative_seed_is_one(client):
    fields = ("temperature", "top_p", "n", "stop", "logit_bias", "logprobs", "stream", "user", "echo", "max_tokens")
    nulls = dict.fromkeys(fields)
    found = complete(client, prompt=PROMPT, seed=-1, **nulls)
    assert found["usage"]["completion_tokens"] == 16  # OpenAI's own default
    assert found["choices"] == complete(client, prompt=PROMPT, seed=2**64 - 1)["choices"]


def test_no_prompt_is_the_beginning_of_a_text(client, gpt):
    found = complete(client, max_tokens=5, temperature=0)
    assert found["choices"][0]["text"] == gpt.generate("", 5, temperature=0)


def test_an_end_is_told_from_a_length(client, gpt):
    ends = {str(gpt.config.eos_id): 100}
    found = complete(client, prompt=PROMPT, max_tokens=9, temperature=0, logit_bias=ends)
    assert found["choices"][0] == {"text": "", "index": 0, "logprobs": None, "finish_reason": "stop"}
    assert found["usage"]["completion_tokens"] == 1  # the one that ended it was made, too
    found = complete(client, prompt=PROMPT, max_tokens=9, temperature=0, logit_bias=ends, min_tokens=2)
    assert found["usage"]["completion_tokens"] == 3 and found["choices"][0]["finish_reason"] == "stop"
    found = complete(client, prompt=PROMPT, max_tokens=9, temperature=0, logit_bias=ends, ignore_eos=True)
    assert found["usage"]["completion_tokens"] == 9 and found["choices"][0]["finish_reason"] == "length"


# ---- log-probabilities


def test_echo_with_logprobs_is_what_the_model_thinks_of_a_text(client, gpt):
    text = "Once upon a time, there was a little girl named Lily."
    (choice,) = complete(client, prompt=text, max_tokens=0, echo=True, logprobs=2)["choices"]
    ids, found = gpt.tokenizer.encode(text), choice["logprobs"]
    assert choice["text"] == text == "".join(found["tokens"]) and choice["finish_reason"] == "length"
    assert found["token_logprobs"][0] is None and found["top_logprobs"][0] is None
    np.testing.assert_allclose(found["token_logprobs"][1:], gpt.logprobs(text)[1:], atol=CLOSE)
    assert [text[at:][: len(token)] for at, token in zip(found["text_offset"], found["tokens"], strict=True)] == (
        found["tokens"]
    )
    for i, top in enumerate(found["top_logprobs"][1:], 1):
        best = gpt.next_tokens(ids[:i], 2)
        assert list(top) == [token.text for token in best]
        np.testing.assert_allclose(list(top.values()), [token.log_prob for token in best], atol=CLOSE)


def test_logprobs_of_what_is_new(client, gpt):
    (choice,) = complete(client, prompt=PROMPT, max_tokens=6, seed=2, logprobs=0)["choices"]
    (alone,) = gpt.complete(PROMPT, 6, seed=2)
    assert "".join(choice["logprobs"]["tokens"]) == choice["text"] == alone.text
    np.testing.assert_allclose(choice["logprobs"]["token_logprobs"], alone.log_probs, atol=CLOSE)
    assert choice["logprobs"]["top_logprobs"] == [{}] * 6 and choice["logprobs"]["text_offset"][0] == 0


def test_the_id_that_ends_a_text_has_a_likelihood_too(client, gpt):
    """Who cuts the list of an echoed prompt behind its last token, as lm-eval does, counts on one new entry."""
    eos = gpt.config.eos_id
    (choice,) = complete(client, prompt=PROMPT, max_tokens=1, echo=True, logprobs=1, temperature=0,
                         logit_bias={str(eos): 100})["choices"]  # fmt: skip
    assert choice["text"] == PROMPT and choice["finish_reason"] == "stop"
    assert choice["logprobs"]["tokens"][-1] == "<|endoftext|>"
    expected = next(token.log_prob for token in gpt.next_tokens(PROMPT, 4096) if token.id == eos)  # without the bias
    assert choice["logprobs"]["token_logprobs"][-1] == pytest.approx(expected, abs=CLOSE)


def test_half_a_character_is_written_as_bytes(client, gpt):
    ids = gpt.tokenizer.encode("ä")
    assert len(ids) == 2
    (choice,) = complete(client, prompt=ids, max_tokens=0, echo=True, logprobs=0)["choices"]
    assert choice["logprobs"]["tokens"] == ["bytes:\\xc3", "bytes:\\xa4"] and choice["text"] == "ä"
    (choice,) = complete(client, prompt=ids[:1], max_tokens=0, echo=True)["choices"]
    assert choice["text"] == "\ufffd"


def test_a_text_alone_or_echoed(client, gpt):
    (choice,) = complete(client, prompt=PROMPT, max_tokens=5, seed=2, echo=True)["choices"]
    assert choice["text"] == PROMPT + gpt.generate(PROMPT, 5, seed=2) and choice["logprobs"] is None
    assert complete(client, prompt=PROMPT, max_tokens=0)["choices"][0]["text"] == ""


# ---- streams


def test_a_stream_is_the_same_text_in_parts(client):
    body = {"prompt": [PROMPT, "One day"], "n": 2, "max_tokens": 12, "seed": 6, "logprobs": 1, "echo": True}
    whole, parts = complete(client, **body), stream(client, **body)
    assert len({part["id"] for part in parts}) == 1 and all("usage" not in part for part in parts)
    for choice in whole["choices"]:
        i = choice["index"]
        of_one = [c for part in parts for c in part["choices"] if c["index"] == i]
        assert "".join(c["text"] for c in of_one) == choice["text"]
        assert [c["finish_reason"] for c in of_one if c["finish_reason"]] == [choice["finish_reason"]]
        for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
            assert sum((c["logprobs"][name] for c in of_one if c["logprobs"]), []) == choice["logprobs"][name]


def test_a_stream_says_what_it_used_where_asked(client):
    parts = stream(client, prompt=PROMPT, max_tokens=4, stream_options={"include_usage": True})
    assert all(part["usage"] is None for part in parts[:-1]) and parts[-1]["choices"] == []
    assert parts[-1]["usage"]["completion_tokens"] == 4


def test_what_a_token_spells_breaks_no_stream(client, gpt):
    """Whatever it is: line ends, and the words that a stream itself is made of."""
    text = "data: [DONE]\n\ndata: {}\r\n\r\n: \u2028\x00"
    parts = stream(client, prompt=text, max_tokens=2, echo=True, logprobs=1, temperature=0)
    assert text_of(parts) == text + gpt.generate(text, 2, temperature=0)


def test_nothing_of_a_stop_string_is_streamed(client, gpt):
    parts = stream(client, prompt=PROMPT, max_tokens=30, temperature=0, stop="little girl")
    assert text_of(parts) == gpt.generate(PROMPT, 30, temperature=0, stop="little girl")
    assert text_of(parts).endswith("a ") and parts[-1]["choices"][0]["finish_reason"] == "stop"


# ---- chat


def test_a_chat_goes_on_from_its_turns_as_one_text(client, gpt):
    messages = [
        {"role": "system", "content": "Once upon"}, {"role": "user", "content": [{"type": "text", "text": "a time"}]},
        {"role": "assistant", "content": ", there was"}, {"role": "user", "content": "a cat"},
    ]  # fmt: skip
    found = complete(client, path="/v1/chat/completions", model="stories", messages=messages, max_tokens=9, seed=1)
    (choice,), text = found["choices"], gpt.generate("Once upon a time, there was a cat", 9, seed=1)
    assert choice["message"] == {"role": "assistant", "content": text, "refusal": None}
    assert found["object"] == "chat.completion" and found["id"].startswith("chatcmpl-")
    messages[-1]["content"] = "a dog"
    again = complete(client, path="/v1/chat/completions", messages=messages, max_completion_tokens=2, temperature=0)
    assert again["usage"]["completion_tokens"] == 2


def test_a_chat_streams(client, gpt):
    body = {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": 7, "seed": 2, "n": 2}
    parts = stream(client, "/v1/chat/completions", **body)
    assert {part["object"] for part in parts} == {"chat.completion.chunk"}
    expected = gpt.generate(PROMPT, 7, seed=2, num_return_sequences=2)
    for i in range(2):
        deltas = [c["delta"] for part in parts for c in part["choices"] if c["index"] == i]
        assert deltas[0] == {"role": "assistant", "content": ""} and deltas[-1] == {}
        assert "".join(delta.get("content", "") for delta in deltas) == expected[i]


def test_a_chat_tells_logprobs(client, gpt):
    found = complete(client, path="/v1/chat/completions", messages=[{"role": "user", "content": PROMPT}],
                     max_tokens=3, logprobs=True, top_logprobs=2, temperature=0)  # fmt: skip
    content = found["choices"][0]["logprobs"]["content"]
    assert "".join(entry["token"] for entry in content) == found["choices"][0]["message"]["content"]
    assert bytes(content[0]["bytes"]).decode() == content[0]["token"]
    best = gpt.next_tokens(PROMPT, 2)
    assert [top["token"] for top in content[0]["top_logprobs"]] == [token.text for token in best]
    assert content[0]["logprob"] == pytest.approx(best[0].log_prob, abs=CLOSE)


def test_a_chat_without_a_length_goes_as_far_as_the_context(client, gpt):
    body = {"messages": [{"role": "user", "content": PROMPT}], "ignore_eos": True, "temperature": 0}
    found = complete(client, path="/v1/chat/completions", **body)
    assert found["usage"]["completion_tokens"] == 200 and found["choices"][0]["finish_reason"] == "length"


# ---- embeddings, models, health, metrics


def test_an_embedding_is_the_mean_hidden_state_of_length_one(client, gpt):
    ids = gpt.tokenizer.encode("One day")
    found = complete(client, path="/v1/embeddings", model="stories", input=[PROMPT, ids])
    for entry, prompt in zip(found["data"], (PROMPT, ids), strict=True):
        mean = gpt.hidden(prompt).mean(axis=0)
        np.testing.assert_allclose(entry["embedding"], mean / np.linalg.norm(mean), atol=1e-6)  # rounded to float32
    assert found["usage"]["prompt_tokens"] == len(gpt.tokenizer.encode(PROMPT)) + len(ids)
    packed = complete(client, path="/v1/embeddings", input=PROMPT, encoding_format="base64", dimensions=256)
    raw = base64.b64decode(packed["data"][0]["embedding"])
    np.testing.assert_array_equal(np.frombuffer(raw, "<f4"), np.float32(found["data"][0]["embedding"]))


def test_the_model_is_listed(client, gpt):
    (entry,) = client.get("/v1/models").json()["data"]
    assert entry["id"] == "stories" and entry["object"] == "model" and entry["context_length"] == gpt.config.n_ctx
    assert client.get("/v1/models/stories").json() == entry
    assert client.get("/v1/models/gpt-4").json()["error"]["code"] == "model_not_found"


def test_health_and_metrics(client):
    assert client.get("/health").json() == {"status": "ok"}
    complete(client, prompt=PROMPT, max_tokens=1)
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    values = {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}
    assert values['nanogpt_np_answers_total{path="/v1/completions",status="200"}'] >= 1
    assert values["nanogpt_np_generated_tokens_total"] >= values["nanogpt_np_time_to_first_token_seconds_count"] >= 1
    assert values['nanogpt_np_step_seconds_bucket{le="+Inf"}'] == values["nanogpt_np_step_seconds_count"]
    assert values["nanogpt_np_rows"] == 4 and values["nanogpt_np_waiting"] == 0


# ---- who goes away, and who is sent away


def hang_up(running, body):
    """Ask over a bare socket -> the socket."""
    line, raw = socket.create_connection(("127.0.0.1", running.port), timeout=60), json.dumps(body).encode()
    head = (f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(raw)}\r\n\r\n")  # fmt: skip
    line.sendall(head.encode() + raw)
    return line


@pytest.mark.parametrize("is_stream", [True, False])
def test_a_client_that_hangs_up_frees_its_row_at_once(client, running, api, is_stream, monkeypatch):
    decode = batching.decoding.decode
    monkeypatch.setattr(batching.decoding, "decode", lambda *args: (serving.time.sleep(0.01), decode(*args))[1])
    before = dict(api.metrics.counts)
    body = {"prompt": PROMPT, "max_tokens": 200, "ignore_eos": True, "stream": is_stream, "n": 2}
    with hang_up(running, body) as line:
        if is_stream:
            assert line.recv(100).startswith(b"HTTP/1.1 200")
        serving.until(lambda: len(api.batcher.live) == 2)
    serving.until(lambda: not api.batcher.live)
    assert api.metrics.counts["sequences_left_total"] == before["sequences_left_total"] + 2
    assert api.metrics.counts["generated_tokens_total"] < before["generated_tokens_total"] + 400
    complete(client, prompt=PROMPT, max_tokens=1)


def test_a_full_queue_says_when_to_come_again(client, api):
    inside, go = (serving.threading.Event() for _ in range(2))
    api.batcher.submit([Job(lambda: (inside.set(), go.wait(60)), lambda value: None)])
    assert inside.wait(60)
    try:
        answer = client.post("/v1/completions", json={"prompt": [PROMPT] * 13, "max_tokens": 1})
    finally:
        go.set()
    assert answer.status_code == 429 and 1 <= int(answer.headers["retry-after"]) <= 60
    error = answer.json()["error"]
    assert error["code"] == "rate_limit_exceeded" and error["type"] == "rate_limit_error"
    assert complete(client, prompt=[PROMPT] * 12, max_tokens=1)["usage"]["completion_tokens"] == 12


def test_a_text_that_fails_in_a_stream_is_its_last_event(client):
    biases = ", ".join(f'"{i}": -1e999' for i in range(4096))  # JSON has no infinity, but numbers as large
    body = f'{{"prompt": "{PROMPT}", "logit_bias": {{{biases}}}, "stream": %s}}'
    kind = {"content-type": "application/json"}
    answer = client.post("/v1/completions", content=body % "true", headers=kind)
    *_, last, end = answer.text.split("\n\n")
    error = json.loads(last.removeprefix("data: "))["error"]
    assert answer.status_code == 200 and end == "" and "ban fewer ids" in error["message"]
    answer = client.post("/v1/completions", content=body % "false", headers=kind)
    assert answer.status_code == 400 and answer.json()["error"] == error


def test_a_defect_inside_is_a_500_without_a_word_of_it(client, monkeypatch, capfd):
    def broken(*args):
        raise ZeroDivisionError("of the inside")

    monkeypatch.setattr(batching.decoding, "decode", broken)
    answer = client.post("/v1/completions", json={"prompt": PROMPT, "max_tokens": 3})
    assert answer.status_code == 500 and answer.json()["error"]["type"] == "server_error"
    assert "inside" not in answer.json()["error"]["message"].replace("inside the server", "")
    said = capfd.readouterr()
    assert said.err == "nanogpt-np: /v1/completions: ZeroDivisionError: of the inside\n" and said.out == ""
