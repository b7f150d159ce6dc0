"""One client's line: as uvicorn reads it, but a line on which no request comes, or nothing is taken, is cut.

Enter: bytes from a socket. Leave: requests for an ASGI app; what is none, and who is one too many, is told so in the
form of OpenAI's interface. uvicorn closes a line that is idle between two requests; one that never says a whole
request, says it a byte at a time, or takes nothing of its answer, it would hold for ever. Next: explore/guard.py.
"""

import json

import h11
from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 10  # within which the next request's headers are to be there, or a second time as long at most
STOP_SECONDS = 3  # for answers on their way when the server is told to stop
BESIDE = 2  # so many times as many lines as are answered are held, so that the rest are told that they are too many


class Line(H11Protocol):
    """uvicorn's protocol over h11, which is looked at every HEADER_SECONDS: did a request come since?"""

    header_seconds = HEADER_SECONDS
    watch = None

    def connection_made(self, transport):
        """Begin to look; far too many lines are cut at once, before the system has no room for another."""
        super().connection_made(transport)
        self._look_later(0)
        if len(self.connections) > BESIDE * self.config.app.most:
            transport.abort()

    def connection_lost(self, exc):
        """Nothing is left to look at."""
        self.watch.cancel()
        super().connection_lost(exc)

    def _look_later(self, unsent):
        self.watch = self.loop.call_later(self.header_seconds, self._look, self.cycle, unsent)

    def _look(self, seen, before):
        """`before`: how many bytes of an answer waited when it was last looked at."""
        is_closing, unsent = self.transport.is_closing(), self.transport.get_write_buffer_size()
        is_busy = self.cycle is not None and not self.cycle.response_complete and not is_closing
        is_new = self.cycle is not seen and not is_closing
        if is_busy or is_new or 0 < unsent < before or (unsent and not before):
            self._look_later(unsent)
        else:
            self.transport.abort()

    def send_400_response(self, msg):
        """What is no request is told so; where an answer has begun, it ends there."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE) and not self.transport.is_closing():
            body = error_of(f"expected a request of HTTP/1.1, got something else ({msg})", "invalid_request")
            head = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
            self.transport.write(head + b"content-length: %d\r\n\r\n%s" % (len(body), body))
        self.transport.close()


class Limited:
    """An ASGI app for at most so many lines at once; who comes beyond gets a 503."""

    def __init__(self, app, most):
        self.app, self.most, self.lines = app, most, ()

    async def __call__(self, scope, receive, send):
        """Answer one request, or say that there are too many."""
        if scope["type"] != "http" or len(self.lines) <= self.most:
            return await self.app(scope, receive, send)
        message = f"expected at most {self.most} clients at once, got more; try again later"
        body = error_of(message, "too_many_connections", "server_error")
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()),
                   (b"connection", b"close"), (b"retry-after", b"1")]  # fmt: skip
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def error_of(message, code, kind="invalid_request_error"):
    """An error in the interface's form, as bytes of JSON."""
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}}).encode()


def server(app, most):
    """A uvicorn server for an app: at most so many lines at once; it says nothing of its own, and reads no settings."""
    limited = Limited(app, most)
    config = Config(
        limited, http=Line, ws="none", loop="asyncio", lifespan="on", log_config=None, log_level="critical",
        access_log=False, server_header=False, proxy_headers=False, backlog=most, interface="asgi3",
        timeout_graceful_shutdown=STOP_SECONDS,
    )  # fmt: skip
    made = Server(config)
    limited.lines = made.server_state.connections
    return made
