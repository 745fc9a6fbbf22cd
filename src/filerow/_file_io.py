"""What a file can do with its bytes: read, stream, sign, save, copy, delete; each blocking and awaited."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeAlias, TypedDict, Unpack

from filerow._content import Content, content_of
from filerow._document import Facts
from filerow._lengths import expect_length, measured, measured_async
from filerow._paths import STAGING, generate_path, uuid7_hex
from filerow._registry import storages
from filerow.backends._sign_request import check_expiry
from filerow.backends._streams import in_thread
from filerow.backends._types import SignRequest
from filerow.exceptions import FileStateError, IntegrityError

if TYPE_CHECKING:
    import io

    from filerow._reader import AsyncFileReader
    from filerow._signing import Secret
    from filerow._transfer import Copy, Upload
    from filerow.backends.base import StorageBackend
    from filerow.exceptions import StorageError

__all__ = ("FileIO", "open_upload")

DEFAULT_EXPIRY = 3600

Limits: TypeAlias = tuple[str | None, int | None, int | None]
"""The type, the exact length and the greatest length that a signed upload is held to."""


class Tuning(TypedDict, total=False):
    """What Advanced Alchemy's ``save()`` takes besides; each backend of ours knows its own best."""

    use_multipart: bool | None
    chunk_size: int
    max_concurrency: int


class FileIO:
    """The methods of :class:`filerow.FileObject` that touch bytes."""

    __slots__ = ()

    # What the value provides.
    _facts: Facts
    _content: Content | None

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
        from filerow._redeem import redeem  # as in _copy_job

        file = cls()
        file._complete(redeem(claim, column, secret, development=development))
        return file

    @classmethod
    async def from_claim_async(
        cls, claim: str, column: object = None, *, secret: Secret | None = None, development: bool = False
    ) -> Self:
        """Check what a client has uploaded, and make it a staged file; see :meth:`from_claim`."""
        from filerow._redeem import redeem_async  # as in _copy_job

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
        from filerow._reader import FileReader, buffered

        return buffered(FileReader(self._stored_in(), self._facts.path, self._facts.size))

    def open_async(self) -> AsyncFileReader:
        """Return a seekable asynchronous reader: ``async with file.open_async() as f: await f.read(100)``."""
        from filerow._reader import AsyncFileReader

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

    # -- signing -------------------------------------------------------------------------------------------------------

    def sign(
        self,
        *,
        expires_in: int | None = None,
        for_upload: bool = False,
        download_as: str | None = None,
        inline: bool = False,
        content_type: str | None = None,
        content_length: int | None = None,
        max_length: int | None = None,
        round_expiry: int | None = None,
    ) -> str:
        """Return a URL that lets its holder read (or replace) the bytes until it expires.

        Args:
            expires_in: Seconds the URL works; 3600 by default.
            for_upload: Sign a ``PUT`` instead of a ``GET``.
            download_as: Make the store answer with this filename as an attachment (RFC 6266).
            inline: Make the store answer with the filename, to be shown in the browser, if the type is one that can be shown
                safely; else as an attachment.
            content_type: The only ``Content-Type`` the upload may have (``for_upload``).
            content_length: Bytes the upload must have, exactly (``for_upload``).
            max_length: Most bytes the upload may have (``for_upload``); of the clouds, Google's alone binds that.
            round_expiry: URLs made in one window of so many seconds are the same, so that caches work; the URL may work that
                much longer than ``expires_in``.

        Raises:
            UnsupportedOperationError: The backend cannot sign this, or cannot hold an upload to a limit; the message says which.
            SecretError: The backend signs URLs of our own route and has no secret.
            ValueError: A number is out of range, or these arguments do not go together.
        """
        limits = (content_type, content_length, max_length)
        request = self._sign_request(expires_in, limits, for_upload=for_upload, download_as=download_as, inline=inline)
        return self._signed_by().sign(self._facts.path, request.rounded(round_expiry))

    async def sign_async(
        self,
        *,
        expires_in: int | None = None,
        for_upload: bool = False,
        download_as: str | None = None,
        inline: bool = False,
        content_type: str | None = None,
        content_length: int | None = None,
        max_length: int | None = None,
        round_expiry: int | None = None,
    ) -> str:
        """Return a signed URL; see :meth:`sign`."""
        limits = (content_type, content_length, max_length)
        request = self._sign_request(expires_in, limits, for_upload=for_upload, download_as=download_as, inline=inline)
        return await self._signed_by().sign_async(self._facts.path, request.rounded(round_expiry))

    def presented(self, request: SignRequest) -> SignRequest:
        """Return a request to read with the name and type that this file's URL must bind, where the store knows neither."""
        return SignRequest("GET", request.expires_in, *self._presentation(None, inline=False), signed_at=request.signed_at)

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

    def _stored_in(self) -> StorageBackend:
        facts = self._facts
        if self._content is not None or not facts.path:
            raise FileStateError(f"{self!r} is not stored yet; commit the session that has its row, or call save()")
        return storages.resolve(facts.backend)

    def _signed_by(self) -> StorageBackend:
        if self._facts.path:  # a URL for an upload may be wanted before there is anything
            return storages.resolve(self._facts.backend)
        return self._stored_in()

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

    def _sign_request(
        self, expires_in: int | None, limits: Limits, *, for_upload: bool, download_as: str | None, inline: bool
    ) -> SignRequest:
        seconds = DEFAULT_EXPIRY if expires_in is None else expires_in
        check_expiry(seconds)
        if for_upload and (download_as is not None or inline):
            raise ValueError("download_as= and inline= say how to answer a download; they make no sense with for_upload=True")
        if download_as is not None and inline:
            raise ValueError("choose one of download_as= (an attachment) and inline=True (shown in the browser)")
        if for_upload:
            if not self._facts.path:
                raise FileStateError(f"{self!r} has no path to upload to: choose one by to_filename=, or let DirectUploads do it")
            return SignRequest("PUT", seconds, None, *limits)
        if limits != (None, None, None):
            raise ValueError("content_type=, content_length= and max_length= limit an upload: give for_upload=True with them")
        return SignRequest("GET", seconds, *self._presentation(download_as, inline=inline))

    def _presentation(self, download_as: str | None, *, inline: bool) -> tuple[str | None, str | None]:
        """Return the disposition and the type to bind into a URL to read; ``None`` for what the store knows of the object."""
        facts = self._facts
        # A store with a server keeps both with the object. Our own route has the URL and the path, and not the row.
        own = bool(facts.content_type) and self._signed_by().own_urls is not None
        if not own and download_as is None and not inline:
            return None, None
        from filerow._safety import present  # as in _copy_job

        shown = present(facts.content_type, download_as or facts.filename, inline=inline or (own and download_as is None))
        return shown.content_disposition, shown.content_type if own else None

    def _copy_job(self) -> Copy:
        from filerow._transfer import Copy  # loaded with the first file that is stored, not with the package

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
    from filerow._transfer import Upload  # as in _copy_job

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
