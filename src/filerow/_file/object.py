"""``FileObject``: one file, as a value.

A FileObject is *pending* (its content is not stored yet), *staged* (stored, but no row owns it) or *attached* (one row owns it).
It goes from pending to stored once, in place, and its facts are read-only afterwards. A staged file can be *deleted* and saved
again. This module does not know sessions: the functions at its end let the layers above change a file's state.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, NoReturn, Self, TypeAlias, TypedDict, TypeVar, Unpack

from filerow._content import (
    Content,
    Meter,
    content_of,
    expect_facts,
    expect_length,
    given_content,
    measured,
    measured_async,
    unwrap_upload,
)
from filerow._document import Facts, check_given, check_metadata, facts_from, located_in, public_view, to_document
from filerow._execution.steps import Call, Steps, run, run_async
from filerow._execution.threads import in_thread
from filerow._file.variant import EXPIRY, Variant, is_decoded, makes_variants, signed_set, variant_of
from filerow._file.view import json_schema_for
from filerow._media_types import canonical, claimed_type
from filerow._paths import COPIES, RECORD, RESERVED, STAGING, clean_filename, generate_path, is_generated, is_reserved, uuid7_hex
from filerow._recipes import Recipe, Variants
from filerow._registry import StorageRegistry, in_force, key_of, others, process_registry, storages
from filerow.backends._paths import check_path
from filerow.backends._sign_request import plain_read, whole_seconds
from filerow.backends._stored_with import StoredWith
from filerow.backends._types import SignRequest
from filerow.backends.base import StorageBackend
from filerow.exceptions import (
    ContentError,
    FileStateError,
    FileValidationError,
    InvalidPathError,
    ObjectNotFoundError,
    UnsupportedOperationError,
    UntrustedDocumentError,
)

if TYPE_CHECKING:
    import io

    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema

    from filerow._file.fetch import Fetched
    from filerow._file.reader import AsyncFileReader
    from filerow._file.transfer import Copy, Upload
    from filerow._tokens import Secret
    from filerow.exceptions import StorageError


class FileState(Enum):
    """The states of a file."""

    PENDING = "pending"
    STAGED = "staged"
    ATTACHED = "attached"
    DELETED = "deleted"


class Snapshot(NamedTuple):
    """A file's state before a transaction touched it, for rollback."""

    facts: Facts
    content: Content | None
    state: FileState


class Tuning(TypedDict, total=False):
    """Ignored options of Advanced Alchemy's ``save()``; each backend has its own."""

    use_multipart: bool | None
    chunk_size: int
    max_concurrency: int


DEFAULT_EXPIRY = 3600
REFERENCE_LIFE = 86400
ENCTYPE_NEEDED = 'a form with files needs enctype="multipart/form-data"'

Kind = TypeVar("Kind", bound="FileObject")

Limits: TypeAlias = tuple[str | None, int | None, int | None]
"""The type, exact length and maximum length that a signed upload must keep to."""

_NO_LIMITS: Limits = None, None, None


class Shown(NamedTuple):
    """How clients see the files of a column.

    Attributes:
        keys: The metadata keys that clients may see.
        cache_control: The ``Cache-Control`` of responses; ``None`` leaves it to the caller.
        variants: The recipes that the column declares, by name.
        column: ``table.column``; empty if several columns share the type.
        stored_with: What the column's objects are stored with besides.
    """

    keys: tuple[str, ...] = ()
    cache_control: str | None = None
    variants: Variants = ()
    column: str = ""
    stored_with: StoredWith | None = None


UNSHOWN = Shown()


class _Serializer:
    """What pydantic asks a value for whose type it does not know; made when it asks."""

    def __get__(self, instance: object, owner: type[FileObject]) -> Any:
        try:
            from filerow._file.pydantic import serializer_for
        except ImportError as error:  # nobody but pydantic wants it
            raise AttributeError("__pydantic_serializer__") from error
        return serializer_for(owner)


class FileObject:
    """A file: facts that the row keeps as JSON, and bytes that a backend keeps.

    Args:
        backend: The backend or its key. Default: the column's.
        filename: The client's name for the file, for display only. Default: taken from the content.
        to_filename: Store under exactly this path, which must be free; without content, the path of an existing object.
        content_type: The media type that the client claims; a hint, since the stored type is recognised from the bytes.
        size: Length in bytes that the content must have.
        last_modified: Seconds since the Unix epoch.
        checksum: ``sha256:<hex>`` that the content must have.
        etag: The store's tag, of an existing object.
        version_id: The version, of an existing object in a versioned bucket.
        metadata: JSON values of your own, kept in the row.
        source_path: A file on this machine to take the content from.
        content: The bytes: bytes-like, ``pathlib.Path``, binary file, framework upload, or (async) iterable of bytes.

    Raises:
        ContentError: The content is text or cannot be read as bytes; also a ``TypeError`` and a ``ValueError``.
        InvalidPathError: ``to_filename`` is not a valid path.
        DocumentError: A fact is invalid, such as a negative size; also a ``ValueError``.
    """

    _registry: StorageRegistry | None  # set only where it is not the process's own

    __slots__ = ("__weakref__", "_content", "_known", "_raw", "_registry", "_shown", "_sole", "_state")

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
        key = key_of(backend, "; pass content by name: FileObject(content=...)")
        source = given_content(content, source_path)
        name = filename or (source.filename if source else None) or to_filename
        try:
            shown = clean_filename(name)
        except TypeError:
            raise _positional("filename", filename) from None
        self._raw: str | bytes | Mapping[str, Any] | None = None
        self._content = source
        self._state = FileState.STAGED if to_filename and source is None else FileState.PENDING
        self._sole = False
        self._shown = UNSHOWN
        self._known: Facts | None = Facts(
            backend=key,
            path=_chosen_path(to_filename, key) if to_filename else "",
            filename=shown,
            content_type=content_type or (source.content_type if source else None) or "",
            size=size,
            checksum=checksum,
            etag=etag,
            version_id=version_id,
            last_modified=last_modified,
            metadata=check_metadata(metadata),
        )
        check_given(self._known)
        if self._state is FileState.STAGED:
            _stay(self)

    @classmethod
    def from_upload(
        cls,
        upload: object,
        *,
        backend: str | StorageBackend | None = None,
        filename: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Self:
        """Make a pending file from a web framework's upload.

        The upload is read from its first byte, in bounded memory, when the file is stored. It is not closed. The other arguments
        are those of :class:`FileObject`; the filename defaults to the upload's.

        Raises:
            ContentError: ``upload`` is not an upload of these frameworks.
            FileValidationError: The user chose no file: browsers send an empty file field as an upload without a name, and
                frameworks hand over ``None`` for a field that may be missing.
        """
        if upload is None:
            raise FileValidationError("a file is needed: the form has none in this field", code="file-missing")
        if unwrap_upload(upload) is None:
            kind = type(upload).__name__
            hint = f"; {ENCTYPE_NEEDED}" if isinstance(upload, str) else ""
            msg = f"from_upload() takes a web framework's upload, not {kind}; pass other content as FileObject(content=...)"
            raise ContentError(msg + hint)
        return cls(backend=backend, filename=filename, metadata=metadata, content=upload)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any] | str) -> Self:
        """Make a file from a **trusted** document of ``to_dict()`` or a database.

        Never pass client data: a document can name any object of any backend.

        Raises:
            DocumentError: The document is invalid.
        """
        return cls._of(facts_from(document), FileState.ATTACHED)

    @classmethod
    def _of(cls, facts: Facts, state: FileState) -> Self:
        file = cls.__new__(cls)
        file._raw, file._known, file._content, file._state, file._sole = None, facts, None, state, False
        file._shown = UNSHOWN
        if state is not FileState.PENDING:
            _stay(file)
        return file

    @property
    def _storages(self) -> StorageRegistry:
        """The registry it was loaded from or stored in, or else the one in force."""
        if not others:
            return storages
        return self._kept or (storages if self._state is FileState.PENDING else process_registry())

    @property
    def _kept(self) -> StorageRegistry | None:
        """The registry that the file keeps to; ``None`` for that of the process."""
        return getattr(self, "_registry", None) if others else None

    # -- facts ---------------------------------------------------------------------------------------------------------

    @property
    def _facts(self) -> Facts:
        known = self._known
        if known is None:  # a loaded document is decoded on first use
            raw = self._raw
            self._known = known = self._known or facts_from(raw or "")  # another thread may have decoded it first
            self._raw = None
        return known

    @property
    def state(self) -> FileState:
        """Pending, staged, attached or, after ``delete()``, deleted."""
        return self._state

    @property
    def has_pending_data(self) -> bool:
        """Whether there is content that is not stored yet."""
        return self._content is not None

    @property
    def backend(self) -> StorageBackend:
        """The backend that has the bytes, or will have them.

        Raises:
            BackendNotFoundError: It is not registered.
        """
        return self._storages.resolve(self._facts.backend)

    @property
    def backend_key(self) -> str:
        """The backend's key, without a lookup; empty if the column is to choose."""
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
        """The media type proven by the bytes; while pending, the claimed or guessed one."""
        return canonical(self._facts.content_type) or claimed_type(None, self._facts.filename)

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
        """Your own JSON values, read-only; see :meth:`replace`."""
        return self._facts.metadata

    @property
    def width(self) -> int | None:
        """Width of an image in pixels, as shown; ``None`` if nobody looked."""
        return self._facts.width

    @property
    def height(self) -> int | None:
        """Height of an image in pixels, as shown; ``None`` if nobody looked."""
        return self._facts.height

    # -- derived values ------------------------------------------------------------------------------------------------

    def replace(self, *, metadata: Mapping[str, Any] | None = None, filename: str | None = None) -> Self:
        """Return this file with another filename or metadata, to assign to the column.

        Args:
            metadata: All of the new metadata.
            filename: The new display name.
        """
        facts = self._facts
        if metadata is not None:
            facts = facts._replace(metadata=check_metadata(metadata))
        if filename is not None:
            facts = facts._replace(filename=clean_filename(filename))
        changed = self._of(facts, self._state)
        changed._content, changed._shown = self._content, self._shown
        _stay(changed, self)
        self._sole = False
        return changed

    def update_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Add to the metadata of a file that is not stored yet.

        Raises:
            FileStateError: The file is stored: assign ``file.replace(metadata=...)`` instead, so that the row changes.
        """
        if self._state in {FileState.STAGED, FileState.ATTACHED}:
            change = "row.file = row.file.replace(metadata={**row.file.metadata, ...})"
            msg = f"{self!r} is stored, so its metadata is read-only; assign the changed value to its column: {change}"
            raise FileStateError(msg)
        facts = self._facts
        self._known = facts._replace(metadata=check_metadata({**facts.metadata, **metadata}))

    def to_dict(self) -> dict[str, Any]:
        """Return the full document, which says where the bytes are: do not publish it.

        Raises:
            FileStateError: The file is pending.
        """
        if not self._facts.path or self._content is not None or self._state is FileState.DELETED:
            raise FileStateError(f"{self!r} has no document until it is stored; commit its row, or call save()")
        return to_document(self._facts)

    def public_view(self) -> dict[str, Any]:
        """Return what clients may see, as JSON values.

        It has no place, and only the metadata that the column shows.
        """
        # the properties know what a pending file's content says of itself
        return public_view(self._facts._replace(content_type=self.content_type, size=self.size), self._shown.keys)

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

    def __str__(self) -> str:
        return self._facts.filename  # what templates and exports show: unlike repr, without the path

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # two values must not both look like the one that the row owns

    def __reduce__(self) -> tuple[Any, ...]:
        if self._content is not None:
            raise FileStateError(f"{self!r} cannot be pickled before it is stored")
        self._sole = False
        return _unpickle, (type(self), _picklable(self._facts), self._state, self._shown)

    # -- from a client's own upload ------------------------------------------------------------------------------------

    @classmethod
    def from_claim(
        cls, claim: str, column: object = None, *, secret: Secret | None = None, audience: str = "", development: bool = False
    ) -> Self:
        """Check a client's upload to the store, and return it as a pending file.

        The flush of its row reads, checks and stores it, and uses the claim.

        Args:
            claim: The token that ``DirectUploads.begin`` gave to the client.
            column: The mapped attribute for the file; a claim for another one is refused. Without it, the column of the claim
                is used, with the rules of the time when the claim was made.
            secret: As given to ``DirectUploads``. Default: ``FILEROW_SECRET``.
            audience: As given to ``DirectUploads``; a claim for another one is refused.
            development: As given to ``DirectUploads``.

        Raises:
            InvalidTokenError: The claim was not made by this application.
            ExpiredTokenError: The claim has expired.
            ClaimError: Nothing was uploaded, or something else; the claim is for another column, or was used before.
            FileValidationError: The column's rules refuse the file.
        """
        from filerow.direct._redeem import token_steps  # as in _copy_job

        return claimed_file(cls, run(token_steps(claim, column, secret, audience, development=development)))

    @classmethod
    async def from_claim_async(
        cls, claim: str, column: object = None, *, secret: Secret | None = None, audience: str = "", development: bool = False
    ) -> Self:
        """Check what a client has uploaded; see :meth:`from_claim`."""
        from filerow.direct._redeem import token_steps  # as in _copy_job

        return claimed_file(cls, await run_async(token_steps(claim, column, secret, audience, development=development)))

    # -- as text, for other processes ----------------------------------------------------------------------------------

    def to_reference(
        self, *, expires_in: float = REFERENCE_LIFE, audience: str = "", secret: Secret | None = None, development: bool = False
    ) -> str:
        """Return a signed text that stands for this stored file.

        It goes through a task queue, or to another service, where :meth:`from_reference` opens it. Everybody can read the
        document in it, the metadata too. The bytes are not in it; the object must still exist when they are read.

        Args:
            expires_in: Seconds for which the reference can be opened. Default: a day.
            audience: Who it is for, such as a service; only the same ``audience=`` opens it.
            secret: Signs it. Default: ``FILEROW_SECRET``.
            development: Without any secret, use one that only this process knows.

        Raises:
            FileStateError: The file is not stored.
            SecretError: No secret is set.
            DocumentError: The file's metadata is too large; also a ``ValueError``.
            ValueError: ``expires_in`` is not positive, or longer than 100 years.
        """
        if not self._facts.path or self._content is not None or self._state is FileState.DELETED:
            raise FileStateError(f"{self!r} has no reference until it is stored; commit its row, or call save()")
        from filerow._file.reference import Referenced, seal_reference  # as in _copy_job
        from filerow._tokens import resolve_keys

        keys = resolve_keys(secret, development=development, user="to_reference()")
        facts = self._facts
        if not facts.backend:  # it left the choice to the default backend, which another process may not share
            facts = facts._replace(backend=self.backend.key)
        return seal_reference(Referenced(facts, *self._shown[:2]), expires_in=expires_in, audience=audience, keys=keys)

    @classmethod
    def from_reference(
        cls, reference: str, *, audience: str = "", secret: Secret | None = None, development: bool = False
    ) -> Self:
        """Return the stored file of a reference.

        It counts as another row's file: a column that gets it stores a copy. Nothing is read, so whether the object still
        exists shows when its bytes are read.

        Args:
            reference: The text that :meth:`to_reference` returned.
            audience: As given to :meth:`to_reference`.
            secret: As given to :meth:`to_reference`; several accept what each of them signed.
            development: As given to :meth:`to_reference`.

        Raises:
            InvalidTokenError: The text is not a reference of this application, was changed, or is for another audience.
            ExpiredTokenError: The reference has expired.
            BackendNotFoundError: Its backend is not registered here.
            DocumentError: Another release of Filerow made it.
        """
        from filerow._file.reference import open_reference  # as in _copy_job
        from filerow._tokens import resolve_keys

        keys = resolve_keys(secret, development=development, user="from_reference()")
        found = open_reference(reference, audience=audience, keys=keys)
        file = cls._of(found.facts, FileState.ATTACHED)
        file._shown = Shown(found.public_metadata, found.cache_control)
        return file

    # -- from a text or a web address ------------------------------------------------------------------------------------

    @classmethod
    def from_data_uri(
        cls,
        uri: str,
        *,
        max_size: int | str = "10 MB",
        filename: str | None = None,
        backend: str | StorageBackend | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Self:
        """Return a pending file from a data URI (RFC 2397), base64 or percent-encoded.

        Args:
            uri: The text, such as ``data:image/png;base64,iVBORw0…``.
            max_size: Maximum size of the file, as bytes or ``"10 MB"``.
            filename: The file's name. Default: a parameter ``name`` of the URI.
            backend: As for a new file.
            metadata: As for a new file.

        Raises:
            ContentError: It is not a data URI.
            FileTooLargeError: The file is larger than ``max_size``.
        """
        from filerow._file.data_uri import read_data_uri
        from filerow._validation.rules import parse_size

        found = read_data_uri(uri, parse_size(max_size) or 0)
        name, kind = filename or found.name or None, found.content_type
        return cls(backend, filename=name, content_type=kind, metadata=metadata, content=found.content)

    @classmethod
    def from_base64(
        cls,
        text: str | bytes,
        *,
        max_size: int | str = "10 MB",
        filename: str | None = None,
        content_type: str | None = None,
        backend: str | StorageBackend | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Self:
        """Return a pending file from base64, of either alphabet.

        Args:
            text: The base64.
            max_size: Maximum size of the file, as bytes or ``"10 MB"``.
            filename: As for a new file.
            content_type: As for a new file.
            backend: As for a new file.
            metadata: As for a new file.

        Raises:
            ContentError: It is not base64.
            FileTooLargeError: The file is larger than ``max_size``.
        """
        from filerow._file.data_uri import decoded_base64
        from filerow._validation.rules import parse_size

        found = decoded_base64(text, parse_size(max_size) or 0)
        return cls(backend, filename=filename, content_type=content_type, metadata=metadata, content=found)

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        max_size: int | str = "25 MB",
        timeout: float = 30.0,
        max_redirects: int = 5,
        allow: Iterable[str] = (),
        filename: str | None = None,
        backend: str | StorageBackend | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Self:
        """Fetch a web address of the public internet.

        The file is pending; its bytes wait in a temporary file, so nothing is fetched during a flush. Only ``http`` and
        ``https`` on their own ports are fetched, and only from hosts all of whose addresses are public, after each redirect too.

        Args:
            url: The address.
            max_size: Maximum size of the file, as bytes or ``"25 MB"``.
            timeout: Total deadline in seconds, redirects included.
            max_redirects: Maximum number of redirects.
            allow: Networks that are allowed too, on any port, such as ``["127.0.0.0/8"]`` in a test.
            filename: The file's name. Default: the one that the server gives, or else the last part of the address.
            backend: As for a new file.
            metadata: As for a new file.

        Raises:
            FetchError: The address is refused, or does not return a file.
            FileTooLargeError: The file is larger than ``max_size``.
            ValueError: A limit makes no sense.
            ImportError: The extra ``filerow[url]`` is not installed.
        """
        from filerow._file.fetch import fetch, limits_of
        from filerow._validation.rules import parse_size

        limits = limits_of(parse_size(max_size) or 0, timeout, max_redirects, allow)
        return cls._fetched(run(fetch(url, limits)), filename, backend, metadata)

    @classmethod
    async def from_url_async(
        cls,
        url: str,
        *,
        max_size: int | str = "25 MB",
        timeout: float = 30.0,  # noqa: ASYNC109 - one total deadline, in both forms
        max_redirects: int = 5,
        allow: Iterable[str] = (),
        filename: str | None = None,
        backend: str | StorageBackend | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Self:
        """Fetch a web address; see :meth:`from_url`."""
        from filerow._file.fetch import fetch, limits_of
        from filerow._validation.rules import parse_size

        limits = limits_of(parse_size(max_size) or 0, timeout, max_redirects, allow)
        return cls._fetched(await run_async(fetch(url, limits)), filename, backend, metadata)

    @classmethod
    def _fetched(
        cls, found: Fetched, filename: str | None, backend: str | StorageBackend | None, metadata: Mapping[str, Any] | None
    ) -> Self:
        name, kind = filename or found.name or None, found.content_type or None
        return cls(backend, filename=name, content_type=kind, metadata=metadata, content=found.content)

    # -- variants ------------------------------------------------------------------------------------------------------

    def variant(self, wanted: str | Recipe) -> Variant:
        """Return an image derived from this file, made when it is first read.

        Args:
            wanted: A name in the column's ``variants=``, or a recipe of ``filerow.variants``.

        Raises:
            RecipeError: The column declares no variant of this name, or the file has no column.
            FileStateError: The file is not stored.
            TypeError: It is neither a name nor a recipe.
        """
        if not self._facts.path or self._content is not None:
            raise FileStateError(f"{self!r} is not stored yet, so it has no variants; commit its row's session, or call save()")
        shown = self._shown
        kept = shown.cache_control, shown.stored_with
        return variant_of(self._facts, self._storages, wanted, shown.variants, shown.column, *kept)

    def srcset(self, *wanted: str | Recipe, expires_in: float = EXPIRY, round_expiry: float | None = EXPIRY) -> str:
        """Return the ``srcset`` of an ``<img>``: URLs of variants, with their widths.

        They are ascending, and of variants of one width only the first is named. A variant whose width follows from an original
        that nobody has measured counts as wide as its recipe's ``width=``, and is left out if that has none.

        Args:
            *wanted: Names in the column's ``variants=``, or recipes.
            expires_in: Seconds for which the URLs work.
            round_expiry: Length in seconds of a window in which all URLs are the same, for caches; ``None`` for none.

        Raises:
            RecipeError: The column declares no variant of this name, or one has a ``Custom`` recipe without ``width=``.
            FileStateError: The file is not stored.
            SecretError: No secret is set.
        """
        return run(self._srcset_steps(wanted, expires_in, round_expiry))

    async def srcset_async(self, *wanted: str | Recipe, expires_in: float = EXPIRY, round_expiry: float | None = EXPIRY) -> str:
        """Return the ``srcset`` of an ``<img>``; see :meth:`srcset`."""
        return await run_async(self._srcset_steps(wanted, expires_in, round_expiry))

    def _srcset_steps(self, wanted: Iterable[str | Recipe], expires_in: float, round_expiry: float | None) -> Steps[str]:
        found = yield from signed_set([self.variant(one) for one in wanted], expires_in, round_expiry)
        return found.srcset

    # -- reading -------------------------------------------------------------------------------------------------------

    def get_content(self) -> bytes:
        """Return all bytes; for a pending file, those of its content.

        Raises:
            ObjectNotFoundError: The object is gone.
            IntegrityError: The store returned fewer or more bytes than the row says.
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
        """Yield the bytes ``[start, end)`` in chunks, in bounded memory.

        Raises:
            ObjectNotFoundError: The object is gone.
            IntegrityError: At the end: the bytes were fewer or more than the row says.
        """
        return measured(self._stored_in().stream(self._facts.path, start, end, chunk_size), self._facts, start, end)

    def stream_async(self, start: int = 0, end: int | None = None, *, chunk_size: int = 1 << 20) -> AsyncIterator[bytes]:
        """Iterate over the bytes; see :meth:`stream`."""
        return measured_async(self._stored_in().stream_async(self._facts.path, start, end, chunk_size), self._facts, start, end)

    def open(self) -> io.BufferedReader:
        """Return a seekable binary file that reads ranges of the object on demand."""
        from filerow._file.reader import FileReader, buffered

        return buffered(FileReader(self._stored_in(), self._facts.path, self._facts.size))

    def open_async(self) -> AsyncFileReader:
        """Return a seekable asynchronous reader, for ``async with``."""
        from filerow._file.reader import AsyncFileReader

        return AsyncFileReader(self._stored_in(), self._facts.path, self._facts.size)

    def download(self, path: str | os.PathLike[str]) -> Path:
        """Write the bytes to a file, which appears complete or not at all.

        Args:
            path: The file to make or replace, or a folder; its name there is the last part of the object's path.
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
        """Write the bytes to a file on this machine; see :meth:`download`."""
        return await in_thread(self.download, path)

    def exists(self) -> bool:
        """Return True if the object exists."""
        return self._may_exist and self._stored_in().exists(self._facts.path)

    async def exists_async(self) -> bool:
        """Return True if the object exists."""
        return self._may_exist and await self._stored_in().exists_async(self._facts.path)

    def verify(self) -> None:
        """Read the object and compare it with the document.

        Raises:
            IntegrityError: Size or checksum differ.
            ObjectNotFoundError: The object is gone.
        """
        run(self._verify_steps())

    async def verify_async(self) -> None:
        """Read the object and compare it with the document; see :meth:`verify`."""
        await run_async(self._verify_steps())

    def _verify_steps(self) -> Steps[None]:
        from filerow._file.reader import read_through

        meter = Meter()
        yield read_through(self._stored_in(), self._facts.path, meter.feed)
        expect_facts(self._facts, meter, "verify")

    # -- writing -------------------------------------------------------------------------------------------------------

    def save(self, data: object = None, **ignored: Unpack[Tuning]) -> Self:
        """Store the content now; the file is then staged until a row adopts it.

        A session stores the files of its rows when it flushes, so this is for files without a row.

        Args:
            data: The content, for a file made without content, or whose object was deleted.
            ignored: Options of Advanced Alchemy's ``save()``.

        Raises:
            FileStateError: The file is stored already.
            ContentError: The file has no content.
        """
        if data is not None and self._is_known and not self.exists():
            self._deleted()
        upload = open_upload(self, data, ignored)
        upload.finish()
        self._complete(upload.facts)
        return self

    async def save_async(self, data: object = None, **ignored: Unpack[Tuning]) -> Self:
        """Store the content now, also from asynchronous iterables; see :meth:`save`."""
        if data is not None and self._is_known and not await self.exists_async():
            self._deleted()
        upload = open_upload(self, data, ignored)
        await upload.finish_async()
        self._complete(upload.facts)
        return self

    def copy(self) -> Self:
        """Copy the object on the server's side, and return the copy, staged."""
        job = self._copy_job()
        job.finish()
        return self._staged(job.facts)

    async def copy_async(self) -> Self:
        """Copy the object; see :meth:`copy`."""
        job = self._copy_job()
        await job.finish_async()
        return self._staged(job.facts)

    def delete(self, *, force: bool = False) -> None:
        """Delete the object of a staged file, which needs new content to be adopted.

        Args:
            force: Delete even if a row owns the file; the row then points to nothing.

        Raises:
            FileStateError: A row owns the file (clear the column or delete the row instead), or the file is not stored.
            UnsupportedOperationError: The backend is registered with ``deletes=False``.
            StorageError: The store refused.
        """
        if self._state is not FileState.DELETED:
            run(self._delete_steps(force=force))

    async def delete_async(self, *, force: bool = False) -> None:
        """Delete the object of a staged file; see :meth:`delete`."""
        if self._state is not FileState.DELETED:
            await run_async(self._delete_steps(force=force))

    # -- URLs ----------------------------------------------------------------------------------------------------------

    def url(self) -> str:
        """Return the permanent URL of a public file, without a request.

        The backend's ``public_url=`` or ``cdn=`` template gives it. For other files see :meth:`sign`.

        Raises:
            UnsupportedOperationError: The backend is private.
            FileStateError: The file is not stored yet.
        """
        return self._stored_in().url(self._facts.path)

    # -- signed URLs ---------------------------------------------------------------------------------------------------

    def sign(
        self,
        *,
        expires_in: float | None = None,
        for_upload: bool = False,
        download_as: str | None = None,
        inline: bool = False,
        content_type: str | None = None,
        content_length: int | None = None,
        max_length: int | None = None,
        round_expiry: float | None = None,
    ) -> str:
        """Return a URL that lets its holder read (or replace) the bytes until it expires.

        Args:
            expires_in: Seconds for which the URL works. Default: 3600.
            for_upload: Sign a ``PUT`` instead of a ``GET``.
            download_as: Make the store send this filename, as an attachment (RFC 6266).
            inline: Make the store send the filename, to show the file in the browser if its type is safe to show; otherwise as an
                attachment.
            content_type: The only ``Content-Type`` allowed for the upload (``for_upload``).
            content_length: Exact length of the upload in bytes (``for_upload``).
            max_length: Maximum length of the upload in bytes (``for_upload``). Among the clouds, only Google's enforces it.
            round_expiry: Length in seconds of a window in which all URLs are the same, for caches. The URL may work this much
                longer than ``expires_in``.

        Raises:
            UnsupportedOperationError: The backend cannot sign this, or cannot enforce a limit; the message says which.
            SecretError: The backend signs URLs of our own route and has no secret.
            ValueError: A number is out of range, or these arguments cannot be combined.
        """
        limits = (content_type, content_length, max_length)
        if limits == _NO_LIMITS and download_as is None and round_expiry is None and not (for_upload or inline):
            facts = self._known or self._facts  # _known first: signing many files needs nothing else
            backend = self._storages.resolve(facts.backend) if facts.path else self._stored_in()
            if backend.own_urls is None:
                return backend.sign(facts.path, plain_read(DEFAULT_EXPIRY if expires_in is None else expires_in))
        backend = self._signed_by(for_upload=for_upload)
        request = self._sign_request(backend, expires_in, limits, round_expiry, download_as, for_upload=for_upload, inline=inline)
        return backend.sign(self._facts.path, request)

    async def sign_async(
        self,
        *,
        expires_in: float | None = None,
        for_upload: bool = False,
        download_as: str | None = None,
        inline: bool = False,
        content_type: str | None = None,
        content_length: int | None = None,
        max_length: int | None = None,
        round_expiry: float | None = None,
    ) -> str:
        """Return a signed URL; see :meth:`sign`."""
        limits = (content_type, content_length, max_length)
        if limits == _NO_LIMITS and download_as is None and round_expiry is None and not (for_upload or inline):
            facts = self._known or self._facts  # _known first: signing many files needs nothing else
            backend = self._storages.resolve(facts.backend) if facts.path else self._stored_in()
            if backend.own_urls is None:
                return await backend.sign_async(facts.path, plain_read(DEFAULT_EXPIRY if expires_in is None else expires_in))
        backend = self._signed_by(for_upload=for_upload)
        request = self._sign_request(backend, expires_in, limits, round_expiry, download_as, for_upload=for_upload, inline=inline)
        return await backend.sign_async(self._facts.path, request)

    def _presented(self, request: SignRequest) -> SignRequest:
        """Return a request to read that binds name and type where the store cannot."""
        backend = self._signed_by()
        shown = self._presentation(backend, None, inline=False)
        cached = self._cached_by(backend)
        return SignRequest("GET", request.expires_in, *shown, signed_at=request.signed_at, cache_control=cached)

    def _sign_request(
        self,
        backend: StorageBackend,
        expires_in: float | None,
        limits: Limits,
        round_expiry: float | None,
        download_as: str | None,
        *,
        for_upload: bool,
        inline: bool,
    ) -> SignRequest:
        seconds = DEFAULT_EXPIRY if expires_in is None else whole_seconds(expires_in)
        if download_as is not None and inline:
            raise ValueError("choose one of download_as= (an attachment) and inline=True (shown in the browser)")
        if for_upload:
            if download_as is not None or inline:
                raise ValueError("download_as= and inline= are for downloads; they cannot be used with for_upload=True")
            return SignRequest("PUT", seconds, None, *limits).rounded(round_expiry)
        if limits != _NO_LIMITS:
            raise ValueError("content_type=, content_length= and max_length= limit an upload: use them with for_upload=True")
        shown = self._presentation(backend, download_as, inline=inline)
        return SignRequest("GET", seconds, *shown, cache_control=self._cached_by(backend)).rounded(round_expiry)

    def _cached_by(self, backend: StorageBackend) -> str | None:
        """Return the ``Cache-Control`` to bind into a URL of our own route."""
        return None if backend.own_urls is None else self._shown.cache_control

    def _presentation(self, backend: StorageBackend, download_as: str | None, *, inline: bool) -> tuple[str | None, str | None]:
        """Return disposition and type for a URL; ``None`` where the store knows them."""
        facts = self._facts
        # A store with a server keeps both with the object. Our own route sees the URL and the path, not the row.
        own = backend.own_urls is not None and bool(facts.content_type)
        if not own and download_as is None and not inline:
            return None, None
        from filerow._presentation import present  # loaded with the first URL that needs it, not with the package

        shown = present(facts.content_type, download_as or facts.filename, inline=inline or (own and download_as is None))
        return shown.content_disposition, shown.content_type if own else None

    def _stored_in(self) -> StorageBackend:
        facts = self._facts
        if self._content is not None or not facts.path:
            raise FileStateError(f"{self!r} is not stored yet; commit its row's session, or call save()")
        if self._state is FileState.DELETED:
            raise ObjectNotFoundError("delete() has deleted it", operation="read", backend=facts.backend, path=facts.path)
        return self._storages.resolve(facts.backend)

    def _signed_by(self, *, for_upload: bool = False) -> StorageBackend:
        facts = self._facts
        if facts.path:  # an upload may be signed before the object exists
            return self._storages.resolve(facts.backend)
        if for_upload:
            raise FileStateError(f"{self!r} has no path to upload to: set to_filename=, or use DirectUploads")
        return self._stored_in()

    # -- shared by each pair -------------------------------------------------------------------------------------------

    def _complete(self, facts: Facts | None) -> None:
        if facts is not None:
            stage(self, facts)

    def _staged(self, facts: Facts | None) -> Self:
        copy = self._of(facts or self._facts, FileState.STAGED)
        _stay(copy, self)
        copy._sole = True
        return copy

    def _takes_content(self) -> bool:
        known = self._facts.path and (self._state is FileState.ATTACHED or self._facts.checksum)
        return self._content is None and not known

    @property
    def _may_exist(self) -> bool:
        return bool(self._facts.path) and self._content is None and self._state is not FileState.DELETED

    @property
    def _is_known(self) -> bool:
        return self._state is FileState.STAGED and not self._takes_content()

    def _delete_steps(self, *, force: bool) -> Steps[None]:
        backend, path = self._stored_in(), self._deletable(force=force)
        variants = self._shown.variants
        varied = variants or self._facts.variants or makes_variants()
        _raise_first((yield Call(backend.delete, backend.delete_async, (path,))))
        self._deleted()
        if varied:
            from filerow._file.variant_objects import delete_variants  # as in _copy_job

            yield from delete_variants(backend, {path: variants}, exactly=True)

    def _deleted(self) -> None:
        if self._state is FileState.STAGED:  # the row that owns it keeps pointing there
            known = self._facts
            gone = Facts(known.backend, known.path, known.filename, known.content_type, metadata=known.metadata)
            complete(self, gone, FileState.DELETED)

    def _deletable(self, *, force: bool) -> str:
        if self._state is FileState.ATTACHED and not force:
            raise FileStateError(
                f"{self!r} belongs to a row; set the column to None or delete the row, and the commit deletes the bytes "
                "(delete(force=True) deletes them now and leaves the row pointing to nothing)"
            )
        if not self._storages.may_delete(self._facts.backend):
            msg = "the backend is registered with deletes=False, so this process must not delete from it"
            raise UnsupportedOperationError(msg, operation="delete", backend=self._facts.backend, path=self._facts.path)
        return self._facts.path

    def _whole(self, data: bytes) -> bytes:
        expect_length(self._facts.backend, self._facts.path, self._facts.size, len(data))
        return data

    def _pending_bytes(self, content: Content) -> bytes:
        chunks = content.chunks() if content.replayable else None
        if not isinstance(chunks, Iterator):
            raise FileStateError(f"{self!r} has content that can be read only once; store it first")
        try:
            return b"".join(chunks)
        finally:
            content.put_back()

    def _download_target(self, path: str | os.PathLike[str]) -> Path:
        target = Path(path)
        return target / self._facts.path.rsplit("/", 1)[-1] if target.is_dir() else target

    def _copy_job(self) -> Copy:
        from filerow._file.transfer import Copy  # loaded with the first file that is stored, not with the package

        backend = self._stored_in()
        facts = self._facts
        path = generate_path(STAGING, COPIES, facts.filename)
        return Copy(facts, backend, backend, path, variants=self._shown.variants)

    # -- pydantic ------------------------------------------------------------------------------------------------------

    __pydantic_serializer__: ClassVar[Any] = _Serializer()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from filerow._file.pydantic import core_schema_for

        return core_schema_for(cls)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return json_schema_for(handler.mode)


def open_upload(file: FileObject, data: object, ignored: Tuning) -> Upload:
    """Return the upload that stores a file without a column."""
    from filerow._file.transfer import Upload  # as in _copy_job

    if unknown := set(ignored) - set(Tuning.__annotations__):
        accepted = ", ".join(sorted(Tuning.__annotations__))
        raise TypeError(f"save() has no option {min(unknown)!r}; it accepts, and ignores, {accepted}")
    facts, content = file._facts, file._content
    if data is not None:
        if not file._takes_content():
            raise FileStateError(f"{file!r} already has its content; make a new FileObject for other bytes")
        content = content_of(data)
    if content is None:
        raise ContentError(f"{file!r} has no content to save; pass content=, or call save(data)")
    if content.claimed is not None:
        msg = f"{file!r} was uploaded by a client with a claim, which only a row can use: assign it to its column, and commit"
        raise FileStateError(msg)
    chosen = "" if is_generated(facts.path) else facts.path
    path = chosen or generate_path(STAGING, "files", facts.filename)
    return Upload(content, facts, file._storages.resolve(facts.backend), path, generated=not chosen)


def _positional(name: str, value: object) -> TypeError:
    """Return the error for content that was passed as a name."""
    given = type(value).__name__
    return TypeError(f"{name} must be a string, not {given}; pass content by name: FileObject(filename='a.txt', content=...)")


def _read_only(name: str) -> Callable[[object, object], NoReturn]:
    """Return a setter for a fact: it says what to do instead."""

    def refuse(_file: object, _value: object) -> NoReturn:
        way = f"assign a changed file: row.file = row.file.replace({name}=...)"
        if name not in {"filename", "metadata"}:
            way = "it describes the stored bytes; assign another FileObject"
        raise AttributeError(f"the {name} of a FileObject cannot be set; {way}")

    return refuse


for _fact in (
    "path",
    "filename",
    "content_type",
    "size",
    "checksum",
    "etag",
    "version_id",
    "last_modified",
    "metadata",
    "width",
    "height",
):
    setattr(FileObject, _fact, getattr(FileObject, _fact).setter(_read_only(_fact)))  # type checkers see no setter


def not_a_file(name: str, value: object, *, in_list: bool = False) -> TypeError | UntrustedDocumentError:
    """Return the error for a value that is not a file.

    Args:
        name: What it was given for, such as a column.
        value: The value.
        in_list: The value is a member of a list of files.
    """
    if isinstance(value, dict):
        return UntrustedDocumentError(
            f"{name} takes a FileObject, not a dict: a document from a client could name any object of any backend. "
            "For an upload use FileObject.from_upload(...); for a document you trust, FileObject.from_dict(...)"
        )
    way = "wrap the content: FileObject(content=...)"
    if unwrap_upload(value) is not None:
        way = "for an upload write FileObject.from_upload(upload), or take it by Uploaded(...) of filerow.ext"
    elif isinstance(value, list | tuple) and not in_list:
        way = "for several files declare the column as StoredObject(multiple=True)"
    return TypeError(f"{name} takes a FileObject, not {type(value).__name__}; {way}")


def _chosen_path(path: str, key: str) -> str:
    if not isinstance(path, str):
        raise _positional("to_filename", path)
    return chosen_path(path, key)


def chosen_path(path: str, backend: str) -> str:
    """Return a path under which an application may store a file.

    Raises:
        InvalidPathError: It is not a path, or is reserved for objects of Filerow's own.
    """
    if is_reserved(check_path(path, backend, "put")):
        msg = f"{RESERVED}/ and {RECORD} are reserved for Filerow's own objects; choose another path"
        raise InvalidPathError(msg, operation="put", backend=backend, path=path)
    return path


def _raise_first(failed: Mapping[str, StorageError]) -> None:
    for error in failed.values():
        raise error


def _stay(file: FileObject, other: FileObject | None = None) -> None:
    """Let a file keep to the registry in force, or to that of another file.

    It keeps none of the process's own, so that a plain program pays nothing.
    """
    registry = in_force() if other is None else registry_of(other)
    if registry is not None or (other is not None and others):
        file._registry = registry


def _picklable(facts: Facts) -> tuple[Any, ...]:
    return tuple(facts._replace(metadata=dict(facts.metadata), extra=dict(facts.extra)))


def _unpickle(cls: type[FileObject], facts: tuple[Any, ...], state: FileState, shown: Any = UNSHOWN) -> FileObject:
    known = Facts(*facts)
    file = cls._of(known._replace(metadata=check_metadata(known.metadata)), state)
    file._shown = shown if isinstance(shown, Shown) else Shown(shown)  # earlier releases pickled only the keys
    return file


# -- how the layers above change a file's state ----------------------------------------------------------------------------


def loaded(raw: str | bytes | Mapping[str, Any], shown: Shown = UNSHOWN) -> FileObject:
    """Return the file of a row's document, which is decoded on first use.

    Args:
        raw: The document.
        shown: How the column's files are shown to clients.
    """
    file = FileObject.__new__(FileObject)
    file._raw = raw
    file._known = file._content = None
    file._state, file._sole = FileState.ATTACHED, False
    file._shown = shown
    if others:
        _stay(file)
    return file


def show_as(file: FileObject, shown: Shown) -> None:
    """Set how clients see a file, as its column says."""
    file._shown = shown


def cache_control_of(file: FileObject) -> str | None:
    """Return the ``Cache-Control`` of the file's column; ``None`` if it sets none."""
    return file._shown.cache_control


def smallest_variant(file: FileObject) -> Variant | None:
    """Return the smallest variant that the column of a decodable image declares."""
    declared = [recipe for _, recipe in file._shown.variants if not recipe.plan["function"]]
    if not declared or not is_decoded(file.content_type) or not file._facts.path or file._content is not None:
        return None
    return file.variant(min(declared, key=lambda recipe: recipe.plan["width"] or recipe.plan["height"] or 0))


def registry_of(file: FileObject) -> StorageRegistry | None:
    """Return the registry that a file keeps to; ``None`` for that of the process."""
    return file._kept


def facts_of(file: FileObject) -> Facts:
    """Return a file's facts."""
    return file._facts


def place_of(file: FileObject) -> tuple[str, str]:
    """Return a stored file's backend and path without decoding its document."""
    known, raw = file._known, file._raw
    if known is not None:
        return known[:2]
    return file._facts[:2] if raw is None else located_in(raw)  # None: another thread has decoded it


def content_in(file: FileObject) -> Content | None:
    """Return a file's content if it is not stored yet."""
    return file._content


def claimed_file(kind: type[Kind], content: Content) -> Kind:
    """Return the file of a client's upload of the announced size and checksum."""
    checksum = content.claimed.checksum if content.claimed else None
    return kind(
        filename=content.filename, content_type=content.content_type, size=content.size, checksum=checksum, content=content
    )


def attached(facts: Facts) -> FileObject:
    """Return a new file that a row owns."""
    return FileObject._of(facts, FileState.ATTACHED)


def complete(file: FileObject, facts: Facts, state: FileState) -> None:
    """Record that a file is stored, or has an owner now."""
    file._raw, file._known, file._content, file._state = None, facts, None, state
    _stay(file)


def stage(file: FileObject, facts: Facts) -> None:
    """Record that a file is stored without a row, and only this one names it."""
    complete(file, facts, FileState.STAGED)
    file._sole = True


def may_have_a_row(file: FileObject) -> bool:
    """Return True if a row may own a staged file.

    That is so if it names an existing object, was pickled, or is a changed copy.
    """
    return file._state is FileState.STAGED and not file._sole


def snapshot(file: FileObject) -> Snapshot:
    """Return a file's present state."""
    return Snapshot(file._facts, file._content, file._state)


def restore(file: FileObject, before: Snapshot) -> None:
    """Restore a file's earlier state after a rollback."""
    file._raw, (file._known, file._content, file._state) = None, before
    if before.content is not None:
        before.content.put_back()
