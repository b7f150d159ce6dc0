"""Who may ask, and how much: a door in front of an ASGI app, and the server that both are run by.

Enter: an app, and requests from anyone. Leave: the app's answers to requests that this machine's user could have meant,
with headers that keep a browser from doing more than it must; for all others an error in the form of OpenAI's
interface. A web page elsewhere cannot read or steer what is behind the door: its Origin is not ours, and a name that
was rebound to this machine is not one of our hosts. Next: explore/packed.py.
"""

import asyncio
import contextlib
import hashlib
import hmac
import ipaddress
import json
import os
import signal
import socket
import sys
import threading
from urllib.parse import urlsplit

from ..errors import FileError, InputError, is_whole, printable, shown

MOST_BODY = 4 << 20  # bytes of a request
BODY_SECONDS, SEND_SECONDS = 30, 30  # in which a request's body is to be there; a client is to take what it was sent
MOST_REST, REST_SECONDS = 64 << 20, 2  # of a request that is refused: taken, so that its answer is seen
MOST_LINES = 256  # clients at once
BACKLOG = 1024  # of them that have come and were not yet looked at
SHORTEST_KEY = 8
EVERYWHERE = ("0.0.0.0", "::", "")  # to listen at these is to listen at every address of the machine
OF_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "x-content-type-options": "nosniff", "x-frame-options": "DENY", "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin", "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store", "permissions-policy": "camera=(), geolocation=(), microphone=()",
}  # fmt: skip


class Refused(Exception):
    """A request that is not answered as it was meant: an HTTP status, one line, and what OpenAI's clients look at."""

    def __init__(self, status, message, code=None, param=None, headers=()):
        super().__init__(message)
        self.status, self.message, self.code, self.param, self.headers = status, message, code, param, dict(headers)

    @property
    def body(self):
        """{"error": {…}} as bytes of JSON: the interface's own form."""
        kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
        kind = kinds.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return json.dumps({"error": error}).encode()


class Gone(Exception):
    """The client does not take what it is sent: nobody is left to answer."""


def guarded(app, *, hosts=OF_THIS_MACHINE, key=None, max_body=MOST_BODY, body_seconds=BODY_SECONDS,
            send_seconds=SEND_SECONDS, open_paths=("/health",), policy=POLICY):  # fmt: skip
    """The app behind a door, an ASGI app again.

    `hosts`: the names by which clients may call this server; one of EVERYWHERE stands for every IP address. `key`: what
    clients must send as `Authorization: Bearer KEY`, but for `open_paths`. `max_body`: bytes. `policy`: the
    Content-Security-Policy of every answer. InputError for a key that no header can carry, or that is too short.
    """
    check_key(key)
    return Door(app, frozenset(host.lower() for host in hosts), key, max_body, body_seconds, send_seconds,
                frozenset(open_paths), policy)  # fmt: skip


def hosts_for(host):
    """The names of a server that listens at one address: this machine's own, and that address."""
    return (*OF_THIS_MACHINE, host, *([socket.gethostname()] if host in EVERYWHERE else []))


def check_address(host, key):
    """InputError where others could reach the server and there is no key."""
    if not is_loopback(host) and key is None:
        expected = "an address of this machine alone (127.0.0.1), or an API key with any other"
        raise InputError(f"host: expected {expected}, got {shown(host)} without one; add api_key")


def check_key(key):
    """InputError for a key that no header can carry, or that is soon guessed; None is no key."""
    is_usable = isinstance(key, str) and len(key) >= SHORTEST_KEY and key.isascii() and key.isprintable()
    if key is not None and not (is_usable and " " not in key):  # what it is stays out of the message
        raise InputError(f"api_key: expected at least {SHORTEST_KEY} printable ASCII characters without spaces")


def is_loopback(host):
    """Is this an address that only this machine can reach?"""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Door:
    """An ASGI app that lets requests through to another: see guarded()."""

    def __init__(self, app, hosts, key, max_body, body_seconds, send_seconds, open_paths, policy):
        self.app, self.hosts, self.open_paths = app, hosts, open_paths
        self.key = None if key is None else _digest(key.encode())
        self.max_body, self.body_seconds, self.send_seconds = max_body, body_seconds, send_seconds
        headers = HEADERS | {"content-security-policy": policy}
        self.headers = [(name.encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope, receive, send):
        """Answer one request; what goes wrong behind the door is one line on standard error, and a 500."""
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1008})
        answer, body = Answer(send, self.headers, self.send_seconds), Body(receive, self.max_body, self.body_seconds)
        try:
            self._check(scope)
            await self.app(scope, body, answer)
        except Refused as refused:
            if not body.is_whole and refused.status != 408 and not any(n == b"expect" for n, _ in scope["headers"]):
                await _take_the_rest(receive)
            await answer.refuse(refused)
        except Gone:
            pass
        except Exception as error:
            print(f"nanogpt-np: {printable(scope['path'])}: {type(error).__name__}: {printable(str(error))}",
                  file=sys.stderr)  # fmt: skip
            await answer.refuse(Refused(500, "expected an answer, got an error inside the server; see its output"))

    def _check(self, scope):
        """Refused for a request that nobody here could have meant, or that has no key."""
        headers = {}
        for name, value in scope["headers"]:
            headers.setdefault(name, []).append(value)
        (host,) = headers.get(b"host", [b""])[:1]
        if len(headers.get(b"host", [])) != 1 or not self._is_ours(host):
            expected = "a Host header with this machine's name"
            raise Refused(403, f"expected {expected}, got {shown(host.decode('latin-1'))}", "host_not_allowed")
        for origin in headers.get(b"origin", []):
            if origin.lower() not in (b"http://" + host.lower(), b"https://" + host.lower()):
                got = shown(origin.decode("latin-1"))
                raise Refused(403, f"expected a request from this server's own page, got one from {got}",
                              "origin_not_allowed")  # fmt: skip
        if b"cross-site" in headers.get(b"sec-fetch-site", []) and not _is_a_link(scope, headers):
            raise Refused(403, "expected a request from this server's own page, got another's", "origin_not_allowed")
        if self.key is not None and scope["path"] not in self.open_paths:
            self._check_key(headers.get(b"authorization", []))
        self._check_length(headers.get(b"content-length", []))

    def _is_ours(self, host):
        """Is this one of our names, whatever the port (a tunnel may change it)?"""
        try:
            parts = urlsplit(f"//{host.decode('ascii')}")
            name, _ = parts.hostname, parts.port
        except ValueError:
            return False
        if not name or parts.path or parts.query or parts.fragment or "@" in parts.netloc:
            return False
        return name in self.hosts or (bool(self.hosts & set(EVERYWHERE)) and _is_address(name))

    def _check_key(self, given):
        scheme, _, sent = (given[0] if len(given) == 1 else b"").partition(b" ")
        if not hmac.compare_digest(_digest(sent), self.key) or scheme.lower() != b"bearer":
            expected = "the header Authorization: Bearer, with the server's API key"
            raise Refused(401, f"expected {expected}, got {'another one' if given else 'none'}", "invalid_api_key",
                          headers={"www-authenticate": "Bearer"})  # fmt: skip

    def _check_length(self, given):
        for length in given:  # h11 refuses what is no number
            if int(length) > self.max_body:
                raise _too_large(self.max_body)


def _digest(key):
    """Of one length for every key, so that to compare two takes as long whatever was sent."""
    return hashlib.sha256(key).digest()


def _is_a_link(scope, headers):
    """Did somebody follow a link from elsewhere to a page of ours? That other page learns nothing of it."""
    return scope["method"] == "GET" and headers.get(b"sec-fetch-mode") == [b"navigate"] and (
        headers.get(b"sec-fetch-dest") == [b"document"]
    )


def _is_address(name):
    """An IP address cannot be rebound, as a name can."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def _take_the_rest(receive):
    """What a client is still sending, within limits: if its line closed now, it might never see why."""
    end, left = asyncio.get_running_loop().time() + REST_SECONDS, MOST_REST
    while left > 0:
        try:
            message = await within(end - asyncio.get_running_loop().time(), receive())
        except TimeoutError:
            return
        if message["type"] != "http.request" or not message.get("more_body", False):
            return
        left -= len(message.get("body", b""))


def _too_large(most):
    return Refused(413, f"expected a request of at most {most:,} bytes, got a larger one", "request_too_large")


class Body:
    """A request's body, within limits of size and time: an ASGI `receive`. What comes after it is as it was."""

    def __init__(self, receive, most, seconds):
        self.receive, self.left, self.most = receive, most, most
        self.end, self.is_whole = asyncio.get_running_loop().time() + seconds, False

    async def __call__(self):
        """The next part; Refused where there is too much, or it takes too long, Gone where none comes."""
        if self.is_whole:
            return await self.receive()
        try:
            message = await within(self.end - asyncio.get_running_loop().time(), self.receive())
        except TimeoutError:
            raise Refused(408, "expected the whole request in time, got a part of it", "request_timeout") from None
        if message["type"] != "http.request":
            raise Gone
        self.left -= len(message.get("body", b""))
        self.is_whole = not message.get("more_body", False)
        if self.left < 0:
            raise _too_large(self.most)
        return message


class Answer:
    """An ASGI `send` that adds the door's headers, and gives up where the client takes nothing."""

    def __init__(self, send, headers, seconds):
        self.send, self.headers, self.seconds, self.has_begun = send, headers, seconds, False

    async def __call__(self, message):
        """Pass a part of the answer on; Gone where the client does not take it in time."""
        if message["type"] == "http.response.start":
            self.has_begun, ours = True, {name for name, _ in self.headers}
            kept = [pair for pair in message.get("headers", []) if pair[0].lower() not in ours]
            message = {**message, "headers": [*kept, *self.headers]}
        try:
            await within(self.seconds, self.send(message))
        except TimeoutError:
            raise Gone from None

    async def refuse(self, refused):
        """Say why there is no answer; where one has begun, it ends in the middle, which a client can see."""
        if self.has_begun:
            return
        body, extra = refused.body, {"content-type": "application/json", "connection": "close", **refused.headers}
        headers = [(name.encode(), str(value).encode()) for name, value in extra.items()]
        start = {"type": "http.response.start", "status": refused.status}
        await self({**start, "headers": [*headers, (b"content-length", str(len(body)).encode())]})
        await self({"type": "http.response.body", "body": body})


async def within(seconds, work):
    """Await something; TimeoutError where it takes longer. No task of its own for each part of an answer."""
    task, is_late = asyncio.current_task(), False

    def end():
        nonlocal is_late
        is_late = True
        task.cancel()

    timer = asyncio.get_running_loop().call_later(max(seconds, 0), end)
    try:
        return await work
    except asyncio.CancelledError:
        if not is_late:
            raise
        if hasattr(task, "uncancel"):  # from Python 3.11 on
            task.uncancel()
        raise TimeoutError from None
    finally:
        timer.cancel()


def run(app, host="127.0.0.1", port=8000, *, most=MOST_LINES, announce=print):
    """Serve an app until Ctrl-C or SIGTERM; `announce` is called with the address once clients may come.

    Port 0 takes any that is free. InputError where the address cannot be had, or a package is missing.
    """
    try:
        from .connections import server
    except ImportError as error:
        raise missing(error) from error
    listener = listen(host, port)
    name = f"[{host}]" if ":" in host else host
    announce(f"http://{name}:{listener.getsockname()[1]}")
    try:
        with _stopped_alike():
            server(app, most).run(sockets=[listener])
    except KeyboardInterrupt:  # how a server is stopped; uvicorn raises it again after all is closed
        pass
    finally:
        listener.close()


@contextlib.contextmanager
def _stopped_alike():
    """SIGTERM is the same as Ctrl-C: the end of a server is no failure. Only a main thread gets signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def missing(error):
    """An ImportError as an InputError: which package is not there, and what to install."""
    got = f"no {(error.name or 'one of them').partition('.')[0]}; pip install 'nanogpt-np[explore]'"
    return InputError(f"expected the packages starlette and uvicorn, got {got}")


def listen(host, port):
    """A socket that listens; FileError, as of all that a machine does not give, where the address cannot be had."""
    if not is_whole(port) or not 0 <= port <= 65535:  # a larger one would come out as another
        raise InputError(f"port: expected a number from 0 to 65535, got {shown(port)}")
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, *_, address = found[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except (OSError, OverflowError, UnicodeError) as error:
        got = f"{shown(host)} ({printable(str(error))})"
        raise FileError(f"host: expected an address of this machine, got {got}; 127.0.0.1 is one") from error
    try:
        if os.name == "posix":  # elsewhere it would share the port with another server
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)  # from here on clients may come; who is early waits until the server takes it up
    except (OSError, OverflowError) as error:
        listener.close()
        got = f"{shown(host)} and port {shown(port)} ({printable(getattr(error, 'strerror', error))})"
        raise FileError(f"expected an address that is free, got {got}; choose another port") from error
    return listener
