"""HDF5 files: written whole, and read though they may be damaged or foreign."""

import errno
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from command import InputError
from products import atomic_write

MOST_COMPRESSED = 1032  # numbers of bytes that deflate can make one of
UNWRITTEN = "it was not written"  # the remedy of a writer, for which there is none
# Where the references of a damaged file lead; other numbers are the system's own complaints.
OF_THE_FILE = {"EINVAL", "EFAULT", "EOVERFLOW", "EFBIG", "ENOENT", "ENOTDIR", "EISDIR"}


def require_space(folder: Path, size: int) -> None:
    """OSError if so many bytes do not fit: on a full disk HDF5 itself crashes."""
    if shutil.disk_usage(folder).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


@contextmanager
def written(path: Path, **options: str) -> Iterator[h5py.File]:
    """A new HDF5 file, made in memory and written whole, atomically; `options` of `h5py.File`."""
    with h5py.File(path.name, "w", driver="core", backing_store=False, **options) as file:
        yield file
        file.flush()
        image = file.id.get_file_image()
    with atomic_write(path) as temporary:
        temporary.write_bytes(image)


@contextmanager
def opened(path: Path, remedy: str) -> Iterator[h5py.File]:
    """An HDF5 file to read; `remedy` says what to do about a bad one, such as `fetch it again`.

    Raises:
        InputError: no such file, no HDF5, what h5py finds wrong while it is open, or what the
            system says: a lock, no permission, no descriptors left.
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
    if number is not None and errno.errorcode.get(number) not in OF_THE_FILE:
        return f"cannot be read: {os.strerror(number)}"
    return f"not a complete HDF5 file ({reason}); {remedy}"


def dataset(file: h5py.File, name: str, remedy: str) -> h5py.Dataset:
    """A dataset that can be read and holds the rows it declares, or an InputError.

    A damaged file can declare any shape: one that its bytes cannot fill, however well compressed,
    is refused before memory is asked for it. Chunks may be left unwritten, but not all of them.
    """
    found, named = file.get(name), f"{file.filename}: dataset {name!r}"
    if not isinstance(found, h5py.Dataset) or found.shape is None:
        raise InputError(f"{named} is missing; {remedy}")
    settings = found.id.get_create_plist()
    filters = [settings.get_filter(number) for number in range(settings.get_nfilters())]
    for number, _, _, title in filters:
        if not h5py.h5z.filter_avail(number):
            raise InputError(
                f"{named} is stored with filter {number} ({title.decode(errors='replace')}), which "
                "HDF5 lacks here, expected gzip or none; rewrite the file with `h5repack -f GZIP=4`"
            )
    stored, size = found.id.get_storage_size(), file.id.get_filesize()
    if found.size and not stored:
        raise InputError(
            f"{named} has shape {found.shape}, but nothing of it was ever written into this file"
        )
    written = declared = found.size * found.dtype.itemsize
    if found.chunks and found.size:  # one that was never written holds the fill value
        written = found.id.get_num_chunks() * math.prod(found.chunks) * found.dtype.itemsize
    most = MOST_COMPRESSED if filters else 1
    if stored > size or written > most * stored or declared > MOST_COMPRESSED * size:
        raise InputError(
            f"{named} has shape {found.shape}, but holds {stored} bytes, too few for it; {remedy}"
        )
    return found


def read(
    file: h5py.File,
    name: str,
    dtype: np.dtype,
    remedy: str,
    rows: slice | tuple[()] = (),
    casting: str = "safe",
) -> np.ndarray:
    """Some rows of a `dataset`; InputError if its type is not to be cast to `dtype`."""
    stored = dataset(file, name, remedy)
    if stored.dtype.names != dtype.names or not np.can_cast(stored.dtype, dtype, casting):
        raise InputError(
            f"{file.filename}: dataset {name!r} has type {stored.dtype}, expected {dtype}; "
            f"write it so, or {remedy}"
        )
    return np.asarray(stored[rows], dtype)  # without the metadata that h5py adds to text


def columns(name: str, table: np.ndarray) -> dict[str, np.ndarray]:
    """The columns of a table by their full names; what has none is one."""
    fields = table.dtype.names
    return {f"{name}/{field}": table[field] for field in fields} if fields else {name: table}


def wrong_shape(
    path: Path | str, name: str, shape: tuple[int, ...], expected: object, remedy: str
) -> InputError:
    """What to raise of a dataset that has another shape."""
    return InputError(f"{path}: dataset {name!r} has shape {shape}, expected {expected}; {remedy}")


def require(
    path: Path | str,
    name: str,
    column: np.ndarray,
    good: np.ndarray,
    expected: str,
    remedy: str,
    rows: Sequence[int] | np.ndarray | None = None,
) -> None:
    """InputError that names the first entry of a column (n, ...) that is not `good`, if any.

    Args:
        good: of its shape, or (n,).
        rows: (n,) the numbers of its rows in the file, if it is not the whole dataset.
    """
    if not good.all():
        bad = tuple(np.argwhere(~good)[0])
        row = bad[0] if rows is None else rows[bad[0]]
        found = column[bad].tolist() if column[bad].ndim else column[bad]
        raise InputError(
            f"{path}: dataset {name!r}, row {row}: found {found}, expected {expected}; {remedy}"
        )


def require_range(
    path: Path | str, name: str, column: np.ndarray, low: float, high: float, *more: object
) -> None:
    """`require` numbers from `low` to `high`, no NaN; `more` is its remedy and rows."""
    if column.size and not (column.min() >= low and column.max() <= high):
        expected = f"{low:g} to {high:g}" if high < math.inf else f"{low:g} or more"
        require(path, name, column, (column >= low) & (column <= high), expected, *more)
