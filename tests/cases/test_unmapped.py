"""File columns that the deleting class does not map, and link rows that no class deletes."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import delete, insert, literal, select, update

from filerow.exceptions import UnsupportedRouteError
from tests.cases.models import Badge, Document, DocumentTitle, Named, Topic, Truck, Vehicle
from tests.cases.world import World


def test_row_that_changed_its_class_takes_all_its_files(world: World) -> None:
    key = world.add(Truck, photo=world.file(), manifest=world.file()).id
    world.session.execute(update(Vehicle.__table__).values(kind="vehicle"))
    world.session.commit()
    world.session.expunge_all()
    world.session.delete(world.session.get_one(Vehicle, key))
    world.session.commit()
    assert world.count() == 0


def test_row_that_changes_its_class_keeps_its_files(world: World) -> None:
    row = world.add(Truck, photo=world.file(), manifest=world.file())
    row.kind = "vehicle"
    with pytest.warns(match="incompatible polymorphic identity"):
        world.session.commit()
    assert world.count() == 2


@pytest.mark.parametrize("how", ["session", "statement", "query"])
def test_row_deleted_by_a_class_without_its_files(world: World, how: str) -> None:
    key = world.add(title="a", file=world.file(), pages=world.files(2)).id
    world.session.expunge_all()
    if how == "session":
        world.session.delete(world.session.get_one(DocumentTitle, key))
    elif how == "statement":
        world.session.execute(delete(DocumentTitle).where(DocumentTitle.title == "a"))
    else:
        world.session.query(DocumentTitle).filter_by(title="a").delete()
    world.session.commit()
    assert world.count() == 0


def test_row_changed_by_a_class_without_its_files_keeps_them(world: World) -> None:
    key = world.add(title="a", file=world.file(b"kept")).id
    world.session.expunge_all()
    world.session.get_one(DocumentTitle, key).title = "b"
    world.session.commit()
    world.session.execute(update(DocumentTitle).values(title="c"))
    world.session.commit()
    assert world.stored(world.session.get_one(Document, key).file) == b"kept"


def test_row_replaced_by_a_class_without_its_files(world: World) -> None:
    key = world.add(title="a", file=world.file(b"kept")).id
    world.session.expunge_all()
    world.session.delete(world.session.get_one(DocumentTitle, key))
    world.session.add(DocumentTitle(id=key, title="b"))
    world.session.commit()  # one UPDATE of the title
    assert world.stored(world.session.get_one(Document, key).file) == b"kept"


def linked(world: World, count: int = 2) -> Topic:
    topic = Topic(members=[Named(name=f"member {number}") for number in range(count)])
    world.session.add(topic)
    world.session.commit()
    for badge in world.session.scalars(select(Badge)):
        badge.file = world.file()
    world.session.commit()
    return topic


def test_link_row_removed_from_a_collection_takes_its_file(world: World) -> None:
    topic = linked(world)
    topic.members.pop()
    world.session.commit()
    assert world.count() == 1


def test_link_rows_of_a_deleted_parent_take_their_files(world: World) -> None:
    topic = linked(world)
    world.session.delete(topic)
    world.session.commit()
    assert world.count() == 0


def test_link_row_removed_and_rolled_back_keeps_its_file(world: World) -> None:
    topic = linked(world)
    topic.members.pop()
    world.session.flush()
    world.session.rollback()
    assert world.count() == 2


def test_link_row_removed_and_added_again_loses_its_file(world: World) -> None:
    topic = linked(world)
    member = topic.members.pop()
    world.session.flush()
    topic.members.append(member)
    world.session.commit()
    assert world.count() == 1


# -- statements ------------------------------------------------------------------------------------------------------------


@pytest.mark.only("postgresql")
@pytest.mark.parametrize("how", ["add_cte", "select", "nested", "insert_from"])
def test_orm_delete_inside_a_cte_is_refused(world: World, how: str) -> None:
    world.add(title="a", file=world.file(b"kept"))
    gone = delete(Document).where(Document.title == "a").returning(Document.id).cte("gone")
    statements: dict[str, Any] = {
        "add_cte": select(literal(1)).add_cte(gone),
        "select": select(gone.c.id),
        "nested": select(Document.id).where(Document.id.in_(select(gone.c.id))),
        "insert_from": insert(Named.__table__).from_select(["name"], select(literal("n")).where(gone.c.id > 0)),
    }
    with pytest.raises(UnsupportedRouteError, match="CTE"):
        world.session.execute(statements[how])
    world.session.rollback()
    assert world.count() == 1


@pytest.mark.only("postgresql")
@pytest.mark.parametrize("value", ["none", "other"])
def test_orm_update_of_a_file_inside_a_cte_is_refused(world: World, value: str) -> None:
    row, other = world.add(title="a", file=world.file(b"kept")), world.add(file=world.file())
    changed = update(Document).where(Document.id == row.id).values(file=None if value == "none" else other.file)
    with pytest.raises(UnsupportedRouteError, match="CTE"):
        world.session.execute(select(literal(1)).add_cte(changed.cte("changed")))
    world.session.rollback()
    assert world.stored(row.file) == b"kept"


@pytest.mark.only("postgresql")
def test_orm_insert_of_a_file_inside_a_cte_is_refused(world: World) -> None:
    other = world.add(file=world.file())
    made = insert(Document).values(title="new", file=other.file)
    with pytest.raises(UnsupportedRouteError, match="CTE"):
        world.session.execute(select(literal(1)).add_cte(made.cte("made")))
    world.session.rollback()
    assert world.count() == 1


@pytest.mark.only("postgresql")
def test_orm_update_of_other_columns_inside_a_cte_runs(world: World) -> None:
    row = world.add(title="a", file=world.file(b"kept"))
    changed = update(Document).values(title="b").returning(Document.id).cte("changed")
    assert world.session.scalars(select(changed.c.id)).all() == [row.id]
    made = insert(Named).values(name="new").returning(Named.id).cte("made")
    assert world.session.scalars(select(made.c.id)).all()
    world.session.commit()
    assert world.stored(row.file) == b"kept"


@pytest.mark.parametrize("how", ["delete", "update", "insert", "parameters"])
def test_from_statement_that_changes_files_is_refused(world: World, how: str) -> None:
    row = world.add(title="a", file=world.file(b"kept"))
    statements: dict[str, Any] = {
        "delete": delete(Document),
        "update": update(Document).values(file=None),
        "insert": insert(Document).values(title="new", file=row.file),
        "parameters": insert(Document),
    }
    loading = select(Document).from_statement(statements[how].returning(Document))
    with pytest.raises(UnsupportedRouteError, match="from_statement"):
        world.session.execute(loading, [{"title": "new", "file": row.file}] if how == "parameters" else None)
    world.session.rollback()
    assert world.stored(row.file) == b"kept"
    assert world.count() == 1


def test_statement_in_from_statement_that_changes_no_file_runs(world: World) -> None:
    row = world.add(title="a", file=world.file(b"kept"))
    loading = select(Document).from_statement(update(Document).values(title="b").returning(Document))
    assert world.session.scalars(loading.execution_options(populate_existing=True)).all() == [row]
    assert row.title == "b"
    making = insert(Named).values(name="new").returning(Named)
    assert world.session.scalars(select(Named).from_statement(making)).one().name == "new"
    deleting = delete(Topic).where(Topic.id < 0).returning(Topic)
    assert world.session.scalars(select(Topic).from_statement(deleting)).all() == []
    world.session.commit()
    assert world.stored(row.file) == b"kept"


def test_core_delete_with_an_orm_criterion_runs(world: World) -> None:
    world.add(title="a", file=world.file())
    world.add(title="b", file=world.file(b"kept"))
    world.session.execute(Document.__table__.delete().where(Document.title == "a"))
    world.session.commit()
    (row,) = world.session.scalars(select(Document))
    assert world.stored(row.file) == b"kept"
    assert world.count() == 1


def test_core_update_with_an_orm_criterion_runs(world: World) -> None:
    row = world.add(title="a", file=world.file(b"kept"))
    world.session.execute(Document.__table__.update().where(Document.title == "a").values(title="b"))
    world.session.commit()
    assert (row.title, world.stored(row.file)) == ("b", b"kept")
    world.session.execute(Document.__table__.update().where(Document.title == "b").values(file=None))
    world.session.commit()
    assert row.file is None
    assert world.count() == 0


def test_core_delete_with_a_criterion_of_another_class(world: World) -> None:
    """SQLAlchemy takes such a statement for one on the class of the criterion."""
    row = world.add(title="a", file=world.file(b"kept"))
    world.add(Named, name="a", file=world.file(b"gone"))
    criterion = select(Document.id).where(Document.title == Named.__table__.c.name).exists()
    world.session.execute(Named.__table__.delete().where(criterion))
    world.session.commit()
    world.session.expire_all()
    assert not world.session.scalars(select(Named)).all()
    assert world.stored(row.file) == b"kept"
    assert world.count() == 1
