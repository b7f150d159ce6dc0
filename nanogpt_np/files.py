"""Writing to disk so that a reader finds the old file or the new one, never half of either; reading no more than fits.

Enter: a path and what to write. Leave: a complete file under that path. Or enter a path and how large its file may be,
leave its content; or one line that says why not. Every room that reads or writes goes through here.
Next: config.py.
"""

import contextlib
import json
import os
import stat
import tempfile
from pathlib import Path

from .errors import FileError, InputError, printable, shown


@contextlib.contextmanager
def replacing(path):
    """Give a temporary path beside `path` to write to; on success flush it to disk and rename it over `path`.

    If the body fails, the temporary file is removed and whatever stood under `path` before still stands.
    Raises FileError where the disk refuses (full, read-only, no such folder).
    """
    path = Path(path)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(handle)
    except OSError as error:
        raise cannot_write(path, error) from error
    part = Path(name)
    try:
        yield part
        settle(part, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        part.unlink(missing_ok=True)


def settle(part, path):
    """Flush a finished temporary file to disk and rename it over `path`; FileError where the disk refuses."""
    part, path = Path(part), Path(path)
    try:
        sync(part)
        part.chmod(0o666 & ~_umask())  # mkstemp gives 0600; the user expects the usual rights
        os.replace(part, path)
        sync(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error


@contextlib.contextmanager
def locked(path, busy):
    """Keep other processes out of what `path` stands for; the operating system lets go when the process ends.

    The file is made where it is missing, and not changed. FileError with the text `busy` where another has the lock.
    """
    try:
        file = open(path, "a+b")
    except OSError as error:
        raise cannot_write(path, error) from error
    with file:
        try:
            _lock(file)
        except OSError:
            raise FileError(busy) from None
        yield


def _lock(file):
    """Take the lock of an open file, or raise OSError at once; closing the file gives it back."""
    if os.name == "nt":
        import msvcrt

        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def as_path(value: object, name: str = "path") -> Path:
    """A Path of a text or a Path; InputError for what is neither, FileError for what no file can be called."""
    if not isinstance(value, (str, os.PathLike)) or value == "":
        raise InputError(f"{name}: expected a text or a pathlib.Path, got {shown(value)}")
    try:
        path = Path(value)
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass  # who opens it says so
    except (OSError, ValueError, TypeError) as error:  # too long, a null byte, half a surrogate pair
        reason = getattr(error, "strerror", None) or error
        raise FileError(f"{name}: expected the name of a file or folder, got {shown(value)} ({reason})") from error
    return path


def make_folder(path):
    """Make a folder and those above it, where they are missing; FileError where the disk refuses."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def write_bytes(path, data):
    """Write `data` (bytes) to `path`, whole or not at all."""
    with replacing(path) as part:
        part.write_bytes(data)


def write_text(path, text):
    """Write `text` (str, as UTF-8) to `path`, whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def append_text(path, text):
    """Add `text` (str, as UTF-8) to the end of `path` and flush it to disk; a crash may leave its beginning alone.

    FileError where the disk refuses.
    """
    try:
        with open(path, "ab") as file:
            file.write(text.encode("utf-8"))
        sync(path)
    except OSError as error:
        raise cannot_write(path, error) from error


def cut(path, length):
    """Take away what stands behind the first `length` bytes of a file; FileError where the disk refuses."""
    try:
        os.truncate(path, length)
        sync(path)
    except OSError as error:
        raise cannot_write(path, error) from error


def write_json(path, value):
    """Write `value` as indented JSON to `path`, whole or not at all."""
    write_text(path, to_json(value))


def to_json(value):
    """The text of a JSON file: indented, letters as they are, one newline at the end."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def remove(path):
    """Take a file away, where it is there, and flush that to disk; FileError where the disk refuses."""
    try:
        Path(path).unlink(missing_ok=True)
        sync(Path(path).parent)
    except OSError as error:
        raise cannot_write(path, error) from error


def read_text(path, limit=None):
    """The text of a UTF-8 file, newlines as they stand in it; FileError names the first byte that is not UTF-8."""
    data = read_bytes(path, limit)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FileError(
            f"{short(path)}: expected UTF-8 text, got byte 0x{data[error.start]:02x} at offset {error.start:,}; "
            "convert the file first, for example with iconv"
        ) from error


def read_json(path, limit=None):
    """The value of a JSON file; FileError names the line that does not parse."""
    text = read_text(path, limit)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise FileError(f"{short(path)}: expected JSON, got an error at line {error.lineno}: {error.msg}") from error
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, nesting of thousands of levels
        why = printable(str(error))
        raise FileError(f"{short(path)}: expected JSON, got {type(error).__name__}: {why}") from error


def read_bytes(path, limit=None):
    """The bytes of a file; FileError where it cannot be read.

    `limit`: the most bytes that such a file may have; then it must be a regular file, and a larger one is refused
    before it is read. None reads whatever comes, from a pipe too.
    """
    try:
        with open(path, "rb") if limit is None else open_regular(path) as file:
            if limit is None:
                return file.read()
            n_bytes = os.fstat(file.fileno()).st_size
            data = file.read(n_bytes + 1) if n_bytes <= limit else b""
            if len(data) > n_bytes:  # it grows, or is one of the system's own, which claim 0 bytes
                data += file.read(limit)
    except FileError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise cannot_read(path, error) from error
    if (n_bytes := max(n_bytes, len(data))) > limit:
        advice = "this is not the file that its name promises"
        raise FileError(f"{short(path)}: expected at most {limit:,} bytes, got {n_bytes:,}; {advice}")
    return data


def open_regular(path):
    """Open a file for reading bytes; FileError for a pipe, where one would wait for ever, and for a device."""
    try:
        _check_regular(path, os.stat(path))
        # between that look and this line the name may have changed hands: so do not wait, and look again
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        file = open(handle, "rb")
    except FileError:
        raise
    except (OSError, ValueError) as error:
        raise cannot_read(path, error) from error
    with contextlib.ExitStack() as closing:
        closing.enter_context(file)
        _check_regular(path, os.fstat(handle))
        closing.pop_all()  # it is what was asked for: leave it open
    return file


def _check_regular(path, about):
    if not stat.S_ISREG(about.st_mode):
        got = "a folder" if stat.S_ISDIR(about.st_mode) else "a pipe or a device; copy its content into a file"
        raise FileError(f"{short(path)}: cannot be read (expected a regular file, got {got})")


def short(path, most=160):
    """A path for a message: escaped, and of a long one the end, which says which file it is."""
    text = printable(str(path)[-most - 1 :], most=10 * most)
    return text if len(text) <= most else "…" + text[1 - most :]


def cannot_read(path, error):
    """The FileError for an OSError met while reading (or a ValueError, for a name that no file can have)."""
    return FileError(f"{short(path)}: cannot be read ({_reason(error)}); check the name and its rights")


def cannot_write(path, error):
    """The FileError for an OSError met while writing."""
    return FileError(
        f"{short(path)}: cannot be written ({_reason(error)}); free some space or choose another folder"
    )


def _reason(error):
    return printable(getattr(error, "strerror", None) or str(error))


def sync(path):
    """Ask the operating system to put a file (or a folder's list of names) on the disk itself."""
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(path, flags)
    except OSError:
        return  # a folder cannot be opened on Windows; the rename is still atomic there
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
