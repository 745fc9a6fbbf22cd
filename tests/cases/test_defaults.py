"""``default=`` of a file column: a function that makes a file for each new row, by whatever route the row comes."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import ARRAY, JSON, ForeignKey, TypeDecorator, event, insert, null, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, column_property, mapped_column
from sqlalchemy.types import TypeEngine

from filerow import FileObject, FileObjectList, StoredObject
from tests.cases.models import Named, Preset
from tests.cases.world import World


def filled(world: World, row: Preset) -> bool:
    return world.stored(row.file) == b"default" and world.contents(row.pages) == [b"page"]


def test_a_new_row_without_files_gets_its_own_default_files(world: World) -> None:
    rows = [world.add(Preset), world.add(Preset, file=None)]
    assert all(filled(world, row) for row in rows)
    assert world.count() == 4


def test_files_that_are_set_go_before_the_default(world: World) -> None:
    row = world.add(Preset, file=world.file(b"mine"), pages=[])
    assert world.stored(row.file) == b"mine"
    assert row.pages == []


def test_default_files_live_and_die_with_their_row(world: World) -> None:
    world.session.add(Preset())
    world.session.flush()
    world.session.rollback()
    assert world.count() == 0
    world.session.delete(world.add(Preset))
    world.session.commit()
    assert world.count() == 0


def test_a_default_file_is_stored_again_after_a_failed_flush(world: World) -> None:
    world.add(Preset, id=1)
    world.session.expunge_all()
    row = Preset(id=1)
    world.session.add(row)
    with pytest.raises(IntegrityError):
        world.session.commit()
    world.session.rollback()
    row.id = 2
    world.session.add(row)
    world.session.commit()
    assert filled(world, row)


def test_row_added_by_a_later_listener_gets_its_default_files(world: World) -> None:
    added: list[Preset] = []

    @event.listens_for(world.session, "before_flush")
    def add_another(session: Session, *_: object) -> None:
        if not added:
            added.append(Preset())
            session.add(added[0])

    world.add(Named, name="a")
    assert filled(world, added[0])


@pytest.mark.parametrize(
    ("statement", "parameters"),
    [
        (insert(Preset), [{"title": "a"}, {"title": "b"}]),
        (insert(Preset), [{"title": "a", "file": None}, {"title": "b", "file": None}]),
        (insert(Preset), {"title": "a", "file": None}),
        (insert(Preset).values(title="a"), None),
        (insert(Preset).values([{"title": "a"}, {"title": "b"}]), None),
    ],
    ids=["rows", "rows_of_none", "one_row", "values", "several_values"],
)
def test_a_bulk_insert_gives_each_row_its_default_files(world: World, statement: Any, parameters: Any) -> None:
    world.session.execute(statement, parameters)
    world.session.commit()
    rows = world.session.query(Preset).all()
    assert all(filled(world, row) for row in rows)
    assert world.count() == 2 * len(rows)


def test_a_bulk_insert_that_renders_nulls_means_them(world: World) -> None:
    world.session.execute(insert(Preset), [{"file": None, "pages": []}], execution_options={"render_nulls": True})
    world.session.commit()
    assert world.count() == 0


def test_one_file_as_the_default_of_all_rows_is_refused() -> None:
    class Base(DeclarativeBase):
        pass

    with pytest.raises(TypeError, match="default=lambda"):

        class Wrong(Base):
            __tablename__ = "wrong"
            id: Mapped[int] = mapped_column(primary_key=True)
            file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"), default=FileObject(content=b"one"))


def test_a_document_as_the_server_s_default_is_refused() -> None:
    class Base(DeclarativeBase):
        pass

    document = text("""'{"backend": "docs", "path": "a"}'""")
    with pytest.raises(TypeError, match="which every new row would share"):

        class Shared(Base):
            __tablename__ = "shared"
            id: Mapped[int] = mapped_column(primary_key=True)
            file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"), server_default=document)

    class Fine(Base):
        __tablename__ = "fine"
        id: Mapped[int] = mapped_column(primary_key=True)
        pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True), server_default="[]")
        file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"), server_default=text("NULL"))

    assert Fine().file is None


@pytest.mark.parametrize("value", [lambda: None, lambda: FileObject(content=b"new"), null()])
def test_file_made_by_onupdate_is_refused(value: Any) -> None:
    class Base(DeclarativeBase):
        pass

    with pytest.raises(TypeError, match="onupdate"):

        class Updated(Base):
            __tablename__ = "updated"
            id: Mapped[int] = mapped_column(primary_key=True)
            file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"), onupdate=value)

    Base.registry.dispose()


class Wrapped(TypeDecorator[Any]):
    impl = StoredObject
    cache_ok = True


HIDDEN = [Wrapped("docs"), ARRAY(StoredObject("docs")), JSON().with_variant(StoredObject("docs"), "postgresql")]


@pytest.mark.parametrize("kind", HIDDEN, ids=["decorator", "array", "variant"])
def test_stored_object_inside_another_type_is_refused(kind: TypeEngine[Any]) -> None:
    class Base(DeclarativeBase):
        pass

    with pytest.raises(TypeError, match="inside the type"):

        class Hidden(Base):
            __tablename__ = "hidden"
            id: Mapped[int] = mapped_column(primary_key=True)
            file: Mapped[Any] = mapped_column(kind)

    Base.registry.dispose()


def test_one_attribute_of_two_file_columns_is_refused() -> None:
    class Base(DeclarativeBase):
        pass

    class Parent(Base):
        __tablename__ = "parent"
        id: Mapped[int] = mapped_column(primary_key=True)
        file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))

    class Child(Parent):
        __tablename__ = "child"
        id: Mapped[int] = mapped_column(ForeignKey("parent.id"), primary_key=True)
        file: Mapped[FileObject | None] = column_property(mapped_column(StoredObject("docs")), Parent.__table__.c.file)

    with pytest.raises(TypeError, match="own_file"):
        Base.registry.configure()
    Base.registry.dispose()


def test_two_attributes_of_one_file_column_are_refused() -> None:
    class Base(DeclarativeBase):
        pass

    class Twice(Base):
        __tablename__ = "twice"
        id: Mapped[int] = mapped_column(primary_key=True)
        file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))

    Twice.again = column_property(Twice.__table__.c.file)  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="make it a synonym"):
        Base.registry.configure()
    Base.registry.dispose()
