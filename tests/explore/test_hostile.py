"""A client that means harm, over a raw socket: it is answered in the interface's form or cut; no other one notices.

Each test ends with the same questions: does the server still answer a good client, has it let go of every line and
row, and has it said nothing on standard error?
"""

import json
import random
import socket
import struct
import threading
import time

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from explore import serving
from small import mostly_slow

from nanogpt_np import GPT
from nanogpt_np.explore import api_stream, guard
from nanogpt_np.explore.api import Api, make_app
from nanogpt_np.explore.connections import Line

PROMPT = "Once upon a time"
LINES = 24  # that this server has at once


@pytest.fixture(scope="module")
def gpt():
    return GPT.from_pretrained("stories", ops="numpy")


@pytest.fixture(scope="module")
def running(gpt):
    api = Api(gpt, "stories", n_rows=4, most_waiting=40)
    app = guard.guarded(make_app(api), body_seconds=2, send_seconds=1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Line, "header_seconds", 0.5)
        with serving.Running(app, most=LINES) as running:
            running.api = api
            yield running


@pytest.fixture(autouse=True)
def unharmed(running, gpt, capfd):
    """After whatever was done: a good client is answered, nothing is left over, nothing was said."""
    yield
    serving.until(lambda: not running.server.server_state.connections)
    serving.until(lambda: not running.api.batcher.live and not running.api.batcher.waiting)
    serving.until(lambda: not running.server.server_state.tasks and running.api.batcher.reading is None)
    status, said = post(running, {"prompt": PROMPT, "max_tokens": 5, "seed": 1})
    assert status == 200 and said["choices"][0]["text"] == gpt.generate(PROMPT, 5, seed=1)
    assert capfd.readouterr() == ("", "")


def connect(running, timeout=30):
    return socket.create_connection(("127.0.0.1", running.port), timeout=timeout)


def head(length=None, path="/v1/completions", method="POST", more=()):
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json", *more]
    return "\r\n".join([*lines, *([] if length is None else [f"Content-Length: {length}"]), "", ""]).encode()


def whole(body, **said):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return head(len(body), **said) + body


def all_of(line):
    """Everything until the server closes; a line that is reset says no more."""
    found = b""
    while True:
        try:
            part = line.recv(1 << 16)
        except ConnectionError:
            return found
        if not part:
            return found
        found += part


def answers(raw):
    """The answers on one line -> their statuses and bodies."""
    found = []
    while raw:
        start, _, rest = raw.partition(b"\r\n\r\n")
        fields = {name.lower(): value.strip() for name, _, value in
                  (line.partition(b":") for line in start.split(b"\r\n")[1:])}  # fmt: skip
        n = int(fields.get(b"content-length", len(rest)))
        found.append((int(start.split()[1]), rest[:n]))
        raw = rest[n:]
    return found


def post(running, body):
    with connect(running, 120) as line:
        line.sendall(whole(body, more=["Connection: close"]))
        ((status, said),) = answers(all_of(line))
    return status, json.loads(said)


def reset(line):
    """Close with RST instead of FIN: nothing more is taken, not even an answer."""
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line.close()


def is_refusal(status, body):
    """Is this an error in the interface's form?"""
    error = json.loads(body)["error"]
    return status >= 400 and set(error) == {"message", "type", "param", "code"} and "\n" not in error["message"]


GOOD = {"prompt": PROMPT, "max_tokens": 200, "seed": 1, "ignore_eos": True}

# ---- what is no request

BAD = {
    "a chunk of a size that is none": (head(more=["Transfer-Encoding: chunked"]), b"zz\r\nabc\r\n"),
    "a chunk that says less than it is": (head(more=["Transfer-Encoding: chunked"]), b"2\r\nabcdef\r\n0\r\n\r\n"),
    "a chunk of negative size": (head(more=["Transfer-Encoding: chunked"]), b"-5\r\nabc\r\n"),
    "a chunk of endless size": (head(more=["Transfer-Encoding: chunked"]), b"f" * 40 + b"\r\nabc"),
    "two lengths": (head(5, more=["Content-Length: 6"]), b"{}   "),
    "a length that is none": (head("abc"), b"{}"), "a negative length": (head(-1), b"{}"),
    "a length and a kind of coding": (head(5, more=["Transfer-Encoding: gzip"]), b"{}"),
    "large headers": (head(2, more=["X-A: " + "a" * 1_000_000]), b"{}"),
    "many headers": (head(2, more=[f"X-{i}: {i}" for i in range(90_000)]), b"{}"),
    "a header without end": (b"POST / HTTP/1.1\r\nX: " + b"a" * 200_000, b""),
    "a name with a space": (head(2, more=["X A: b"]), b"{}"),
    "a null": (head(2, more=["X: a\0b"]), b"{}"), "another protocol": (b"SSH-2.0-OpenSSH_9\r\n", b""),
    "a version that is none": (b"GET / HTTP/9.9\r\nHost: a\r\n\r\n", b""), "bytes": (bytes(range(256)) * 40, b""),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), b""),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_request_is_refused_in_form_or_cut(running, name):
    start, body = BAD[name]
    with connect(running) as line:
        try:
            line.sendall(start + body)
        except ConnectionError:
            pass
        found = answers(all_of(line))
    assert len(found) <= 1 and all(status < 500 and is_refusal(status, said) for status, said in found)


@pytest.mark.parametrize("target", ["/%ff%fe", "/v1/models/%ff", "http://evil.example/", "*", "//evil.example/x",
                                    "/?\x7f", "/" + "a" * 60_000, "/%00", "/..//..//etc/passwd"])  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "PROPFIND"])
def test_a_target_that_is_none(running, target, method):
    with connect(running) as line:
        line.sendall(head(0, target, method, ["Connection: close"]))
        ((status, body),) = answers(all_of(line))
    assert status in (400, 404, 405) and is_refusal(status, body)


# ---- what is no JSON, or too much of it

DEEP = [b"[" * n + b"]" * n for n in (100, 400, 900, 2000, 100_000)]
NUMBERS = [b"1e999", b"-1e999", b"1" * 400, b"-" + b"1" * 400, b"1e-999", b"18446744073709551616", b"1" * 5000,
           b"1.5", b"NaN", b"-0", b"1e308", b"-1e308", b"1e-308", b'"\\ud800"', b"true", b"{}"]  # fmt: skip
FIELDS = ["prompt", "n", "seed", "max_tokens", "temperature", "top_p", "logprobs", "logit_bias", "stop", "stream",
          "best_of", "stream_options", "user", "frequency_penalty", "top_k", "min_p", "repetition_penalty", "x"]


@pytest.mark.parametrize("field", mostly_slow(FIELDS, ["prompt", "logit_bias", "x"]))
def test_no_value_of_any_field_breaks_anything(running, field):
    """Each is refused by a line, or answered; nothing is a 500."""
    with connect(running, 120) as line:
        values = [*DEEP, *NUMBERS, *(b'{"5": %s}' % number for number in NUMBERS), *(b"[%s]" % n for n in NUMBERS)]
        others = b"".join(b', "%s": %s' % pair for pair in ((b"prompt", b'"Once"'), (b"max_tokens", b"1"))
                          if pair[0] != field.encode())  # fmt: skip
        for value in values:
            line.sendall(whole(b'{"%s": %s%s}' % (field.encode(), value, others)))
            status, said = one_answer(line)
            assert status in (200, 400), (value[:200], status, said)
            assert status == 200 or is_refusal(status, said)


def one_answer(line):
    raw = b""
    while b"\r\n\r\n" not in raw:
        raw += line.recv(1 << 16)
    start, _, rest = raw.partition(b"\r\n\r\n")
    if b"text/event-stream" in start:
        while not rest.endswith(b"0\r\n\r\n"):
            rest += line.recv(1 << 16)
        return int(start.split()[1]), rest
    n = int(start.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(rest) < n:
        rest += line.recv(1 << 16)
    return int(start.split()[1]), rest


def test_more_texts_than_the_queue_takes_are_refused_before_anything_is_made_of_them(running, monkeypatch):
    made, as_it_is = [], api_stream.Sequence
    monkeypatch.setattr(api_stream, "Sequence", lambda *args: made.append(0) or as_it_is(*args))
    status, said = post(running, {"prompt": ["a"] * 2048, "n": 128, "max_tokens": 1})
    assert status == 429 and said["error"]["code"] == "rate_limit_exceeded" and not made


# ---- who is slow, or goes away


@pytest.mark.parametrize("name", ["a byte of a head at a time", "half a head", "nothing", "a byte of a body at a time",
                                  "half a body", "chunks without end"])  # fmt: skip
def test_who_is_slow_is_cut(running, name):
    chunked = head(more=["Transfer-Encoding: chunked"])
    start, then = {
        "a byte of a head at a time": (b"GET / HTTP/1.1\r\n", b"X"), "half a head": (head(5)[:-9], b""),
        "nothing": (b"", b""), "a byte of a body at a time": (head(1000), b"a"), "half a body": (whole(GOOD)[:-9], b""),
        "chunks without end": (chunked, b"1\r\na\r\n"),
    }[name]  # fmt: skip
    end = time.monotonic() + 60
    with connect(running) as line:
        line.sendall(start)
        line.settimeout(0.05)
        found = None
        while found is None and time.monotonic() < end:
            try:
                found = line.recv(1 << 16)
                if not found:
                    break
                found = found + all_of(line) if b"408" in found[:20] else found
            except TimeoutError:
                line.sendall(then)
            except ConnectionError:
                found = b""
    assert found is not None and all(status == 408 and is_refusal(status, body) for status, body in answers(found))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("leave", [socket.socket.close, reset])
def test_who_goes_away_at_any_byte_leaves_nothing(running, leave, stream):
    raw = whole({**GOOD, "stream": stream, "logprobs": 5})
    for at in (1, 20, len(raw) // 2, len(raw) - 1, len(raw)):
        for wait in (0, 0.05):
            line = connect(running)
            line.sendall(raw[:at])
            time.sleep(wait)
            leave(line)
    if stream:
        for n in (1, 300, 3000):
            line = connect(running)
            line.sendall(raw)
            while n > 0:
                n -= len(line.recv(n))
            leave(line)


@pytest.mark.parametrize("is_stream", [False, True])
def test_who_takes_nothing_of_a_long_answer_is_cut(is_stream, capfd):
    """32 MiB, which no buffer of a socket holds, at once or in parts; uvicorn would wait for ever to have it taken."""

    async def long(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(512 if is_stream else 1):
            part = bytes((1 << 16) if is_stream else (1 << 25))
            await send({"type": "http.response.body", "body": part, "more_body": is_stream})
        if is_stream:
            await send({"type": "http.response.body", "body": b""})

    app = guard.guarded(without_lifespan(long), send_seconds=0.3)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Line, "header_seconds", 0.3)
        with serving.Running(app, most=8) as other:
            with connect(other) as line, connect(other) as slow:
                line.sendall(head(0, "/", "GET"))
                slow.sendall(head(0, "/", "GET", ["Connection: close"]))
                got = 0
                while part := slow.recv(1 << 20):  # who takes it slowly gets all of it
                    got += len(part)
                    time.sleep(0.02)
                serving.until(lambda: not other.server.server_state.connections)
                assert got >= 1 << 25
    assert capfd.readouterr() == ("", "")


def without_lifespan(app):
    """An ASGI app that knows of requests alone, as uvicorn takes it."""

    async def both(scope, receive, send):
        if scope["type"] == "http":
            return await app(scope, receive, send)
        for _ in range(2):
            await send({"type": f"{(await receive())['type']}.complete"})

    return both


@pytest.mark.slow
def test_a_thousand_lines_are_not_held(running, monkeypatch):
    """Twice as many as are answered are held, and those on their way in at that moment."""
    monkeypatch.setattr(Line, "header_seconds", 10)
    lines, most = [], 0
    for i in range(1000):
        try:
            lines.append(connect(running, 5))
            lines[-1].sendall(head(0, "/health", "GET") if i % 2 else b"GET /hea")
        except OSError:
            pass
        most = max(most, len(running.server.server_state.connections))
    for line in lines:
        line.close()
    assert LINES <= most <= 3 * LINES


def test_one_line_too_many_is_told_so(running, monkeypatch):
    monkeypatch.setattr(Line, "header_seconds", 10)
    lines = [connect(running) for _ in range(LINES + 1)]
    serving.until(lambda: len(running.server.server_state.connections) == LINES + 1)
    lines[0].sendall(head(0, "/health", "GET"))
    ((status, body),) = answers(all_of(lines[0]))
    assert status == 503 and is_refusal(status, body) and json.loads(body)["error"]["code"] == "too_many_connections"
    serving.until(lambda: len(running.server.server_state.connections) == LINES)
    lines[1].sendall(head(0, "/health", "GET", ["Connection: close"]))
    assert answers(all_of(lines[1])) == [(200, b'{"status":"ok"}')]
    for line in lines:
        line.close()


# ---- several requests on one line


def test_requests_one_behind_the_other_are_answered_in_order(running, gpt):
    wanted = [{"prompt": PROMPT, "max_tokens": 3, "seed": i} for i in range(8)]
    with connect(running, 60) as line:
        line.sendall(b"".join(whole(body) for body in wanted[:-1]) + whole(wanted[-1], more=["Connection: close"]))
        found = answers(all_of(line))
    assert [json.loads(body)["choices"][0]["text"] for _, body in found] == [
        gpt.generate(PROMPT, 3, seed=i) for i in range(8)
    ]


def test_a_flood_of_requests_on_one_line_is_not_kept(running):
    """The answers are not taken; what is sent is not read on, so that the sender stands still and is cut."""
    line = connect(running, 1)
    one = head(0, "/health", "GET") * 200
    try:
        for _ in range(3000):
            line.sendall(one)
    except OSError:
        pass
    serving.until(lambda: not running.server.server_state.connections, 120)
    line.close()


def test_what_is_bad_behind_what_is_good(running):
    with connect(running, 60) as line:
        line.sendall(whole({"prompt": PROMPT, "max_tokens": 3}) + b"\x00\x01 nothing\r\n\r\n")
        (good, *bad) = answers(all_of(line))
    assert good[0] == 200 and all(is_refusal(*answer) for answer in bad)


# ---- Expect: 100-continue


def test_a_body_that_is_asked_for_is_sent(running, gpt):
    body = json.dumps({"prompt": PROMPT, "max_tokens": 3, "seed": 1}).encode()
    with connect(running, 60) as line:
        line.sendall(head(len(body), more=["Expect: 100-continue", "Connection: close"]))
        assert line.recv(100).startswith(b"HTTP/1.1 100 ")
        line.sendall(body)
        raw = all_of(line)
    ((status, said),) = answers(raw)
    assert status == 200 and json.loads(said)["choices"][0]["text"] == gpt.generate(PROMPT, 3, seed=1)


@pytest.mark.parametrize("more, length, expected", [
    ([], 100 << 20, 413), (["Origin: http://evil.example"], 100, 403), (["Sec-Fetch-Site: cross-site"], 9, 403),
])  # fmt: skip
def test_a_body_that_is_not_wanted_is_not_asked_for(running, more, length, expected):
    with connect(running, 60) as line:
        line.sendall(head(length, more=["Expect: 100-continue", *more]))
        raw = all_of(line)
    ((status, body),) = answers(raw)
    assert status == expected and is_refusal(status, body)


def test_who_is_refused_before_the_body_has_come_still_reads_why(running):
    """Were the line closed at once, what comes later would reset it, and the answer be lost."""
    for n in (100, 10_000, 500_000):
        with connect(running, 60) as line:
            line.sendall(head(n, more=["Origin: http://evil.example"]))
            time.sleep(0.1)
            for _ in range(n // 100):
                line.sendall(b"a" * 100)
            ((status, body),) = answers(all_of(line))
        assert status == 403 and is_refusal(status, body)


# ---- all at once


@pytest.mark.slow
def test_streams_that_are_cancelled_under_load_change_no_other_text(running, gpt):
    chance, expected = random.Random(5), [gpt.generate(PROMPT, 12, seed=i) for i in range(4)]
    plans = [[chance.randint(0, 600) for _ in range(6)] for _ in range(8)]
    wrong = []

    def cancels(plan):
        for n in plan:
            line = connect(running, 60)
            line.sendall(whole({**GOOD, "stream": True, "n": 2}))
            if n:
                line.recv(n)
            (reset if n % 2 else socket.socket.close)(line)

    def stays(i):
        for _ in range(3):
            status, said = post(running, {"prompt": PROMPT, "max_tokens": 12, "seed": i})
            if status != 429 and (status != 200 or said["choices"][0]["text"] != expected[i]):
                wrong.append((status, said))

    threads = [threading.Thread(target=cancels, args=(plan,)) for plan in plans]
    threads += [threading.Thread(target=stays, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(240)
    assert not wrong and not any(thread.is_alive() for thread in threads)
