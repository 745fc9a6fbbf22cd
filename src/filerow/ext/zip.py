"""Many files as one ZIP archive, streamed (extra ``filerow[zip]``).

Nothing is compressed, since most files are already, so the archive's length is known before its first byte, and a download shows
its progress.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Iterator
from posixpath import splitext
from typing import Any
from urllib.parse import quote

from filerow._execution.threads import following, in_thread
from filerow._file.object import FileObject, FileState
from filerow._paths import MAX_FILENAME_BYTES, clean_filename
from filerow._requirements import needs
from filerow.exceptions import FileStateError

with needs("zip", "filerow.ext.zip"):
    from zipstream import ZipStream

__all__ = ("ZipArchive", "zip_files")

_CHUNK = 1 << 18

_LONGEST_EXTENSION = 20

_NOT_ON_WINDOWS = re.compile(r'[<>:"|?*]')
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d) *(?:\.|\Z)", re.IGNORECASE)
"""What Windows takes for a device, whatever its extension."""


class ZipArchive:
    """A ZIP archive of stored files, made while it is sent.

    Made by :func:`zip_files`.

    It is iterated once or more often, by ``for`` or ``async for``, each time from the beginning. At most a chunk of one file is
    in memory.

    Attributes:
        names: The files' names in the archive, in order.
        size: Its length in bytes; ``None`` if a file's row does not say its size.
    """

    media_type = "application/zip"

    def __init__(self, files: Iterable[FileObject]) -> None:
        self._files = list(files)
        for file in self._files:
            if not isinstance(file, FileObject):
                raise TypeError(f"a ZIP archive is made of FileObject, not {type(file).__name__}")
            if file.state in {FileState.PENDING, FileState.DELETED}:
                raise FileStateError(f"{file!r} is not stored yet; commit its row, or call save()")
        self.names: tuple[str, ...] = tuple(_numbered([_portable(file.filename) for file in self._files]))
        self.size: int | None = len(self._stream()) if all(file.size is not None for file in self._files) else None

    def _stream(self) -> ZipStream:
        sized = all(file.size is not None for file in self._files)
        archive = ZipStream(sized=sized)
        for name, file in zip(self.names, self._files, strict=True):
            archive.add(_bytes_of(file), name, size=file.size)
        return archive

    def headers(self, filename: str = "files.zip") -> dict[str, str]:
        """Return the headers of a response with this archive.

        Args:
            filename: The name under which browsers save it.
        """
        name = clean_filename(filename)
        plain = name.encode("ascii", "replace").decode().replace("?", "_").replace('"', "_").replace("\\", "_")
        found = {
            "Content-Type": self.media_type,
            "Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}",
            "X-Content-Type-Options": "nosniff",
        }
        return found if self.size is None else {**found, "Content-Length": str(self.size)}

    def __iter__(self) -> Iterator[bytes]:
        """Yield the archive.

        Raises:
            ObjectNotFoundError: A file's object is gone; the archive ends there, and is not whole.
            IntegrityError: An object is not as long as its row says.
        """
        yield from self._stream()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the archive; the stores are read in threads."""
        chunks: Iterator[Any] = iter(self._stream())
        while chunk := await in_thread(following, chunks):
            yield chunk


def zip_files(files: Iterable[FileObject]) -> ZipArchive:
    """Return a ZIP archive of stored files, to send as a response.

    Names are made safe, also for Windows, kept in UTF-8, and numbered where two are alike: ``a.txt``, ``a (2).txt``.

    Args:
        files: The files; nothing is read yet.

    Raises:
        FileStateError: A file is not stored.
        TypeError: One of them is not a file.
    """
    return ZipArchive(files)


def _bytes_of(file: FileObject) -> Iterator[bytes]:
    yield from file.stream(chunk_size=_CHUNK)


def _portable(filename: str) -> str:
    """Return a name that a file can have on every system."""
    name = _NOT_ON_WINDOWS.sub("_", clean_filename(filename)).rstrip(". ") or clean_filename(None)
    return f"_{name}" if _DEVICE.match(name) else name


def _numbered(names: Iterable[str]) -> Iterator[str]:
    """Number names that are alike, also on disks that ignore case."""
    seen: set[str] = set()
    last: dict[str, int] = {}
    for name in names:
        stem, extension = splitext(name) if len(splitext(name)[1]) <= _LONGEST_EXTENSION else (name, "")
        number, free = last.get(name.casefold(), 1), _of_length(stem, extension)
        while free.casefold() in seen:
            number += 1
            free = _of_length(stem, f" ({number}){extension}")
        last[name.casefold()] = number
        seen.add(free.casefold())
        yield free


def _of_length(stem: str, end: str) -> str:
    """Return a name, cut where a filesystem would refuse it."""
    return stem.encode()[: MAX_FILENAME_BYTES - len(end.encode())].decode(errors="ignore") + end
