"""Models of every shape that can hold a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ForeignKey, Table, event
from sqlalchemy.ext.declarative import ConcreteBase
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, composite, deferred, mapped_column, relationship

from filerow import FileObject, FileObjectList, StoredObject

FILE_COLUMNS: dict[str, list[str]] = {
    "document": ["file", "cover", "attachment", "pages"],
    "renamed": ["blob", "blobs"],
    "postponed": ["file", "pages"],
    "composite": ["file", "pages"],
    "animal": ["photo"],
    "dog": ["chip"],
    "vehicle": ["photo", "manifest"],
    "shape": ["drawing"],
    "circle": ["drawing"],
    "invoice": ["scan"],
    "letter": ["scan"],
    "sheet": ["file"],
    "named": ["file"],
    "note": ["file"],
    "late": ["file"],
    "defaulted": ["file"],
    "loose": ["file"],
    "stamped": ["file", "stamp"],
    "preset": ["file", "pages"],
    "card": ["file", "front", "back"],
    "portrait": ["file"],
    "badge": ["file"],
    "framed": ["file"],
    "album": ["pages"],
    "scrapbook": ["clippings"],
}
"""Every table with its file columns, written down so that the check needs nothing of the library."""

UNMANAGED = {"loose"}
"""Tables whose files the application looks after."""

_CHILDREN = ["dog", "animal", "sheet", "note", "portrait", "badge", "scrapbook", "album"]

DELETE_ORDER = [*_CHILDREN, *(t for t in FILE_COLUMNS if t not in _CHILDREN), "folder", "account", "topic"]


class Base(DeclarativeBase):
    pass


class Document(Base):
    __tablename__ = "document"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None]
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    cover: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    attachment: Mapped[FileObject | None] = mapped_column(StoredObject("other"))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))


class Renamed(Base):
    __tablename__ = "renamed"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column("blob", StoredObject("docs"))
    pages: Mapped[FileObjectList] = mapped_column("blobs", StoredObject("docs", multiple=True))


class Postponed(Base):
    __tablename__ = "postponed"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = deferred(mapped_column(StoredObject("docs")))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True), deferred=True)


class Composite(Base):
    __tablename__ = "composite"
    region: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))


class Animal(Base):
    __tablename__ = "animal"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    photo: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}


class Dog(Animal):
    __tablename__ = "dog"
    id: Mapped[int] = mapped_column(ForeignKey("animal.id"), primary_key=True)
    chip: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    __mapper_args__ = {"polymorphic_identity": "dog"}


class Album(Base):
    __tablename__ = "album"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "album"}


class Scrapbook(Album):
    """Has a list in each of its two tables."""

    __tablename__ = "scrapbook"
    id: Mapped[int] = mapped_column(ForeignKey("album.id"), primary_key=True)
    clippings: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))
    __mapper_args__ = {"polymorphic_identity": "scrapbook"}


class Vehicle(Base):
    __tablename__ = "vehicle"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    photo: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "vehicle"}


class Truck(Vehicle):
    manifest: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    __mapper_args__ = {"polymorphic_identity": "truck"}


class Shape(ConcreteBase, Base):
    __tablename__ = "shape"
    id: Mapped[int] = mapped_column(primary_key=True)
    drawing: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    __mapper_args__ = {"polymorphic_identity": "shape", "concrete": True}


class Circle(Shape):
    __tablename__ = "circle"
    id: Mapped[int] = mapped_column(primary_key=True)
    drawing: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    __mapper_args__ = {"polymorphic_identity": "circle", "concrete": True}


class HasScan:
    scan: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


class Invoice(HasScan, Base):
    __tablename__ = "invoice"
    id: Mapped[int] = mapped_column(primary_key=True)


class Paper(Base):
    __abstract__ = True
    id: Mapped[int] = mapped_column(primary_key=True)
    scan: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


class Letter(Paper):
    __tablename__ = "letter"


class Folder(Base):
    __tablename__ = "folder"
    id: Mapped[int] = mapped_column(primary_key=True)
    sheets: Mapped[list[Sheet]] = relationship(cascade="all, delete-orphan", back_populates="folder", order_by="Sheet.id")


class Sheet(Base):
    __tablename__ = "sheet"
    id: Mapped[int] = mapped_column(primary_key=True)
    folder_id: Mapped[int | None] = mapped_column(ForeignKey("folder.id"))
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    folder: Mapped[Folder | None] = relationship(back_populates="sheets")


class Named(Base):
    """A second row of the same name makes the flush fail."""

    __tablename__ = "named"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


class Note(Base):
    """A folder that does not exist makes the COMMIT fail, not the flush."""

    __tablename__ = "note"
    id: Mapped[int] = mapped_column(primary_key=True)
    folder_id: Mapped[int | None] = mapped_column(ForeignKey("folder.id", deferrable=True, initially="DEFERRED"))
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


class Late(Base):
    __tablename__ = "late"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("later"))


class Defaulted(Base):
    __tablename__ = "defaulted"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject())


class Loose(Base):
    __tablename__ = "loose"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs", lifecycle=False))


class Stamped(Base):
    """The application makes a second file of its own at every write."""

    __tablename__ = "stamped"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    stamp: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


@event.listens_for(Stamped, "before_insert")
def _stamp_insert(mapper: object, connection: object, target: Stamped) -> None:
    target.stamp = FileObject(filename="stamp.txt", content=b"before_insert")


@event.listens_for(Stamped, "before_update")
def _stamp_update(mapper: object, connection: object, target: Stamped) -> None:
    target.stamp = FileObject(filename="stamp.txt", content=b"before_update")


class Preset(Base):
    """A new row has files though nobody sets any."""

    __tablename__ = "preset"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None]
    file: Mapped[FileObject | None] = mapped_column(
        StoredObject("docs"), default=lambda: FileObject(filename="default.txt", content=b"default")
    )
    pages: Mapped[FileObjectList] = mapped_column(
        StoredObject("docs", multiple=True), default=lambda: [FileObject(filename="page.txt", content=b"page")]
    )


class Card(MappedAsDataclass, Base):
    """A dataclass, with two lists."""

    __tablename__ = "card"
    id: Mapped[int | None] = mapped_column(primary_key=True, default=None)
    title: Mapped[str | None] = mapped_column(default=None)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"), default=None)
    front: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True), default_factory=FileObjectList)
    back: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True), default_factory=FileObjectList)


@dataclass
class Picture:
    file: FileObject | None
    caption: str | None


class Framed(Base):
    """Its file is a part of a composite, and of a hybrid."""

    __tablename__ = "framed"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    caption: Mapped[str | None]
    picture: Mapped[Picture] = composite("file", "caption")

    @hybrid_property
    def original(self) -> FileObject | None:
        return self.file

    if hasattr(original, "bulk_dml"):  # since SQLAlchemy 2.1

        @original.inplace.bulk_dml
        @classmethod
        def _set_original(cls, mapping: Any, value: Any) -> None:
            mapping["file"] = value


class DocumentTitle(Base):
    """A second class on a table, without its files."""

    __table__ = Document.__table__
    __mapper_args__ = {"include_properties": ["id", "title"]}
    id: Mapped[int]
    title: Mapped[str | None]


class Account(Base):
    __tablename__ = "account"
    id: Mapped[int] = mapped_column(primary_key=True)
    portrait: Mapped[Portrait | None] = relationship(cascade="all, delete-orphan")


class Portrait(Base):
    """Shares the primary key of its account."""

    __tablename__ = "portrait"
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id"), primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    back: Mapped[str | None]


class Topic(Base):
    __tablename__ = "topic"
    id: Mapped[int] = mapped_column(primary_key=True)
    members: Mapped[list[Named]] = relationship(secondary="badge", passive_deletes=False)


class Badge(Base):
    """The link between a topic and its members, which has a file of its own."""

    __table__ = Table(
        "badge",
        Base.metadata,
        Column("topic_id", ForeignKey("topic.id"), primary_key=True),
        Column("named_id", ForeignKey("named.id"), primary_key=True),
        Column("file", StoredObject("docs")),
    )
    topic_id: Mapped[int]
    named_id: Mapped[int]
    file: Mapped[FileObject | None]


MAPPINGS: dict[str, tuple[type[Any], str, dict[str, Any]]] = {
    "a plain column": (Document, "file", {}),
    "a second column": (Document, "cover", {}),
    "a column of another backend": (Document, "attachment", {}),
    "a renamed column": (Renamed, "file", {}),
    "a deferred column": (Postponed, "file", {}),
    "a composite key": (Composite, "file", {"region": "north", "number": 7}),
    "a joined base": (Animal, "photo", {}),
    "a joined child's inherited column": (Dog, "photo", {}),
    "a joined child's own column": (Dog, "chip", {}),
    "a single-table base": (Vehicle, "photo", {}),
    "a single-table child's inherited column": (Truck, "photo", {}),
    "a single-table child's own column": (Truck, "manifest", {}),
    "a concrete base": (Shape, "drawing", {}),
    "a concrete child": (Circle, "drawing", {}),
    "a mixin": (Invoice, "scan", {}),
    "an abstract base": (Letter, "scan", {}),
    "the default backend": (Defaulted, "file", {}),
}
"""Every way to map one file: class, attribute, further values of a new row."""

LISTS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "a list": (Document, {}),
    "a renamed list": (Renamed, {}),
    "a deferred list": (Postponed, {}),
    "a list and a composite key": (Composite, {"region": "north", "number": 7}),
}
