"""ORM bulk UPDATE: whatever decides which rows it touches, their old files go and each new one has one owner."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import bindparam, event, null, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import ORMExecuteState, with_loader_criteria
from sqlalchemy.orm.exc import StaleDataError

from filerow.exceptions import UnsupportedRouteError
from tests.cases.models import Animal, Composite, Document, Dog, Named, Renamed, Truck, Vehicle
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


def test_rolled_back_bulk_update_of_one_row_changes_nothing(world: World) -> None:
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


def test_rolled_back_bulk_update_to_none_keeps_files(world: World) -> None:
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


def test_bulk_update_by_a_key_without_a_row_leaves_nothing(world: World) -> None:
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


def test_row_that_a_bulk_update_skips_keeps_its_file(world: World) -> None:
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


def test_rows_of_a_failed_bulk_update_keep_their_files(world: World) -> None:
    rows = [world.add(Named, name=name, file=world.file()) for name in "abc"]
    names = zip(rows, ("d", "c", "e"), strict=True)
    given = [{"id": row.id, "name": name, "file": world.file()} for row, name in names]
    with pytest.raises(IntegrityError):
        world.session.execute(update(Named), given)
    world.session.commit()  # the first one, unless the database has rolled back
    for row in world.session.scalars(select(Named)):
        assert world.stored(row.file)
    assert world.count() == 3


def test_rows_of_a_failed_bulk_update_that_swaps_files_share_none(world: World) -> None:
    """A statement with several rows is sent row by row, so its first half may stay."""
    rows = [world.add(Named, name=name, file=world.file(name.encode())) for name in "abc"]
    files = [row.file for row in rows]
    given = [
        {"id": row.id, "name": name, "file": files[number]}
        for row, name, number in zip(rows, ("d", "c", "e"), (1, 0, 2), strict=True)
    ]
    with pytest.raises(IntegrityError):
        world.session.execute(update(Named), given)
    world.session.commit()
    found = world.session.scalars(select(Named).order_by(Named.id)).all()
    assert [row.file.get_content() for row in found] in ([b"a", b"b", b"c"], [b"b", b"b", b"c"])
    assert len({row.file.path for row in found}) == 3
    assert world.count() == 3


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


def test_bulk_update_whose_file_is_a_parameter(world: World) -> None:
    first, second, _ = three(world)
    by_name = update(Document).where(Document.title == bindparam("who")).values(file=bindparam("what"))
    world.session.execute(by_name, {"who": "a", "what": world.file(b"new")})
    world.session.execute(by_name, {"who": "b", "what": first.file})
    world.session.execute(by_name, {"who": "c", "what": None})
    world.session.commit()
    assert world.stored(first.file) == world.stored(second.file) == b"new"
    assert by_title(world, "c").file is None


def test_bulk_update_whose_parameters_are_the_values_to_set(world: World) -> None:
    first, second, third = three(world)
    world.session.execute(update(Document).where(Document.title == "a"), {"file": world.file(b"new")})
    world.session.execute(update(Document).where(Document.title == "b"), {"file": first.file})
    world.session.execute(update(Document).where(Document.title == "c"), {"file": None})
    world.session.commit()
    assert world.stored(first.file) == world.stored(second.file) == b"new"
    assert third.file is None


def test_bulk_update_whose_parameter_is_a_renamed_column(world: World) -> None:
    row = world.add(Renamed, file=world.file(b"old"))
    world.session.execute(update(Renamed), {"blob": world.file(b"new")})
    world.session.commit()
    assert world.stored(row.file) == b"new"


def test_bulk_update_of_ordered_values(world: World) -> None:
    first, second, _ = three(world)
    world.session.execute(update(Document).where(Document.title == "a").ordered_values((Document.file, world.file(b"new"))))
    world.session.execute(update(Document).where(Document.title == "b").ordered_values((Document.file, None)))
    world.session.commit()
    assert world.stored(first.file) == b"new"
    assert second.file is None


def test_bulk_update_of_ordered_values_with_a_file_is_refused(world: World) -> None:
    first, second, _ = three(world)
    statement = update(Document).where(Document.id == second.id).ordered_values((Document.file, first.file))
    with pytest.raises(UnsupportedRouteError, match="ordered_values"):
        world.session.execute(statement)
    world.session.commit()
    assert world.stored(second.file) == b"b"


def test_bulk_update_by_key_that_names_a_row_twice_is_refused(world: World) -> None:
    row = three(world)[0]
    rows = [{"id": row.id, "file": world.file(b"first")}, {"id": row.id, "file": world.file(b"second")}]
    with pytest.raises(UnsupportedRouteError, match="twice"):
        world.session.execute(update(Document), rows)
    world.session.commit()
    assert world.stored(row.file) == b"a"


def test_bulk_update_by_key_may_name_a_row_twice_for_two_columns(world: World) -> None:
    row = three(world)[0]
    rows = [{"id": row.id, "file": world.file(b"new")}, {"id": row.id, "cover": world.file()}]
    world.session.execute(update(Document), rows)
    world.session.commit()
    assert world.stored(row.file) == b"new"


def test_bulk_update_that_skips_the_orm_is_refused(world: World) -> None:
    row = three(world)[0]
    statement = update(Document).where(Document.id == bindparam("key")).values(file=bindparam("what"))
    with pytest.raises(UnsupportedRouteError, match="dml_strategy"):
        world.session.execute(
            statement,
            [{"key": row.id, "what": None}],
            execution_options={"dml_strategy": "core_only", "synchronize_session": None},
        )


@pytest.mark.only("sqlite")
def test_update_or_replace_is_refused_as_it_may_delete_rows(world: World) -> None:
    for name in "ab":
        world.add(Named, name=name, file=world.file())
    with pytest.raises(UnsupportedRouteError, match="OR REPLACE"):
        world.session.execute(update(Named).prefix_with("OR REPLACE").where(Named.name == "a").values(name="b"))


def test_bulk_update_of_a_base_clears_a_child_s_column(world: World) -> None:
    world.add(Truck, photo=world.file(), manifest=world.file())
    world.session.execute(update(Vehicle).values({Vehicle.__table__.c.manifest: None}))
    world.session.commit()
    assert world.count() == 1


def narrow_to(world: World, title: str, *, updates: bool) -> None:
    """Have a hook of the application's limit SELECTs, and perhaps UPDATEs, to one title."""

    @event.listens_for(world.session, "do_orm_execute")
    def narrow(state: ORMExecuteState) -> None:
        if state.is_select or (updates and state.is_update):
            state.statement = state.statement.options(with_loader_criteria(Document, Document.title == title))


def test_rows_hidden_by_a_hook_are_seen_by_bulk_update(world: World) -> None:
    row = three(world)[0]
    narrow_to(world, "b", updates=False)
    world.session.execute(update(Document).where(Document.id == row.id).values(file=None))
    world.session.execute(update(Document), [{"id": row.id, "pages": []}])
    world.session.commit()
    assert world.count() == 4


def test_hook_may_narrow_a_bulk_update_to_the_row_of_the_file(world: World) -> None:
    rows = three(world)
    narrow_to(world, "b", updates=True)
    world.session.execute(update(Document).values(file=world.file(b"new")))
    world.session.commit()
    assert [world.stored(row.file) for row in rows] == [b"a", b"new", b"c"]


def test_option_may_narrow_a_bulk_update_to_the_row_of_the_file(world: World) -> None:
    rows = three(world)
    narrow = with_loader_criteria(Document, Document.title == "b")
    world.session.execute(update(Document).values(file=world.file(b"new")).options(narrow))
    world.session.commit()
    assert [world.stored(row.file) for row in rows] == [b"a", b"new", b"c"]


def test_hook_that_narrows_queries_gives_no_file_to_many_rows(world: World) -> None:
    three(world)
    narrow_to(world, "b", updates=False)
    with pytest.raises(UnsupportedRouteError, match="3 rows"):
        world.session.execute(update(Document).values(file=world.file(b"new")))
    world.session.rollback()
    assert world.count() == 6
