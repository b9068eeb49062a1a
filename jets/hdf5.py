"""HDF5 files: written whole, and read though they may be damaged or foreign."""

import errno
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from command import InputError
from products import atomic_write

MOST_COMPRESSED = 1032  # numbers of bytes that deflate can make one of
UNWRITTEN = "it was not written"  # the remedy of a writer, for which there is none
# Where the references of a damaged file lead; other numbers are the system's own complaints.
OF_THE_FILE = (
    errno.EINVAL,
    errno.EFAULT,
    errno.EOVERFLOW,
    errno.EFBIG,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
)


@contextmanager
def written(path: Path, **options: str) -> Iterator[h5py.File]:
    """A new HDF5 file, made in memory and written whole, atomically.

    On a full disk HDF5 itself crashes when it closes a file.

    Args:
        path: the file.
        options: of `h5py.File`.
    """
    with h5py.File(path.name, "w", driver="core", backing_store=False, **options) as file:
        yield file
        file.flush()
        image = file.id.get_file_image()
    with atomic_write(path) as temporary:
        temporary.write_bytes(image)


@contextmanager
def opened(path: Path, remedy: str) -> Iterator[h5py.File]:
    """An HDF5 file to read.

    Args:
        path: the file.
        remedy: what to do about a bad one, such as `fetch it again`.

    Raises:
        InputError: no such file, no regular file, no HDF5, what h5py finds wrong while it is open,
            or what the system says: a lock, no permission, no descriptors left.
    """
    if not path.exists():
        what = "a link to nothing" if path.is_symlink() else "no such file"
        raise InputError(f"{path}: {what}; {remedy}")
    if not path.is_file():  # a named pipe would be waited for
        raise InputError(f"{path}: is a directory or device, expected a file; move it away")
    try:
        with h5py.File(path) as file:
            yield file
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path}: {_complaint(error, remedy)}") from None


def _complaint(error: Exception, remedy: str) -> str:
    """What the system or HDF5 said; `remedy` is for a file that is itself at fault."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    number = getattr(error, "errno", None)
    if "unable to lock file" in reason:
        return (
            f"cannot be locked ({os.strerror(number) if number else reason}); close the program "
            "that has it open, or set HDF5_USE_FILE_LOCKING=FALSE if none writes it"
        )
    if "already open for" in reason:  # what a program leaves in the file while it writes it
        return f"marked as open in a program that writes it ({reason}); close that program"
    if isinstance(error, PermissionError):
        return "no permission to read it; mend its permissions"
    if number is not None and number not in OF_THE_FILE:
        return f"cannot be read: {os.strerror(number)}"
    return f"not a complete HDF5 file ({reason}); {remedy}"


def dataset(file: h5py.File, name: str, remedy: str) -> h5py.Dataset:
    """A dataset that can be read and holds the rows it declares.

    A damaged file can declare any shape: one that its bytes cannot fill, however well compressed,
    is refused before memory is asked for it. Chunks may be left unwritten, but not all of them.

    Raises:
        InputError: it is missing, declares too much, holds nothing, or asks for a filter that is
            not there.
    """
    found = file.get(name)
    if not isinstance(found, h5py.Dataset) or found.shape is None:
        raise InputError(f"{file.filename}: dataset {name!r} is missing; {remedy}")
    settings = found.id.get_create_plist()
    filters = [settings.get_filter(number) for number in range(settings.get_nfilters())]
    for number, _, _, title in filters:
        if not h5py.h5z.filter_avail(number):
            raise InputError(
                f"{file.filename}: dataset {name!r} is stored with filter {number} "
                f"({title.decode(errors='replace')}), which HDF5 lacks here, expected gzip or "
                "none; rewrite the file with `h5repack -f GZIP=4`"
            )
    stored = found.id.get_storage_size()
    if found.size and not stored:
        raise InputError(
            f"{file.filename}: dataset {name!r} has shape {found.shape}, but nothing of it was "
            "ever written into this file"
        )
    declared = found.size * found.dtype.itemsize
    written = declared
    if found.chunks and found.size:  # one that was never written holds the fill value
        written = found.id.get_num_chunks() * math.prod(found.chunks) * found.dtype.itemsize
    size = file.id.get_filesize()
    if (
        stored > size
        or written > (MOST_COMPRESSED * stored if filters else stored)
        or declared > MOST_COMPRESSED * size
    ):
        raise InputError(
            f"{file.filename}: dataset {name!r} has shape {found.shape}, but holds {stored} bytes, "
            f"too few for it; {remedy}"
        )
    return found


def require(
    path: Path, name: str, column: np.ndarray, good: np.ndarray, expected: str, remedy: str
) -> None:
    """Refuse a column (n, ...) any row of which is not `good`, naming the first such.

    Raises:
        InputError: with the row and what was found.
    """
    if not good.all():
        row = int(np.argwhere(~good)[0, 0])
        raise InputError(
            f"{path}: dataset {name!r}, row {row}: found {column[~good].flat[0]}, expected "
            f"{expected}; {remedy}"
        )
