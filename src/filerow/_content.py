"""One view of everything that can be the content of a file.

:func:`content_of` turns bytes, paths, files, uploads and iterators into a :class:`Content`; a :class:`Meter` counts and hashes
(SHA-256) passing bytes. ``prepare`` opens content for a backend: it reads the head, and decides whether it is small enough
for one request. ``measured`` counts downloads, since a store may cut one short without an error.
"""

from __future__ import annotations

import hashlib
import inspect
import io
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol
from weakref import ReferenceType, WeakValueDictionary, ref

from filerow._buffers import Buffer
from filerow._document import Facts
from filerow._execution.steps import Call
from filerow._execution.threads import in_thread
from filerow.exceptions import ContentError, FileStateError, FileValidationError, IntegrityError

ONE_REQUEST = 5 << 20
"""Up to this many bytes (5 MiB, S3's smallest part) go to the store in one request."""

CHUNK = 1 << 20
"""Bytes read from a file at a time."""


class Claimed(NamedTuple):
    """A client's upload in a store, which may become one file by its claim.

    Attributes:
        backend: Key of the backend that it was uploaded to.
        path: Where. The client may write there until its claim expires.
        version: Its version, in a bucket that keeps them.
        marker: The path of the object that says, where no outbox does, that the claim was used.
        etag: The store's tag of it when it was looked at.
        checksum: ``sha256:<hex>`` that it was announced with, if any.
        column: ``table.column`` that it is for, if that was not compared yet.
        field: The column's name in its model, for errors.
    """

    backend: str
    path: str
    version: str | None
    marker: str
    etag: str | None = None
    checksum: str | None = None
    column: str = ""
    field: str = ""


class Content(ABC):
    """Bytes on their way in.

    Attributes:
        size: Length in bytes where it is known beforehand.
        replayable: The bytes can be read again, so a rolled-back file can be stored again.
        filename: A name the source brings along.
        content_type: A media type the source claims.
        peekable: :meth:`peek` works, so the content can be checked at the line that assigns it.
        ranged: It is a stream, but :meth:`peek_late` gives what was not read ahead of it.
        passed: Which validators have seen these bytes, and for which field.
        claimed: The client's upload of these bytes; storing them uses its claim.
    """

    size: int | None = None
    replayable: bool = True
    filename: str | None = None
    content_type: str | None = None
    peekable: bool = False
    ranged: bool = False
    passed: tuple[tuple[object, str], ...] = ()
    claimed: Claimed | None = None

    @abstractmethod
    def chunks(self) -> Iterator[Buffer] | AsyncIterator[Buffer]:
        """Iterate over the bytes from their start."""

    def chunks_async(self) -> AsyncIterator[Buffer] | None:
        """Iterate over the bytes without blocking; ``None`` if that takes a thread."""
        return None

    def peek(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from an offset, unnoticed by other readers."""
        raise NotImplementedError

    def peek_late(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from an offset of a stream that is ``ranged``.

        Raises:
            ValueError: More was asked for than any honest file needs.
        """
        raise NotImplementedError

    def rewrite(self, backend: str, path: str, options: Any) -> Call | None:  # noqa: ARG002 - of others
        """Return the call by which the store makes an object of these bytes itself.

        Args:
            backend: Key of the backend.
            path: Where.
            options: A :class:`filerow.backends.base.PutOptions`: what to store with it.

        Returns:
            A call that returns a :class:`filerow.backends._types.Rewritten`, or ``None`` where the store has kept something else;
            ``None`` if the bytes are to be read and written.
        """
        return None

    def put_back(self) -> None:  # noqa: B027 - most sources have no position
        """Leave the source as it was given, so that the caller may try again."""


class BytesContent(Content):
    """All bytes in memory. Buffers are not copied: keep them until the commit."""

    peekable = True

    def __init__(self, data: Buffer) -> None:
        self.data = data
        self.size = len(data)

    def chunks(self) -> Iterator[Buffer]:
        return iter((self.data,))

    def peek(self, offset: int, size: int) -> bytes:
        return bytes(self.data[offset : offset + size])


class PathContent(Content):
    """A file of this machine, opened when it is stored.

    Args:
        path: Which.
        expected: It may be missing until it is stored.
    """

    def __init__(self, path: Path, *, expected: bool = False) -> None:
        self.path = path
        self.filename = path.name
        self.peekable = path.is_file()
        if self.peekable:
            self.size = path.stat().st_size
        elif not expected or path.is_dir():
            raise self._missing()

    def _missing(self) -> FileNotFoundError:
        folder = ": that is a folder" if self.path.is_dir() else ""
        return FileNotFoundError(f"content is the path {str(self.path)!r}, but there is no such file{folder}")

    def chunks(self) -> Iterator[Buffer]:
        if not self.path.is_file():
            raise self._missing()
        with self.path.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk

    def peek(self, offset: int, size: int) -> bytes:
        with self.path.open("rb", buffering=0) as file:
            file.seek(offset)
            return file.read(size)


class FileContent(Content):
    """An open binary file, from its position when given; never closed by us."""

    def __init__(self, file: BinaryIO, *, rewind: bool = False) -> None:
        self._file: Any = file
        self._source = _source_of(file)
        self._start: int | None = None
        self._given = 0
        self._started = False
        self._refuse_closed()
        try:
            if _can_seek(file):
                self._given = file.tell()
                self._start = 0 if rewind else self._given
                file.seek(0, os.SEEK_END)
                end = file.tell()  # an mmap's seek() returns nothing
                file.seek(self._given)
                self.size = max(0, end - self._start)
                if self._start and self._start >= end > 0:
                    raise _at_end(end)
        except (AttributeError, OSError, io.UnsupportedOperation):
            self._start = None
        self.replayable = self.peekable = self._start is not None
        name = getattr(file, "name", None)
        self.filename = os.path.basename(name) if isinstance(name, str) else None  # noqa: PTH119

    def _refuse_closed(self) -> None:
        if getattr(self._file, "closed", False):
            raise FileStateError(
                "this file's content is an open file that has been closed before its bytes were stored; commit, or call save(), "
                "while it is open (inside the `with` block, before the request ends), or give a path, which we open ourselves"
            )

    def chunks(self) -> Iterator[Buffer]:
        self._refuse_closed()
        again, self._started = self._started, True
        if self._start is None:
            yield from self._source.once(iter(self._read_on, b""), again=again)
            return
        position = self._start
        while True:
            with self._source.lock:  # another content may have the same file
                self._file.seek(position)
                chunk = _buffer(self._file.read(CHUNK))
                position = self._file.tell()
            if not chunk:
                return
            yield chunk

    def _read_on(self) -> Buffer:
        return _buffer(self._file.read(CHUNK))  # None means "nothing yet" from a file that does not block

    def peek(self, offset: int, size: int) -> bytes:
        self._refuse_closed()
        with self._source.lock:
            position = self._file.tell()
            try:
                self._file.seek((self._start or 0) + offset)
                return bytes(_buffer(self._file.read(size)))
            finally:
                self._file.seek(position)

    def put_back(self) -> None:
        if self._started and self._start is not None:
            with suppress(OSError, ValueError), self._source.lock:  # it may be closed by now
                self._file.seek(self._given)


class IterableContent(Content):
    """Chunks from an iterable; an iterator can be read only once."""

    def __init__(self, chunks: Iterable[Any]) -> None:
        self._chunks = chunks
        self._started = False
        self.replayable = not isinstance(chunks, Iterator)
        self._source = None if self.replayable else _source_of(chunks)
        if inspect.isgenerator(chunks) and chunks.gi_frame is None:
            raise _read_before()

    def chunks(self) -> Iterator[Buffer]:
        again, self._started = self._started, True
        buffers = map(_buffer, self._chunks)
        yield from buffers if self._source is None else self._source.once(buffers, again=again)


class AsyncContent(Content):
    """Chunks from an asynchronous iterable; needs an event loop to be stored."""

    def __init__(self, chunks: AsyncIterable[Any]) -> None:
        self._chunks = chunks
        self._started = False
        self.replayable = not isinstance(chunks, AsyncIterator)
        self._source = None if self.replayable else _source_of(chunks)
        if inspect.isasyncgen(chunks) and chunks.ag_frame is None:
            raise _read_before()

    def chunks_async(self) -> AsyncIterator[Buffer]:
        return self.chunks()

    async def chunks(self) -> AsyncIterator[Buffer]:
        again, self._started = self._started, True
        buffers = _buffers(self._chunks)
        async for chunk in buffers if self._source is None else self._source.once_async(buffers, again=again):
            yield chunk

    def put_back(self) -> None:
        if isinstance(self._chunks, _AsyncFile):
            self._chunks.stop()


class _AsyncFile:
    """The chunks of a file with awaited methods, from its first position on."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._source = _source_of(file)
        self._start: int | None = None
        self._started = False

    async def __aiter__(self) -> AsyncIterator[Buffer]:
        again, self._started = self._started, True
        if not again and hasattr(self._file, "seek"):
            with suppress(AttributeError, OSError):
                self._start = await self._file.tell()
        if self._start is None:
            async for chunk in self._source.once_async(self._read_on(), again=again):
                yield chunk
            return
        with self._source.alone(self):
            await self._file.seek(self._start)
            position = self._start
            async for chunk in self._read_on():
                position += len(chunk)
                yield chunk
        if position == self._start > 0:
            raise _at_end(position)

    def stop(self) -> None:
        """Let another content have the file."""
        self._source.stopped(self)

    async def _read_on(self) -> AsyncIterator[Buffer]:
        while chunk := _buffer(await self._file.read(CHUNK)):
            yield chunk


class _Source:
    """A file or iterator that one or several contents read.

    Args:
        held: The file or iterator itself, if nothing else would show that it is gone.

    Attributes:
        lock: Held while a file is moved and read.
    """

    def __init__(self, held: object = None) -> None:
        self.lock = threading.Lock()
        self._held = held
        self._reader: object = None
        self._ended = held is not None  # before anybody looked, for all that can be known
        self._broke_off = False

    @contextmanager
    def alone(self, reader: object) -> Generator[None]:
        """Keep another content from reading the same source at the same time.

        Raises:
            FileStateError: Another content does.
        """
        with self.lock:
            if self._reader not in {None, reader}:
                raise _read_before()
            self._reader = reader
        try:
            yield
        finally:
            self.stopped(reader)

    def stopped(self, reader: object) -> None:
        """Record that a content reads no more; its iterator may still be open."""
        if self._reader is reader:
            self._reader = None

    def once(self, chunks: Iterator[Buffer], *, again: bool) -> Iterator[Buffer]:
        """Pass on the chunks of a source that can be read only once.

        Raises:
            FileStateError: It was read before; or it gives nothing, and may have been.
        """
        some = False
        with self._reading(again=again):
            for chunk in chunks:
                some = True
                yield chunk
        self._finished(some=some)

    async def once_async(self, chunks: AsyncIterator[Buffer], *, again: bool) -> AsyncIterator[Buffer]:
        """Pass on the chunks of a source that can be read only once; see :meth:`once`."""
        some = False
        with self._reading(again=again):
            async for chunk in chunks:
                some = True
                yield chunk
        self._finished(some=some)

    @contextmanager
    def _reading(self, *, again: bool) -> Generator[None]:
        if again or self._broke_off:
            raise _read_before()
        with self.alone(object()):
            self._broke_off = True  # unless it comes to its end
            yield
            self._broke_off = False

    def _finished(self, *, some: bool) -> None:
        if self._ended and not some:
            raise _read_before() if self._held is None else _nothing()
        self._ended = True


_sources: dict[int, tuple[ReferenceType[Any], _Source]] = {}
_held_sources: WeakValueDictionary[int, _Source] = WeakValueDictionary()


def _forget(known: dict[int, tuple[ReferenceType[Any], _Source]], key: int, gone: object) -> None:
    if key in known and known[key][0] is gone:
        del known[key]


def _source_of(thing: Any) -> _Source:
    """Return what is known of a file or iterator while it lives."""
    key = id(thing)
    known = _sources.get(key)
    if known is not None and known[0]() is thing:
        return known[1]
    held = _held_sources.get(key)
    if held is not None:
        return held
    try:
        reference = ref(thing, partial(_forget, _sources, key))
    except TypeError:  # the iterators of built-in types are such
        return _held_sources.setdefault(key, _Source(thing))
    return _sources.setdefault(key, (reference, _Source()))[1]


def content_of(value: object) -> Content:
    """Return the one view of a value given as content.

    Args:
        value: Bytes-like object, path, binary file, framework upload, or (async) iterable of bytes.

    Raises:
        ContentError: It is text, or nothing that yields bytes.
        FileNotFoundError: It is a path without a file.
        FileValidationError: It is an upload, and the user chose no file: browsers send one without a name and bytes.
    """
    if isinstance(value, bytes | bytearray):
        return BytesContent(value)
    if isinstance(value, str):
        msg = "content is text; encode it (content=text.encode()), or pass pathlib.Path(...) to store the file of that name"
        raise ContentError(msg)
    if isinstance(value, Content):
        return value
    if isinstance(value, os.PathLike):
        return PathContent(Path(os.fsdecode(value)))
    upload = _from_upload(value)
    if upload is not None:
        return upload
    if callable(getattr(value, "read", None)):
        return _from_reader(value)
    if isinstance(value, AsyncIterable):
        return AsyncContent(value)
    buffer = _as_buffer(value)
    if buffer is not None:
        return BytesContent(buffer)
    if isinstance(value, Iterable) and not isinstance(value, Mapping | set | frozenset):
        return IterableContent(value)
    raise ContentError(
        f"content cannot be {type(value).__name__}: give bytes, a pathlib.Path, a file opened in binary mode, "
        "an upload of your framework, or an (async) iterable of bytes"
    )


def given_content(content: object, source_path: str | os.PathLike[str] | None) -> Content | None:
    """Return the content that was given as content or as a path, or ``None``.

    Raises:
        ContentError: Both were given; or see :func:`content_of`.
    """
    if content is not None and source_path is not None:
        raise ContentError("give either content= or source_path=, not both")
    if source_path is not None:
        return PathContent(Path(source_path), expected=True)
    return None if content is None else content_of(content)


def unwrap_upload(value: object) -> Content | None:
    """Return the spooled file in a framework's upload, from its first byte."""
    inner = getattr(value, "file", None) if hasattr(value, "filename") else None
    if inner is None and hasattr(value, "mimetype"):
        inner = getattr(value, "stream", None)
    if inner is None or not callable(getattr(inner, "read", None)):
        return None
    content = FileContent(inner, rewind=True)
    name = getattr(value, "filename", None)
    content.filename = name if isinstance(name, str) else None
    claimed = getattr(value, "content_type", None)
    content.content_type = claimed if isinstance(claimed, str) else None
    return content


def _from_upload(value: object) -> Content | None:
    upload = unwrap_upload(value)
    if upload is not None and not upload.filename and upload.size == 0:
        raise FileValidationError("a file is needed: the form's field was left empty", code="file-missing")
    return upload


def _from_reader(value: Any) -> Content:
    # tempfile's wrappers are not a TextIOBase, but only text files have an encoding
    if isinstance(value, io.TextIOBase) or isinstance(getattr(value, "encoding", None), str):
        raise ContentError("content is a file opened as text; open it in binary mode: open(path, 'rb')")
    if inspect.iscoroutinefunction(value.read):
        return AsyncContent(_AsyncFile(value))
    if _is_write_only(value):
        raise ContentError("content is a file opened for writing only; open it for reading: open(path, 'rb')")
    return FileContent(value)


def _can_seek(file: Any) -> bool:
    return bool(file.seekable()) if hasattr(file, "seekable") else hasattr(file, "tell")  # an mmap seeks, but has no seekable()


def _is_write_only(value: object) -> bool:
    return isinstance(value, io.IOBase) and not value.closed and not value.readable()


async def _buffers(chunks: AsyncIterable[Any]) -> AsyncIterator[Buffer]:
    async for chunk in chunks:
        yield _buffer(chunk)


def _as_buffer(value: Any) -> Buffer | None:
    try:
        view = memoryview(value)
    except TypeError:
        return None
    return view.cast("B") if view.c_contiguous and view.nbytes else view.tobytes()


def _buffer(chunk: Any) -> Buffer:
    if isinstance(chunk, bytes | bytearray):
        return chunk
    buffer = None if isinstance(chunk, str) else _as_buffer(chunk)
    if buffer is None:
        msg = f"content yielded {type(chunk).__name__} where bytes are needed{'; encode it' if isinstance(chunk, str) else ''}"
        raise ContentError(msg)
    return buffer


def _read_before() -> FileStateError:
    return FileStateError(
        "this file's content can be read only once, and was read already, by a transaction that failed or was rolled back or for "
        "another file; make a new FileObject with new content"
    )


def _nothing() -> FileStateError:
    return FileStateError(
        "content is an iterator that gave nothing; it may have been read already, by an attempt that failed or was rolled back. "
        'Make a new iterator for each FileObject; for an empty file, give content=b""'
    )


def _at_end(size: int) -> ContentError:
    return ContentError(
        f"content is a file of {size} bytes that stands at its end: it was written, or read by somebody else, and not rewound. "
        'Call seek(0) to store all of it; for an empty file, give content=b""'
    )


class SizeLimit(Protocol):
    """What a column demands of its files, as far as their length goes."""

    def check_size(self, size: int, filename: str = "") -> None:
        """Refuse too many bytes."""


class Meter:
    """Counts and hashes passing bytes; stops them at the limit or after ``stop()``."""

    def __init__(self, limit: SizeLimit | None = None, filename: str = "") -> None:
        self.size = 0
        self.stopped = False
        self._sha256 = hashlib.sha256()
        self._limit = limit
        self._filename = filename

    @property
    def checksum(self) -> str:
        """``sha256:`` and the hex digest of all bytes so far."""
        return f"sha256:{self._sha256.hexdigest()}"

    def feed(self, chunk: Buffer) -> Buffer:
        """Count and hash one chunk and hand it on.

        Raises:
            FileTooLargeError: The limit is passed.
            InterruptedError: The transfer was called off.
        """
        self.size += len(chunk)
        self.expect(self.size)
        self._sha256.update(chunk)
        return chunk

    def expect(self, size: int) -> None:
        """Announce how many bytes will have passed; see :meth:`feed`."""
        if self.stopped:
            raise InterruptedError("the upload was called off")
        if self._limit is not None:
            self._limit.check_size(size, self._filename)

    def stop(self) -> None:
        """Let the next chunk fail, so that a store discards a streamed upload."""
        self.stopped = True


def is_sha256(checksum: str | None) -> bool:
    """Return True if a checksum is of the kind that a meter computes."""
    return checksum is not None and checksum.startswith("sha256:")


_INLINE_HASH = 64 << 10
"""Up to this many bytes are hashed on the event loop: about as long as a hop to a thread takes."""

Body = Buffer | Iterator[Buffer] | AsyncIterator[Buffer]


# -- opening content for a backend ----------------------------------------------------------------------------------------


class Prepared(NamedTuple):
    """A body ready for a backend.

    Attributes:
        head: Its first bytes, to recognise the type by.
        body: What to store.
        held: The chunks that were read ahead of a stream: all of a small one, the first 5 MiB or so of a large one.
    """

    head: bytes
    body: Body
    held: Sequence[Buffer] = ()


def prepare(content: Content, meter: Meter) -> Prepared:
    """Open content in a thread that may block; see the module.

    Raises:
        ContentError: The content is an asynchronous iterable.
    """
    if isinstance(content, BytesContent):
        return Prepared(bytes(content.data[:SNIFF_BYTES]), meter.feed(content.data))
    source = content.chunks()
    if not isinstance(source, Iterator):
        raise unawaitable()
    first: list[Buffer] = []
    if _gather(source, first, content.size, meter):
        return Prepared(_head(first), meter.feed(b"".join(first)))
    return Prepared(_head(first), map(meter.feed, chain(first, source)), first)


def unawaitable() -> ContentError:
    """Return the error of asynchronous content in a place that cannot await."""
    return ContentError(
        "this file's content is an asynchronous iterator, which a synchronous session, save() or check() cannot await; "
        "use AsyncSession, save_async() or check_async()"
    )


def _gather(source: Iterator[Buffer], into: list[Buffer], size: int | None, meter: Meter) -> bool:
    """Read ahead; return True if that was all."""
    limit = ONE_REQUEST if size is None or size <= ONE_REQUEST else SNIFF_BYTES
    held = 0
    for chunk in source:
        into.append(chunk)
        held += len(chunk)
        meter.expect(held)
        if held > limit:
            return False
    return True


async def prepare_async(content: Content, meter: Meter) -> Prepared:
    """Open content on the event loop without blocking it; see :func:`prepare`."""
    if isinstance(content, BytesContent) and len(content.data) <= _INLINE_HASH:
        return prepare(content, meter)
    source = content.chunks_async()
    if source is None:
        return await in_thread(prepare, content, meter)
    first: list[Buffer] = []
    held = 0
    async for chunk in source:
        first.append(chunk)
        held += len(chunk)
        meter.expect(held)
        if held > ONE_REQUEST:
            return Prepared(_head(first), _metered(first, source, meter), first)
    return Prepared(_head(first), await in_thread(meter.feed, b"".join(first)))


async def _metered(first: list[Buffer], rest: AsyncIterator[Buffer], meter: Meter) -> AsyncIterator[Buffer]:
    while first:
        yield await _feed(meter, first.pop(0))
    async for chunk in rest:
        yield await _feed(meter, chunk)


async def _feed(meter: Meter, chunk: Buffer) -> Buffer:
    return meter.feed(chunk) if len(chunk) <= _INLINE_HASH else await in_thread(meter.feed, chunk)


def _head(chunks: list[Buffer]) -> bytes:
    head = b""
    for chunk in chunks:
        head += bytes(chunk[: SNIFF_BYTES - len(head)])
        if len(head) >= SNIFF_BYTES:
            break
    return head


# -- how many bytes came --------------------------------------------------------------------------------------------------


def expect_length(
    backend: str, path: str, size: int | None, got: int, start: int = 0, end: int | None = None, operation: str = "read"
) -> None:
    """Check how many bytes came of the range ``[start, end)`` of an object.

    Args:
        backend: The backend's key.
        path: The object's path.
        size: Bytes that the object has, as the row says; ``None`` where it does not say, and then nothing is checked.
        got: Bytes that came.
        start: Where the range begins.
        end: Where it ends; at the object's end when left out.
        operation: For the error.

    Raises:
        IntegrityError: They are fewer, or more.
    """
    if size is None:
        return
    wanted = max((size if end is None else min(end, size)) - start, 0)
    if got != wanted:
        what = f"{wanted} bytes" if not start and wanted == size else f"{wanted} of {size} bytes"
        msg = f"the store gave {got} bytes where the row says {what}; the object is damaged, or was cut short on the way"
        raise IntegrityError(msg, operation=operation, backend=backend, path=path)


def expect_facts(facts: Facts, meter: Meter, operation: str) -> None:
    """Check that an object that was read is the one that its row describes.

    Raises:
        IntegrityError: Its size or its checksum differs.
    """
    known = facts.checksum if is_sha256(facts.checksum) else None
    if facts.size not in {None, meter.size} or known not in {None, meter.checksum}:
        row, found = f"{facts.size} bytes with {facts.checksum}", f"{meter.size} bytes with {meter.checksum}"
        msg = f"the row says {row}, the object has {found}"
        raise IntegrityError(msg, operation=operation, backend=facts.backend, path=facts.path)


def measured(chunks: Iterator[bytes], facts: Facts, start: int, end: int | None) -> Iterator[bytes]:
    """Pass on the chunks of a range; raise at the end if the size is not the row's."""
    got = 0
    try:
        for chunk in chunks:
            got += len(chunk)
            yield chunk
    finally:
        if isinstance(chunks, Generator):
            chunks.close()
    expect_length(facts.backend, facts.path, facts.size, got, start, end)


async def measured_async(chunks: AsyncIterator[bytes], facts: Facts, start: int, end: int | None) -> AsyncIterator[bytes]:
    """Pass the chunks of a range on; see :func:`measured`."""
    got = 0
    try:
        async for chunk in chunks:
            got += len(chunk)
            yield chunk
    finally:
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()
    expect_length(facts.backend, facts.path, facts.size, got, start, end)


SNIFF_BYTES = 8192
"""How many first bytes the type is recognised by."""
