"""``StoredObject``: the SQLAlchemy type of a file column.

::

    class Document(Base):
        __tablename__ = "document"
        id: Mapped[int] = mapped_column(primary_key=True)
        file: Mapped[FileObject | None] = mapped_column(StoredObject("docs", max_size="25 MB"))
        pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))

The column holds JSON (JSONB on PostgreSQL). This module turns files into documents and back, and
lets queries look into them; it does no I/O. ``_orm.events`` stores and deletes the bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from sqlalchemy import JSON, BigInteger, ColumnElement, and_, cast, or_, type_coerce
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import operators
from sqlalchemy.types import TypeDecorator, TypeEngine

from filerow._file.list import FileObjectList, read_list
from filerow._file.object import FileObject, FileState, Shown, Snapshot, content_in, facts_of, loaded, not_a_file, restore
from filerow._paths import COPIES, STAGING, Chooser, checked_path, checked_shards, folders_of
from filerow._recipes import MakeChoice, Recipe, Variants, checked_make, checked_variants, moments_of
from filerow._registry import key_of
from filerow._validation.patterns import checked_types
from filerow._validation.rules import NO_RULES, ImageLimits, ImageSize, Rules, checked_image_size, checked_keys, checked_sizes
from filerow._validation.validators import Validator, checked_validators
from filerow.backends._stored_with import StoredWith, checked_options
from filerow.backends.base import StorageBackend
from filerow.exceptions import DocumentError, FileStateError, UnsupportedRouteError

if TYPE_CHECKING:
    from filerow._validation.checks import Checks

binding_refused: ContextVar[bool] = ContextVar("filerow_binding_refused", default=False)
"""Set by the unit of work while a legacy bulk method of the session runs.

Files cannot be stored there.
"""

_JSON = JSON(none_as_null=True)

_first_use: list[Callable[[], None]] = []


def on_first_use(call: Callable[[], None]) -> Callable[[], None]:
    """Register a callback for the program's first file column."""
    _first_use.append(call)
    return call


_declaring: dict[str, WeakSet[StoredObject]] = {}
"""The types with variants, by their columns' names; of several MetaData there may be several."""


variant_folders: dict[str, WeakSet[StoredObject]] = {}
"""The same, by the folders of the paths that are generated for their columns."""


def variants_of_file(path: str, table: str, column: str, declared: Variants) -> Variants:
    """Return what there may be of a file of a column, as far as its path says.

    A file that has moved keeps its path, so one that is not in its column's folder may have variants
    of any other column.

    Args:
        path: The file's.
        table: The table of the column that it is in.
        column: The column.
        declared: What that column declares.
    """
    if not variant_folders or path.startswith(f"{folders_of(table, column)[0]}/"):
        return declared
    folder = "/".join(path.split("/", 2)[:2])
    if not declared and folder != f"{STAGING}/{COPIES}" and not variant_folders.get(folder):
        return declared
    others = (variants for kinds in variant_folders.values() for kind in kinds for variants in kind.variants)
    return tuple(dict.fromkeys((*declared, *others)))


def recipes_called(name: str) -> list[Recipe]:
    """Return the recipes that mapped columns declare as ``table.column:name``."""
    column, _, variant = name.rpartition(":")
    return [dict(one.variants)[variant] for one in _declaring.get(column, ()) if variant in dict(one.variants)]


def options_called(name: str, recipe: Recipe) -> StoredWith | None:
    """Return what a variant is stored with that a mapped column declares so."""
    column, _, variant = name.rpartition(":")
    found = (one for one in _declaring.get(column, ()) if dict(one.variants).get(variant) == recipe)
    return next((one.stored_with for one in found), None)


_NO_BULK_METHODS = (
    "bulk_save_objects(), bulk_insert_mappings() and bulk_update_mappings() bypass the unit of work, so a file column cannot go "
    "through them; use session.add_all(...), session.execute(insert(Model), [...]) or session.execute(update(Model), [...])"
)

# Operators of plain JSON columns: they read from the document and do not compare files.
_LOOKS_INSIDE = frozenset({operators.getitem, operators.json_getitem_op, operators.json_path_getitem_op})


_EQUALITY = frozenset({operators.eq, operators.ne})


class StoredObject(TypeDecorator[Any]):
    """A column whose files follow its rows.

    Args:
        backend: The backend or its key; it may be registered later. Default: the default backend.
        multiple: The column holds a list of files (``FileObjectList``) instead of one.
        max_size: Maximum size in bytes: a number, or text such as ``"25 MB"`` or ``"25 MiB"``.
        min_size: Minimum size in bytes, written the same way; 0 allows empty files.
        content_types: Allowed media types; patterns such as ``image/*`` work. They are compared
            with the type recognised from the bytes, by canonical name: ``image/jpg`` means
            ``image/jpeg``. SVG can carry scripts, so only ``image/svg+xml`` itself allows it.
        max_pixels: Maximum number of pixels of an image, width times height.
        min_width: Minimum width of an image in pixels.
        max_width: Maximum width of an image in pixels.
        min_height: Minimum height of an image in pixels.
        max_height: Maximum height of an image in pixels. These five apply to images and read their
            headers; if any is set, an image whose header does not give its size is refused. Other
            files pass.
        image_size: Which width and height the limits mean: ``"shown"`` rotates as EXIF or HEIF
            says, like viewers; ``"stored"`` does not.
        validators: Checks of your own, plain or ``async``: ``check(head: bytes, facts:
            Inspection)`` returns ``None`` or metadata to add, or raises ``FileValidationError``;
            see :func:`filerow.whole_content` for those that need every byte.
        path: A callable that gets a :class:`filerow.PathRequest` and returns the path to store
            under, create-only.
        shards: Spread the generated paths over this many folders; 0 for none.
        public_metadata: Keys of ``metadata`` that clients may see. Default: none, since validators
            and other libraries may have stored private values there.
        lifecycle: ``False`` stores new files but never copies or deletes any: the application does.
        stored_with: How to store the objects: cache control, storage class, tags, metadata. An
            option that the backend does not support is refused once both are known.
        variants: Images derived from the column's files: recipes of ``filerow.variants`` by name.
        make_variants: When they are made: at ``"first_use"``; or at the ``"commit"``, before the
            row is written, so that its document lists them, ``sign()`` returns the store's own
            URL, and an image that cannot be decoded is refused. For all, by name, or as a function
            returns that gets the row's object, or the values that a bulk statement gives to a row.
            A function that raises undoes the flush, and so does one of a ``Custom`` recipe.
    """

    impl: TypeEngine[Any] | type[TypeEngine[Any]] = JSON
    cache_ok: bool | None = True

    min_size: int
    max_size: int | None
    max_pixels: int | None
    min_width: int | None
    max_width: int | None
    min_height: int | None
    max_height: int | None

    def __init__(  # noqa: PLR0913 - a column has many rules, each with a name
        self,
        backend: str | StorageBackend = "",
        multiple: bool = False,  # noqa: FBT001, FBT002 - positional in the API this grew out of
        *,
        max_size: int | str | None = None,
        min_size: int | str = 0,
        content_types: Sequence[str] = (),
        max_pixels: int | None = None,
        min_width: int | None = None,
        max_width: int | None = None,
        min_height: int | None = None,
        max_height: int | None = None,
        image_size: ImageSize = "shown",
        validators: Iterable[Validator] = (),
        path: Chooser | None = None,
        shards: int = 0,
        lifecycle: bool = True,
        public_metadata: Sequence[str] = (),
        stored_with: StoredWith | None = None,
        variants: Mapping[str, Recipe] | None = None,
        make_variants: MakeChoice = "first_use",
    ) -> None:
        super().__init__()
        while _first_use:
            _first_use.pop()()
        self.backend: str = key_of(backend)
        self.multiple = multiple
        self.min_size, self.max_size = checked_sizes(min_size, max_size)
        self.content_types: tuple[str, ...] = checked_types(content_types)
        limits = ImageLimits(max_pixels, min_width, max_width, min_height, max_height).checked()
        self.max_pixels, self.min_width, self.max_width, self.min_height, self.max_height = limits
        self.image_size: ImageSize = checked_image_size(image_size)
        self.path: Chooser | None = checked_path(path)
        self.shards: int = checked_shards(shards)
        self.lifecycle = lifecycle
        self.public_metadata: tuple[str, ...] = checked_keys(public_metadata)
        # A result processor depends on them, so they belong to the cache key.
        self.variants: Variants = checked_variants(variants)
        # Underscored to keep them out of SQLAlchemy's cache key: SQL does not depend on them.
        checks = checked_validators(validators)
        self._rules = Rules(
            self.max_size, self.content_types, "", limits, checks, self.min_size, self.image_size, bool(self.variants)
        )
        self._rules_of: dict[str, Rules] = {}
        self._field: str | None = None
        self._column: str | None = None
        self._stored_with = checked_options(stored_with)
        choice = checked_make(make_variants, self.variants)
        # None where nothing is made at a commit: all that a flush of other columns looks at
        self._at_commit = choice if callable(choice) else tuple(moments_of(choice, self.variants)) or None
        cached = None if stored_with is None else stored_with.cache_control
        self._shown = Shown(self.public_metadata, cached, self.variants, stored_with=self._stored_with)

    @property
    def stored_with(self) -> StoredWith | None:
        """How objects are stored besides their type; ``None``: the default."""
        return self._stored_with

    @property
    def shown(self) -> Shown:
        """How clients see the column's files."""
        return self._shown

    @property
    def validators(self) -> tuple[Validator, ...]:
        """The application's own checks."""
        return self._rules.validators

    def rules(self, field: str) -> Rules:
        """Return the checks a file of this column must pass."""
        rules = self._rules_of.get(field)
        if rules is None:
            rules = self._rules_of[field] = self._rules._replace(field=field)
        return rules

    # -- checks --------------------------------------------------------------------------------------------------------

    def _named(self, field: str, column: str, folder: str) -> None:
        """Set the names for messages and URLs, and the folder of its paths.

        A type shared by several has none.
        """
        self._field = field if self._field in {None, field} else ""
        if self.variants:
            self._column = column if self._column in {None, column} else ""
            self._shown = self._shown._replace(column=self._column)
            _declaring.setdefault(column, WeakSet()).add(self)
            variant_folders.setdefault(folder, WeakSet()).add(self)

    def check(self, value: object, *, field: str = "") -> FileObject:
        """Check content against all rules of this column without storing it.

        For example: ``Document.file.type.check(upload)``.

        Args:
            value: A pending ``FileObject``, an upload, or any content that one takes. A stream is
                buffered to be checked whole.
            field: Its name in an error. Default: the attribute's name.

        Returns:
            A pending file to assign, with the recognised content type and the metadata that
                validators added. Its validators do not run again.

        Raises:
            FileValidationError: The file is refused.
            ContentError: A validator or the content is asynchronous.
            FileStateError: The file is stored already.
        """
        file, checks = self._checks(value, field)
        checks.everything()
        return _checked(file, checks)

    async def check_async(self, value: object, *, field: str = "") -> FileObject:
        """Check content against all rules of this column; see :meth:`check`.

        Accepts asynchronous validators and content.
        """
        file, checks = self._checks(value, field)
        await checks.everything_async()
        return _checked(file, checks)

    def _check_assigned(self, file: FileObject, field: str) -> None:
        """Check on assignment what is known of a pending file's content.

        Raises:
            FileValidationError: The file is refused.
        """
        if content_in(file) is None or self._rules == NO_RULES:
            return
        file, checks = self._checks(file, field)
        checks.at_once()
        if checks.metadata is not file.metadata:
            _checked(file, checks)
        elif checks.sides is not None:
            width, height = checks.sides
            restore(file, Snapshot(facts_of(file)._replace(width=width, height=height), checks.content, FileState.PENDING))

    def _checks(self, value: object, field: str) -> tuple[FileObject, Checks]:
        from filerow._validation.checks import (
            Checks,  # loaded with the first file that is checked or stored, not with the package
        )

        file = value if isinstance(value, FileObject) else FileObject(content=value)
        content = content_in(file)
        if content is None:
            raise FileStateError(f"{file!r} has no content to check: rules apply to files that are not stored yet")
        return file, Checks(content, facts_of(file), self.rules(field or self._field or ""))

    @property
    def python_type(self) -> type[Any]:
        """``FileObject``, or ``FileObjectList`` for a list column."""
        return FileObjectList if self.multiple else FileObject

    def __repr__(self) -> str:
        """Return Python source that makes this type, for Alembic."""
        arguments = [repr(self.backend)] if self.backend else []
        arguments += ["multiple=True"] if self.multiple else []
        arguments += [f"max_size={self.max_size}"] if self.max_size is not None else []
        arguments += [f"min_size={self.min_size}"] if self.min_size else []
        arguments += [f"content_types={list(self.content_types)}"] if self.content_types else []
        arguments += [f"{name}={value}" for name, value in self._rules.image._asdict().items() if value is not None]
        arguments += [] if self.image_size == "shown" else [f"image_size={self.image_size!r}"]
        arguments += [f"shards={self.shards}"] if self.shards else []
        arguments += [] if self.lifecycle else ["lifecycle=False"]
        arguments += [f"public_metadata={list(self.public_metadata)}"] if self.public_metadata else []
        return f"StoredObject({', '.join(arguments)})"

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return JSONB for PostgreSQL, JSON for others."""
        if dialect.name == "postgresql":
            from sqlalchemy.dialects.postgresql import JSONB

            return dialect.type_descriptor(JSONB(none_as_null=True))
        return dialect.type_descriptor(_JSON)

    # -- values --------------------------------------------------------------------------------------------------------

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Turn stored files into their documents.

        Raises:
            UnsupportedRouteError: A file is still pending, since the unit of work did not see it.
        """
        if binding_refused.get():
            raise UnsupportedRouteError(_NO_BULK_METHODS)
        if self.multiple:
            return [self._document(file) for file in value or ()]
        return None if value is None else self._document(value)

    def _document(self, value: object) -> dict[str, Any]:
        if not isinstance(value, FileObject):
            raise not_a_file("a file column", value)
        if value.state is FileState.PENDING:
            raise UnsupportedRouteError(
                f"{value!r} is not stored yet, and this statement bypasses the ORM's unit of work, which would store it. "
                "Add the object to a session, use session.execute(insert(Model), [...]), or call save() on the file first; "
                "instead of onupdate=, use a before_update listener"
            )
        return value.to_dict()

    # SQLAlchemy's name for the processor's type is private
    def result_processor(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, dialect: Dialect, coltype: Any
    ) -> Callable[[Any], Any] | None:
        """Return a function that turns documents into files.

        A single document is parsed only when the file's facts are read.
        """
        decode = self.impl_instance.result_processor(dialect, coltype)
        if self.multiple:

            def process_list(value: Any) -> Any:
                documents: Any = _decoded(decode, value) if decode is not None and isinstance(value, str | bytes) else value
                # other libraries leave one document from before the column was a list, and null for a removed file
                many = [documents] if isinstance(documents, dict) else documents or ()
                shown = self._shown
                return read_list(loaded(document, shown) for document in many if document is not None)

            return process_list

        def process(value: Any) -> Any:
            # "null" is JSON null, which other libraries store for no file
            return None if value is None or value in ("null", b"null") else loaded(value, self._shown)

        return process

    def compare_values(self, x: Any, y: Any) -> bool:
        """Return True if two values have the same documents.

        A new filename or new metadata makes an UPDATE.
        """
        if isinstance(x, FileObject) and isinstance(y, FileObject):
            return x is y or (x == y and facts_of(x) == facts_of(y))
        if isinstance(x, list) and isinstance(y, list):
            return len(x) == len(y) and all(self.compare_values(a, b) for a, b in zip(x, y, strict=True))
        return x is y

    # -- queries -------------------------------------------------------------------------------------------------------

    class Comparator(TypeDecorator.Comparator[Any]):
        """Query the document: ``where(Document.file.size > 1_000_000)``."""

        def _json(self) -> ColumnElement[Any]:
            return type_coerce(self.expr, _JSON)

        def _text(self, key: str) -> ColumnElement[str]:
            text: ColumnElement[str] = self._json()[key].as_string()
            return text

        @property
        def backend(self) -> ColumnElement[str]:
            """The backend's key."""
            return self._text("backend")

        @property
        def path(self) -> ColumnElement[str]:
            """The path inside the backend."""
            return self._text("path")

        @property
        def filename(self) -> ColumnElement[str]:
            """The client's filename."""
            return self._text("filename")

        @property
        def content_type(self) -> ColumnElement[str]:
            """The media type."""
            return self._text("content_type")

        @property
        def checksum(self) -> ColumnElement[str]:
            """``sha256:<hex>``."""
            return self._text("checksum")

        @property
        def etag(self) -> ColumnElement[str]:
            """The store's tag."""
            return self._text("etag")

        @property
        def version_id(self) -> ColumnElement[str]:
            """The version, in a versioned bucket."""
            return self._text("version_id")

        @property
        def size(self) -> ColumnElement[int]:
            """Length in bytes."""
            return cast(self._text("size"), BigInteger)  # as_integer() has 32 bits on PostgreSQL

        @property
        def width(self) -> ColumnElement[int]:
            """Width of an image in pixels."""
            return cast(self._text("width"), BigInteger)

        @property
        def height(self) -> ColumnElement[int]:
            """Height of an image in pixels."""
            return cast(self._text("height"), BigInteger)

        @property
        def last_modified(self) -> ColumnElement[float]:
            """Seconds since the Unix epoch."""
            seconds: ColumnElement[float] = self._json()["last_modified"].as_float()
            return seconds

        @property
        def metadata(self) -> ColumnElement[Any]:
            """The application's metadata.

            Index it like any JSON: ``Document.file.metadata["page"].as_integer()``.
            """
            return self._json()["metadata"]

        def operate(self, op: Any, *other: Any, **kwargs: Any) -> Any:
            """Compare files by backend and path.

            JSON operators are passed to the JSON type.
            """
            if op in _EQUALITY and isinstance(other[0], FileObject):
                facts = facts_of(other[0])
                same = and_(self.path == facts.path, self.backend == facts.backend)
                return same if op is operators.eq else ~same
            if op in {operators.in_op, operators.not_in_op} and _are_files(other[0]):
                among = or_(*(self.operate(operators.eq, file) for file in other[0]))
                return among if op is operators.in_op else ~among
            if any(isinstance(value, FileObject) for given in other for value in _members(given)) and op not in _EQUALITY:
                msg = "compare files with ==, != and in_([file, ...]); to match no file, use or_(..., Document.file.is_(None))"
                raise TypeError(msg)
            if op in _LOOKS_INSIDE or not _is_file_operator(op):
                return op(self._json(), *other, **kwargs)
            return super().operate(op, *other, **kwargs)

        def __getattr__(self, name: str) -> Any:
            # contains(), has_key(), as_string() and the other methods of the dialect's JSON type
            if name.startswith("__"):
                raise AttributeError(name)
            return getattr(self._json().comparator, name)

    # SQLAlchemy declares a memoized property here, but expects a class
    comparator_factory = Comparator  # pyright: ignore[reportAssignmentType]


def _decoded(decode: Callable[[Any], Any], value: str | bytes) -> Any:
    try:
        return decode(value)
    except ValueError as error:
        raise DocumentError(f"the row's list of file documents is not JSON: {str(value)[:80]!r}") from error


def _checked(file: FileObject, checks: Checks) -> FileObject:
    """Store in a pending file what its checks found."""
    width, height = checks.sides or (None, None)
    facts = facts_of(file)._replace(content_type=checks.content_type, metadata=checks.metadata, width=width, height=height)
    restore(file, Snapshot(facts, checks.content, FileState.PENDING))
    return file


def _members(value: object) -> Collection[object]:
    return value if isinstance(value, list | tuple | set | frozenset) else (value,)


def _are_files(value: object) -> bool:
    return isinstance(value, list | tuple | set | frozenset) and bool(value) and all(isinstance(v, FileObject) for v in value)


def _is_file_operator(op: object) -> bool:
    return op in {
        operators.is_,
        operators.is_not,
        operators.eq,
        operators.ne,
        operators.asc_op,
        operators.desc_op,
        operators.nulls_first_op,
        operators.nulls_last_op,
    }


StoredObject.__module__ = "filerow"  # so that Alembic writes filerow.StoredObject(...) into migrations
