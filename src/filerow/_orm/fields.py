"""Know which mapped classes have file columns."""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from sqlalchemy import ARRAY, Column, Connection, FromClause, MetaData, Table, TypeDecorator
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import ColumnProperty, Mapper, RelationshipProperty
from sqlalchemy.sql.schema import CallableColumnDefault, ScalarElementColumnDefault

from filerow._content import Claimed
from filerow._file.list import FileObjectList
from filerow._file.object import FileObject
from filerow._orm.column import StoredObject
from filerow._orm.ledger import Keeper
from filerow._orm.ownership import Change, Ref
from filerow._orm.sqlalchemy_private import variants_of

T = TypeVar("T")

OUTBOX = "filerow_outbox"
"""The key of a ``MetaData``'s outbox in ``metadata.info``."""


class Buried(NamedTuple):
    """An object that has lost its row.

    Attributes:
        ref: Its location.
        table: The row's table, with its schema.
        column: The column's name.
        key: The row's primary key by column names, where it is known.
    """

    ref: Ref
    table: str
    column: str
    key: dict[str, Any] | None


class OutboxProtocol(Keeper, Protocol):
    """An outbox, as the unit of work sees it."""

    table: Table
    state: Table

    def _has_triggers(self, dialect: Dialect, table: Table) -> bool:
        """Return True if triggers write the tombstones of a table's rows."""
        ...

    def _bury(self, connection: Connection, buried: Sequence[Buried]) -> None:
        """Write tombstones for objects that have lost their rows."""

    def _take_back(self, connection: Connection, refs: Sequence[Ref]) -> None:
        """Remove the tombstones of objects that have a row after all."""

    def _use_claims(self, connection: Connection, claims: Sequence[Claimed]) -> None:
        """Record that claims are used.

        Raises:
            ClaimError: One was used before; the error names it.
        """


def outbox_in(metadata: MetaData) -> OutboxProtocol | None:
    """Return the outbox of a ``MetaData``, if it has one."""
    found: OutboxProtocol | None = metadata.info.get(OUTBOX)
    return found


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)  # one instance per column of a class, and often hashed
class Field:
    """One file column of a mapped class.

    Attributes:
        key: Name of the attribute.
        column: The column.
        type: Its type.
        table: Name of its table.
    """

    key: str
    column: Column[Any]
    type: StoredObject

    @property
    def table(self) -> str:
        """Name of the column's table."""
        return getattr(self.column.table, "name", "files")

    @property
    def name(self) -> str:
        """``table.column``, preceded by the table's schema, if it has one."""
        return f"{getattr(self.column.table, 'fullname', self.table)}.{self.column.name}"

    def initial(self) -> Any:
        """Return the value of a new row's column when nothing is set.

        It is what ``default=`` makes, or else no file, or an empty list.
        """
        default = self.column.default
        if isinstance(default, CallableColumnDefault):
            return default.arg(None)  # type: ignore[arg-type] # no statement exists yet, so there is no context
        return FileObjectList() if self.type.multiple else None

    @property
    def outbox(self) -> OutboxProtocol | None:
        """The outbox of the column's table, if there is one."""
        table = self.column.table
        return outbox_in(table.metadata) if isinstance(table, Table) else None


class Slot(NamedTuple):
    """One file column of one row.

    Attributes:
        owner: Identifies the row: the state of its object, the number of a bulk statement's row, or
            its key.
        field: The column.
    """

    owner: Hashable
    field: Field


SlotChange: TypeAlias = Change[Slot]
"""A change, whose slot the modules that know sessions look into."""


class OfMapper(Generic[T]):
    """Values kept for each mapper, together with its class.

    A dictionary with weak keys works only while no value refers to its mapper. An index on an
    attribute of a class, ``Index("ix", Paper.id.desc())``, makes each column of the table refer to
    it, and the class would never be collected.
    """

    def get(self, mapper: Mapper[Any]) -> T | None:
        """Return a mapper's value, if there is one."""
        found: T | None = mapper.class_manager.info.get(self)
        return found

    def set(self, mapper: Mapper[Any], value: T) -> T:
        """Set a mapper's value, and return it."""
        mapper.class_manager.info[self] = value
        return value


_fields: OfMapper[tuple[Field, ...]] = OfMapper()
_row_fields: OfMapper[tuple[int, tuple[Field, ...]]] = OfMapper()
_mapped_count = 0


def register_fields(mapper: Mapper[Any]) -> tuple[Field, ...]:
    """Find and remember the file columns of a mapper.

    Raises:
        TypeError: Two attributes are mapped to one file column. SQLAlchemy would write only the
            later one's value. Or one attribute is mapped to two file columns. SQLAlchemy would
            write one document to both, and a statement that clears one column would delete the
            file of the other.
    """
    _refuse_two_columns(mapper)
    found = tuple(_find(mapper))
    for field in found:
        written = mapper.get_property_by_column(field.column).key
        if written != field.key:
            raise TypeError(
                f"{mapper.class_.__name__}.{field.key} and .{written} are mapped to one file column, {field.column}, and a flush "
                f"writes only {written}, so files of the other would be lost; make it a synonym({written!r})"
            )
    if found:
        _fields.set(mapper, found)
    return found


def _refuse_two_columns(mapper: Mapper[Any]) -> None:
    """Refuse an attribute of several file columns.

    SQLAlchemy makes one of columns that have the same name in joined tables.
    """
    for prop in mapper.iterate_properties:
        if not isinstance(prop, ColumnProperty):
            continue
        files = [one for one in prop.columns if isinstance(one, Column) and isinstance(one.type, StoredObject)]
        if len(files) > 1:
            names = " and ".join(map(str, files))
            raise TypeError(
                f"{mapper.class_.__name__}.{prop.key} is mapped to {len(files)} file columns, {names}, which would name one "
                f"object, and a statement that clears one of them would delete the file of the other; give each column an "
                f"attribute of its own, such as own_{prop.key} = mapped_column({files[0].name!r}, StoredObject(...))"
            )


def has_files(mapper: Mapper[Any]) -> bool:
    """Return True if the rows of a mapper can own files.

    The file columns need not be mapped.
    """
    return any(map(holds_files, mapper.tables))


def holds_files(table: FromClause) -> bool:
    """Return True if a table has a file column."""
    return any(isinstance(column.type, StoredObject) for column in table.columns)


def row_fields_of(mapper: Mapper[Any]) -> tuple[Field, ...]:
    """Return all file columns of a mapper's rows.

    They include those that another class of the same table maps, and those that none does: a
    deleted row loses the files of all of them. They are looked up again whenever a class is mapped,
    because a child adds columns to its parent's table.
    """
    since, found = _row_fields.get(mapper) or (-1, ())
    if since != _mapped_count:
        mapped = fields_of(mapper)
        found = (*mapped, *_unmapped(mapper, {field.column for field in mapped}))
        _row_fields.set(mapper, (_mapped_count, found))
    return found


def mapped_classes() -> int:
    """Return how many classes have been mapped so far."""
    return _mapped_count


def forget_row_fields() -> None:
    """Look up the file columns of all rows again.

    Called when a class has been mapped.
    """
    global _mapped_count  # noqa: PLW0603 - one count for all classes
    _mapped_count += 1


def _unmapped(mapper: Mapper[Any], mapped: Container[Column[Any]]) -> Iterator[Field]:
    there = mapper.persist_selectable.columns
    for table in mapper.tables:
        for column in table.columns if isinstance(table, Table) else ():
            if isinstance(column.type, StoredObject) and column not in mapped and there.contains_column(column):
                yield Field(f"{table.name}.{column.name}", column, column.type)  # no attribute has such a key


def _find(mapper: Mapper[Any]) -> Iterator[Field]:
    # column_attrs does not have one that has just been added
    yield from (field for prop in mapper.iterate_properties if (field := field_of(prop)) is not None)


def field_of(prop: object) -> Field | None:
    """Return the file column of an attribute, if it has one."""
    if isinstance(prop, ColumnProperty):
        column = prop.columns[0]
        if isinstance(column, Column) and isinstance(column.type, StoredObject):
            return Field(prop.key, column, column.type)
    return None


def refuse_shared_default(column: Column[Any]) -> None:
    """Refuse a default that is a file or its document, and not a function.

    Raises:
        TypeError: Every new row would share that file. Or the column has ``onupdate=``, which would
            set a file while its row is written.
    """
    if column.onupdate is not None:
        msg = f"onupdate= of {column.name} sets files that no session has stored or copied; set them in a before_update listener"
        raise TypeError(msg)
    by_server = getattr(column.server_default, "arg", None)
    if by_server is not None and "{" in str(getattr(by_server, "text", by_server)):
        raise TypeError(
            f"server_default= of {column.name} is the document of a file, which every new row would share; leave it out, or pass "
            "default= a function that makes a file"
        )
    default = column.default
    if isinstance(default, ScalarElementColumnDefault) and files_in(default.arg):
        raise TypeError(
            f"default= of {column.name} is one file, which only one row can own; pass a function: "
            "default=lambda: FileObject(content=...)"
        )


def refuse_hidden_files(mapper: Mapper[Any]) -> None:
    """Refuse a ``StoredObject`` inside another type.

    Raises:
        TypeError: Nothing would look after the column's files: sessions and maintenance know file
            columns by their type.
    """
    for column in mapper.columns:
        kind = column.type
        if isinstance(kind, StoredObject):
            continue
        inside = [kind.impl_instance] if isinstance(kind, TypeDecorator) else [kind.item_type] if isinstance(kind, ARRAY) else []
        if any(isinstance(one, StoredObject) for one in (*inside, *variants_of(kind))):
            raise TypeError(
                f"{mapper.class_.__name__}.{column.key} has a StoredObject inside the type {type(kind).__name__}, where nothing "
                "stores, owns or keeps its files; use StoredObject or a subclass of it, with multiple=True for several files"
            )


def fields_of(mapper: Mapper[Any]) -> tuple[Field, ...]:
    """Return a mapper's file columns.

    Most mappers have none, and pay for one look-up.
    """
    return _fields.get(mapper) or ()


def key_names(mapper: Mapper[Any]) -> tuple[str, ...]:
    """Return the attributes of a mapper's primary key."""
    names = _key_names.get(mapper)
    if names is None:
        names = _key_names.set(mapper, tuple(mapper.get_property_by_column(column).key for column in mapper.primary_key))
    return names


_key_names: OfMapper[tuple[str, ...]] = OfMapper()


def fields_in_table(mapper: Mapper[Any]) -> tuple[Field, ...]:
    """Return the file columns of a class's own table.

    They include those of its single-table children, whose rows are in the same table.
    """
    found = {field.column: field for field in row_fields_of(mapper)}
    found |= {field.column: field for one in reversed(mapper.self_and_descendants) for field in fields_of(one)}
    return tuple(field for column, field in found.items() if column.table is mapper.local_table)


_LINKS = "filerow_links"


def register_link_fields(mapper: Mapper[Any]) -> None:
    """Find and remember the link tables of a class that have file columns.

    A flush deletes their rows without an event of any class.
    """
    for relation in mapper.relationships:
        register_links(relation)


def register_links(relation: RelationshipProperty[Any]) -> None:
    """Find and remember the link table of a relationship, if it has file columns."""
    table = relation.secondary
    if isinstance(table, Table) and not relation.viewonly:
        found = [column for column in table.columns if isinstance(column.type, StoredObject)]
        if found:
            table.info[_LINKS] = tuple(Field(f"{table.name}.{column.name}", column, column.type) for column in found)


def link_fields(table: Any) -> tuple[Field, ...]:
    """Return the file columns of a link table; empty for other tables.

    A link table is the ``secondary=`` of a relationship.
    """
    found: tuple[Field, ...] = table.info.get(_LINKS, ()) if isinstance(table, Table) else ()
    return found


def files_in(value: Any) -> Sequence[FileObject]:
    """Return the files of an attribute's value, one or many."""
    if value is None:
        return ()
    return (value,) if isinstance(value, FileObject) else tuple(value)
