"""Tensors that lie in a file -> arrays: mapped where the file's bytes are what is wanted, else converted one by one.

Enter: a file whose table of contents has been checked, and the place, shape and dtype of each tensor in it. Leave: the
nested params. Mapped arrays can be changed in memory, the file stays as it is. Next: storage/crc32c.py.
"""

import mmap

import numpy as np

from .. import files
from ..errors import FileError, InputError, printable
from ..params import nest
from .contents import STORED


def float_dtype(dtype):
    """A NumPy dtype of floats; InputError for any other."""
    dtype = np.dtype(dtype)
    if dtype.kind != "f":
        raise InputError(f"dtype: expected a float dtype such as float32, got {printable(str(dtype))}")
    return dtype


def map_file(path):
    """All bytes of a file as uint8 [n_bytes], copy-on-write; who reads them brings them into memory.

    FileError where that cannot be, as where the file has become another since its table of contents was read.
    """
    try:
        return np.memmap(path, np.uint8, mode="c")
    except (OSError, ValueError) as error:  # ValueError: nothing stands in it
        raise files.cannot_read(path, error) from error


def bytes_of(mapped, info):
    """The bytes of a tensor, uint8 [n_bytes]; FileError where the file ends before, as it did not a moment ago."""
    part = mapped[info.start : info.end]
    if len(part) != info.end - info.start:
        where, got = files.short(getattr(mapped, "filename", "the file")), f"{len(mapped):,}"
        raise FileError(f"{where}: expected at least {info.end:,} bytes, got {got}; it was changed while it was opened")
    return np.asarray(part)


def to_array(mapped, info, dtype, copy):
    """One tensor of a mapped file as `dtype`: the mapped bytes themselves where they are that, unless `copy`."""
    shape = info.shape[::-1] if info.transposed else info.shape
    view = bytes_of(mapped, info).view(STORED[info.dtype]).reshape(shape)
    view = view.T if info.transposed else view
    if info.dtype == "BF16":
        view = (view.astype("<u4") << 16).view("<f4")
    if view.dtype == dtype and view.flags.aligned and not copy:
        return view
    with np.errstate(over="ignore"):  # what is too large for `dtype` becomes infinite, and logits say so
        return np.array(view, dtype)  # also where unaligned: BLAS would copy it again in every single call


def take_all(names, read, config, keep, maps):
    """The nested params of `names`: what `read(name)` gives, or what `keep` makes of it (see checkpoint.load)."""
    if keep is None:
        return nest({name: read(name) for name in names})

    def give_back():
        _give_back(maps)

    return nest({name: keep(name, read(name), config, give_back) for name in names})


def _give_back(maps):
    """Let go of the memory behind mapped files; what is read again comes from the file again."""
    if hasattr(mmap, "MADV_DONTNEED"):
        for mapped in maps:
            mapped._mmap.madvise(mmap.MADV_DONTNEED)  # NumPy has no public name for it
