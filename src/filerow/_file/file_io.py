"""What a file can do with its bytes: read, stream, save, copy, delete; each blocking and awaited."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypedDict, Unpack

from filerow._content import Content, content_of
from filerow._document import Facts
from filerow._execution.threads import in_thread
from filerow._file.file_urls import FileURLs
from filerow._lengths import expect_length, measured, measured_async
from filerow._paths import STAGING, generate_path, uuid7_hex
from filerow._registry import storages
from filerow.exceptions import FileStateError, IntegrityError

if TYPE_CHECKING:
    import io

    from filerow._file.reader import AsyncFileReader
    from filerow._file.transfer import Copy, Upload
    from filerow._tokens import Secret
    from filerow.exceptions import StorageError

__all__ = ("FileIO", "open_upload")


class Tuning(TypedDict, total=False):
    """What Advanced Alchemy's ``save()`` takes besides; each backend of ours knows its own best."""

    use_multipart: bool | None
    chunk_size: int
    max_concurrency: int


class FileIO(FileURLs):
    """The methods of :class:`filerow.FileObject` that touch bytes."""

    __slots__ = ()

    # -- from a client's own upload ------------------------------------------------------------------------------------

    @classmethod
    def from_claim(cls, claim: str, column: object = None, *, secret: Secret | None = None, development: bool = False) -> Self:
        """Check what a client has uploaded straight to the store, and make it a staged file, once.

        Args:
            claim: The token that ``DirectUploads.begin`` gave to the client.
            column: The mapped attribute that the file is for; a claim for another is refused. Without it, whatever column the
                claim was made for is right, and its rules are those of that time.
            secret: As given to ``DirectUploads``; ``FILEROW_SECRET`` when left out.
            development: As given to ``DirectUploads``.

        Raises:
            InvalidTokenError: The claim is not ours.
            ExpiredTokenError: It is too old.
            ClaimError: Nothing was uploaded, or something else; the claim is for another column, or was used before.
            FileValidationError: The column's rules refuse the file.
        """
        from filerow.direct._redeem import redeem  # as in _copy_job

        file = cls()
        file._complete(redeem(claim, column, secret, development=development))
        return file

    @classmethod
    async def from_claim_async(
        cls, claim: str, column: object = None, *, secret: Secret | None = None, development: bool = False
    ) -> Self:
        """Check what a client has uploaded, and make it a staged file; see :meth:`from_claim`."""
        from filerow.direct._redeem import redeem_async  # as in _copy_job

        file = cls()
        file._complete(await redeem_async(claim, column, secret, development=development))
        return file

    # -- reading -------------------------------------------------------------------------------------------------------

    def get_content(self) -> bytes:
        """Return all bytes; of a pending file, those of its content.

        Raises:
            ObjectNotFoundError: The object is gone.
            IntegrityError: The store gave fewer bytes than the row says, or more.
            FileStateError: The file has no bytes yet, or they can be read only once.
        """
        if self._content is not None:
            return self._pending_bytes(self._content)
        return self._whole(self._stored_in().read(self._facts.path))

    async def get_content_async(self) -> bytes:
        """Return all bytes; see :meth:`get_content`."""
        if self._content is not None:
            return await in_thread(self._pending_bytes, self._content)
        return self._whole(await self._stored_in().read_async(self._facts.path))

    def stream(self, start: int = 0, end: int | None = None, *, chunk_size: int = 1 << 20) -> Iterator[bytes]:
        """Iterate over the bytes ``[start, end)`` in chunks of about ``chunk_size`` bytes, in bounded memory.

        Raises:
            ObjectNotFoundError: The object is gone.
            IntegrityError: At the end: they were fewer bytes than the row says, or more.
        """
        return measured(self._stored_in().stream(self._facts.path, start, end, chunk_size), self._facts, start, end)

    def stream_async(self, start: int = 0, end: int | None = None, *, chunk_size: int = 1 << 20) -> AsyncIterator[bytes]:
        """Iterate over the bytes; see :meth:`stream`."""
        return measured_async(self._stored_in().stream_async(self._facts.path, start, end, chunk_size), self._facts, start, end)

    def open(self) -> io.BufferedReader:
        """Return a seekable binary file that reads ranges of the object as they are needed."""
        from filerow._file.reader import FileReader, buffered

        return buffered(FileReader(self._stored_in(), self._facts.path, self._facts.size))

    def open_async(self) -> AsyncFileReader:
        """Return a seekable asynchronous reader: ``async with file.open_async() as f: await f.read(100)``."""
        from filerow._file.reader import AsyncFileReader

        return AsyncFileReader(self._stored_in(), self._facts.path, self._facts.size)

    def download(self, path: str | os.PathLike[str]) -> Path:
        """Write the bytes to a file of this machine, which appears whole or not at all.

        Args:
            path: The file to make or replace, or a folder to put it into under its path's last part.
        """
        target = self._download_target(path)
        temporary = target.with_name(f".{target.name[:50]}.{uuid7_hex()}")  # mkstemp() would make it private to this user
        try:
            with temporary.open("xb") as file:
                for chunk in self.stream():
                    file.write(chunk)
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return target

    async def download_async(self, path: str | os.PathLike[str]) -> Path:
        """Write the bytes to a file of this machine; see :meth:`download`."""
        return await in_thread(self.download, path)

    def exists(self) -> bool:
        """Say whether the object is there."""
        return bool(self._facts.path) and self._content is None and self._stored_in().exists(self._facts.path)

    async def exists_async(self) -> bool:
        """Say whether the object is there."""
        if not self._facts.path or self._content is not None:
            return False
        return await self._stored_in().exists_async(self._facts.path)

    def verify(self) -> None:
        """Read the object and compare it with the document.

        Raises:
            IntegrityError: Size or checksum differ.
            ObjectNotFoundError: The object is gone.
        """
        sha256, size = hashlib.sha256(), 0
        for chunk in self._stored_in().stream(self._facts.path):
            size += len(chunk)
            sha256.update(chunk)
        self._compare(size, sha256.hexdigest())

    async def verify_async(self) -> None:
        """Read the object and compare it with the document; see :meth:`verify`."""
        sha256, size = hashlib.sha256(), 0
        async for chunk in self._stored_in().stream_async(self._facts.path):
            size += len(chunk)
            await in_thread(sha256.update, chunk)
        self._compare(size, sha256.hexdigest())

    # -- writing -------------------------------------------------------------------------------------------------------

    def save(self, data: object = None, **ignored: Unpack[Tuning]) -> Self:
        """Store the content now, without a row; the file is then staged, and a row that gets it becomes its owner.

        A column stores its files by itself when its session flushes, so this is for files without one.

        Args:
            data: The content, for a file made without.
            ignored: Options of Advanced Alchemy's ``save()``.

        Raises:
            FileStateError: The file is stored already, or has no content.
        """
        upload = open_upload(self, data, ignored)
        upload.finish()
        self._complete(upload.facts)
        return self

    async def save_async(self, data: object = None, **ignored: Unpack[Tuning]) -> Self:
        """Store the content now, without a row; see :meth:`save`. Asynchronous iterables work here."""
        upload = open_upload(self, data, ignored)
        await upload.finish_async()
        self._complete(upload.facts)
        return self

    def copy(self) -> Self:
        """Copy the object on the server's side; return the copy, staged."""
        job = self._copy_job()
        job.finish()
        return self._staged(job.facts)

    async def copy_async(self) -> Self:
        """Copy the object; see :meth:`copy`."""
        job = self._copy_job()
        await job.finish_async()
        return self._staged(job.facts)

    def delete(self, *, force: bool = False) -> None:
        """Delete the object of a staged file.

        Args:
            force: Delete even though a row owns the file; the row then points to nothing.

        Raises:
            FileStateError: A row owns the file: clear the column or delete the row instead. Or it is not stored.
            StorageError: The store refused.
        """
        _raise_first(self._stored_in().delete(self._deletable(force=force)))

    async def delete_async(self, *, force: bool = False) -> None:
        """Delete the object of a staged file; see :meth:`delete`."""
        _raise_first(await self._stored_in().delete_async(self._deletable(force=force)))

    # -- shared by each pair -------------------------------------------------------------------------------------------

    def _complete(self, facts: Facts | None) -> None:
        raise NotImplementedError

    def _staged(self, facts: Facts | None) -> Self:
        raise NotImplementedError

    def _takes_content(self) -> bool:
        raise NotImplementedError

    def _deletable(self, *, force: bool) -> str:
        raise NotImplementedError

    def _whole(self, data: bytes) -> bytes:
        expect_length(self._facts.backend, self._facts.path, self._facts.size, len(data))
        return data

    def _pending_bytes(self, content: Content) -> bytes:
        chunks = content.chunks() if content.replayable else None
        if not isinstance(chunks, Iterator):
            raise FileStateError(f"{self!r} has content that can be read only once; store it first")
        return b"".join(chunks)

    def _download_target(self, path: str | os.PathLike[str]) -> Path:
        target = Path(path)
        return target / self._facts.path.rsplit("/", 1)[-1] if target.is_dir() else target

    def _copy_job(self) -> Copy:
        from filerow._file.transfer import Copy  # loaded with the first file that is stored, not with the package

        backend = self._stored_in()
        facts = self._facts
        return Copy(facts, backend, backend, generate_path(STAGING, "copies", facts.filename))

    def _compare(self, size: int, digest: str) -> None:
        facts = self._facts
        known = facts.checksum if facts.checksum and facts.checksum.startswith("sha256:") else None
        if facts.size not in {None, size} or known not in {None, f"sha256:{digest}"}:
            msg = f"the row says {facts.size} bytes with {facts.checksum}, the object has {size} bytes with sha256:{digest}"
            raise IntegrityError(msg, operation="verify", backend=facts.backend, path=facts.path)


def open_upload(file: FileIO, data: object, ignored: Tuning) -> Upload:
    """Return the upload that stores a file on its own, without a column."""
    from filerow._file.transfer import Upload  # as in _copy_job

    if unknown := set(ignored) - set(Tuning.__annotations__):
        raise TypeError(f"save() takes no argument {min(unknown)!r}")
    facts, content = file._facts, file._content  # noqa: SLF001 - the two halves of one class
    if data is not None:
        if not file._takes_content():  # noqa: SLF001
            raise FileStateError(f"{file!r} has its content already; make a new FileObject for other bytes")
        content = content_of(data)
    if content is None:
        msg = f"{file!r} has no content to save; give it content=, or call save(data)"
        raise FileStateError(msg)
    path = facts.path or generate_path(STAGING, "files", facts.filename)
    return Upload(content, facts, storages.resolve(facts.backend), path, generated=not facts.path)


def _raise_first(failed: Mapping[str, StorageError]) -> None:
    for error in failed.values():
        raise error
