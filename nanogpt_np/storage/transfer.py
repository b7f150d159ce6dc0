"""One URL -> one verified file: resumed where it broke off, checked before it gets its name.

Enter: a URL, a path, and what is known of the file (bytes, sha256). While it runs the bytes stand in `<file>.part`,
which a broken transfer leaves behind, with the server's name for that version beside it in `<file>.part.json`;
so the next run goes on from there, and never joins halves of two versions. Next: storage/registry.py.
"""

import hashlib
import ipaddress
import re
import shutil
import time
from urllib.parse import urljoin, urlsplit

from tqdm import tqdm

from .. import files
from ..errors import FileError
from .header import read_header

PAUSES = (0.5, 1.0, 2.0)  # seconds before each further try
TIMEOUT = (10, 60)  # seconds to connect, seconds without a byte
MAX_REDIRECTS = 5
CHUNK = 1 << 16  # bytes; at most this much is lost when a connection breaks
TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}  # HTTP: too slow, too early, too many, and the server's own mistakes


class _BrokeOff(Exception):
    """This try failed, another may not."""


def fetch(url, path, n_bytes=None, sha256=None, progress=True, advice="try again later"):
    """Download `url` to `path`, going on from an earlier `<path>.part`; the file appears only when it is verified.

    `n_bytes` and `sha256` (hex) are checked where they are given; `advice` ends the message when the network fails.
    Raises FileError: no connection, a wrong answer, a full disk, or bytes that are not the expected ones.
    """
    import requests  # 40 ms and 8 MiB, which only a download should cost

    part = path.with_name(path.name + ".part")
    for pause in (*PAUSES, None):
        try:
            _attempt(url, part, n_bytes, progress)
            break
        except (requests.RequestException, _BrokeOff) as error:
            if pause is None:
                raise _gave_up(url, part, error, advice) from error
            time.sleep(pause)
        except OSError as error:  # after RequestException, which is an OSError too
            raise files.cannot_write(part, error) from error
    try:
        check_file(part, path.suffix, n_bytes, sha256)
    except FileError:
        _forget(part)
        raise
    files.settle(part, path)
    _forget(part)


def check_file(path, suffix, n_bytes=None, sha256=None):
    """Raise FileError where a file has not the given size and hash; without a hash, it must at least parse."""
    try:
        size = path.stat().st_size
        if n_bytes is not None and size != n_bytes:
            raise FileError(f"{path}: expected {n_bytes:,} bytes, got {size:,}; download it again")
        if sha256 is not None and (got := _sha256(path)) != sha256:
            raise FileError(f"{path}: expected sha256 {sha256}, got {got}; it is damaged or another version")
    except OSError as error:
        raise files.cannot_read(path, error) from error
    if sha256 is not None:
        return
    if suffix == ".safetensors":
        read_header(path)
    elif suffix == ".json":
        files.read_json(path)
    elif suffix == ".txt":
        files.read_text(path)


def _sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _attempt(url, part, n_bytes, progress):
    """One try: ask for what is missing of `part`, and append it."""
    have, version = _resumable(url, part)
    if n_bytes is not None and have == n_bytes:
        return  # an earlier run stopped between the last byte and the new name
    headers = {"Accept-Encoding": "identity"}  # offsets must count the file's own bytes
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    with _open(url, headers) as response:
        start, total = _where(url, response, part, have, version)
        if n_bytes is not None and total not in (None, n_bytes):
            raise FileError(f"{url}: expected {n_bytes:,} bytes, got an offer of {total:,}; the file has changed")
        total = n_bytes if total is None else total
        if total is not None and (free := shutil.disk_usage(part.parent).free) < total - start:
            raise FileError(f"{part.parent}: expected {total - start:,} bytes of free space, got {free:,}; make room")
        if not start:
            files.write_json(_notes(part), {"url": url, "version": _version(response)})
        _copy(response, part, start, total, progress)


def _notes(part):
    return part.with_name(part.name + ".json")


def _forget(part):
    part.unlink(missing_ok=True)
    _notes(part).unlink(missing_ok=True)


def _resumable(url, part):  # -> (bytes to keep, the version they are of)
    try:
        notes = files.read_json(_notes(part))
        have = part.stat().st_size
    except (FileError, OSError):
        return 0, None
    if not isinstance(notes, dict) or notes.get("url") != url or not isinstance(notes.get("version"), str):
        return 0, None
    return have, notes["version"]


def _version(response):
    """What names this version of the file: a strong ETag, else its date, else None (then it cannot be resumed)."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified")


def _open(url, headers):
    """The answer after redirects, each of which must lead to an address that check_url allows."""
    import requests

    for _ in range(MAX_REDIRECTS + 1):
        check_url(url)
        try:
            response = requests.get(url, headers=headers, stream=True, timeout=TIMEOUT, allow_redirects=False)
        except requests.RequestException:
            raise
        except ValueError as error:  # requests parses a redirect even where it must not follow it
            raise FileError(f"{url}: expected an https address, got a redirect to none ({error}); try later") from error
        if not response.is_redirect:
            return response
        response.close()
        url = urljoin(url, response.headers["Location"])
    raise FileError(f"{url}: expected the file, got more than {MAX_REDIRECTS} redirects; check the address")


def check_url(url):
    """Raise FileError unless the URL is https, or http to this very machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        raise FileError(f"{url}: expected an https address, got one that does not parse; check the registry") from None
    secure = parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))
    if not (host and secure):
        raise FileError(f"{url}: expected an https address, got another kind, which could be tampered with; correct it")


def _is_loopback(host):
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _where(url, response, part, have, version):  # -> (offset of the first byte that comes, size of the whole or None)
    status = response.status_code
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise FileError(f"{url}: expected the file as it is, got it compressed; fetch it by other means")
    if status == 200:  # also when the server ignores Range, or If-Range told it that the file has changed
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    if status == 206 and have:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if found and int(found[1]) == have and _version(response) in (version, None):
            return have, None if found[2] == "*" else int(found[2])
    if status in (206, 416):  # not the bytes that were asked for: what we have does not fit what is there now
        _forget(part)
        raise _BrokeOff(f"the answer to a request from byte {have:,} does not fit")
    if status in TRY_AGAIN:
        raise _BrokeOff(f"HTTP {status} {response.reason}")
    raise FileError(f"{url}: expected the file, got HTTP {status} {response.reason}; check the address and your access")


def _copy(response, part, start, total, progress):
    name = part.name.removesuffix(".part")
    bar = tqdm(desc=name, total=total, initial=start, unit="B", unit_scale=True, disable=not progress)
    with open(part, "ab" if start else "wb") as file, bar:
        for chunk in response.iter_content(CHUNK):
            file.write(chunk)
            bar.update(len(chunk))
            if total is not None and file.tell() > total:
                break
        size = file.tell()
    if total is not None and size > total:
        _forget(part)
        raise _BrokeOff(f"expected {total:,} bytes, got more")
    if total is not None and size < total:
        raise _BrokeOff(f"expected {total:,} bytes, got {size:,}")


def _gave_up(url, part, error, advice):
    from requests.exceptions import ChunkedEncodingError

    reason = " ".join(str(_cause(error)).split())[:200]
    broken = isinstance(error, (_BrokeOff, ChunkedEncodingError))
    what = "the transfer broke off" if broken else f"{urlsplit(url).netloc} could not be reached"
    kept = f"{part.stat().st_size:,} bytes are kept and the next run goes on from there; " if part.exists() else ""
    return FileError(f"{url}: {what} ({reason}); {kept}{advice}")


def _cause(error):
    """urllib3's reason inside the error of requests, whose own text repeats the whole address."""
    inner = error.args[0] if error.args else error
    return getattr(inner, "reason", None) or inner
