"""Completes a document: by HEAD, and by reading the object."""

from __future__ import annotations

from filerow._content import SNIFF_BYTES, Meter, is_sha256
from filerow._document import Facts
from filerow._execution.batch import StepsJob
from filerow._execution.steps import Call, Steps
from filerow._file.reader import read_through
from filerow._media_types import OCTET_STREAM, claimed_type
from filerow._validation.types import resolve_type
from filerow.backends._types import ObjectInfo
from filerow.backends.base import StorageBackend
from filerow.exceptions import InvalidPathError, ObjectNotFoundError


class Examine(StepsJob):
    """Looks at one object.

    Args:
        known: What is known of the file.
        backend: The backend it is in.
        read: Read the object if its checksum is not known.
        typed: Its content type was recognised by us before, and stays.

    Attributes:
        known: As given.
        facts: The complete facts; ``None`` if there is no object.
        flaw: The reason: a finding's code and a message.
    """

    def __init__(self, known: Facts, backend: StorageBackend, *, read: bool, typed: bool) -> None:
        self.known = known
        self.facts: Facts | None = None
        self.flaw: tuple[str, str] | None = None
        self._backend = backend
        self._typed = typed
        self._reading = Reading(backend, known.path) if read and not is_sha256(known.checksum) else None

    @property
    def transferred(self) -> int:
        """The number of bytes read so far."""
        return 0 if self._reading is None else self._reading.meter.size

    def stop(self) -> None:
        """Stop reading at the next chunk."""
        if self._reading is not None:
            self._reading.meter.stop()

    def _steps(self) -> Steps[None]:
        try:
            info: ObjectInfo = yield Call(self._backend.head, self._backend.head_async, (self.known.path,))
            if self._reading is not None:
                yield self._reading.call
        except ObjectNotFoundError:
            self.flaw = ("missing", f"there is no object {self.known.path!r} in {self._backend.key!r}")
        except InvalidPathError as error:
            self.flaw = ("unreadable", error.message)
        else:
            self.facts = self._found(info)

    def _found(self, info: ObjectInfo) -> Facts:
        known, reading = self.known, self._reading
        checksum = known.checksum if is_sha256(known.checksum) else None
        return known._replace(
            backend=self._backend.key,
            content_type=known.content_type if self._typed else self._type(info),
            size=info.size if reading is None else reading.meter.size,
            checksum=checksum if reading is None else reading.meter.checksum,
            etag=info.etag,
            version_id=info.version_id,
            last_modified=info.last_modified or known.last_modified,
        )

    def _type(self, info: ObjectInfo) -> str:
        """Return the type proved by the bytes, or that of document, store or extension."""
        claimed = info.content_type if known_type(self.known.content_type) is None else self.known.content_type
        if self._reading is None:
            return claimed_type(claimed, self.known.filename)
        reading = self._reading
        return resolve_type(reading.head, claimed, self.known.filename, reading.read_at, reading.meter.size)[0]


def known_type(content_type: str) -> str | None:
    """Return a media type, unless it is the meaningless default."""
    return None if content_type == OCTET_STREAM else content_type


# -- reading an object once, in bounded memory -----------------------------------------------------------------------------


_TAIL = 192 << 10
"""Number of an object's last bytes to keep: enough for the directory of a ZIP, or the index of a video."""


class Reading:
    """One object, read completely.

    Attributes:
        meter: Counts and hashes the bytes.
        head: The first bytes, as many as type recognition needs.
        tail: The last bytes, where a container may list its contents.
    """

    def __init__(self, backend: StorageBackend, path: str) -> None:
        self.meter = Meter()
        self.head = b""
        self.tail = b""
        self._backend = backend
        self._path = path

    @property
    def call(self) -> Call:
        """Both forms of the work, blocking and awaited."""
        return read_through(self._backend, self._path, self._feed)

    def _feed(self, chunk: bytes) -> None:
        self.meter.feed(chunk)
        if len(self.head) < SNIFF_BYTES:
            self.head += chunk[: SNIFF_BYTES - len(self.head)]
        self.tail = (self.tail + chunk[-_TAIL:])[-_TAIL:]

    def read_at(self, offset: int, size: int) -> bytes:
        """Return bytes from the beginning or the end, as far as they were kept."""
        start = self.meter.size - len(self.tail)
        if offset >= start:
            return self.tail[offset - start : offset - start + size]
        return self.head[offset : offset + size]
