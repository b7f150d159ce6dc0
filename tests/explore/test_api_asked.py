"""What cannot be done is one line in OpenAI's form that names the field; nothing that is sent makes a traceback."""

import json

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("httpx")

import httpx
from explore import serving
from hypothesis import given, settings
from hypothesis import strategies as st

from nanogpt_np import GPT
from nanogpt_np.errors import InputError
from nanogpt_np.explore import api_asked
from nanogpt_np.explore.api import Api, make_app
from nanogpt_np.explore.guard import Refused, guarded

KEY = "correct-horse"


@pytest.fixture(scope="module")
def served():
    return api_asked.serve(GPT.from_pretrained("stories", ops="numpy"), "stories", 0)


@pytest.fixture(scope="module")
def client(served):
    app = guarded(make_app(Api(served.gpt, "stories", 2, 8)), key=KEY, max_body=100_000)
    with serving.Running(app) as running, httpx.Client(
        base_url=running.url, headers={"authorization": f"Bearer {KEY}"}, timeout=60, trust_env=False
    ) as client:
        yield client


def refused(read, served, **body):
    with pytest.raises(Refused) as caught:
        read(body, served)
    error = json.loads(caught.value.body)["error"]
    assert "\n" not in error["message"] and set(error) == {"message", "type", "param", "code"}
    return caught.value.status, error["code"], error["param"]


@pytest.mark.parametrize("field, value", [
    ("prompt", 5), ("prompt", {}), ("prompt", []), ("prompt", [[]]), ("prompt", [None]), ("prompt", [1, "a"]),
    ("prompt", [1.5]), ("prompt", [True]), ("prompt", [4096]), ("prompt", [-1]), ("prompt", "half \ud800"),
    ("prompt", [10**400]), ("prompt", ["a"] * 3000), ("n", 0), ("n", 129), ("n", 1.0), ("n", True), ("n", "1"),
    ("max_tokens", -1), ("max_tokens", 2.5), ("max_tokens", "9"), ("max_tokens", 10**400), ("temperature", -1),
    ("temperature", "hot"), ("temperature", True), ("temperature", 1e999), ("top_p", 0), ("top_p", 1.1), ("top_p", []),
    ("stop", 5), ("stop", [""]), ("stop", ["a"] * 17), ("stop", [5]), ("seed", 1.5), ("seed", 2**64), ("seed", True),
    ("seed", "x"), ("logprobs", True), ("logprobs", 21), ("logprobs", -1), ("echo", 1), ("stream", "yes"),
    ("presence_penalty", 1000), ("frequency_penalty", "much"), ("logit_bias", []), ("logit_bias", {"a": 1}),
    ("logit_bias", {"5": "x"}), ("logit_bias", {"4096": 1}), ("logit_bias", {"-1": 1}), ("logit_bias", {"²": 1}),
    ("logit_bias", {"5": 10**400}),
    ("logit_bias", {"9" * 5000: 1}), ("stream_options", 5), ("top_k", -1), ("min_p", 2), ("typical_p", 0),
    ("repetition_penalty", 0), ("no_repeat_ngram_size", 1.5), ("ignore_eos", 1), ("min_tokens", 99),
])  # fmt: skip
def test_a_value_that_makes_no_sense_names_its_field(served, field, value):
    assert refused(api_asked.completion, served, **{"prompt": "Once", field: value}) == (400, "invalid_value", field)


@pytest.mark.parametrize("field, value", [
    ("suffix", "x"), ("tools", [{}]), ("functions", [{}]), ("tool_choice", "required"), ("reasoning_effort", "high"),
    ("response_format", {"type": "json_object"}), ("response_format", {"type": "json_schema", "json_schema": {}}),
    ("audio", {"voice": "a"}), ("modalities", ["text", "audio"]), ("moderation", {}), ("web_search_options", {}),
    ("verbosity", "low"), ("suffix", 0), ("tools", False), ("function_call", {"name": "f"}), ("model_path", "x"),
    ("file", "/etc/passwd"), ("x" * 10_000, 1), ("\ud800", 1), ("guided_regex", "a+"),
])  # fmt: skip
def test_a_field_that_nobody_reads_is_not_passed_over(served, field, value):
    assert refused(api_asked.completion, served, prompt="a", **{field: value}) == (400, "unknown_parameter", field[:80])


def test_a_field_that_says_nothing_is_passed_over(served):
    idle = {"best_of": 1, "suffix": "", "tools": [], "user": "somebody", "service_tier": "flex", "whatever": None,
            "stream_options": {"include_usage": False, "include_obfuscation": False, "more": None}}  # fmt: skip
    assert api_asked.completion({"prompt": "Once", **idle}, served).prompts == [served.gpt.tokenizer.encode("Once")]


def test_what_clients_say_of_a_chat_that_changes_no_text_is_passed_over(served):
    """The fields of the package openai 3.57 that are not about what is written, and those that ask for nothing."""
    said = {"metadata": {"job": "5"}, "store": True, "safety_identifier": "a", "prompt_cache_key": "b",
            "prompt_cache_options": {"mode": "auto"}, "prompt_cache_retention": "24h", "service_tier": "priority",
            "prediction": {"type": "content", "content": "c"}, "parallel_tool_calls": True, "user": "d",
            "tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "none", "audio": None,
            "response_format": {"type": "text"}, "modalities": ["text"], "verbosity": "medium",
            "reasoning_effort": "none", "logprobs": False, "top_logprobs": 0}  # fmt: skip
    turn = {"role": "user", "content": "Once", "name": "Tom", "tool_calls": None, "refusal": None, "annotations": []}
    assert api_asked.conversation({"messages": [turn], **said}, served) == api_asked.conversation(
        {"messages": [{"role": "user", "content": "Once"}]}, served)  # fmt: skip


def test_best_of_as_many_as_are_told_says_nothing_and_of_more_is_refused(served):
    assert api_asked.completion({"prompt": "Once", "n": 3, "best_of": 3}, served).n == 3
    for said in ({"best_of": 2}, {"n": 2, "best_of": 3}, {"n": 2, "best_of": 1}, {"best_of": True}):
        assert refused(api_asked.completion, served, prompt="a", **said) == (400, "invalid_value", "best_of")


@pytest.mark.parametrize("options", [{"include_obfuscation": True}, {"include_usage": True, "chunk_size": 5}])
def test_an_option_of_a_stream_that_nobody_reads_is_not_passed_over(served, options):
    expected = (400, "unknown_parameter", "stream_options")
    assert refused(api_asked.completion, served, prompt="a", stream=True, stream_options=options) == expected


def test_top_logprobs_without_logprobs_would_tell_nothing(served):
    messages = [{"role": "user", "content": "Once"}]
    for said in ({}, {"logprobs": False}, {"logprobs": None}):
        found = refused(api_asked.conversation, served, messages=messages, top_logprobs=2, **said)
        assert found == (400, "invalid_value", "top_logprobs")


def test_another_model_is_not_found(served):
    for model in ("gpt-4", "../stories", 5, ""):
        assert refused(api_asked.completion, served, prompt="a", model=model) == (404, "model_not_found", "model")


@pytest.mark.parametrize("said", [
    {"prompt": "Once " * 300}, {"prompt": [5] * 257}, {"prompt": "Once", "max_tokens": 257}, {"prompt": "x" * 50_000},
    {"prompt": ["Once", [5] * 250]}, {"prompt": [5] * 257, "max_tokens": 0},
])  # fmt: skip
def test_what_is_longer_than_the_context(served, said):
    assert refused(api_asked.completion, served, **said) == (400, "context_length_exceeded", "prompt")


def test_what_just_fits(served):
    ids = [5] * 241
    assert api_asked.completion({"prompt": ids}, served).request.max_new_tokens == 16  # the last is never read
    assert api_asked.completion({"prompt": [5] * 256, "max_tokens": 1}, served).prompts == [[5] * 256]


@pytest.mark.parametrize("messages", [
    None, [], {}, "Once", [5], [{}], [{"role": "user"}], [{"role": "tool", "content": "a"}],
    [{"role": "user", "content": 5}],
    [{"role": "user", "content": [{"type": "image_url", "image_url": "http://a"}]}], [{"role": "user", "content": [5]}],
    [{"role": "user", "content": None}], [{"role": ["user"], "content": "a"}],
    [{"role": "assistant", "content": "", "tool_calls": [{"id": "a"}]}], [{"role": "user", "content": "a", "x": 1}],
])  # fmt: skip
def test_messages_that_are_none(served, messages):
    assert refused(api_asked.conversation, served, messages=messages) == (400, "invalid_value", "messages")


def test_a_conversation_that_is_too_long(served):
    messages = [{"role": "user", "content": "Once upon a time " * 100}]
    expected = (400, "context_length_exceeded", "messages")
    assert refused(api_asked.conversation, served, messages=messages) == expected


@pytest.mark.parametrize("field, value", [
    ("input", None), ("input", 5), ("input", []), ("input", [4096]), ("encoding_format", "hex"), ("dimensions", 2),
])  # fmt: skip
def test_embeddings_of_what_has_none(served, field, value):
    body = {"input": "Once", field: value}
    assert refused(api_asked.embedding, served, **body) == (400, "invalid_value", field)


def test_embeddings_of_what_is_too_long(served):
    assert refused(api_asked.embedding, served, input=[5] * 257) == (400, "context_length_exceeded", "input")


def test_a_model_without_words_cannot_answer(make_gpt):
    with pytest.raises(InputError, match="expected a model with vocabulary files"):
        api_asked.serve(make_gpt(with_tokenizer=False), "mine", 0)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=6,
)  # fmt: skip
FIELDS = sorted(api_asked.OF_COMPLETIONS | api_asked.OF_CHAT | api_asked.OF_EMBEDDINGS | set(api_asked.IDLE))


@given(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4))
@settings(max_examples=150, deadline=None)
def test_whatever_is_said_is_understood_or_refused(served, body):
    for read in (api_asked.completion, api_asked.conversation, api_asked.embedding):
        try:
            read(body, served)
        except Refused as error:
            assert error.status in (400, 404) and json.loads(error.body)


# ---- over the wire

JSON = {"content-type": "application/json"}


@pytest.mark.parametrize("content", [
    b"", b"{", b"[]", b"5", b"null", b"\xff\xfe", b'{"prompt": NaN}', b'{"a": Infinity}', b"[" * 50_000,
    b'{"n": ' + b"9" * 5000 + b"}", b"\x00", b'{"prompt": "a"} {}', b'{"n": 1, "n": 2}', b'{"a": {"b": 1, "b": 1}}',
    b'{"a":' * 20_000, b'{"prompt": "\xed\xa0\x80"}', b'{"prompt": "\xc0\xaf"}', b'{"a": -Infinity}', b"\xef\xbb\xbf{}",
])  # fmt: skip
def test_a_body_that_is_no_object_of_json(client, content, capfd):
    answer = client.post("/v1/completions", content=content, headers=JSON)
    assert answer.status_code == 400 and answer.json()["error"]["code"] == "invalid_json", answer.text
    assert "Traceback" not in answer.text and capfd.readouterr() == ("", "")


@pytest.mark.parametrize("path, method, status, code", [
    ("/v1/completions", "GET", 405, "unknown_url"), ("/v1/nothing", "POST", 404, "unknown_url"),
    ("/../../etc/passwd", "GET", 404, "unknown_url"), ("/v1/models/..%2f..%2fetc", "GET", 404, "model_not_found"),
    ("/v1/models/%00", "GET", 404, "model_not_found"), ("/", "GET", 404, "unknown_url"),
])  # fmt: skip
def test_a_route_that_is_none(client, path, method, status, code):
    answer = client.request(method, path)
    assert answer.status_code == status and answer.json()["error"]["code"] == code


def test_a_body_of_another_kind(client):
    answer = client.post("/v1/completions", content=b'{"prompt": "a"}', headers={"content-type": "text/plain"})
    assert answer.status_code == 415 and answer.json()["error"]["code"] == "invalid_content_type"


def test_a_body_that_is_too_large(client):
    answer = client.post("/v1/completions", json={"prompt": "a" * 100_000})
    assert answer.status_code == 413 and answer.json()["error"]["code"] == "request_too_large"


def test_no_key_no_answer(client):
    answer = client.get("/v1/models", headers={"authorization": "Bearer wrong-horse"})
    assert answer.status_code == 401 and answer.json()["error"]["code"] == "invalid_api_key"
    assert client.get("/health", headers={"authorization": ""}).status_code == 200
    assert client.get("/metrics", headers={"authorization": ""}).status_code == 401


def test_another_page_cannot_ask(client):
    answer = client.post("/v1/completions", json={"prompt": "a"}, headers={"origin": "http://evil.example"})
    assert answer.status_code == 403
    assert client.get("/v1/models", headers={"host": "evil.example"}).status_code == 403
