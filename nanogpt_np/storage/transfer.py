"""One URL -> one verified file: resumed where it broke off, checked before it gets its name.

Enter: a URL, a path, and what is known of the file (bytes, sha256). While it runs the bytes stand in `<file>.part`,
which a broken transfer leaves behind, with the server's name for that version beside it in `<file>.part.json`;
so the next run goes on from there, and never joins halves of two versions. Next: storage/registry.py.
"""

import hashlib
import re
import shutil
import stat
import time
from urllib.parse import urlsplit

from .. import files
from ..errors import FileError, printable
from .header import read_header

PAUSES = (0.5, 1.0, 2.0)  # seconds before each further try
TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}  # HTTP: too slow, too early, too many, and the server's own mistakes

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)")

# bytes that a file may have where its size is not published: by its name, or how that ends
MOST = {"config.json": 1 << 20, ".json": 1 << 26, ".txt": 1 << 26, ".safetensors": 1 << 36}
MAX_NOTES = 1 << 16  # of what stands beside a part: an address, and a version


def fetch(url, path, n_bytes=None, sha256=None, most=None, progress=True, advice="try again later"):
    """Download `url` to `path`, going on from an earlier `<path>.part`; the file appears only when it is verified.

    `n_bytes` and `sha256` (hex) are checked where they are given; without `n_bytes`, no more than `most` bytes are
    taken, or what is usual for such a file. `advice` ends the message when the network fails.
    Raises FileError: no connection, a wrong answer, a full disk, or bytes that are not the expected ones.
    """
    from .connection import BrokeOff  # requests costs 40 ms and 8 MiB, which only a download should

    part = path.with_name(path.name + ".part")
    _check_places(path, part)
    most = n_bytes if n_bytes is not None else most or _usual(path)
    for pause in (*PAUSES, None):
        try:
            _attempt(url, part, n_bytes, most, sha256 is not None, progress)
            break
        except BrokeOff as error:
            if pause is None:
                raise _gave_up(url, part, error, advice) from error
            time.sleep(pause)
        except OSError as error:
            raise files.cannot_write(part, error) from error
    try:
        check_file(part, path.suffix, n_bytes, sha256)
    except FileError:
        _forget(part)
        raise
    files.settle(part, path)
    _forget(part)


def _usual(path):
    """The bytes that a file may have where its size is not published; `path` may be its `.part`."""
    path = path.with_name(path.name.removesuffix(".part"))
    return MOST.get(path.name) or MOST.get(path.suffix, 1 << 26)


def _check_places(path, part):
    """Raise FileError where something else stands that opening would wait for, follow or fail at."""
    for place in (part, _notes(part)):
        kind = _kind(place.lstat) or "file"
        if kind != "file":
            raise FileError(f"{place}: expected a file that a download left, got a {kind}; remove it")
    if _kind(path.stat) == "folder":  # all else can be replaced by a rename
        raise FileError(f"{path}: expected a file or nothing, got a folder; remove it")


def _kind(look):
    """What stands at a path, as its stat or lstat says: "file", "folder", … or None for nothing."""
    try:
        mode = look().st_mode
    except OSError:
        return None
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link", stat.S_IFIFO: "pipe"}
    return kinds.get(stat.S_IFMT(mode), "device")


def check_file(path, suffix, n_bytes=None, sha256=None):
    """Raise FileError where a file has not the given size and hash; without a hash, it must at least parse."""
    try:
        size = path.stat().st_size
        if (kind := _kind(path.stat)) != "file":
            raise FileError(f"{path}: expected a file, got a {kind}; remove it")
        if n_bytes is not None and size != n_bytes:
            raise FileError(f"{path}: expected {n_bytes:,} bytes, got {size:,}; download it again")
        if sha256 is not None and (got := _sha256(path)) != sha256:
            raise FileError(f"{path}: expected sha256 {sha256}, got {got}; it is damaged or another version")
    except OSError as error:
        raise files.cannot_read(path, error) from error
    if sha256 is not None:
        return
    most = _usual(path) if n_bytes is None else n_bytes
    if suffix == ".safetensors":
        read_header(path)
    elif suffix == ".json":
        files.read_json(path, most)
    elif suffix == ".txt":
        files.read_text(path, most)


def _sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _attempt(url, part, n_bytes, most, hashed, progress):
    """One try: ask for what is missing of `part`, and append it."""
    from .connection import ask

    have, version = _resumable(url, part, most)
    if n_bytes is not None and have == n_bytes:
        return  # an earlier run stopped between the last byte and the new name
    headers = {"Accept-Encoding": "identity", "Connection": "close"}  # offsets must count the file's own bytes
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    with ask(url, headers) as (response, pieces):
        start, total = _where(url, response, part, have, version)
        _check_size(url, part, start, total, n_bytes, most)
        total = n_bytes if total is None else total
        if total is None and not hashed and not _ends_visibly(response):
            raise FileError(f"{_short(url)}: expected a length, got none; part of it would pass for the whole")
        if not start:
            _forget(part)
            files.write_json(_notes(part), {"url": url, "version": _version(response)})
        _write(url, part, start, total, most, pieces, progress)


def _check_size(url, part, start, total, n_bytes, most):
    """Raise FileError where the bytes on offer are not as many as they should be, or the disk has no room for them."""
    if n_bytes is not None and total not in (None, n_bytes):
        offer = f"an offer of {total:,}; the file has changed"
        raise FileError(f"{_short(url)}: expected {n_bytes:,} bytes, got {offer}")
    if total is not None and total > most:
        raise _too_long(url, most, f"an offer of {total:,}")
    known = n_bytes if total is None else total
    if known is not None and (free := shutil.disk_usage(part.parent).free) < known - start:
        raise FileError(f"{part.parent}: expected {known - start:,} bytes of free space, got {free:,}; make room")


def _too_long(url, most, got):
    return FileError(f"{_short(url)}: expected at most {most:,} bytes for such a file, got {got}; check the address")


def _ends_visibly(response):
    """Whether a break can be told from the end although no length was given: the last of the chunks is empty."""
    return response.headers.get("Transfer-Encoding", "").lower() == "chunked"


def _short(url):
    return printable(url, 160)


def _notes(part):
    return part.with_name(part.name + ".json")


def _forget(part):
    try:
        part.unlink(missing_ok=True)
        _notes(part).unlink(missing_ok=True)
    except OSError as error:
        raise files.cannot_write(part, error) from error


def _resumable(url, part, most):  # -> (bytes to keep, the version they are of)
    try:
        notes = files.read_json(_notes(part), MAX_NOTES)
        have = part.stat().st_size
    except (FileError, OSError):
        return 0, None
    if not isinstance(notes, dict) or notes.get("url") != url or not _is_version(notes.get("version")):
        return 0, None
    return (have, notes["version"]) if have <= most else (0, None)


def _is_version(text):
    """Whether a text can be sent as If-Range: one short line of visible ASCII."""
    return isinstance(text, str) and re.fullmatch(r"[!-~]([ -~]{0,510}[!-~])?", text) is not None


def _version(response):
    """What names this version of the file: a strong ETag, else its date, else None (then it cannot be resumed)."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified")


def _where(url, response, part, have, version):  # -> (offset of the first byte that comes, size of the whole or None)
    from .connection import BrokeOff

    status = response.status_code
    answer = f"HTTP {status} {printable(response.reason or '', 60)}".rstrip()
    if status in (200, 206):
        _check_plain(url, response)
    if status == 200:  # also when the server ignores Range, or If-Range told it that the file has changed
        return 0, _length(url, response)
    if status == 206 and have:
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if found and int(found[1]) == have and _version(response) in (version, None):
            return have, None if found[2] == "*" else int(found[2])
    if status in (206, 416):  # not the bytes that were asked for: what we have does not fit what is there now
        _forget(part)
        raise BrokeOff(f"the answer to a request from byte {have:,} does not fit")
    if status in TRY_AGAIN:
        raise BrokeOff(answer)
    raise FileError(f"{_short(url)}: expected the file, got {answer}; check the address and your access")


def _check_plain(url, response):
    """Raise FileError where the bytes are not the file's own: compressed, although that was not wanted."""
    content, transfer = (response.headers.get(f"{kind}-Encoding", "") for kind in ("Content", "Transfer"))
    if content.strip().lower() not in ("", "identity") or transfer.strip().lower() not in ("", "identity", "chunked"):
        raise FileError(f"{_short(url)}: expected the file as it is, got it compressed; fetch it by other means")


def _length(url, response):
    """The Content-Length, or None: chunks come without one, or with one that does not count."""
    text = response.headers.get("Content-Length")
    if text is None or _ends_visibly(response):
        return None
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise FileError(f"{_short(url)}: expected a length in bytes, got {printable(text, 40)}; try later")
    return int(text)


def _write(url, part, start, total, most, pieces, progress):
    """Append what arrives to `part`, each piece at once, so that a break loses nothing of it."""
    from tqdm import tqdm

    from .connection import BrokeOff

    name = part.name.removesuffix(".part")
    bar = tqdm(desc=name, total=total, initial=start, unit="B", unit_scale=True, disable=not progress)
    size = start
    try:
        with open(part, "ab" if start else "wb") as file, bar:
            for piece in pieces:
                size += len(piece)
                if size > (most if total is None else total):
                    break
                file.write(piece)
                file.flush()
                bar.update(len(piece))
    except OSError:
        if total is None:  # nobody said how much is to come: what filled the disk must not stay there
            _forget(part)
        raise
    if total is None and size > most:
        _forget(part)
        raise _too_long(url, most, "more")
    if total is not None and size > total:
        _forget(part)
        raise BrokeOff(f"expected {total:,} bytes, got more")
    if total is not None and size < total:
        raise BrokeOff(f"expected {total:,} bytes, got {size:,}")


def _gave_up(url, part, error, advice):
    what = "the transfer broke off" if error.reached else f"{urlsplit(url).netloc} could not be reached"
    kept = f"{part.stat().st_size:,} bytes are kept and the next run goes on from there; " if part.exists() else ""
    return FileError(f"{_short(url)}: {what} ({error}); {kept}{advice}")
