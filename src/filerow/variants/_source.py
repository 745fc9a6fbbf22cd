"""The bytes of an original: ranges of a stored file, memory, or a path."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeAlias, cast

from filerow._buffers import BUFFERS
from filerow._content import expect_length
from filerow._execution.steps import Call, Steps, threaded
from filerow._file.object import FileObject, FileState
from filerow.backends.base import StorageBackend
from filerow.backends.local import LocalBackend
from filerow.exceptions import ContentError, FileStateError, VariantTooLargeError

VariantSource: TypeAlias = FileObject | bytes | bytearray | memoryview | os.PathLike[str]
"""What a variant can be made of."""


class Original(NamedTuple):
    """The bytes of an image.

    Attributes:
        size: How many there are.
        read: Returns the call that reads those from one place to another.
        place: Backend and path of a stored object; ``None`` for other bytes.
        open: The call that opens them as a file of this machine, where they are in one.
    """

    size: int
    read: Callable[[int, int], Call]
    place: tuple[StorageBackend, str] | None = None
    open: Call | None = None


def opened(source: object, most: int) -> Steps[Original]:
    """Return the bytes of an original.

    Of a stored one, nothing is read yet.

    Args:
        source: What has them.
        most: Maximum number of bytes.

    Raises:
        VariantTooLargeError: There are more.
        ContentError: It is not something that a variant can be made of.
        FileStateError: It is a file whose bytes are gone, or can be read only once.
    """
    if isinstance(source, FileObject):
        return (yield from _of_file(source, most))
    if isinstance(source, BUFFERS):
        _check_size(memoryview(source).nbytes, most)
        return _of_bytes(bytes(source))
    if isinstance(source, os.PathLike):
        path = Path(source)
        size = (yield threaded(path.stat)).st_size
        _check_size(size, most)
        return Original(size, lambda start, end: threaded(_part_of, path, start, end), open=threaded(path.open, "rb"))
    msg = f"a variant is made of a FileObject, bytes or a pathlib.Path, not {type(source).__name__}"
    raise ContentError(msg)


def _check_size(size: int, most: int) -> None:
    if size > most:
        msg = f"the file has {size:,} bytes, and configure(max_source=...) allows {most:,}"
        raise VariantTooLargeError(msg)


def _of_file(file: FileObject, most: int) -> Steps[Original]:
    _check_size(file.size or 0, most)
    if file.has_pending_data:
        content = yield Call(file.get_content, file.get_content_async)
        _check_size(len(content), most)
        return _of_bytes(content)
    if file.state in {FileState.PENDING, FileState.DELETED}:
        raise FileStateError(f"{file!r} has no bytes to make a variant of")
    return (yield from opened_object(file.backend, file.path, file.size, most))


def opened_object(backend: StorageBackend, path: str, known: int | None, most: int) -> Steps[Original]:
    """Return the bytes of a stored object; see :func:`opened`.

    Args:
        backend: Where it is.
        path: Its path.
        known: Its length in bytes, if that is known.
        most: Maximum number of bytes.
    """
    size: int = ((yield Call(backend.head, backend.head_async, (path,))).size or 0) if known is None else known
    _check_size(size, most)

    def read(start: int, end: int) -> Call:
        def part() -> bytes:
            return _whole(backend.read(path, start, end), start, end)

        async def part_async() -> bytes:
            return _whole(await backend.read_async(path, start, end), start, end)

        return Call(part, part_async)

    def _whole(data: bytes, start: int, end: int) -> bytes:
        expect_length(backend.key, path, size, len(data), start, end)
        return data

    def file() -> BinaryIO:
        found = local.open_file(path)
        try:
            expect_length(backend.key, path, size, os.fstat(found.fileno()).st_size)
        except BaseException:
            found.close()
            raise
        return found

    local = cast("LocalBackend", backend)
    return Original(size, read, (backend, path), threaded(file) if isinstance(backend, LocalBackend) else None)


def _of_bytes(content: bytes) -> Original:
    async def part_async(start: int, end: int) -> bytes:
        return content[start:end]

    in_memory = threaded(_file_in_memory, content) if hasattr(os, "memfd_create") else None
    return Original(len(content), lambda start, end: Call(lambda a, b: content[a:b], part_async, (start, end)), open=in_memory)


def _file_in_memory(content: bytes) -> BinaryIO:
    """Return a file without a name that has some bytes.

    A worker is handed it at once, instead of part by part.
    """
    file = os.fdopen(os.memfd_create("original"), "r+b", buffering=0)
    try:
        view = memoryview(content)
        while view:
            view = view[file.write(view) :]
    except BaseException:
        file.close()
        raise
    return cast("BinaryIO", file)


def _part_of(path: Path, start: int, end: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(end - start)
