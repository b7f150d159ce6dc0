"""The door: who may ask, how much, how long; and that nothing of an error inside gets out."""

import asyncio
import json
import socket
import time

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from explore.serving import Running

from nanogpt_np.errors import FileError, InputError
from nanogpt_np.explore import guard
from nanogpt_np.explore.connections import Line

KEY = "correct-horse"


async def echo(scope, receive, send):
    """An app that says how many bytes it was sent; /break breaks, /half breaks in the middle of its answer."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    n, more = 0, True
    while more:
        message = await receive()
        n, more = n + len(message.get("body", b"")), message.get("more_body", False)
    if scope["path"] == "/break":
        raise RuntimeError("secret\x1b[31m of the inside")
    headers = [(b"content-type", b"text/plain"), (b"Cache-Control", b"public")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": str(n).encode(), "more_body": True})
    if scope["path"] == "/half":
        raise RuntimeError("half an answer")
    await send({"type": "http.response.body", "body": b""})


def ask(app, path="/", method="GET", headers=(), body=(b"",), host="127.0.0.1:8000", send=None):
    """One request -> status, headers, body; the parts of `body` come as they are asked for, None never comes."""
    pairs = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    scope = {"type": "http", "path": path, "method": method, "headers": [(b"host", host.encode("latin-1")), *pairs]}
    parts, sent = list(body), []

    async def receive():
        if not parts:
            return {"type": "http.disconnect"}
        if (part := parts.pop(0)) is None:
            await asyncio.sleep(60)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def keep(message):
        sent.append(message)

    asyncio.run(app(scope, receive, send or keep))
    if not sent:
        return None
    said = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], dict(sent[0]["headers"]), said


def error_of(answer):
    return json.loads(answer[2])["error"]


# ---- who may ask


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "LOCALHOST:1", "[::1]:8000", "127.0.0.1"])
def test_our_own_names_are_let_through(host):
    assert ask(guard.guarded(echo), host=host)[::2] == (200, b"0")


@pytest.mark.parametrize("host", [
    "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example@127.0.0.1",
    "127.0.0.1/x", "", "[::2]", "[", "192.168.1.7:8000", "127.0.0.1:99999", "\xff", "127.0.0.1?x", "local host",
])  # fmt: skip
def test_a_name_that_was_rebound_to_this_machine_is_refused(host):
    answer = ask(guard.guarded(echo), host=host)
    assert answer[0] == 403 and error_of(answer)["code"] == "host_not_allowed"
    assert error_of(answer)["type"] == "permission_error"


def test_two_hosts_are_none():
    assert ask(guard.guarded(echo), headers=[("host", "127.0.0.1:8000")])[0] == 403


def test_at_every_address_every_address_is_a_name_but_other_names_are_not():
    app = guard.guarded(echo, hosts=guard.hosts_for("0.0.0.0"))
    for host in ("192.168.1.7:8000", "[fe80::1]:8000", "localhost", socket.gethostname()):
        assert ask(app, host=host)[0] == 200, host
    assert ask(app, host="evil.example")[0] == 403


def test_one_address_is_not_every_address():
    app = guard.guarded(echo, hosts=guard.hosts_for("192.168.1.7"))
    assert ask(app, host="192.168.1.7:8000")[0] == 200
    assert ask(app, host="192.168.1.8:8000")[0] == 403


@pytest.mark.parametrize("origin", ["http://127.0.0.1:8000", "HTTP://127.0.0.1:8000"])
def test_our_own_page_may_ask(origin):
    assert ask(guard.guarded(echo), headers=[("origin", origin)])[0] == 200


@pytest.mark.parametrize("origin", [
    "http://evil.example", "null", "http://127.0.0.1:3000", "http://localhost:8000", "http://127.0.0.1:8000.evil.example",
    "file://", "",
])  # fmt: skip
def test_no_other_page_may(origin):
    answer = ask(guard.guarded(echo), headers=[("origin", origin)])
    assert answer[0] == 403 and error_of(answer)["code"] == "origin_not_allowed"
    assert b"access-control-allow-origin" not in answer[1]


def test_a_second_origin_does_not_hide_behind_the_first():
    good, bad = ("origin", "http://127.0.0.1:8000"), ("origin", "http://evil.example")
    assert ask(guard.guarded(echo), headers=[good, bad])[0] == ask(guard.guarded(echo), headers=[bad, good])[0] == 403


def test_a_link_from_elsewhere_may_be_followed_but_a_picture_or_a_frame_may_not():
    def fetch(mode, dest, method="GET"):
        headers = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", mode), ("sec-fetch-dest", dest)]
        return ask(guard.guarded(echo), method=method, headers=headers)[0]

    assert fetch("navigate", "document") == 200
    assert fetch("no-cors", "image") == fetch("navigate", "iframe") == fetch("navigate", "document", "POST") == 403


# ---- with a key


def with_key(*values, path="/v1/models"):
    return ask(guard.guarded(echo, key=KEY), path, headers=[("authorization", value) for value in values])


def test_the_key_opens():
    assert with_key(f"Bearer {KEY}")[0] == with_key(f"bearer {KEY}")[0] == 200


@pytest.mark.parametrize("values", [
    (), (KEY,), (f"Basic {KEY}",), ("Bearer ",), ("Bearer",), (f"Bearer {KEY}x",), (f"Bearer {KEY[:-1]}",),
    (f"Bearer  {KEY}",), (f"Bearer {KEY}", f"Bearer {KEY}"), ("Bearer \xff",),
])  # fmt: skip
def test_nothing_else_opens(values):
    answer = with_key(*values)
    assert answer[0] == 401 and error_of(answer)["code"] == "invalid_api_key"
    assert answer[1][b"www-authenticate"] == b"Bearer" and KEY.encode() not in answer[2]


def test_health_needs_no_key_but_a_host():
    assert with_key(path="/health")[0] == 200
    assert ask(guard.guarded(echo, key=KEY), "/health", host="evil.example")[0] == 403


def test_the_key_is_compared_in_constant_time(monkeypatch):
    seen = []
    monkeypatch.setattr(guard.hmac, "compare_digest", lambda a, b: seen.append((len(a), len(b))) or a == b)
    assert with_key("Bearer x")[0] == 401 and with_key(f"Bearer {KEY}")[0] == 200
    assert seen == [(32, 32), (32, 32)]  # whatever was sent


@pytest.mark.parametrize("key", ["", "short", "with a space", "schlüssel-lang", "line\nbreak-more", 12345678, b"x" * 9])
def test_a_key_that_no_header_carries_is_refused_and_not_shown(key):
    with pytest.raises(InputError, match="api_key: expected at least 8") as caught:
        guard.guarded(echo, key=key)
    assert not key or str(key) not in str(caught.value)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.7", "example.com"])
def test_others_reach_a_server_only_with_a_key(host):
    with pytest.raises(InputError, match="add api_key"):
        guard.check_address(host, None)
    guard.check_address(host, KEY)


def test_this_machine_needs_none():
    for host in ("127.0.0.1", "::1", "localhost", "127.8.9.1"):
        guard.check_address(host, None)


# ---- how much, how long


def test_a_body_that_says_it_is_too_large_is_not_read():
    answer = ask(guard.guarded(echo, max_body=10), method="POST", headers=[("content-length", "11")], body=[None])
    assert answer[0] == 413 and error_of(answer)["code"] == "request_too_large"


def test_a_body_that_grows_too_large_is_not_read_on():
    answer = ask(guard.guarded(echo, max_body=10), method="POST", body=[b"x" * 6, b"x" * 5, None])
    assert answer[0] == 413
    assert ask(guard.guarded(echo, max_body=10), method="POST", body=[b"x" * 6, b"x" * 4])[::2] == (200, b"10")


def test_a_body_that_does_not_come_is_not_waited_for():
    began = time.monotonic()
    answer = ask(guard.guarded(echo, body_seconds=0.05), method="POST", body=[b"x", None])
    assert answer[0] == 408 and error_of(answer)["code"] == "request_timeout" and time.monotonic() - began < 30


def test_a_client_that_takes_nothing_is_left():
    async def never(message):
        await asyncio.sleep(60)

    began = time.monotonic()
    assert ask(guard.guarded(echo, send_seconds=0.05), send=never) is None
    assert time.monotonic() - began < 30


def test_who_is_cancelled_from_outside_is_not_taken_for_late():
    async def main():
        task = asyncio.ensure_future(guard.within(60, asyncio.sleep(60)))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


# ---- what gets out


def test_an_error_inside_is_one_line_here_and_nothing_there(capsys):
    answer = ask(guard.guarded(echo), "/break")
    assert answer[0] == 500 and error_of(answer)["type"] == "server_error" and b"secret" not in answer[2]
    line = capsys.readouterr().err
    assert line == "nanogpt-np: /break: RuntimeError: secret\\x1b[31m of the inside\n"


def test_an_answer_that_breaks_off_has_no_end(capsys):
    sent = []

    async def keep(message):
        sent.append(message)

    ask(guard.guarded(echo), "/half", send=keep)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[-1]["more_body"] and "half an answer" in capsys.readouterr().err


@pytest.mark.parametrize("path, host", [("/", "localhost"), ("/break", "localhost"), ("/", "evil.example")])
def test_every_answer_has_the_headers(path, host):
    headers = ask(guard.guarded(echo), path, host=host)[1]
    policy = dict(part.strip().split(" ", 1) for part in headers[b"content-security-policy"].decode().split(";"))
    assert policy["default-src"] == "'none'" and policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in str(policy) and "http" not in str(policy) and "*" not in str(policy)
    assert headers[b"x-content-type-options"] == b"nosniff" and headers[b"referrer-policy"] == b"no-referrer"
    assert headers[b"cache-control"] == b"no-store" and b"Cache-Control" not in headers
    assert headers[b"cross-origin-resource-policy"] == b"same-origin"


def test_a_web_socket_is_refused():
    sent = []

    async def keep(message):
        sent.append(message)

    asyncio.run(guard.guarded(echo)({"type": "websocket"}, None, keep))
    assert sent == [{"type": "websocket.close", "code": 1008}]


# ---- the server itself


def connect(running):
    return socket.create_connection(("127.0.0.1", running.port), timeout=30)


def test_a_line_on_which_no_request_comes_is_cut(monkeypatch):
    monkeypatch.setattr(Line, "header_seconds", 0.1)
    with Running(guard.guarded(echo)) as running:
        silent, slow = connect(running), connect(running)
        slow.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Half: ")
        for line in (silent, slow):
            try:
                assert line.recv(1) == b""
            except ConnectionResetError:
                pass
            line.close()
        with connect(running) as good:
            good.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            said = b"".join(iter(lambda: good.recv(4096), b""))
        assert said.startswith(b"HTTP/1.1 200") and b"server:" not in said.lower()


def test_what_is_no_request_gets_a_line_of_http():
    with Running(guard.guarded(echo)) as running, connect(running) as line:
        line.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01 not http\r\n\r\n")
        assert line.recv(4096).startswith(b"HTTP/1.1 400")


def test_a_port_that_is_taken_is_one_line():
    with guard.listen("127.0.0.1", 0) as taken:
        taken.listen()
        with pytest.raises(FileError, match="choose another port"):
            guard.listen("127.0.0.1", taken.getsockname()[1])


@pytest.mark.parametrize("host, port", [("no such host", 0), ("203.0.113.7", 0), ("x" * 300, 0)])
def test_an_address_that_is_not_ours_is_one_line(host, port):
    with pytest.raises(FileError, match="expected an address"):
        guard.listen(host, port)


@pytest.mark.parametrize("port", [-1, 65536, 70000, "80", 8.5, True])
def test_a_port_that_is_none_is_one_line(port):
    with pytest.raises(InputError, match="port: expected a number from 0 to 65535"):
        guard.listen("127.0.0.1", port)
