"""Which mapped classes have file columns, and what their rows own in the database right now."""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from sqlalchemy import (
    Column,
    Connection,
    FromClause,
    MetaData,
    Table,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import ColumnProperty, Mapper
from sqlalchemy.sql.schema import CallableColumnDefault, ScalarElementColumnDefault

from filerow._content import Claimed
from filerow._file.list import FileObjectList
from filerow._file.object import FileObject
from filerow._orm.column import StoredObject
from filerow._orm.ledger import Keeper
from filerow._orm.ownership import Change, Ref

__all__ = (
    "Buried",
    "Field",
    "OfMapper",
    "OutboxProtocol",
    "Slot",
    "fields_in_table",
    "fields_of",
    "files_in",
    "forget_row_fields",
    "has_files",
    "holds_files",
    "learn",
    "learn_links",
    "link_fields",
    "mapped_classes",
    "outbox_in",
    "refuse_one_default",
    "row_fields_of",
    "slot_of",
)


T = TypeVar("T")

OUTBOX = "filerow_outbox"
"""Where a ``MetaData`` keeps its outbox, in ``metadata.info``."""


class Buried(NamedTuple):
    """An object that has lost its row.

    Attributes:
        ref: Where it is.
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

    def has_triggers(self, dialect: Dialect, table: Table) -> bool:
        """Return True if the database itself notes what the rows of a table let go."""
        ...

    def bury(self, connection: Connection, buried: Sequence[Buried]) -> None:
        """Note that objects have lost their rows."""

    def take_back(self, connection: Connection, refs: Sequence[Ref]) -> None:
        """Note that objects have a row after all."""

    def use_claims(self, connection: Connection, claims: Sequence[Claimed]) -> None:
        """Note that claims are used; an error says which was used before."""


def outbox_in(metadata: MetaData) -> OutboxProtocol | None:
    """Return the outbox of a ``MetaData``, if it has one."""
    found: OutboxProtocol | None = metadata.info.get(OUTBOX)
    return found


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)  # one for each column of a class, and often hashed
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

    def initial(self) -> Any:
        """Return what a new row gets when nothing is set: what ``default=`` makes, else no file, or an empty list."""
        default = self.column.default
        if isinstance(default, CallableColumnDefault):
            return default.arg(None)  # type: ignore[arg-type] # there is no statement yet whose context one could be given
        return FileObjectList() if self.type.multiple else None

    @property
    def outbox(self) -> OutboxProtocol | None:
        """The outbox of the column's table, if there is one."""
        table = self.column.table
        return outbox_in(table.metadata) if isinstance(table, Table) else None


class Slot(NamedTuple):
    """One file column of one row.

    Attributes:
        owner: What stands for the row: the state of its object, or the number of a bulk statement's row.
        field: The column.
    """

    owner: Hashable
    field: Field


slot_of: Callable[[Change], Slot] = attrgetter("slot")
"""Returns a change's slot as what it is on the session's side; the pure layer does not care."""


class OfMapper(Generic[T]):
    """What is known of each mapper, kept with its class.

    A dictionary with weak keys would do only while no value leads back to its mapper: an index on an attribute of a class,
    ``Index("ix", Paper.id.desc())``, leads from each column of the table there, and the class would never be collected.
    """

    def get(self, mapper: Mapper[Any]) -> T | None:
        """Return what is known, if anything is."""
        found: T | None = mapper.class_manager.info.get(self)
        return found

    def set(self, mapper: Mapper[Any], value: T) -> T:
        """Note something, and return it."""
        mapper.class_manager.info[self] = value
        return value


_fields: OfMapper[tuple[Field, ...]] = OfMapper()
_row_fields: OfMapper[tuple[int, tuple[Field, ...]]] = OfMapper()
_latest = 0


def learn(mapper: Mapper[Any]) -> tuple[Field, ...]:
    """Find and remember the file columns of a mapper.

    Raises:
        TypeError: Two attributes are mapped to one of them: SQLAlchemy would write only the later one's value.
    """
    found = tuple(_find(mapper))
    for field in found:
        written = mapper.get_property_by_column(field.column).key
        if written != field.key:
            msg = (
                f"{mapper.class_.__name__}.{field.key} and .{written} are mapped to one file column, {field.column}, and a flush "
                f"writes only {written}, so files of the other would be lost; make it a synonym({written!r})"
            )
            raise TypeError(msg)
    if found:
        _fields.set(mapper, found)
    return found


def has_files(mapper: Mapper[Any]) -> bool:
    """Return True if the rows of a mapper can own files, be the columns mapped or not."""
    return any(map(holds_files, mapper.tables))


def holds_files(table: FromClause) -> bool:
    """Return True if a table has a file column."""
    return any(isinstance(column.type, StoredObject) for column in table.columns)


def row_fields_of(mapper: Mapper[Any]) -> tuple[Field, ...]:
    """Return all file columns of a mapper's rows: those, too, that another class of the same table maps, or none does.

    A row that is deleted loses them all. They are looked up again as long as classes are mapped: a child adds columns to its
    parent's table.
    """
    since, found = _row_fields.get(mapper) or (-1, ())
    if since != _latest:
        mapped = fields_of(mapper)
        found = (*mapped, *_unmapped(mapper, {field.column for field in mapped}))
        _row_fields.set(mapper, (_latest, found))
    return found


def mapped_classes() -> int:
    """Return how many classes have been mapped so far."""
    return _latest


def forget_row_fields() -> None:
    """Look all file columns of rows up again; a class has been mapped."""
    global _latest  # noqa: PLW0603 - it counts for all classes
    _latest += 1


def _unmapped(mapper: Mapper[Any], mapped: Container[Column[Any]]) -> Iterator[Field]:
    there = mapper.persist_selectable.columns
    for table in mapper.tables:
        for column in table.columns if isinstance(table, Table) else ():
            if isinstance(column.type, StoredObject) and column not in mapped and there.contains_column(column):
                yield Field(f"{table.name}.{column.name}", column, column.type)  # a key that no attribute has


def _find(mapper: Mapper[Any]) -> Iterator[Field]:
    for prop in mapper.column_attrs:
        if isinstance(prop, ColumnProperty):
            column = prop.columns[0]
            if isinstance(column, Column) and isinstance(column.type, StoredObject):
                yield Field(prop.key, column, column.type)


def refuse_one_default(column: Column[Any]) -> None:
    """Refuse a default that is a file, or its document, rather than a function that makes one.

    Raises:
        TypeError: It is.
    """
    by_server = getattr(column.server_default, "arg", None)
    if by_server is not None and "{" in str(getattr(by_server, "text", by_server)):
        msg = (
            f"server_default= of {column.name} is the document of a file, which every new row would share; leave it out, or give "
            "default= a function that makes a file"
        )
        raise TypeError(msg)
    default = column.default
    if isinstance(default, ScalarElementColumnDefault) and files_in(default.arg):
        msg = (
            f"default= of {column.name} is one file, which only one row could own; give a function: "
            "default=lambda: FileObject(content=...)"
        )
        raise TypeError(msg)


def fields_of(mapper: Mapper[Any]) -> tuple[Field, ...]:
    """Return a mapper's file columns; empty for most mappers, at the cost of one look-up."""
    return _fields.get(mapper) or ()


def key_names(mapper: Mapper[Any]) -> tuple[str, ...]:
    """Return the attributes of a mapper's primary key."""
    names = _key_names.get(mapper)
    if names is None:
        names = _key_names.set(mapper, tuple(mapper.get_property_by_column(column).key for column in mapper.primary_key))
    return names


_key_names: OfMapper[tuple[str, ...]] = OfMapper()


def fields_in_table(mapper: Mapper[Any]) -> tuple[Field, ...]:
    """Return the file columns of a class's own table, those of its single-table children too: their rows are its rows."""
    found = {field.column: field for field in row_fields_of(mapper)}
    found |= {field.column: field for one in reversed(mapper.self_and_descendants) for field in fields_of(one)}
    return tuple(field for column, field in found.items() if column.table is mapper.local_table)


_LINKS = "filerow_links"


def learn_links(mapper: Mapper[Any]) -> None:
    """Find and remember the link tables of a class that have file columns: a flush deletes their rows without their class."""
    for relation in mapper.relationships:
        table = relation.secondary
        if isinstance(table, Table) and not relation.viewonly:
            found = [column for column in table.columns if isinstance(column.type, StoredObject)]
            if found:
                table.info[_LINKS] = tuple(Field(f"{table.name}.{column.name}", column, column.type) for column in found)


def link_fields(table: Any) -> tuple[Field, ...]:
    """Return the file columns of a table that a ``secondary=`` of a relationship names; of any other, none."""
    found: tuple[Field, ...] = table.info.get(_LINKS, ()) if isinstance(table, Table) else ()
    return found


def files_in(value: Any) -> Sequence[FileObject]:
    """Return the files of an attribute's value, one or many."""
    if value is None:
        return ()
    return (value,) if isinstance(value, FileObject) else tuple(value)
