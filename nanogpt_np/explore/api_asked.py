"""What a client asks for, in OpenAI's words, as what generation understands.

Enter: the JSON of a request. Leave: an Asked, in which every value is checked; Refused (400, 404) names the field that
is wrong. Fields and defaults: OpenAI's API reference, "Completions", "Chat" and "Embeddings".
Next: explore/api_answers.py.
"""

import json
from typing import Any, NamedTuple

from ..errors import InputError, is_number, is_whole, shown
from ..generation import chat
from ..generation.batches import fingerprint
from ..generation.defaults import settle, split
from ..generation.request import Request, encode_prompt
from ..generation.sampling import check_ids
from .guard import Refused

MOST_N, MOST_PROMPTS, MOST_STOPS, MOST_TOP = 128, 2048, 16, 20
USUAL_NEW_TOKENS = 16  # of /v1/completions, as OpenAI has it
SHARED = {
    "temperature": "temperature", "top_p": "top_p", "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty", "top_k": "top_k", "min_p": "min_p", "typical_p": "typical_p",
    "repetition_penalty": "repetition_penalty", "no_repeat_ngram_size": "no_repeat_ngram_size",
    "ignore_eos": "ignore_eos", "min_tokens": "min_new_tokens",
}  # fmt: skip; what OpenAI's interface has not, from top_k on, goes by the name that vLLM gives it, or else ours
BOTH = {*SHARED, "model", "n", "stop", "seed", "logit_bias", "stream", "stream_options", "logprobs", "user"}
PASSED_OVER = {
    "metadata", "store", "safety_identifier", "service_tier", "parallel_tool_calls", "prediction",
    "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention",
}  # fmt: skip; how a request is billed, kept or sped up: whatever they say, the text is the same
IDLE = {"suffix": ("",), "tools": ([],), "functions": ([],), "tool_choice": ("none", "auto"),
        "function_call": ("none", "auto"), "response_format": ({"type": "text"},), "modalities": (["text"],),
        "reasoning_effort": ("none",), "verbosity": ("medium",)}  # fmt: skip; with these values they say nothing
OF_COMPLETIONS = {*BOTH, "prompt", "max_tokens", "echo", "best_of"}
OF_CHAT = {*BOTH, "messages", "max_tokens", "max_completion_tokens", "top_logprobs"}
OF_EMBEDDINGS = {"model", "input", "encoding_format", "dimensions", "user"}
OF_MESSAGES = ("role", "content", "name")  # the name is not written
ROLES = ("system", "developer", "user", "assistant")
THEIR_NAMES = {"max_new_tokens": "max_tokens", "min_new_tokens": "min_tokens", "num_return_sequences": "n"}


class Served(NamedTuple):
    """A model as clients know it: by its name, and a fingerprint of its weights and settings."""

    gpt: Any
    name: str
    fingerprint: str
    longest: int  # the most bytes that one token stands for
    created: int  # when the server began, in seconds since 1970


def serve(gpt, name, created):
    """A Served; InputError for a model that has no vocabulary, as answers are text."""
    if gpt.tokenizer is None:
        raise InputError("serve: expected a model with vocabulary files, got one without; add vocab.json, merges.txt")
    longest = max(len(gpt.tokenizer.token_bytes(i)) for i in range(gpt.tokenizer.n_vocab))
    return Served(gpt, name, f"fp_{fingerprint(gpt, {})}", longest, created)


class Asked(NamedTuple):
    """A request for continuations: each prompt as ids and as text, `n` of each, and what to tell of them."""

    prompts: list[list[int]]
    texts: list[str]
    request: Request  # of one sequence, spelled
    n: int
    n_top: int | None  # None: no log-probabilities
    echo: bool
    stream: bool
    with_usage: bool


def read_json(body):
    """The object that a request's body holds; Refused where it is none."""
    try:
        data = json.loads(body.decode(), parse_constant=_no_constant, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        message = f"expected a body of JSON, got other bytes ({_first_line(error)})"
        raise Refused(400, message, "invalid_json") from error
    if not isinstance(data, dict):
        raise Refused(400, f"expected a JSON object, got {shown(data)}", "invalid_json")
    return data


def _no_constant(name):
    raise ValueError(f"{name} is no JSON")


def _object(pairs):
    """An object in which no name is said twice: which one counts, everyone decides differently."""
    data = dict(pairs)
    if len(data) != len(pairs):
        raise ValueError("a name that is said twice")
    return data


def _first_line(error):
    return str(error).splitlines()[0][:80] if str(error) else type(error).__name__


def refused(error):
    """An InputError in the interface's form: the name before its colon is the field, by their name."""
    name, colon, rest = str(error).partition(": ")
    is_name = colon and name.isidentifier()
    name = THEIR_NAMES.get(name, name)
    return Refused(400, f"{name}: {rest}" if is_name else str(error), "invalid_value", name if is_name else None)


def check_fields(data, known, model):
    """Refused for a field that nobody here reads, and for another model; null is nothing said."""
    unused = {"tools", "functions"} if "none" in (data.get("tool_choice"), data.get("function_call")) else set()
    for name, value in data.items():
        if name in known or name in PASSED_OVER or name in unused or value is None:
            continue
        if not any(type(value) is type(idle) and value == idle for idle in IDLE.get(name, ())):
            got = f"{shown(name)} with {shown(value)}" if name in IDLE else shown(name)
            raise Refused(400, f"expected fields that are understood here, got {got}", "unknown_parameter", name[:80])
    asked = data.get("model")
    if asked is not None and asked != model:
        expected = f"the model {shown(model)}, which is the one that is served"
        raise Refused(404, f"model: expected {expected}, got {shown(asked)}", "model_not_found", "model")


def completion(data, served):
    """An Asked of the body of POST /v1/completions."""
    check_fields(data, OF_COMPLETIONS, served.name)
    prompts = as_prompts("prompt", data.get("prompt"), served)
    echo = _truth(data, "echo")
    most = _whole(data, "max_tokens", USUAL_NEW_TOKENS, 0)
    n_top = _whole(data, "logprobs", None, 0, MOST_TOP)
    n = _whole(data, "n", 1, 1, MOST_N)
    if _whole(data, "best_of", n, 1) != n:
        got = f"{shown(data['best_of'])}; ask for n and logprobs, and choose"
        raise Refused(400, f"best_of: expected n = {n}, as all that is written is told, got {got}", "invalid_value",
                      "best_of")  # fmt: skip
    return _asked(data, prompts, most, n_top, echo, "prompt", served.gpt)


def conversation(data, served):
    """An Asked of the body of POST /v1/chat/completions: the turns as the one text that the model goes on with."""
    check_fields(data, OF_CHAT, served.name)
    turns = [_turn(message) for message in _messages(data.get("messages"))]
    most = _whole(data, "max_completion_tokens", _whole(data, "max_tokens", None, 1), 1)
    n_top = _whole(data, "top_logprobs", 0, 0, MOST_TOP)
    if not _truth(data, "logprobs"):
        if n_top:
            expected = "logprobs: true beside it"
            raise Refused(400, f"top_logprobs: expected {expected}, got it alone", "invalid_value", "top_logprobs")
        n_top = None
    prompts = as_prompts("messages", chat.one_text(turns), served)
    return _asked(data, prompts, most, n_top, False, "messages", served.gpt)


def _messages(messages):
    if not isinstance(messages, list) or not messages:
        raise Refused(400, f"messages: expected a list with at least one, got {shown(messages)}", "invalid_value",
                      "messages")  # fmt: skip
    return messages


def _turn(message):
    """A message as who and what."""
    role = message.get("role") if isinstance(message, dict) else None
    content = message.get("content") if isinstance(message, dict) else None
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    texts = [part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None for part in parts]
    says_more = isinstance(message, dict) and any(message[key] for key in message if key not in OF_MESSAGES)
    if role not in ROLES or not all(isinstance(text, str) for text in texts) or says_more:
        expected = f"an object with a role ({', '.join(ROLES)}) and text as its content, no calls of tools"
        raise Refused(400, f"messages: expected {expected}, got {shown(message)}", "invalid_value", "messages")
    return role, "".join(texts)


def embedding(data, served):
    """The texts of POST /v1/embeddings as lists of ids, and whether vectors go as base64."""
    check_fields(data, OF_EMBEDDINGS, served.name)
    prompts = as_prompts("input", data.get("input"), served)
    config = served.gpt.config
    encoding, n_embd = data.get("encoding_format") or "float", config.n_embd
    if encoding not in ("float", "base64"):
        raise Refused(400, f"encoding_format: expected float or base64, got {shown(encoding)}", "invalid_value",
                      "encoding_format")  # fmt: skip
    _whole(data, "dimensions", n_embd, n_embd, n_embd)
    for ids, _ in prompts:
        check_length(ids, 1, config, "input")
    return [ids for ids, _ in prompts], encoding == "base64"


def as_prompts(name, given, served):
    """Text, ids, or lists of them, as pairs of ids and text; nothing is the beginning of a text."""
    if given is None and name != "prompt":
        raise Refused(400, f"{name}: expected text, or lists of ids, got nothing", "invalid_value", name)
    given = "" if given is None else given
    is_one = isinstance(given, str) or isinstance(given, list) and bool(given) and all(map(is_whole, given))
    several = [given] if is_one else given
    if not isinstance(several, list) or not 1 <= len(several) <= MOST_PROMPTS:
        expected = f"text, ids, or a list of 1 to {MOST_PROMPTS} of these"
        raise Refused(400, f"{name}: expected {expected}, got {shown(given)}", "invalid_value", name)
    return [_as_prompt(name, prompt, served) for prompt in several]


def _as_prompt(name, prompt, served):
    if not isinstance(prompt, (str, list)) or prompt == []:
        raise Refused(400, f"{name}: expected text or ids, got {shown(prompt)}", "invalid_value", name)
    gpt, longest = served.gpt, served.gpt.config.n_ctx * served.longest
    if len(prompt) > longest:  # by far too long; nobody waits until it has been encoded
        raise _too_long(f"more than {longest:,} characters or ids", gpt.config, name)
    try:
        ids = encode_prompt(prompt, gpt.config, gpt.tokenizer)
        if min(ids, default=0) < 0 or max(ids, default=0) >= gpt.config.n_vocab:
            raise InputError(f"{name}: expected ids from 0 to {gpt.config.n_vocab - 1}, got others")
        text = prompt if isinstance(prompt, str) else gpt.tokenizer.decode(ids)
    except InputError as error:
        raise Refused(400, str(error), "invalid_value", name) from error
    return ids, text


def check_length(ids, n_new, config, name):
    """Refused where a prompt and its new tokens do not fit the context; the last new one is never read again."""
    if len(ids) + max(n_new, 1) - 1 > config.n_ctx:
        raise _too_long(f"{len(ids)} and {n_new} new ones", config, name)


def _too_long(got, config, name):
    expected = f"a text and new tokens that fit the context of {config.n_ctx} tokens"
    return Refused(400, f"{name}: expected {expected}, got {got}; shorten it, or ask for fewer",
                   "context_length_exceeded", name)  # fmt: skip


def _asked(data, prompts, most, n_top, echo, name, gpt):
    n = _whole(data, "n", 1, 1, MOST_N)
    for ids, _ in prompts:
        check_length(ids, most or 1, gpt.config, name)
    said = {ours: data[theirs] for theirs, ours in SHARED.items() if data.get(theirs) is not None}
    said |= {"num_beams": 1, "max_new_tokens": most, "stop": _stops(data.get("stop")),
             "logit_bias": _biases(data.get("logit_bias")), "seed": _seed(data.get("seed"))}  # fmt: skip
    defaults = {name: value for name, value in gpt.defaults.items() if name != "max_new_tokens"}
    try:
        request, _ = split(settle(said, defaults))
        check_ids("logit_bias", request.sampling.logit_bias or (), gpt.config.n_vocab)
        asked = request.spelled(gpt.config, gpt.tokenizer)
    except InputError as error:
        raise refused(error) from error
    options = data.get("stream_options") or {}
    if not isinstance(options, dict):
        raise Refused(400, f"stream_options: expected an object, got {shown(options)}", "invalid_value",
                      "stream_options")  # fmt: skip
    for key in options:
        if options[key] and key != "include_usage":  # only what is not wanted can be left out
            got = f"{shown(key)} with {shown(options[key])}"
            raise Refused(400, f"stream_options: expected include_usage, got {got}", "unknown_parameter",
                          "stream_options")  # fmt: skip
    ids, texts = ([pair[i] for pair in prompts] for i in (0, 1))
    return Asked(ids, texts, asked, n, n_top, echo, _truth(data, "stream"), _truth(options, "include_usage"))


def _stops(stop):
    stops = [stop] if isinstance(stop, str) else stop
    if stops is None:
        return None
    if not isinstance(stops, list) or len(stops) > MOST_STOPS or not all(isinstance(s, str) and s for s in stops):
        expected = f"text, or a list of at most {MOST_STOPS} texts, none empty"
        raise Refused(400, f"stop: expected {expected}, got {shown(stop)}", "invalid_value", "stop")
    return stops or None


def _biases(given):
    """{"id": number} as JSON has it -> {id: number}"""
    if given is None:
        return None
    if not isinstance(given, dict) or not all(key.isdecimal() and _fits(given[key]) for key in given):
        expected = 'an object of ids and numbers, such as {"50256": -100}'
        raise Refused(400, f"logit_bias: expected {expected}, got {shown(given)}", "invalid_value", "logit_bias")
    return {int(key[:20]): float(value) for key, value in given.items()} or None


def _fits(value):
    """Is this a number, and one that a float can be? Infinite ones can: they ban an id, or leave no other."""
    return is_number(value) and (isinstance(value, float) or abs(value) < 1 << 1000)


def _seed(seed):
    """A whole number of 64 bits; negative ones stand for those from the other end."""
    if seed is None:
        return None
    if not is_whole(seed) or not -(1 << 63) <= seed < 1 << 64:
        raise Refused(400, f"seed: expected a whole number of 64 bits, got {shown(seed)}", "invalid_value", "seed")
    return seed % (1 << 64)


def _whole(data, name, usual, least, most=1 << 31):
    value = data.get(name)
    if value is None:
        return usual
    if not is_whole(value) or not least <= value <= most:
        raise Refused(400, f"{name}: expected a whole number from {least} to {most}, got {shown(value)}",
                      "invalid_value", name)  # fmt: skip
    return value


def _truth(data, name):
    value = data.get(name)
    if value is None or isinstance(value, bool):
        return bool(value)
    raise Refused(400, f"{name}: expected true or false, got {shown(value)}", "invalid_value", name)
