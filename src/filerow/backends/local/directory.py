"""Directories that follow no symbolic link and are listed in the order of paths.

On POSIX a directory is held by its descriptor and everything in it is opened relative to that, so nobody can swap a
directory for a link between a check and its use. Windows has no such calls; there the same code checks each name and
then uses paths.
"""

from __future__ import annotations

import errno
import heapq
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final, Self

BY_DESCRIPTOR: Final = sys.platform != "win32"

if sys.platform == "win32":
    _DIRECTORY = 0
    _READ = os.O_RDONLY | os.O_BINARY
    _CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_BINARY
else:
    _DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    _READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # opening a pipe must not wait for a writer
    _CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW

UNNAMED: int | None = os.O_RDWR | os.O_TMPFILE if sys.platform == "linux" else None
"""How to open a file that has no name."""

_PAGE = 100_000
"""Names held at a time while listing one directory: about 10 MB."""

_UNDECODABLE = re.compile("[\ud800-\udfff]")


class Directory:
    """An open directory that raises ``OSError`` (``ELOOP``) for symbolic links.

    Args:
        path: An absolute path that is trusted: links in it are followed.
        descriptor: The open descriptor, where there is one already.
    """

    __slots__ = ("_fd", "_path")

    def __init__(self, path: str, descriptor: int | None = None) -> None:
        self._path = path
        self._fd = descriptor
        if BY_DESCRIPTOR and descriptor is None:
            self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        elif not BY_DESCRIPTOR and not os.path.isdir(path):  # noqa: PTH112 - a Path costs more than the check
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the descriptor back; may be called twice."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def _at(self, name: str) -> str:
        return f"{self._path}{os.sep}{name}" if self._fd is None else name

    def child(self, name: str) -> Directory:
        """Open the directory ``name`` in this one."""
        path = f"{self._path}{os.sep}{name}"
        if self._fd is None:
            self._refuse_link(name)
            return Directory(path)
        try:
            return Directory(path, os.open(name, _DIRECTORY, dir_fd=self._fd))
        except NotADirectoryError:
            self._refuse_link(name)  # the system calls a link no directory either
            raise

    def make(self, name: str) -> None:
        """Make the directory ``name``; another process may have been faster."""
        with suppress(FileExistsError):
            os.mkdir(self._at(name), dir_fd=self._fd)

    def stat(self, name: str) -> os.stat_result:
        """Return the facts of ``name``, of a link itself where it is one."""
        return os.stat(self._at(name), dir_fd=self._fd, follow_symlinks=False)

    def object(self, name: str) -> os.stat_result:
        """Return a regular file's facts; raise ``FileNotFoundError`` for all else."""
        facts = self._refuse_link(name)
        if not stat.S_ISREG(facts.st_mode):
            raise FileNotFoundError(name)
        return facts

    def open(self, name: str) -> tuple[int, os.stat_result]:
        """Open the regular file ``name`` for reading; the caller closes the descriptor."""
        if self._fd is None:
            self.object(name)
        try:
            fd = os.open(self._at(name), _READ, dir_fd=self._fd)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a socket
                raise FileNotFoundError(name) from error
            raise
        facts = os.fstat(fd)
        if stat.S_ISREG(facts.st_mode):
            return fd, facts
        os.close(fd)
        raise FileNotFoundError(name)

    def create(self, name: str) -> int:
        """Create and open the file ``name``; raise ``FileExistsError`` if it exists."""
        return os.open(self._at(name), _CREATE, 0o666, dir_fd=self._fd)

    def create_unnamed(self) -> int:
        """Open a new file without a name, or raise ``OSError`` if there are none."""
        if UNNAMED is None or self._fd is None:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return os.open(".", UNNAMED, 0o666, dir_fd=self._fd)

    def link_descriptor(self, fd: int, target: str) -> None:
        """Give an open file the name ``target``, which must be free. Linux only."""
        os.link(f"/proc/self/fd/{fd}", target, dst_dir_fd=self._fd, follow_symlinks=True)

    def link(self, source: str, target: str) -> None:
        """Give the file ``source`` a second name ``target`` atomically, if it is free."""
        os.link(self._at(source), self._at(target), src_dir_fd=self._fd, dst_dir_fd=self._fd, follow_symlinks=False)

    def replace(self, source: str, target: str) -> None:
        """Rename the file ``source`` to ``target``, over what is there."""
        os.replace(self._at(source), self._at(target), src_dir_fd=self._fd, dst_dir_fd=self._fd)

    def unlink(self, name: str) -> None:
        """Remove the file ``name``."""
        os.unlink(self._at(name), dir_fd=self._fd)

    def unlink_object(self, name: str) -> None:
        """Remove the regular file ``name``; see :meth:`object` about anything else."""
        fd = self._fd
        at = name if fd is not None else self._at(name)
        if fd is None or stat.S_IFMT(os.stat(at, dir_fd=fd, follow_symlinks=False).st_mode) != stat.S_IFREG:
            self.object(name)
        os.unlink(at, dir_fd=fd)

    def remove(self, name: str) -> bool:
        """Remove the directory ``name`` if it is empty; return True if it is gone.

        No link is followed, and nothing is removed on which a file system is mounted.
        """
        try:
            os.rmdir(self._at(name), dir_fd=self._fd)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    def changed(self) -> int:
        """Return when an entry was made or removed last, in nanoseconds; 0 on Windows."""
        return 0 if self._fd is None else os.fstat(self._fd).st_mtime_ns

    def sync(self) -> None:
        """Wait until the names in here are on the disk, except on Windows."""
        if self._fd is not None:
            os.fsync(self._fd)

    def scan(self) -> Iterator[str]:
        """Yield the unordered keys in here; those of directories end with ``/``."""
        with os.scandir(self._path if self._fd is None else self._fd) as entries:
            for entry in entries:
                name = entry.name
                if not name.isascii() and _UNDECODABLE.search(name):
                    continue  # no path could name it
                if entry.is_file(follow_symlinks=False):
                    yield name
                elif entry.is_dir(follow_symlinks=False):
                    yield f"{name}/"

    def _refuse_link(self, name: str) -> os.stat_result:
        facts = self.stat(name)
        linked = stat.S_ISLNK(facts.st_mode)
        if sys.platform == "win32":
            linked = linked or bool(facts.st_file_attributes & stat.FILE_ATTRIBUTE_REPARSE_POINT)
        if linked:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
        return facts


def walk(top: Directory, base: str, after: str, wanted: Callable[[str], bool]) -> Iterator[tuple[Directory, str, str]]:
    """Yield the files below a directory by path, in bounded memory.

    Args:
        top: Where to start; it is closed at the end.
        base: What to put before the paths: empty, or a folder with ``/`` behind.
        after: Only paths greater than this, relative to ``base``. What lies before it is not even opened.
        wanted: Which keys (see :meth:`Directory.scan`) to visit.

    Returns:
        For each file its open directory, its folder's path (empty or with ``/`` behind) and its name.
    """
    stack = [(top, base, after, _sorted_keys(top, after, wanted))]
    try:
        while stack:
            here, base, after, keys = stack[-1]
            key = next(keys, "")
            if not key:
                stack.pop()[0].close()
            elif key.endswith("/"):
                below = _enter(here, key)
                if below is not None:
                    after = after[len(key) :] if after.startswith(key) else ""
                    stack.append((below, base + key, after, _sorted_keys(below, after, wanted)))
            else:
                yield here, base, key
    finally:
        for directory, *_ in stack:
            directory.close()


def _enter(here: Directory, key: str) -> Directory | None:
    try:
        return here.child(key[:-1])
    except (FileNotFoundError, NotADirectoryError):  # removed or replaced since it was listed
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise


def _sorted_keys(directory: Directory, after: str, wanted: Callable[[str], bool]) -> Iterator[str]:
    # With '/' behind them, directories sort among files as the paths below them do: 'a-b' < 'a/b' < 'a0'. Code points
    # sort like UTF-8 bytes.
    def following(key: str) -> bool:
        return key > after or (key.endswith("/") and after.startswith(key))

    found = directory.scan()
    keys = heapq.nsmallest(_PAGE, filter(wanted, filter(following, found) if after else found))
    yield from keys
    while len(keys) == _PAGE:
        last = keys[-1]
        keys = heapq.nsmallest(_PAGE, (key for key in directory.scan() if key > last and wanted(key)))
        yield from keys
