"""Several files that mean something only together: after a crash the old ones, the new ones, or nothing that opens.

Enter: a folder, the texts of its small files, and one of them that opens the folder, the door. Leave: all of them and
the large file replaced. Each name changes at once, but not all names at one moment: so the door is taken away before
the first changes, and comes back last. Next: storage/mapped.py.
"""

import contextlib
from pathlib import Path

from .. import files
from ..errors import FileError


@contextlib.contextmanager
def replacing_together(folder, door, texts, large, stale=()):
    """Give a path to write the file `large` to; on success it and `texts` {name: text} replace what stood there.

    `door`: the one of `texts` without which nobody opens the folder. `stale`: names of files that must go, as they
    belong to what is replaced. Where only the large file changes, the door stays: then one rename is all. If the body
    fails nothing has changed. Raises FileError where the disk refuses.
    """
    folder = Path(folder)
    data = {name: text.encode() for name, text in texts.items()}
    with contextlib.ExitStack() as stack:  # is left from the end: the small files get their names first, the door last
        names = [door, large, *(name for name in reversed(data) if name != door)]
        parts = {name: stack.enter_context(files.replacing(folder / name)) for name in names}
        yield parts[large]
        for name in data:
            parts[name].write_bytes(data[name])
        for part in parts.values():
            files.sync(part)  # the disk may take seconds for it, which must not pass while there is no door
        if stale or not all(_holds(folder / name, data[name]) for name in data):
            for name in (door, *stale):
                files.remove(folder / name)


def _holds(path, data):
    """Are these the bytes of a file?"""
    try:
        return files.read_bytes(path, limit=len(data)) == data
    except FileError:
        return False
