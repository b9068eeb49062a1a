"""HDF5 files: written whole, and read though they may be damaged or foreign."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from products import InputError, atomic_write

MOST_COMPRESSED = 1032  # numbers of bytes that deflate can make one of


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
        InputError: no such file, no regular file, no HDF5, or what h5py finds wrong while it is
            open.
    """
    if not path.exists():
        what = "a link to nothing" if path.is_symlink() else "no such file"
        raise InputError(f"{path}: {what}; {remedy}")
    if not path.is_file():  # a named pipe would be waited for
        raise InputError(f"{path}: is a directory or device, expected a file; move it away")
    try:
        with h5py.File(path) as file:
            yield file
    except PermissionError:
        raise InputError(f"{path}: no permission to read it; mend its permissions") from None
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: not a complete HDF5 file ({reason}); {remedy}") from None


def dataset(file: h5py.File, name: str, remedy: str) -> h5py.Dataset:
    """A dataset that can be read and holds the rows it declares.

    A damaged file can declare any shape: one that its bytes cannot fill, however well compressed,
    is refused before memory is asked for it.

    Raises:
        InputError: it is missing, declares too much, or asks for a filter that is not there.
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
    declared = max(found.size, math.prod(found.chunks or (0,))) * found.dtype.itemsize
    stored = found.id.get_storage_size()
    most = MOST_COMPRESSED * stored if filters else stored
    if stored > file.id.get_filesize() or declared > most:
        raise InputError(
            f"{file.filename}: dataset {name!r} has shape {found.shape}, but holds {stored} bytes, "
            f"too few for it; {remedy}"
        )
    return found
