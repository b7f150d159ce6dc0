"""A server that means harm, speaking raw bytes on this machine, and what it can be made to say."""

import contextlib
import hashlib
import re
import socket
import struct
import threading

DATA = bytes(range(256)) * 4
SHA256 = hashlib.sha256(DATA).hexdigest()
OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(DATA)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
TAG = b'ETag: "one"\r\n'
GOOD = OK + LENGTH + TAG + b"\r\n" + DATA


class Server:
    """Accepts connections one after the other and plays one act on each: bytes to send, or a function of the socket.

    The last act is played again and again; the heads of all requests are kept.
    """

    def __init__(self):
        self.listens = True  # else an act begins before anything was asked
        self.tls = None  # an ssl.SSLContext, to speak https
        self.acts, self.heads, self.over, self.client = [GOOD], [], threading.Event(), None
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        while not self.over.is_set():
            with contextlib.suppress(OSError):
                client, _ = self.socket.accept()
                self.client = client
                with self.tls.wrap_socket(client, server_side=True) if self.tls else client as client:
                    client.settimeout(20)
                    self._play(client)

    def _play(self, client):
        head = b""
        while self.listens and b"\r\n\r\n" not in head:
            if not (received := client.recv(65536)):
                return
            head += received
        self.heads.append(head)
        act = self.acts.pop(0) if len(self.acts) > 1 else self.acts[0]
        if callable(act):
            act(client, self.over)
        else:
            client.sendall(act)

    def close(self):
        self.over.set()
        if self.client:  # which may be in the midst of sending
            with contextlib.suppress(OSError):
                self.client.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            socket.create_connection(self.socket.getsockname(), 1).close()
        self.thread.join()
        self.socket.close()

    def ranges(self):
        found = [re.search(rb"Range: bytes=(\d+)-\r\n", head) for head in self.heads]
        return [match and int(match[1]) for match in found]


def one_line(caught):
    """The message: one line that a terminal shows as it is, and not a long one, the advice aside."""
    text = str(caught.value)
    assert text.isprintable() and len(text.split("files are looked for")[0]) < 700
    return text


def again_and_again(data, pause=0.0):
    def act(client, over):
        with contextlib.suppress(OSError):
            while not over.wait(pause):
                client.sendall(data)

    return act


def drip(data, pause=0.02):
    """One byte after the other, so slowly that no timeout of a socket is met."""

    def act(client, over):
        with contextlib.suppress(OSError):
            for byte in data:
                client.sendall(bytes([byte]))
                if over.wait(pause):
                    return

    return act


def after(data, act):
    def both(client, over):
        client.sendall(data)
        act(client, over)

    return both


def reset(client, over):
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def silence(client, over):
    with contextlib.suppress(OSError):
        client.recv(1)  # until the other side hangs up


def body(*headers, data=DATA, status=b"200 OK"):
    return b"HTTP/1.1 " + status + b"\r\n" + b"".join(line + b"\r\n" for line in headers) + b"\r\n" + data


def chunks(*pieces, end=b"0\r\n\r\n"):
    return OK + CHUNKED + TAG + b"\r\n" + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + end


def redirect(location, status=b"302 Found", data=b""):
    return body(b"Location: " + location, b"Content-Length: %d" % len(data), data=data, status=status)
