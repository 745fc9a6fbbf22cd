"""ORM bulk UPDATE: whatever decides which rows it touches, their old files go and each new one has one owner."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import null, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm.exc import StaleDataError

from filerow.exceptions import UnsupportedRouteError
from tests.cases.models import Animal, Composite, Document, Dog, Named
from tests.cases.test_bulk import by_title, kept_by_a_trigger, three
from tests.cases.world import World


@pytest.mark.parametrize("synchronize", ["auto", "evaluate", "fetch", False])
def test_bulk_update_of_one_row_replaces_its_file(world: World, synchronize: Any) -> None:
    rows = three(world)
    world.session.execute(
        update(Document).where(Document.title == "b").values(file=world.file(b"new")),
        execution_options={"synchronize_session": synchronize},
    )
    world.session.commit()
    assert world.count() == 6
    assert world.stored(rows[1].file) == b"new"


def test_bulk_update_of_one_row_that_is_rolled_back_changes_nothing(world: World) -> None:
    rows = three(world)
    world.session.execute(update(Document).where(Document.title == "b").values(file=world.file(b"new")))
    world.session.rollback()
    assert world.stored(rows[1].file) == b"b"


def test_bulk_update_of_no_row_stores_nothing(world: World) -> None:
    three(world)
    file = world.file(b"new")
    world.session.execute(update(Document).where(Document.title == "z").values(file=file, pages=world.files(2)))
    world.session.commit()
    assert world.count() == 6
    assert world.stored(world.add(file=file).file) == b"new"


def test_bulk_update_of_many_rows_with_one_file_is_refused(world: World) -> None:
    three(world)
    with pytest.raises(UnsupportedRouteError, match="3 rows"):
        world.session.execute(update(Document).values(file=world.file()))
    world.session.rollback()
    assert world.count() == 6


def test_bulk_update_of_many_rows_to_none_deletes_their_files(world: World) -> None:
    three(world)
    world.session.execute(update(Document).where(Document.title != "a").values(file=None))
    world.session.commit()
    assert world.count() == 4
    world.session.execute(update(Document).values(file=null(), pages=[]))
    world.session.commit()
    assert world.count() == 0


def test_bulk_update_of_many_rows_to_none_that_is_rolled_back_keeps_them(world: World) -> None:
    three(world)
    world.session.execute(update(Document).values(file=None))
    world.session.rollback()
    assert world.count() == 6


def test_bulk_update_of_other_columns_is_left_alone(world: World) -> None:
    three(world)
    world.session.execute(update(Document).values(title="x"))
    world.session.commit()
    assert world.count() == 6


def test_bulk_update_by_primary_key_gives_each_row_its_own(world: World) -> None:
    rows = three(world)
    world.session.execute(update(Document), [{"id": row.id, "file": world.file(row.title.encode() * 2)} for row in rows])
    world.session.commit()
    assert world.count() == 6
    assert [world.stored(row.file) for row in rows] == [b"aa", b"bb", b"cc"]


def test_bulk_update_by_primary_key_of_lists_and_none(world: World) -> None:
    rows = three(world)
    world.session.execute(update(Document), [{"id": row.id, "file": None, "pages": [*row.pages, world.file()]} for row in rows])
    world.session.commit()
    assert world.count() == 6


def test_bulk_update_by_composite_primary_key(world: World) -> None:
    for number in range(2):
        world.add(Composite, region="north", number=number, file=world.file())
    world.session.execute(update(Composite), [{"region": "north", "number": n, "file": world.file(b"new")} for n in range(2)])
    world.session.commit()
    assert world.count() == 2


def test_bulk_update_by_primary_key_of_a_joined_child(world: World) -> None:
    dog = world.add(Dog, photo=world.file(), chip=world.file())
    world.session.execute(update(Dog), [{"id": dog.id, "photo": world.file(b"p"), "chip": world.file(b"c")}])
    world.session.commit()
    assert (world.stored(dog.photo), world.stored(dog.chip)) == (b"p", b"c")
    assert world.count() == 2


def test_bulk_update_by_a_primary_key_that_is_no_row_leaves_nothing(world: World) -> None:
    three(world)
    try:
        world.session.execute(update(Document), [{"id": 10**6, "file": world.file()}])
        world.session.commit()
    except StaleDataError:
        world.session.rollback()
    assert world.count() == 6


def test_bulk_update_that_moves_a_file_between_rows_keeps_it(world: World) -> None:
    rows = three(world)
    world.session.execute(update(Document), [{"id": rows[0].id, "file": rows[1].file}, {"id": rows[1].id, "file": rows[0].file}])
    world.session.commit()
    assert world.count() == 6
    assert (world.stored(rows[0].file), world.stored(rows[1].file)) == (b"b", b"a")


def test_bulk_update_that_the_database_skips_for_a_row_leaves_the_row_its_file(world: World) -> None:
    rows = three(world)
    with kept_by_a_trigger(world, "UPDATE", "b"):
        world.session.execute(
            update(Document).where(Document.title != "c").values(file=None), execution_options={"synchronize_session": False}
        )
    world.session.commit()
    assert (rows[0].file, world.stored(rows[1].file)) == (None, b"b")
    assert world.count() == 5


def test_bulk_update_with_an_attached_file_makes_a_copy(world: World) -> None:
    rows = three(world)
    world.session.execute(update(Document).where(Document.title == "b").values(file=rows[0].file))
    world.session.commit()
    world.check()
    assert world.stored(rows[1].file) == b"a"


def test_bulk_update_with_the_row_s_own_file_changes_nothing(world: World) -> None:
    rows = three(world)
    world.session.execute(update(Document).where(Document.title == "b").values(file=rows[1].file))
    world.session.commit()
    assert world.count() == 6


def test_bulk_update_to_an_sql_expression_is_refused(world: World) -> None:
    three(world)
    with pytest.raises(UnsupportedRouteError, match="expression"):
        world.session.execute(update(Document).values(file=Document.cover))
    world.session.rollback()
    assert world.count() == 6


def test_bulk_update_that_fails_leaves_all_as_it_was(world: World) -> None:
    for name in "ab":
        world.add(Named, name=name, file=world.file(name.encode()))
    with pytest.raises(IntegrityError):
        world.session.execute(update(Named).where(Named.name == "a").values(name="b", file=world.file()))
    world.session.rollback()
    assert world.count() == 2


def test_bulk_update_of_a_row_that_is_pending_in_the_session(world: World) -> None:
    world.session.add(Document(title="a", file=world.file()))
    world.session.execute(update(Document).where(Document.title == "a").values(file=world.file(b"new")))
    world.session.commit()
    assert world.stored(by_title(world, "a").file) == b"new"
    assert world.count() == 1


def test_bulk_update_found_by_the_file_s_own_facts(world: World) -> None:
    three(world)
    world.session.execute(update(Document).where(Document.file.size == 1).values(file=None))
    world.session.commit()
    assert world.count() == 3


@pytest.mark.parametrize("child", [Dog, Animal])
def test_bulk_update_of_joined_inheritance(world: World, child: type[Any]) -> None:
    dog = world.add(Dog, photo=world.file(), chip=world.file())
    column = "chip" if child is Dog else "photo"
    world.session.execute(update(child).where(child.id == dog.id).values({column: world.file(b"new")}))
    world.session.commit()
    assert world.count() == 2
    assert world.stored(getattr(dog, column)) == b"new"
