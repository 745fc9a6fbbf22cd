"""Objects as files in a directory.

::

    storages.register_backend(LocalBackend("docs", "/srv/files"))

A file appears under its path only when all its bytes are on disk, and it is never changed afterwards. So whatever is listed can
be read, and a backup or a web server may read the directory at any time. Nothing below the root is reached through a symbolic
link. It needs only the standard library.

Known limits: a file system cannot hold both ``a`` and ``a/b``; it keeps no content type and no metadata (the row does);
it must have hard links (FAT has none). A folder below the root goes when its last object is deleted.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

from filerow._buffers import BUFFERS, Buffer
from filerow._tokens import Secret
from filerow.backends._own_urls import OwnUrls
from filerow.backends._paths import STAGING, check_known_path
from filerow.backends._public import PublicUrls, public_urls
from filerow.backends._types import Capabilities, ObjectInfo, PutOptions, Unfinished
from filerow.backends.base import StorageBackend
from filerow.backends.local.directory import UNNAMED, Directory, walk
from filerow.backends.local.draft import Draft, copy_bytes, is_leftover, made, write, write_chunks
from filerow.backends.local.removal import Remover
from filerow.exceptions import InvalidPathError, StorageError, StoragePermissionError

_KNOWN_FOLDERS = 10_000

_CLOCK_STEP = 2_000_000_000
"""Nanoseconds: how far apart two times are at least that no file system takes for one."""

_NOT_OURS = re.compile(r"(?:^|/)(?:/|\Z)|[\ud800-\udfff]|#\d+(?:/|\Z)")
"""Absolute paths, empty segments, what UTF-8 cannot hold, and the names of temporary files."""

_NOT_WINDOWS = re.compile(r'[<>:"|?*\\]|[. ](?:/|\Z)|(?:^|/)(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|/|\Z)', re.IGNORECASE)
"""Streams and drives (``c:x``), other separators, devices, and names that Windows silently changes."""

_MEANING: Mapping[int, tuple[type[StorageError], str]] = {
    errno.ENOSPC: (StorageError, "the disk is full"),
    errno.EDQUOT: (StorageError, "the disk quota is used up"),
    errno.EFBIG: (StorageError, "the file is larger than the file system or the process's limit allows"),
    errno.EROFS: (StoragePermissionError, "the file system is read-only"),
    errno.EACCES: (StoragePermissionError, "the process may not do this"),
    errno.EPERM: (StoragePermissionError, "the process may not do this, or the file system has no hard links"),
    errno.EOPNOTSUPP: (StorageError, "the file system has no hard links, without which nothing can be created safely"),
    errno.ELOOP: (InvalidPathError, "the path leads through a symbolic link, and none below the root is followed"),
    errno.ENAMETOOLONG: (InvalidPathError, "the name is longer than the file system allows"),
    errno.ENOTDIR: (StorageError, "an object is where the path needs a folder, and a file system cannot hold both"),
    errno.EISDIR: (StorageError, "a folder is where the path needs an object, and a file system cannot hold both"),
    errno.EMFILE: (StorageError, "the process has too many open files (ulimit -n)"),
    errno.ENFILE: (StorageError, "the machine has too many open files (fs.file-max)"),
    errno.EMLINK: (StorageError, "the file system takes no more entries in this folder, or links to this file"),
    errno.EIO: (StorageError, "the disk, or the server behind it, failed; look into the system's log"),
    errno.ESTALE: (StorageError, "the directory was mounted again, or removed, on its server; mount it again here"),
    errno.ENOTCONN: (StorageError, "the file system is no longer connected; mount it again"),
    errno.EHOSTDOWN: (StorageError, "the server of the file system does not answer"),
    errno.EILSEQ: (InvalidPathError, "the file system cannot hold this name"),
}


def _are_plain(paths: Sequence[str]) -> bool:
    """Return True if, at a quick look, no path matches :data:`_NOT_OURS`."""
    joined = "\0".join(("", *paths, ""))  # no path contains NUL
    return os.name != "nt" and joined.isascii() and not any(suspect in joined for suspect in ("#", "//", "\0/", "/\0", "\0\0"))


def _parted(path: str) -> tuple[str, str]:
    folder, _, name = path.rpartition("/")
    return folder, name


class LocalBackend(StorageBackend):
    """Keeps objects as files below one directory.

    Args:
        key: The name that documents and columns refer to.
        root: The directory, created if missing. It may itself be a symbolic link, which is resolved once, now.
        fsync: Wait for the disk, so that a finished call survives a power failure. Without it a put takes about a tenth of the
            time; use that only in tests.
        base_url: Where the application mounts Filerow's file route, with or without scheme and host; needed for ``sign()``.
        secret: Signs URLs; at least 16 characters, or several secrets for rotation. Default: ``FILEROW_SECRET``.
        development: Without a secret, make a random one for this process.
        public_url: The URL of the backend's root, if a web server lets everybody read it; for ``file.url()``.

    Raises:
        StorageError: ``root`` cannot be created or is not a directory.
        ValueError: ``root`` is empty, or the key looks like a path, so the two are probably swapped.
        SecretError: A secret is too short.
    """

    protocol = "file"
    capabilities: Capabilities = Capabilities(
        ordered_list=True,
        stored_with=frozenset({"cache_control"}),  # by the row, for URLs
    )
    _quick = True
    _deletes_unseen = True

    def __init__(
        self,
        key: str,
        root: str | os.PathLike[str],
        *,
        fsync: bool = True,
        base_url: str | None = None,
        secret: Secret | None = None,
        development: bool = False,
        public_url: str | None = None,
    ) -> None:
        super().__init__(key)
        if os.path.isabs(key):  # noqa: PTH117 - a path that came as the key is text
            msg = f"the first argument of a LocalBackend is its key, not its root: LocalBackend({os.fspath(root)!r}, {key!r})"
            raise ValueError(msg)
        self.own_urls: OwnUrls | None = OwnUrls(key, base_url, secret, development=development)
        self.public_urls: PublicUrls | None = public_urls(key, public_url)
        if base_url is not None:
            self.capabilities = self.capabilities._replace(sign_get=True, sign_put=True)
        if not os.fspath(root):
            raise ValueError("the root of a LocalBackend is a directory; '' would be whatever directory the process runs in")
        self._fsync = fsync
        self._unnamed = UNNAMED is not None
        self._known_folders: dict[str, int] = {}
        try:
            self._root = made(Path(root), fsync=fsync)
        except OSError as error:
            msg = f"{os.fspath(root)!r} cannot be the root of backend {key!r}: {error.strerror or error}"
            raise StorageError(msg, backend=key) from error

    @property
    def root(self) -> Path:
        """The directory, absolute and free of symbolic links."""
        return Path(self._root)

    # -- writing -------------------------------------------------------------------------------------------------------

    def _put(self, path: str, content: Buffer | Iterator[Buffer], options: PutOptions) -> ObjectInfo:
        folder, name = self._split(path, "put")
        try:
            with self._draft(folder) as draft:
                if isinstance(content, BUFFERS):
                    write(draft.fd, content)
                else:
                    write_chunks(draft.fd, content)
                facts = draft.publish(name, create_only=options.create_only)
                self._unnamed = draft.unnamed
                return _info(path, facts)
        except BaseException:
            self._remove_empty(folder)
            raise

    def _copy(self, source: str, target: str) -> ObjectInfo:
        # Not a hard link, although objects are never changed: a link shares the original's time, so a sweep would take a copy
        # made a second ago for an old orphan. File systems that can share blocks do so in copy_file_range.
        fd, _ = self._open(source, "copy")
        try:
            folder, name = self._split(target, "copy")
            try:
                with self._draft(folder) as draft:
                    copy_bytes(fd, draft.fd)
                    return _info(target, draft.publish(name, create_only=True))
            except BaseException:
                self._remove_empty(folder)
                raise
        finally:
            os.close(fd)

    def _delete(self, paths: Sequence[str]) -> Mapping[str, BaseException]:
        failed: dict[str, BaseException] = {}
        folders: dict[str, dict[str, str]] = {}
        plain = _are_plain(paths)
        for path in paths:
            try:
                folder, name = _parted(path) if plain else self._split(path, "delete")
            except InvalidPathError as error:
                failed[path] = error
            else:
                folders.setdefault(folder, {})[path] = name
        with self._remover() as remover:
            ordered = sorted(folders, key=lambda one: one.split("/")) if len(folders) > 1 else folders
            for folder in ordered:
                names = folders[folder]
                try:
                    remover.visit(folder)
                except OSError as error:
                    if not _says_absent(error):
                        failed |= dict.fromkeys(names, error)
                else:
                    remover.delete(names, _says_absent)
        return failed | remover.failed

    def _remover(self) -> Remover:
        return Remover(self._top(), fsync=self._fsync, on_removed=lambda folder: self._known_folders.pop(folder, None))

    def _remove_empty(self, folder: str) -> None:
        """Remove a folder and its parents where nothing is in them."""
        with suppress(OSError, StorageError), self._remover() as remover:
            remover.visit(folder)

    def open_file(self, path: str) -> BinaryIO:
        """Open an object as a plain file, as ``os.sendfile`` needs it.

        Raises:
            ObjectNotFoundError: There is no object.
            InvalidPathError: The path escapes the root, or goes through a symbolic link.
        """
        check_known_path(path, self._key, "read")
        with self._errors("read", path):
            fd, _ = self._open(path, "read")
            return os.fdopen(fd, "rb", buffering=0)

    # -- reading -------------------------------------------------------------------------------------------------------

    def _read(self, path: str, start: int, end: int | None) -> bytes:
        fd, facts = self._open(path, "read")
        try:
            if start:
                os.lseek(fd, start, os.SEEK_SET)
            wanted = max(min(facts.st_size, facts.st_size if end is None else end) - start, 0)
            data = os.read(fd, wanted) if wanted else b""
            if len(data) == wanted:
                return data
            parts = [data]  # one call reads at most 2 GiB
            while part := os.read(fd, wanted - sum(map(len, parts))):
                parts.append(part)
            return b"".join(parts)
        finally:
            os.close(fd)

    def _stream(self, path: str, start: int, end: int | None, chunk_size: int) -> Iterator[bytes]:
        fd, facts = self._open(path, "read")
        try:
            os.lseek(fd, start, os.SEEK_SET)
            left = min(facts.st_size, facts.st_size if end is None else end) - start
            while left > 0 and (chunk := os.read(fd, min(chunk_size, left))):
                yield chunk
                left -= len(chunk)
        finally:
            os.close(fd)

    def _head(self, path: str) -> ObjectInfo:
        folder, name = self._split(path, "head")
        try:
            with self._folder(folder) as here:
                return _info(path, here.object(name))
        except OSError as error:
            if _says_absent(error):
                raise FileNotFoundError(path) from error
            raise

    def _list(self, prefix: str, start_after: str) -> Iterator[ObjectInfo]:
        base = f"{prefix}/" if prefix else ""
        if start_after > base and not start_after.startswith(base):
            return  # everything in the folder sorts before it
        after = start_after[len(base) :] if start_after.startswith(base) else ""
        for here, folder, name in self._walk(prefix, after, _is_object):
            with suppress(FileNotFoundError):  # deleted since
                facts = here.stat(name)
                if S_ISREG(facts.st_mode):
                    yield _info(folder + name, facts)

    def _walk(self, prefix: str, after: str, wanted: Callable[[str], bool]) -> Iterator[tuple[Directory, str, str]]:
        """Yield the files of a folder as :func:`walk` does; none if it is missing."""
        try:
            top = self._folder(prefix)
        except OSError as error:
            if _says_absent(error):
                return
            raise
        yield from walk(top, f"{prefix}/" if prefix else "", after, wanted)

    # -- housekeeping --------------------------------------------------------------------------------------------------

    def remove_leftovers(self, older_than: float = 86_400.0) -> int:
        """Remove temporary files of killed processes, which no listing shows.

        Args:
            older_than: Seconds since the last write to such a file; a running upload writes more often.

        Returns:
            The number of removed files.
        """
        removed = 0
        for draft in self.unfinished():
            if draft.started < time.time() - older_than:
                self.abort(draft)
                removed += 1
        return removed

    def _unfinished(self, prefix: str) -> Iterator[Unfinished]:
        for here, folder, name in self._walk(prefix, "", is_leftover):
            with suppress(FileNotFoundError):  # it has ended since
                yield Unfinished(folder + name, name, here.stat(name).st_mtime, temporary=True)

    def _abort(self, upload: Unfinished) -> None:
        folder = upload.path.rpartition("/")[0]
        with suppress(FileNotFoundError), self._folder(folder) as here:
            if is_leftover(upload.id):
                here.unlink(upload.id)
        self._remove_empty(folder)

    # -- parts ---------------------------------------------------------------------------------------------------------

    def _split(self, path: str, operation: str) -> tuple[str, str]:
        if _NOT_OURS.search(path) or (os.name == "nt" and _NOT_WINDOWS.search(path)):
            raise InvalidPathError("a directory holds no object of this name", operation=operation, backend=self.key, path=path)
        return _parted(path)

    def _folder(self, folder: str, *, make: bool = False) -> Directory:
        """Open a folder below the root, and optionally create missing ones."""
        here = self._top()
        reached = ""
        for name in folder.split("/") if folder else ():
            reached = f"{reached}/{name}"
            try:
                below = self._below(here, name, reached) if make else here.child(name)
            finally:
                here.close()
            here = below
        return here

    def _top(self) -> Directory:
        try:
            return Directory(self._root)
        except (FileNotFoundError, NotADirectoryError) as error:
            # Never created again, and never taken for an empty backend: its disk is probably not mounted.
            raise StorageError(f"the root directory {self._root!r} is gone", backend=self.key) from error

    def _below(self, here: Directory, name: str, reached: str) -> Directory:
        try:
            below = here.child(name)
        except FileNotFoundError:
            here.make(name)
            below = here.child(name)
        if self._fsync:
            try:
                self._settle(here, reached)
            except BaseException:
                below.close()
                raise
        return below

    def _settle(self, here: Directory, reached: str) -> None:
        """Wait until a folder that was just opened is on the disk.

        Another process may have made it, so that is done once for each, and again after its parent has changed: it may have been
        removed, and made anew. A change that is too young to be told from the next one is not remembered.
        """
        changed = here.changed()
        if self._known_folders.get(reached) == changed:
            return
        here.sync()
        if len(self._known_folders) >= _KNOWN_FOLDERS:
            self._known_folders.clear()
        if time.time_ns() - changed > _CLOCK_STEP:
            self._known_folders[reached] = changed

    def _draft(self, folder: str) -> Draft:
        return Draft(partial(self._folder, folder, make=True), fsync=self._fsync, unnamed=self._unnamed)

    def _open(self, path: str, operation: str) -> tuple[int, os.stat_result]:
        folder, name = self._split(path, operation)
        try:
            with self._folder(folder) as here:
                return here.open(name)
        except OSError as error:
            if _says_absent(error):
                raise FileNotFoundError(path) from error
            raise

    def _place(self) -> str:
        return f"the directory {str(self.root)!r}"

    def _translate(self, error: BaseException, operation: str, path: str) -> StorageError | None:
        if not isinstance(error, OSError) or isinstance(error, StorageError) or error.errno is None:
            return None
        kind, meaning = _MEANING.get(error.errno, (None, ""))
        if kind is None and operation in {"put", "list"} and isinstance(error, FileNotFoundError):
            kind, meaning = StorageError, "a folder on the way was removed meanwhile"
        if kind is None:
            return None
        where = f" (root {self._root!r}: {os.strerror(error.errno)})"
        return kind(meaning + where, operation=operation, backend=self.key, path=path)


def _says_absent(error: Exception) -> bool:
    """Return True if nothing can be there: no entry, a file as folder, a bad name."""
    return isinstance(error, (FileNotFoundError, NotADirectoryError)) or (
        isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG
    )


def _is_object(key: str) -> bool:
    return "#" not in key or STAGING.search(key.removesuffix("/")) is None


def _info(path: str, facts: os.stat_result) -> ObjectInfo:
    return ObjectInfo(
        path, size=facts.st_size, etag=f"{facts.st_ino:x}-{facts.st_mtime_ns:x}-{facts.st_size:x}", last_modified=facts.st_mtime
    )
