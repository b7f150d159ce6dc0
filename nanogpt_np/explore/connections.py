"""One client's line: as uvicorn reads it, but a line on which no request comes is cut.

Enter: bytes from a socket. Leave: requests for an ASGI app. uvicorn closes a line that is idle between two requests;
one that never says a whole request, or says it a byte at a time, it would hold for ever. Next: explore/guard.py.
"""

from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 10  # within which the next request's headers are to be there, or a second time as long at most
STOP_SECONDS = 3  # for answers on their way when the server is told to stop


class Line(H11Protocol):
    """uvicorn's protocol over h11, which is looked at every HEADER_SECONDS: did a request come since?"""

    header_seconds = HEADER_SECONDS
    watch = None

    def connection_made(self, transport):
        """Begin to look."""
        super().connection_made(transport)
        self._look_later()

    def connection_lost(self, exc):
        """Nothing is left to look at."""
        self.watch.cancel()
        super().connection_lost(exc)

    def _look_later(self):
        self.watch = self.loop.call_later(self.header_seconds, self._look, self.cycle)

    def _look(self, seen):
        is_busy = self.cycle is not None and not self.cycle.response_complete
        if is_busy or self.cycle is not seen:
            self._look_later()
        else:
            self.transport.abort()


def server(app, most):
    """A uvicorn server for an app: at most so many lines at once; it says nothing of its own, and reads no settings."""
    config = Config(
        app, http=Line, ws="none", loop="asyncio", lifespan="on", log_config=None, log_level="critical",
        access_log=False, server_header=False, proxy_headers=False, limit_concurrency=most,
        timeout_graceful_shutdown=STOP_SECONDS,
    )  # fmt: skip
    return Server(config)
