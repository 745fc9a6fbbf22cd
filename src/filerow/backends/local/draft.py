"""Files in the making, which appear under their name whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from stat import S_ISDIR, S_ISLNK
from typing import Self

from filerow._buffers import Buffer
from filerow.backends.local.directory import Directory

_LEFTOVER = re.compile(r"\.put#\d+")
_ATTEMPTS = 100
"""Somebody else removes a folder whenever it is empty, which ends as soon as one file is in it."""
_COPY_STEP = 1 << 30
_READ_STEP = 1 << 20
_WRITE_STEP = 1 << 18


class Draft:
    """A file in the making, open for writing in the folder of its target.

    Leaving the ``with`` block removes it unless it was published. Where the system makes files without a name (Linux,
    ``O_TMPFILE``), it gets its first name when it is published, and a killed process leaves nothing behind. Elsewhere it has
    a temporary name that ends with ``#`` and digits, which no object's name may.

    Args:
        open_folder: Opens the folder, made if it is missing; called again when somebody removed it meanwhile.
        fsync: Wait for the disk before and after the file appears.
        unnamed: Try to make the file without a name.
    """

    def __init__(self, open_folder: Callable[[], Directory], *, fsync: bool, unnamed: bool) -> None:
        self._open_folder = open_folder
        self._fsync = fsync
        self._name = ""
        self.fd: int = -1
        self.unnamed: bool = unnamed
        self._begin()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._close()
            if self._name:
                with suppress(OSError):  # the error that brought us here matters more; remove_leftovers() is left
                    self._folder.unlink(self._name)
        finally:
            self._folder.close()

    def _begin(self) -> None:
        for attempt in range(_ATTEMPTS):
            self._folder = self._opened()
            try:
                self._create_file()
                break
            except BaseException as error:
                self._folder.close()
                # somebody removed the empty folder before the file was in it
                if not isinstance(error, FileNotFoundError) or attempt == _ATTEMPTS - 1:
                    raise

    def _opened(self) -> Directory:
        """Open the folder, made again as often as somebody removes it on the way."""
        for _ in range(_ATTEMPTS - 1):
            with suppress(FileNotFoundError):
                return self._open_folder()
        return self._open_folder()

    def _create_file(self) -> None:
        unnamed = self.unnamed
        if unnamed:
            try:
                self.fd = self._folder.create_unnamed()
            except OSError:  # not on this file system; whatever else is wrong, a file with a name meets it, too
                self.unnamed = False
            else:
                return
        name = _temporary_name()
        try:
            self.fd = self._folder.create(name)
        except FileNotFoundError:  # the folder was removed, which says nothing of the file system
            self.unnamed = unnamed
            raise
        self._name = name

    def _close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def publish(self, name: str, *, create_only: bool) -> os.stat_result:
        """Give the file its name and return its facts.

        Raises:
            FileExistsError: The name is taken and ``create_only`` is set.
            IsADirectoryError: It is a folder's name.
            OSError: With ``ELOOP`` for a symbolic link's name; or what the system says.
        """
        facts = self._settled()
        if not self._name:
            try:
                self._link(name, facts)
            except FileExistsError:
                self._refuse_others(name)
                if create_only:
                    raise
                temporary = _temporary_name()
                self._link(temporary, facts)
                self._name = temporary
            except OSError:
                self._start_again()
                facts = self._settled()
            else:
                self._finish(name)
                return facts
        self._close()  # network file systems report a full disk only here
        if create_only:
            self._create(name, facts)
        else:
            self._overwrite(name)
        return facts

    def _settled(self) -> os.stat_result:
        if self._fsync:
            os.fsync(self.fd)
        return os.fstat(self.fd)  # of what has reached the disk: a server on the network sets the time

    def _link(self, name: str, facts: os.stat_result) -> None:
        """Give the unnamed file a name that is free."""
        for attempt in range(_ATTEMPTS):
            try:
                self._folder.link_descriptor(self.fd, name)
                break
            except FileExistsError:
                if not self._is(name, facts):
                    raise
                break
            except FileNotFoundError:  # somebody removed the empty folder, or /proc is missing
                if attempt == _ATTEMPTS - 1:
                    raise
                self._folder.close()
                self._folder = self._opened()

    def _finish(self, name: str) -> None:
        """Make sure that the file keeps its new name alone; otherwise take the name back."""
        try:
            self._close()
            if self._name:
                self._folder.unlink(self._name)
                self._name = ""
            if self._fsync:
                self._folder.sync()
        except BaseException:
            self._folder.unlink(name)
            raise

    def _start_again(self) -> None:
        """Copy the file to one with a name, because this system cannot link it."""
        source, self.fd = self.fd, -1
        self.unnamed = False
        self._folder.close()
        try:
            self._begin()
            copy_bytes(source, self.fd)
        finally:
            os.close(source)

    def _create(self, name: str, facts: os.stat_result) -> None:
        try:
            self._folder.link(self._name, name)
        except FileExistsError:
            self._refuse_others(name)
            if not self._is(name, facts):
                raise
        self._finish(name)

    def _is(self, name: str, facts: os.stat_result) -> bool:
        """Return True if the name is this file's, as NFS may repeat a lost request."""
        there = self._folder.stat(name)
        return (facts.st_dev, facts.st_ino) == (there.st_dev, there.st_ino)

    def _overwrite(self, name: str) -> None:
        self._refuse_others(name)
        self._folder.replace(self._name, name)
        self._name = ""
        if self._fsync:
            self._folder.sync()

    def _refuse_others(self, name: str) -> None:
        """Raise when something other than an object has the name."""
        try:
            mode = self._folder.stat(name).st_mode
        except FileNotFoundError:
            return
        reason = errno.EISDIR if S_ISDIR(mode) else errno.ELOOP if S_ISLNK(mode) else 0
        if reason:
            raise OSError(reason, os.strerror(reason), name)


def _temporary_name() -> str:
    # random, not counted: processes on several hosts may share the directory
    return f".put#{int.from_bytes(os.urandom(8), 'big')}"


def is_leftover(key: str) -> bool:
    """Return True if a key of :meth:`Directory.scan` is, or may hold, a draft."""
    return key.endswith("/") or (key.startswith(".put#") and _LEFTOVER.fullmatch(key) is not None)


def write(fd: int, data: Buffer) -> None:
    """Write all of ``data``; one call of the system may take less."""
    written = os.write(fd, data)
    size = memoryview(data).nbytes
    if written < size:
        rest = memoryview(data).cast("B")
        while written < size:
            written += os.write(fd, rest[written:])


def write_chunks(fd: int, chunks: Iterator[Buffer]) -> None:
    """Write chunks in order; many small ones cost one call of the system together."""
    waiting: list[Buffer] = []
    size = 0
    for chunk in chunks:
        if isinstance(chunk, bytes) or len(chunk) >= _WRITE_STEP:
            waiting.append(chunk)
        else:  # copied, because the source may fill the same buffer again while this one waits
            waiting.append(bytes(chunk))
        size += len(chunk)
        if size >= _WRITE_STEP:
            write(fd, waiting[0] if len(waiting) == 1 else b"".join(waiting))
            waiting, size = [], 0
    if waiting:
        write(fd, b"".join(waiting))


def copy_bytes(source: int, target: int) -> None:
    """Copy one open file to another, inside the kernel where possible."""
    done = 0
    if sys.platform == "linux":
        with suppress(OSError):  # some file systems cannot, or stop early; the loop below goes on from there
            while step := os.copy_file_range(source, target, _COPY_STEP, done, done):
                done += step
    os.lseek(source, done, os.SEEK_SET)
    os.lseek(target, done, os.SEEK_SET)
    while data := os.read(source, _READ_STEP):
        write(target, data)


def made(root: Path, *, fsync: bool) -> str:
    """Return a directory's resolved path, made with its parents if missing."""
    root = root.resolve()
    missing = [folder for folder in (root, *root.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        if fsync:
            with Directory(str(folder.parent)) as parent:
                parent.sync()
    with Directory(str(root)):
        return str(root)
