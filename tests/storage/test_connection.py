"""Servers that mean harm: each ends in the right file or in one line, and soon."""

import shutil
import ssl
import subprocess

import pytest
import requests
import urllib3
from hostile import (
    CHUNKED,
    DATA,
    GOOD,
    LENGTH,
    OK,
    SHA256,
    TAG,
    after,
    again_and_again,
    body,
    chunks,
    drip,
    one_line,
    redirect,
    reset,
    silence,
)  # fmt: skip

from nanogpt_np.errors import FileError
from nanogpt_np.storage import connection

# ---- what looks odd and is right

FINE = {
    "plain": GOOD,
    "no length, the end of the connection": body(),
    "chunks": chunks(DATA[:100], DATA[100:]),
    "a chunk for every byte": chunks(*(bytes([byte]) for byte in DATA)),
    "chunks with extensions": chunks().replace(b"0\r\n\r\n", b"400;a=b;c\r\n" + DATA + b"\r\n0\r\n\r\n"),
    "chunks with trailers": chunks(DATA, end=b"0\r\nA: b\r\nC: \x00\r\n\r\n"),
    "chunks whose trailers are cut off": chunks(DATA, end=b"0\r\n"),
    "chunks, and a length that is wrong": chunks(DATA).replace(CHUNKED, CHUNKED + b"Content-Length: 7\r\n"),
    "identity": body(b"Content-Encoding: identity", b"Transfer-Encoding: identity", LENGTH.strip()),
    "no reason": GOOD.replace(b" OK", b""),
    "a reason with escapes": GOOD.replace(b"OK", b"\x1b[31mOK\x00\x9b"),
    "HTTP/1.0": GOOD.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "line ends of one byte": GOOD[: -len(DATA)].replace(b"\r\n", b"\n") + DATA,
    "100 Continue, twice": b"HTTP/1.1 100 Continue\r\nA: b\r\n\r\n" * 2 + GOOD,
    "odd headers": body(
        LENGTH.strip(), b"Set-Cookie: \x00=\x1b; expires=Never; domain=..; path=//; max-age=9e99", b"Set-Cookie: ;;=",
        b"Content-Type: \xff;charset=\x00;=;;boundary", b"Date: never", b"A: b\r\n folded", b": no name",
        b"\xff\xfe: x", b"Link: <a>; rel=", b"Retry-After: -1", b"Content-Range: bytes 5-6/7",
        b"Content-Disposition: \xe2\x80\xae",
    ),
    "more than was said": GOOD + b"more",
    "a redirect to itself, once": [redirect(b"/data.bin"), GOOD],
    "a redirect whose body never ends": [
        after(body(b"Location: /x", data=b"", status=b"301 Moved"), again_and_again(DATA)), GOOD,
    ],
    "a status that passes": [body(status=b"503 Busy", data=b""), GOOD],
    "a length that was too long": [GOOD.replace(b": 1024", b": 2048"), GOOD],
    "a connection that is reset": [reset, GOOD],
    "a connection that is closed": [b"", GOOD],
    "no HTTP": [b"220 mail.example ESMTP\r\n\r\n", GOOD],
    "too many lengths": [body(LENGTH.strip(), b"Content-Length: 9"), GOOD],
}  # fmt: skip


@pytest.mark.parametrize("kind", FINE)
def test_what_looks_odd_and_is_right(server, fetch, kind):
    acts = FINE[kind] if isinstance(FINE[kind], list) else [FINE[kind]]
    server.acts = list(acts)
    assert fetch() == DATA
    assert len(server.heads) == len(acts)


# ---- what is refused, without a further try unless one might help

BROKEN = {
    "nothing": b"",
    "HTTP/0.9": DATA,
    "a mail server": b"220 mail.example ESMTP\r\n\r\n",
    "another protocol": GOOD.replace(b"HTTP/1.1", b"HTTP/7.7"),
    "a status of letters": GOOD.replace(b"200", b"abc"),
    "a status of two digits": GOOD.replace(b"200", b"20"),
    "a status of four digits": GOOD.replace(b"200", b"2000"),
    "a negative status": GOOD.replace(b"200", b"-200"),
    "a status of 5,000 digits": GOOD.replace(b"200", b"9" * 5000),
    "a status line of 70,000 bytes": GOOD.replace(b"OK", b"\x1b" * 70_000),
    "1,000 headers": body(*[b"A: b"] * 1000),
    "a header of 100,000 bytes": body(b"A: " + b"\x1b" * 100_000),
    "100 Continue, 1,000 times": b"HTTP/1.1 100 Continue\r\n\r\n" * 1000 + GOOD,
    "a chunk of -5 bytes": chunks(end=b"-5\r\n" + DATA),
    "a chunk of -0 and more": chunks(DATA[:9], end=b"-ffffff\r\n" + DATA),
    "a chunk of no number": chunks(end=b"zz\x1b[31m\r\n" + DATA),
    "a chunk of 5,000 digits": chunks(end=b"9" * 5000 + b"\r\n" + DATA),
    "a chunk size of 70,000 bytes": chunks(end=b"0" * 70_000 + b"9\r\n" + DATA),
    "a chunk without its end": chunks(end=b"400\r\n" + DATA[:500]),
    "a chunk that runs into the next": chunks(end=b"3ff\r\n" + DATA + b"\r\n0\r\n\r\n"),
    "chunks without the last one": chunks(DATA[:99], end=b""),
    "a trailer of 70,000 bytes": chunks(DATA[:99], end=b"0\r\nA: " + b"b" * 70_000),
    "a body that is cut off": GOOD[:-1],
    "lengths that contradict": body(LENGTH.strip(), b"Content-Length: 9"),
    "busy": body(status=b"503 \x1b[2J\x9b2J\xff", data=b""),
    "too many requests": body(status=b"429 Later", data=b""),
    "a range that was not asked for": body(LENGTH.strip(), b"Content-Range: bytes 0-1023/1024", status=b"206 Partial"),
    "several ranges": body(b"Content-Type: multipart/byteranges; boundary=x", status=b"206 Partial"),
    "no such range": body(status=b"416 No", data=b""),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_what_breaks_is_tried_again_and_then_given_up(server, fetch, folder, kind):
    server.acts = [BROKEN[kind]]
    with pytest.raises(FileError, match=r"data\.bin: the transfer broke off \(.*\)") as caught:
        fetch()
    one_line(caught)
    assert len(server.heads) == 2
    assert not (folder / "data.bin").exists()


REFUSED = {
    "a length of 5,000 digits": (body(b"Content-Length: " + b"9" * 5000), "expected a length in bytes, got 999"),
    "a length of -5": (body(b"Content-Length: -5"), "expected a length in bytes, got -5"),
    "a length of +5": (body(b"Content-Length: +1024"), "expected a length"),
    "a length of letters": (body(b"Content-Length: 1e3\x1b[31m"), r"expected a length in bytes, got 1e3\\x1b\[31m"),
    "the same length twice": (body(LENGTH.strip(), LENGTH.strip()), "expected a length in bytes, got 1024, 1024"),
    "an empty length": (body(b"Content-Length:"), "expected a length"),
    "a length with underscores": (body(b"Content-Length: 1_024"), "expected a length"),
    "a length in Latin-1 digits": (body(b"Content-Length: \xb2"), "expected a length"),
    "a length beyond every limit": (body(b"Content-Length: 67108865"), "expected at most 67,108,864 bytes .* offer of"),
    "gzip": (body(b"Content-Encoding: gzip"), "got it compressed"),
    "GZIP in capitals": (body(b"Content-Encoding: GZIP"), "got it compressed"),
    "a list of encodings": (body(b"Content-Encoding: identity, gzip"), "got it compressed"),
    "an unknown encoding": (body(b"Content-Encoding: \x1b"), "got it compressed"),
    "deflate on the way": (body(b"Transfer-Encoding: deflate"), "got it compressed"),
    "gzip in chunks": (body(b"Transfer-Encoding: gzip, chunked"), "got it compressed"),
    "chunks twice": (body(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), "got it compressed"),
    "other bytes": (body(data=b"other"), f"expected sha256 {SHA256}, got"),
    "no bytes": (body(b"Content-Length: 0", data=b""), "expected sha256"),
    "switching protocols": (body(status=b"101 Switching"), "expected the file, got HTTP 101 Switching"),
    "early hints": (body(status=b"103 Early"), "got HTTP 103"),
    "no content": (body(status=b"204 \x1b[31mred\rX"), r"got HTTP 204 \\x1b\[31mred\\rX; check"),
    "a choice": (body(status=b"300 Choose"), "got HTTP 300"),
    "not modified": (body(status=b"304 Not"), "got HTTP 304"),
    "a redirect to nowhere": (body(status=b"302 Found"), "got HTTP 302"),
    "a wish for a password": (body(b"WWW-Authenticate: Basic", status=b"401 No"), "got HTTP 401"),
    "a wish of a proxy": (body(b"Proxy-Authenticate: Basic", status=b"407 No"), "got HTTP 407"),
    "a long reason": (body(status=b"404 " + b"\x1b" * 50_000), r"got HTTP 404 (\\x1b)*…; check"),
    "no reason": (body(status=b"404"), "got HTTP 404; check"),
    "an unknown status": (body(status=b"999 \xe2\x80\xae"), "got HTTP 999"),
    "redirects without end": (redirect(b"/data.bin"), "got more than 5 redirects"),
    "redirects with other names": (redirect(b"?" + b"x" * 5000), "more than 5 redirects"),
    "an empty Location": (redirect(b""), "more than 5 redirects"),
    "two Locations": (body(b"Location: /a", b"Location: /b", status=b"307 Here"), "can be read in two ways"),
    "a long Location": (redirect(b"/" + b"x" * 9000), "can be read in two ways"),
    "a Location of control characters": (redirect(b"/\x1b[31m\x00\x9b"), r"/\\x1b\[31m\\x00\\x9b: expected an https"),
    "a folded Location": (redirect(b"/a\r\n http://example.com"), "can be read in two ways"),
    "a Location in UTF-8": (redirect("/ü\u202e".encode()), "can be read in two ways"),
    "another host by a backslash": (redirect(b"http://example.com\\@127.0.0.1/x"), "can be read in two ways"),
    "another host by a name": (redirect(b"http://127.0.0.1@example.com/x"), "expected an https address"),
    "another host by a slash": (redirect(b"/\\example.com/x"), "can be read in two ways"),
    "another host, plain": (redirect(b"http://example.com/x"), "got another kind, which could be tampered with"),
    "another host that looks like this": (redirect(b"http://127.0.0.1.nip.io/x"), "got another kind"),
    "this host as a number": (redirect(b"http://2130706433/x"), "got another kind"),
    "this host in hex": (redirect(b"http://0x7f.1/x"), "got another kind"),
    "a file": (redirect(b"file:///etc/passwd"), "expected an https address"),
    "FTP": (redirect(b"ftp://127.0.0.1/x"), "expected an https address"),
    "data": (redirect(b"data:text/plain,x"), "expected an https address"),
    "a script": (redirect(b"javascript:alert(1)"), "expected an https address"),
    "a broken address": (redirect(b"http://[::1/x"), "expected an https address"),
    "a port too far": (redirect(b"http://127.0.0.1:70000/x"), "expected an https address"),
    "a host of dots": (redirect(b"https://a..b/x"), "expected an https address"),
    "a host of 300 letters": (redirect(b"https://" + b".".join([b"a" * 60] * 5) + b"/x"), "expected an https address"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused_is_not_tried_again(server, fetch, folder, kind):
    answer, message = REFUSED[kind]
    server.acts = [answer]
    with pytest.raises(FileError, match=message) as caught:
        fetch()
    one_line(caught)
    assert len(server.heads) == (6 if "more than 5 redirects" in message else 1)
    assert [path.name for path in folder.iterdir()] == [".lock"]


# ---- what never ends


ENDLESS = {
    "silence": silence,
    "headers, byte by byte": drip(GOOD),
    "a status line without end": again_and_again(b"H", pause=0.02),
    "a header without end": after(OK + b"A: ", again_and_again(b"b", pause=0.02)),
    "headers after the hundredth second": after(OK, again_and_again(b"", pause=0.02)),
    "100 Continue, slowly": again_and_again(b"HTTP/1.1 100 Continue\r\n\r\n", pause=0.1),
    "redirects, slowly": drip(redirect(b"/data.bin"), pause=0.005),
    "nothing after the headers": after(OK + LENGTH + b"\r\n", silence),
    "a body, byte by byte": after(OK + LENGTH + TAG + b"\r\n", drip(DATA)),
    "a body without a length, byte by byte": after(OK + b"\r\n", drip(DATA * 9)),
    "chunks, byte by byte": drip(chunks(DATA), pause=0.01),
    "a chunk size without end": after(chunks(end=b""), again_and_again(b"0", pause=0.02)),
    "a chunk extension without end": after(chunks(end=b"5;"), again_and_again(b"x", pause=0.02)),
    "trailers without end": after(chunks(DATA[:9], end=b"0\r\n"), again_and_again(b"A: b\r\n", pause=0.01)),
    "trailers without end, at full speed": after(chunks(DATA[:9], end=b"0\r\n"), again_and_again(b"A: b\r\n" * 999)),
}  # fmt: skip


@pytest.mark.parametrize("kind", ENDLESS)
def test_what_is_too_slow_is_left(server, fetch, folder, impatient, monkeypatch, kind):
    monkeypatch.setattr(connection, "ANSWER_WITHIN", 0.1)  # no good answer comes that might take longer
    monkeypatch.setattr(connection, "WINDOW", 0.1)
    server.acts = [ENDLESS[kind]]
    with pytest.raises(FileError, match=r"the transfer broke off \((no answer within|more than 10 times)") as caught:
        fetch()
    one_line(caught)
    assert not (folder / "data.bin").exists()


# ---- https


@pytest.fixture
def secure(server, monkeypatch, tmp_path):
    """The server speaks TLS, with a certificate of its own that the client is told to trust."""
    if not (openssl := shutil.which("openssl")):
        pytest.skip("openssl makes the certificate; install it")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = f"{openssl} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.tls.load_cert_chain(certificate, key)
    server.url = server.url.replace("http:", "https:")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    return server


@pytest.mark.parametrize("acts", [[GOOD], [chunks(DATA[:9], DATA[9:])], [b"", GOOD], [GOOD[:-9], GOOD]])
def test_a_good_server_that_speaks_tls(secure, fetch, acts):
    secure.acts = list(acts)
    assert fetch() == DATA


@pytest.mark.parametrize("act", [drip(GOOD), after(OK + LENGTH + b"\r\n", drip(DATA)), after(chunks(end=b""), silence)])
def test_limits_of_time_hold_with_tls(secure, fetch, impatient, act):
    secure.acts = [act]
    with pytest.raises(FileError, match=r"broke off \(no answer within") as caught:
        fetch()
    one_line(caught)


def test_a_stranger_with_a_certificate_of_his_own(secure, fetch, monkeypatch):
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(FileError, match=r"could not be reached \(.*certificate verify failed") as caught:
        fetch()
    one_line(caught)
    assert not secure.heads


@pytest.mark.parametrize(
    "act",
    [
        silence,
        GOOD,
        b"",
        b"\x00" * 99,
        drip(b"\x16\x03\x03\x40\x00" + DATA),
        again_and_again(b"\x16\x03\x03\x00\x01\x00"),
    ],
)
def test_a_handshake_that_comes_to_nothing(server, fetch, impatient, act):
    server.listens, server.acts = False, [act]
    server.url = server.url.replace("http:", "https:")
    with pytest.raises(FileError, match=r"could not be reached|the transfer broke off") as caught:
        fetch()
    one_line(caught)


# ---- what the libraries must bring along


@pytest.mark.parametrize("lack", ["requests", "urllib3"])
def test_older_libraries_are_refused(server, fetch, monkeypatch, lack):
    """With them the limits would not hold, and nobody would see it."""
    if lack == "requests":  # does not ask the adapter in the way that ours answers
        usual = requests.adapters.HTTPAdapter.get_connection_with_tls_context
        monkeypatch.setattr(connection._Adapter, "get_connection_with_tls_context", usual)
    else:
        monkeypatch.delattr(urllib3.HTTPResponse, "read1")
        monkeypatch.delattr(urllib3.response.BaseHTTPResponse, "read1", raising=False)
    with pytest.raises(FileError, match=r"expected requests 2\.32\.2 and urllib3 2\.2, or newer ones"):
        fetch()


def test_hosts_are_compared_once_more(server, fetch, monkeypatch):
    """Should an address pass that urllib3 reads in another way, nothing is asked of anybody."""
    monkeypatch.setattr(connection, "check_url", lambda url: None)
    for url in ("http://example.com\\@127.0.0.1/x", "http://127.0.0.1\\@example.com/x"):
        with pytest.raises((FileError, connection.BrokeOff), match="two ways|Failed to parse"):
            with connection.ask(url, {}):
                pass
