"""``FileObject``: one file, as a value.

A FileObject is *pending* (it has content that is not stored yet), *staged* (stored, owned by no row) or *attached* (owned by one
row). It goes from pending to stored once, in place; from then on its facts are read-only. It knows nothing of sessions: the
functions at the end of this module are how the layers above move it from state to state.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from filerow._content import Content, given_content, unwrap_upload
from filerow._document import Facts, check_given, check_metadata, facts_from, located_in, to_document
from filerow._file.file_io import FileIO
from filerow._paths import clean_filename
from filerow._registry import key_of, storages
from filerow.backends._paths import check_path
from filerow.backends.base import StorageBackend
from filerow.exceptions import ContentError, FileStateError

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema

__all__ = ("FileObject", "FileState")


class FileState(Enum):
    """Where a file is in its life."""

    PENDING = "pending"
    STAGED = "staged"
    ATTACHED = "attached"


class Snapshot(NamedTuple):
    """What a file was before a transaction touched it, so that a rollback can make it that again."""

    facts: Facts
    content: Content | None
    state: FileState


class FileObject(FileIO):
    """A file: facts that the row keeps as JSON, and bytes that a backend keeps.

    Args:
        backend: Key of the backend, or the backend; the column's when left out.
        filename: What the client calls the file; for display only. Taken from the content when left out.
        to_filename: Store under exactly this path, which must be free; without content, the path of an existing object.
        content_type: The media type the client claims; a hint, the stored type is recognised from the bytes.
        size: Length in bytes the content must turn out to have.
        last_modified: Seconds since the Unix epoch.
        checksum: ``sha256:<hex>`` the content must turn out to have.
        etag: The store's tag, of an existing object.
        version_id: The version, of an existing object in a versioned bucket.
        metadata: JSON values of your own, kept in the row.
        source_path: A file of this machine to take the content from.
        content: The bytes: bytes-like, ``pathlib.Path``, binary file, framework upload, or (async) iterable of bytes.

    Raises:
        ContentError: The content is text or cannot be read as bytes; also a ``TypeError``.
        InvalidPathError: ``to_filename`` is no valid path.
        DocumentError: A fact is one that no file has, such as a negative size; also a ``ValueError``.
    """

    __slots__ = ("__weakref__", "_content", "_known", "_raw", "_state")

    def __init__(
        self,
        backend: str | StorageBackend | None = None,
        filename: str | None = None,
        to_filename: str | None = None,
        content_type: str | None = None,
        size: int | None = None,
        last_modified: float | None = None,
        checksum: str | None = None,
        etag: str | None = None,
        version_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        source_path: str | os.PathLike[str] | None = None,
        content: object = None,
    ) -> None:
        key = key_of(backend, "; content goes by its name: FileObject(content=...)")
        source = given_content(content, source_path)
        name = filename or (source.filename if source else None) or to_filename
        self._raw: str | bytes | Mapping[str, Any] | None = None
        self._content = source
        self._state = FileState.STAGED if to_filename and source is None else FileState.PENDING
        self._known: Facts | None = Facts(
            backend=key,
            path=check_path(to_filename, key, "put") if to_filename else "",
            filename=clean_filename(name),
            content_type=content_type or (source.content_type if source else None) or "",
            size=size,
            checksum=checksum,
            etag=etag,
            version_id=version_id,
            last_modified=last_modified,
            metadata=check_metadata(metadata),
        )
        check_given(self._known)

    @classmethod
    def from_upload(
        cls,
        upload: object,
        *,
        backend: str | StorageBackend | None = None,
        filename: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Self:
        """Make a pending file from an upload of Starlette, FastAPI, Litestar, Flask or Werkzeug.

        The upload is read from its first byte, in bounded memory, when the file is stored; it is not closed. The other arguments
        are those of :class:`FileObject`; the filename is the upload's when left out.

        Raises:
            ContentError: This is no upload of these frameworks.
        """
        if unwrap_upload(upload) is None:
            kind = type(upload).__name__
            msg = f"from_upload() takes an upload of a web framework, not {kind}; give anything else as FileObject(content=...)"
            raise ContentError(msg)
        return cls(backend=backend, filename=filename, metadata=metadata, content=upload)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any] | str) -> Self:
        """Make a file from a **trusted** document, as ``to_dict()`` returns it or a database holds it.

        Never give it what a client sent: a document names any object of any backend.

        Raises:
            DocumentError: It is no document.
        """
        return cls._of(facts_from(document), FileState.ATTACHED)

    @classmethod
    def _of(cls, facts: Facts, state: FileState) -> Self:
        file = cls.__new__(cls)
        file._raw, file._known, file._content, file._state = None, facts, None, state
        return file

    # -- facts ---------------------------------------------------------------------------------------------------------

    @property
    def _facts(self) -> Facts:  # type: ignore[override]
        known = self._known
        if known is None:  # a loaded document is decoded when somebody asks
            raw = self._raw
            self._known = known = self._known or facts_from(raw or "")  # another thread may have done it meanwhile
            self._raw = None
        return known

    @property
    def state(self) -> FileState:
        """Pending, staged or attached."""
        return self._state

    @property
    def has_pending_data(self) -> bool:
        """Whether there is content that is not stored yet."""
        return self._content is not None

    @property
    def backend(self) -> StorageBackend:
        """The backend that keeps, or will keep, the bytes.

        Raises:
            BackendNotFoundError: It is not registered.
        """
        return storages.resolve(self._facts.backend)

    @property
    def backend_key(self) -> str:
        """The backend's key; empty while the file leaves the choice to its column. Looks nothing up."""
        return self._facts.backend

    @property
    def protocol(self) -> str:
        """The backend's kind, such as ``s3`` or ``file``."""
        return self.backend.protocol

    @property
    def path(self) -> str:
        """The path inside the backend.

        Raises:
            FileStateError: The file is pending, so it has none yet.
        """
        if not self._facts.path:
            raise FileStateError(f"{self!r} has no path until it is stored")
        return self._facts.path

    @property
    def filename(self) -> str:
        """The client's name for the file, cleaned; for display only."""
        return self._facts.filename

    @property
    def content_type(self) -> str:
        """The media type: recognised from the bytes where they prove one; while pending, the claim."""
        return self._facts.content_type or "application/octet-stream"

    @property
    def size(self) -> int | None:
        """Length in bytes."""
        if self._content is not None and self._facts.size is None:
            return self._content.size
        return self._facts.size

    @property
    def checksum(self) -> str | None:
        """``sha256:`` and 64 hex digits."""
        return self._facts.checksum

    @property
    def etag(self) -> str | None:
        """The store's tag, without quotes."""
        return self._facts.etag

    @property
    def version_id(self) -> str | None:
        """The version, in a versioned bucket."""
        return self._facts.version_id

    @property
    def last_modified(self) -> float | None:
        """When the bytes were stored, in seconds since the Unix epoch."""
        return self._facts.last_modified

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Your own JSON values, read-only; ``file.replace(metadata=...)`` gives a changed file to assign."""
        return self._facts.metadata

    # -- derived values ------------------------------------------------------------------------------------------------

    def replace(self, *, metadata: Mapping[str, Any] | None = None, filename: str | None = None) -> Self:
        """Return this file with another filename or other metadata, to assign to the column; the bytes stay.

        Args:
            metadata: The new metadata, whole.
            filename: The new display name.
        """
        facts = self._facts
        if metadata is not None:
            facts = facts._replace(metadata=check_metadata(metadata))
        if filename is not None:
            facts = facts._replace(filename=clean_filename(filename))
        changed = self._of(facts, self._state)
        changed._content = self._content
        return changed

    def update_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Add to the metadata of a file that is not stored yet.

        Raises:
            FileStateError: The file is stored: assign ``file.replace(metadata=...)`` instead, so that the row changes.
        """
        if self._state is not FileState.PENDING:
            change = "row.file = row.file.replace(metadata={**row.file.metadata, ...})"
            msg = f"{self!r} is stored, so its metadata is read-only; assign the changed value to its column: {change}"
            raise FileStateError(msg)
        facts = self._facts
        self._known = facts._replace(metadata=check_metadata({**facts.metadata, **metadata}))

    def to_dict(self) -> dict[str, Any]:
        """Return the full document, for trusted places only: it says where the bytes are.

        Raises:
            FileStateError: The file is pending.
        """
        if not self._facts.path or self._content is not None:
            msg = f"{self!r} has no document until it is stored; commit its row, or call save()"
            raise FileStateError(msg)
        return to_document(self._facts)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, FileObject) or self._content is not None or other._content is not None:
            return NotImplemented if not isinstance(other, FileObject) else False
        mine, others = self._facts, other._facts
        return bool(mine.path) and mine.path == others.path and mine.backend == others.backend

    def __hash__(self) -> int:
        facts = self._facts
        return hash((facts.backend, facts.path)) if facts.path and self._content is None else object.__hash__(self)

    def __repr__(self) -> str:
        facts = self._facts
        where = f" {facts.backend}:{facts.path}" if facts.path else f" for {facts.backend}" if facts.backend else ""
        size = "" if self.size is None else f" {self.size} bytes"
        return f"<FileObject {facts.filename!r}{size} {self._state.value}{where}>"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # two values must not both believe they are the one the row owns

    def __reduce__(self) -> tuple[Any, ...]:
        if self._content is not None:
            raise FileStateError(f"{self!r} cannot be pickled before it is stored")
        return _unpickle, (type(self), tuple(self._facts._replace(metadata=dict(self._facts.metadata))), self._state)

    # -- for FileIO ----------------------------------------------------------------------------------------------------

    def _complete(self, facts: Facts | None) -> None:
        if facts is not None:
            complete(self, facts, FileState.STAGED)

    def _staged(self, facts: Facts | None) -> Self:
        return self._of(facts or self._facts, FileState.STAGED)

    def _takes_content(self) -> bool:
        known = self._facts.path and (self._state is FileState.ATTACHED or self._facts.checksum)
        return self._content is None and not known

    def _deletable(self, *, force: bool) -> str:
        if self._state is FileState.ATTACHED and not force:
            msg = (
                f"{self!r} belongs to a row; set the column to None or delete the row, and the commit deletes the bytes "
                "(delete(force=True) deletes them now and leaves the row pointing to nothing)"
            )
            raise FileStateError(msg)
        return self._facts.path

    # -- pydantic ------------------------------------------------------------------------------------------------------

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from filerow._file.pydantic import core_schema_for

        return core_schema_for(cls)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        from filerow._file.pydantic import json_schema_for

        return json_schema_for(handler.mode)


def _unpickle(cls: type[FileObject], facts: tuple[Any, ...], state: FileState) -> FileObject:
    known = Facts(*facts)
    return cls._of(known._replace(metadata=check_metadata(known.metadata)), state)


# -- how the layers above move a file from state to state ------------------------------------------------------------------


def loaded(raw: str | bytes | Mapping[str, Any]) -> FileObject:
    """Return the file of a row's document; the document is decoded when somebody asks."""
    file = FileObject.__new__(FileObject)
    file._raw = raw
    file._known = file._content = None
    file._state = FileState.ATTACHED
    return file


def facts_of(file: FileObject) -> Facts:
    """Return a file's facts."""
    return file._facts


def place_of(file: FileObject) -> tuple[str, str]:
    """Return a stored file's backend and path, without reading the rest of a document that nobody has looked at."""
    known, raw = file._known, file._raw
    if known is not None:
        return known[:2]
    return file._facts[:2] if raw is None else located_in(raw)  # the first: another thread has decoded it meanwhile


def content_in(file: FileObject) -> Content | None:
    """Return a file's content that is not stored yet."""
    return file._content


def attached(facts: Facts) -> FileObject:
    """Return a new file that a row owns."""
    return FileObject._of(facts, FileState.ATTACHED)


def complete(file: FileObject, facts: Facts, state: FileState) -> None:
    """Note that a file is stored, or has an owner now."""
    file._raw, file._known, file._content, file._state = None, facts, None, state


def snapshot(file: FileObject) -> Snapshot:
    """Return what a file is now."""
    return Snapshot(file._facts, file._content, file._state)


def restore(file: FileObject, before: Snapshot) -> None:
    """Make a file what it was; a rollback has undone what happened since."""
    file._raw, (file._known, file._content, file._state) = None, before
