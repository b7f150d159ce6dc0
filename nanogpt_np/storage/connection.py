"""One address -> one answer, within limits of time: whatever a server sends or does not send, this ends.

Enter: an address and headers. Leave: the answer behind all redirects, then its bytes as they arrive. A try that fails
raises BrokeOff, which another try may mend; what no further try can mend is a FileError. Next: storage/transfer.py.
"""

import contextlib
import http.client
import socket
import threading
import time
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from ..errors import FileError, printable
from .urls import check_url, follow

TIMEOUT = (10, 60)  # seconds to connect, seconds without a byte
ANSWER_WITHIN = 60  # seconds from the first connection to the last header, over all redirects
SLOWEST = 1024  # bytes a second, on average over each WINDOW: less is not worth waiting for
WINDOW = 60  # seconds
MAX_REDIRECTS = 5
MAX_CONTINUES = 10  # "100 Continue" before the answer itself
CHUNK = 1 << 16  # bytes; at most so many are read at once

_TROUBLE = (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, ValueError, OSError)


class BrokeOff(Exception):
    """This try failed, another may not; `reached` says whether there was a connection at all."""

    def __init__(self, reason, reached=True):
        super().__init__(printable(" ".join(reason.split()), 200))
        self.reached = reached


class Deadline:
    """Hangs up when its time is over, wherever the library may be waiting.

    A timeout of a socket begins anew with each byte, so a server that drips holds a client for days. This holds a
    second handle of every socket; a thread shuts them down at the deadline, and whoever waits finds the end.
    """

    def __init__(self, seconds):
        self.expired = self.reached = False  # is it over; was there a connection at all
        self._connections, self._handles = [], []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._wait, daemon=True)
        self.move(seconds)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._done.set()
        self._thread.join()
        self.let_go()

    def move(self, seconds):
        """Set the deadline anew, `seconds` from now; not so far away that it comes sooner than the one before."""
        self._ends = time.monotonic() + seconds

    def hold(self, connection, sock):
        """Keep a connection, and a second handle of its socket."""
        self.reached = True
        self._connections.append(connection)
        self._handles.append(sock.dup())
        if self.expired:
            self._hang_up()

    def let_go(self):
        """Hang up and close everything, also what urllib3 would keep open for another question."""
        self._hang_up()
        for closing in (*self._connections, *self._handles):
            closing.close()
        self._connections, self._handles = [], []

    def _wait(self):
        while not self._done.wait(max(0.0, self._ends - time.monotonic())):
            if time.monotonic() >= self._ends:
                self.expired = True
                self._hang_up()
                return

    def _hang_up(self):
        for handle in list(self._handles):
            try:
                handle.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it is closed already


class _Head:
    """The lines of an answer's head, whose end is an empty line and not the end of the connection."""

    def __init__(self, file):
        self.file = file
        self.close = file.close

    def readline(self, limit):
        line = self.file.readline(limit)
        if not line:
            raise http.client.HTTPException("the connection ended within the headers")
        return line


class _Answer(http.client.HTTPResponse):
    """http.client's answer, but strict.

    By itself it reads `100 Continue` for ever, takes headers that are cut off for whole ones (half a Location leads
    elsewhere), and a chunk of -5 bytes for one.
    """

    n_status = 0

    def begin(self):
        file, self.fp = self.fp, _Head(self.fp)
        try:
            super().begin()
        finally:
            self.fp = self.fp and file  # None where the answer was none

    def _read_status(self):
        self.n_status += 1
        if self.n_status > MAX_CONTINUES:
            raise http.client.HTTPException(f"more than {MAX_CONTINUES} times 100 Continue")
        return super()._read_status()

    def _read_next_chunk_size(self):
        size = super()._read_next_chunk_size()
        if size < 0:
            raise http.client.HTTPException(f"a chunk of {size} bytes")
        return size


class _Adapter(HTTPAdapter):
    """The usual way to a server, but every socket is held by a deadline."""

    def __init__(self, deadline):
        super().__init__()
        self.deadline = deadline

    def get_connection_with_tls_context(self, request, verify, proxies=None, cert=None):
        pool = super().get_connection_with_tls_context(request, verify, proxies, cert)
        pool.ConnectionCls = _held(pool.ConnectionCls, self.deadline)
        return pool


def _held(kind, deadline):
    """A class of connections like `kind`, which gives each socket to the deadline before a byte is sent."""

    class Held(kind):
        response_class = _Answer

        def _new_conn(self):
            sock = super()._new_conn()
            deadline.hold(self, sock)
            return sock

    Held.__name__ = kind.__name__  # which messages mention
    return Held


@contextlib.contextmanager
def ask(url, headers):
    """The answer after redirects (a response of requests), and its bytes as they arrive, in pieces of at most CHUNK.

    Each address on the way must be one that is allowed. Raises FileError where a redirect leads to where it may not,
    or to no end, and BrokeOff where the network fails, or where the bytes stop or drip.
    """
    with Deadline(ANSWER_WITHIN) as deadline:
        response = _answer(url, headers, deadline)
        with response:
            yield response, _receive(response, deadline)


def _answer(url, headers, deadline):
    for _ in range(MAX_REDIRECTS + 1):
        check_url(url)
        try:
            response = _send(url, headers, deadline)
        except FileError:
            raise
        except _TROUBLE as error:
            refused = isinstance(error, (requests.exceptions.SSLError, requests.exceptions.ProxyError))
            raise BrokeOff(_reason(error, deadline), deadline.reached and not refused) from error
        location = response.headers.get("Location")
        if response.status_code not in (301, 302, 303, 307, 308) or location is None:
            return response
        response.close()
        deadline.let_go()
        url = follow(url, location)
    raise FileError(f"{printable(url, 160)}: expected the file, got more than {MAX_REDIRECTS} redirects; try later")


def _send(url, headers, deadline):
    """One request, not through Session.send, which reads the whole body of a redirect, however long it is."""
    with requests.Session() as session:
        request = session.prepare_request(requests.Request("GET", url, headers))
        _check_host(url, request.url)
        settings = session.merge_environment_settings(request.url, {}, True, None, None)  # proxies, certificates
        adapter = _Adapter(deadline)
        response = adapter.send(request, True, TIMEOUT, settings["verify"], settings["cert"], settings["proxies"])
    if not deadline.reached or not hasattr(response.raw, "read1"):  # then nothing here has a limit
        response.close()
        raise FileError(
            "expected requests 2.32.2 and urllib3 2.2, or newer ones, got older ones; upgrade them with pip"
        )
    return response


def _check_host(url, prepared):
    """Raise FileError where the libraries disagree about the host that an address names, whatever check_url said."""
    hosts = {urlsplit(url).hostname, (urllib3.util.parse_url(prepared).host or "").strip("[]").lower()}
    if len(hosts) > 1:
        raise FileError(f"{printable(url, 160)}: expected an https address, got one that can be read in two ways")


def _receive(response, deadline):
    n_bytes = 0
    deadline.move(WINDOW)
    while True:
        try:
            piece = response.raw.read1(CHUNK, decode_content=False)
        except _TROUBLE as error:
            raise BrokeOff(_reason(error, deadline)) from error
        if not piece:
            break
        yield piece
        n_bytes += len(piece)
        if n_bytes >= SLOWEST * WINDOW:
            n_bytes = 0
            deadline.move(WINDOW)
    if deadline.expired:  # who hung up is not to be seen from the end of the bytes
        raise BrokeOff(_too_slow())


def _reason(error, deadline):
    """urllib3's reason inside the error of requests, whose own text repeats the whole address."""
    if deadline.expired:
        return _too_slow()
    inner = error.args[0] if error.args else error
    return str(getattr(inner, "reason", None) or inner)


def _too_slow():
    return f"no answer within {ANSWER_WITHIN} s, or fewer than {SLOWEST:,} bytes a second over {WINDOW} s"
