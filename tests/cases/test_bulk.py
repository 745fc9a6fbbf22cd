"""ORM bulk INSERT and DELETE in all their forms, and the routes that must refuse; for UPDATE see ``test_bulk_update``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import delete, event, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError, StatementError
from sqlalchemy.orm import ORMExecuteState, aliased, with_loader_criteria

from filerow.exceptions import UnsupportedRouteError
from tests.cases.models import Document, Dog, Named, Renamed, Truck, Vehicle
from tests.cases.world import World


def by_title(world: World, title: str) -> Document:
    return world.session.scalars(select(Document).where(Document.title == title)).one()


def three(world: World) -> list[Document]:
    rows = [Document(title=title, file=world.file(title.encode()), pages=[world.file()]) for title in "abc"]
    world.session.add_all(rows)
    world.session.commit()
    return rows


@contextmanager
def kept_by_a_trigger(world: World, verb: str, title: str) -> Iterator[None]:
    """Have a trigger of the application's skip one row in an UPDATE or DELETE, in the session's transaction only."""
    connection = world.session.connection()
    name, table = "keep_this_row", Document.__tablename__
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(
            f"CREATE TRIGGER {name} BEFORE {verb} ON {table} WHEN OLD.title = '{title}' BEGIN SELECT RAISE(IGNORE); END"
        )
    else:
        connection.exec_driver_sql(f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
        connection.exec_driver_sql(
            f"CREATE TRIGGER {name} BEFORE {verb} ON {table} FOR EACH ROW WHEN (OLD.title = '{title}') EXECUTE FUNCTION {name}()"
        )
    yield
    connection.exec_driver_sql(f"DROP TRIGGER {name}" + ("" if connection.dialect.name == "sqlite" else f" ON {table}"))
    if connection.dialect.name != "sqlite":
        connection.exec_driver_sql(f"DROP FUNCTION {name}()")


# -- INSERT ----------------------------------------------------------------------------------------------------------------


def test_bulk_insert_of_many_parameters_stores_their_files(world: World) -> None:
    world.session.execute(
        insert(Document), [{"title": t, "file": world.file(t.encode()), "pages": world.files(2)} for t in "abc"]
    )
    world.session.commit()
    assert world.count() == 9
    assert world.stored(by_title(world, "b").file) == b"b"


def test_bulk_insert_of_values_stores_their_file(world: World) -> None:
    world.session.execute(insert(Document).values(title="a", file=world.file(b"a"), pages=world.files(1)))
    world.session.commit()
    assert world.stored(by_title(world, "a").file) == b"a"
    assert world.count() == 2


def test_bulk_insert_of_one_parameter_stores_its_file(world: World) -> None:
    world.session.execute(insert(Document), {"title": "a", "file": world.file(b"a")})
    world.session.commit()
    assert world.stored(by_title(world, "a").file) == b"a"


def test_bulk_insert_of_a_list_of_values_stores_their_files(world: World) -> None:
    world.session.execute(insert(Document).values([{"title": t, "file": world.file(t.encode())} for t in "ab"]))
    world.session.commit()
    assert world.stored(by_title(world, "b").file) == b"b"
    assert by_title(world, "b").pages == []


def test_bulk_insert_into_renamed_columns(world: World) -> None:
    world.session.execute(insert(Renamed), [{"file": world.file(b"a"), "pages": world.files(1)}])
    world.session.execute(insert(Renamed).values(file=world.file(b"b")))
    world.session.execute(insert(Renamed).values([{"file": world.file(b"c")}, {"file": None}]))
    world.session.commit()
    assert world.count() == 4


def test_bulk_insert_with_returning_gives_complete_objects(world: World) -> None:
    rows = world.session.scalars(
        insert(Document).returning(Document), [{"title": t, "file": world.file(t.encode())} for t in "ab"]
    ).all()
    world.session.commit()
    assert sorted(world.stored(row.file) for row in rows) == [b"a", b"b"]


def test_bulk_insert_of_a_joined_child_stores_the_base_s_files(world: World) -> None:
    world.session.execute(insert(Dog), [{"photo": world.file(b"photo"), "chip": world.file(b"chip"), "kind": "dog"}])
    world.session.commit()
    dog = world.session.scalars(select(Dog)).one()
    assert (world.stored(dog.photo), world.stored(dog.chip)) == (b"photo", b"chip")


def test_bulk_insert_of_a_single_table_child(world: World) -> None:
    world.session.execute(insert(Truck), [{"photo": world.file(), "manifest": world.file(b"m"), "kind": "truck"}])
    world.session.commit()
    assert world.stored(world.session.scalars(select(Truck)).one().manifest) == b"m"


def test_bulk_insert_of_an_attached_file_makes_a_copy(world: World) -> None:
    first = world.add(title="a", file=world.file(b"same"))
    world.session.execute(insert(Document), [{"title": t, "file": first.file} for t in "bc"])
    world.session.execute(insert(Document).values(title="d", file=first.file))
    world.session.execute(insert(Document).values([{"title": "e", "file": first.file}]))
    world.session.commit()
    assert world.count() == 5
    assert world.stored(by_title(world, "e").file) == b"same"


def test_bulk_insert_that_fails_leaves_nothing(world: World) -> None:
    with pytest.raises(IntegrityError):
        world.session.execute(insert(Named), [{"name": "same", "file": world.file()} for _ in range(3)])
    world.session.rollback()
    assert world.count() == 0


def test_rows_of_a_failed_bulk_insert_keep_their_files(world: World) -> None:
    with pytest.raises(IntegrityError):
        world.session.execute(insert(Named), [{"name": name, "file": world.file()} for name in ("a", "b", "b", "c")])
    world.session.commit()  # the first two, unless the database has rolled back
    for row in world.session.scalars(select(Named)):
        assert world.stored(row.file)


def test_rows_of_a_failed_bulk_insert_may_be_rolled_back(world: World) -> None:
    savepoint = world.session.begin_nested()
    with pytest.raises(IntegrityError):
        world.session.execute(insert(Named), [{"name": name, "file": world.file()} for name in ("a", "b", "b", "c")])
    savepoint.rollback()
    world.session.commit()
    assert world.count() == 0


def test_bulk_insert_that_is_rolled_back_leaves_nothing(world: World) -> None:
    world.session.execute(insert(Document), [{"file": world.file()} for _ in range(3)])
    world.session.rollback()
    assert world.count() == 0


def test_bulk_insert_in_a_rolled_back_savepoint_leaves_nothing(world: World) -> None:
    savepoint = world.session.begin_nested()
    world.session.execute(insert(Document), [{"file": world.file()} for _ in range(3)])
    savepoint.rollback()
    world.session.commit()
    assert world.count() == 0


def test_bulk_insert_without_files_is_left_alone(world: World) -> None:
    world.session.execute(insert(Document), [{"title": "a"}, {"title": "b", "file": None}])
    world.session.execute(insert(Document).values(title="c"))
    world.session.commit()
    assert by_title(world, "c").pages == []


def test_insert_from_select_of_a_file_column_is_refused(world: World) -> None:
    three(world)
    statement = insert(Document).from_select(["title", "file", "pages"], select(Document.title, Document.file, Document.pages))
    with pytest.raises(UnsupportedRouteError, match="SELECT"):
        world.session.execute(statement)
    world.session.rollback()
    assert world.count() == 6


def test_insert_from_select_without_file_columns_is_left_alone(world: World) -> None:
    three(world)
    world.session.execute(insert(Named).from_select(["name"], select(Document.title)))
    world.session.commit()
    assert world.session.scalar(select(func.count()).select_from(Named)) == 3


def test_insert_on_conflict_with_files_is_refused(world: World) -> None:
    dialect = {"sqlite": sqlite, "postgresql": postgresql}[world.database.name]
    statement = dialect.insert(Named).on_conflict_do_nothing(index_elements=["name"])  # type: ignore[attr-defined]
    with pytest.raises(UnsupportedRouteError, match="CONFLICT"):
        world.session.execute(statement, [{"name": "a", "file": world.file()}])
    world.session.rollback()
    assert world.count() == 0


@pytest.mark.only("sqlite")
@pytest.mark.parametrize("prefix", ["OR REPLACE", "OR IGNORE", "OR FAIL"])
def test_insert_or_replace_or_ignore_with_files_is_refused(world: World, prefix: str) -> None:
    row = world.add(Named, name="a", file=world.file(b"old"))
    with pytest.raises(UnsupportedRouteError, match=prefix):
        world.session.execute(insert(Named).prefix_with(prefix), [{"name": "a", "file": world.file()}])
    world.session.commit()
    assert world.stored(row.file) == b"old"


@pytest.mark.only("sqlite")
def test_insert_or_replace_is_refused_even_without_files(world: World) -> None:
    world.add(Named, name="a", file=world.file())
    with pytest.raises(UnsupportedRouteError, match="OR REPLACE"):
        world.session.execute(insert(Named).prefix_with("OR REPLACE").values(name="a"))


def test_prefix_for_another_database_does_not_matter(world: World) -> None:
    world.session.execute(insert(Named).prefix_with("IGNORE", dialect="mysql"), [{"name": "a", "file": world.file()}])
    world.session.commit()
    assert world.count() == 1


def test_on_conflict_do_update_of_a_file_is_refused(world: World) -> None:
    row = world.add(Named, name="a", file=world.file(b"old"))
    dialect = {"sqlite": sqlite, "postgresql": postgresql}[world.database.name]
    statement = dialect.insert(Named).values(name="a")  # type: ignore[attr-defined]
    statement = statement.on_conflict_do_update(index_elements=["name"], set_={"file": None})
    with pytest.raises(UnsupportedRouteError):
        world.session.execute(statement)
    world.session.rollback()
    assert world.stored(row.file) == b"old"


def test_bulk_insert_of_a_dict_is_refused(world: World) -> None:
    victim = world.add(file=world.file()).file.to_dict()
    for statement, parameters in ((insert(Document), [{"file": victim}]), (insert(Document).values(file=victim), None)):
        with pytest.raises((TypeError, StatementError, ValueError)):
            world.session.execute(statement, parameters)
        world.session.rollback()


# -- DELETE ----------------------------------------------------------------------------------------------------------------


def test_bulk_delete_deletes_the_files_of_what_it_matched(world: World) -> None:
    three(world)
    world.session.execute(delete(Document).where(Document.title != "b"))
    world.session.commit()
    assert world.count() == 2


def test_bulk_delete_of_everything(world: World) -> None:
    three(world)
    world.session.execute(delete(Document))
    world.session.commit()
    assert world.count() == 0


def test_bulk_delete_that_is_rolled_back_keeps_everything(world: World) -> None:
    three(world)
    world.session.execute(delete(Document))
    world.session.rollback()
    assert world.count() == 6


def test_bulk_delete_in_a_rolled_back_savepoint_keeps_everything(world: World) -> None:
    three(world)
    savepoint = world.session.begin_nested()
    world.session.execute(delete(Document))
    savepoint.rollback()
    world.session.commit()
    assert world.count() == 6


def test_bulk_delete_with_returning(world: World) -> None:
    three(world)
    assert len(world.session.execute(delete(Document).returning(Document.id)).all()) == 3
    world.session.commit()
    assert world.count() == 0


def test_row_that_a_bulk_delete_skips_keeps_its_files(world: World) -> None:
    rows = three(world)
    with kept_by_a_trigger(world, "DELETE", "b"):
        world.session.execute(delete(Document), execution_options={"synchronize_session": False})
    world.session.commit()
    assert world.count() == 2
    assert world.stored(rows[1].file) == b"b"


def test_bulk_delete_of_a_single_table_child_leaves_the_others(world: World) -> None:
    world.add(Truck, photo=world.file(), manifest=world.file())
    world.session.execute(delete(Truck))
    world.session.commit()
    assert world.count() == 0


def test_bulk_delete_of_a_single_table_base_deletes_child_files(world: World) -> None:
    world.add(Truck, photo=world.file(), manifest=world.file())
    world.add(Vehicle, photo=world.file())
    world.session.execute(delete(Vehicle))
    world.session.commit()
    assert world.count() == 0


def test_rows_hidden_by_a_hook_are_seen_by_bulk_delete(world: World) -> None:
    """The usual soft delete: rows disappear from every SELECT, and a job purges them later."""
    three(world)

    @event.listens_for(world.session, "do_orm_execute")
    def hide(state: ORMExecuteState) -> None:
        if state.is_select:
            state.statement = state.statement.options(with_loader_criteria(Document, Document.title != "b"))

    world.session.execute(delete(Document).where(Document.title == "b"))
    world.session.commit()
    assert world.count() == 4


def test_bulk_delete_deletes_files_of_pending_rows(world: World) -> None:
    world.session.add(Document(title="a", file=world.file()))
    world.session.execute(delete(Document).where(Document.title == "a"))
    world.session.commit()
    assert world.count() == 0


def test_bulk_statements_on_a_bind_of_their_own(world: World) -> None:
    bind = world.session.get_bind()
    session = world.open()
    session.bind = None
    session.execute(insert(Document).values(title="a", file=world.file()), bind_arguments={"bind": bind})
    session.execute(delete(Document), bind_arguments={"bind": bind})
    session.commit()
    assert world.count() == 0


def test_query_delete_and_update(world: World) -> None:
    rows = three(world)
    world.session.query(Document).filter(Document.title == "a").delete()
    world.session.query(Document).filter_by(title="b").update({"file": world.file(b"new")})
    world.session.query(Document).filter_by(title="c").update({Document.file: None})
    world.session.commit()
    assert world.count() == 3
    assert world.stored(rows[1].file) == b"new"


def test_a_file_dropped_by_bulk_delete_may_move_to_another_row(world: World) -> None:
    rows = three(world)
    file = rows[0].file
    world.session.execute(delete(Document).where(Document.title == "a"))
    rows[1].cover = file
    world.session.commit()
    assert world.stored(rows[1].cover) == b"a"


# -- refused ---------------------------------------------------------------------------------------------------------------


def test_a_core_insert_of_pending_content_is_refused_clearly(world: World) -> None:
    with pytest.raises(UnsupportedRouteError, match=r"session\.execute"):
        world.session.connection().execute(insert(Document.__table__).values(file=world.file(), pages=[]))
    world.session.rollback()
    with pytest.raises(UnsupportedRouteError):
        world.session.execute(insert(Document.__table__).values(file=world.file(), pages=[]))
    world.session.rollback()
    assert world.count() == 0


def test_an_insert_that_skips_the_orm_is_refused(world: World) -> None:
    with pytest.raises(UnsupportedRouteError, match="dml_strategy"):
        world.session.execute(insert(Named), [{"name": "a", "file": world.file()}], execution_options={"dml_strategy": "raw"})


def test_a_delete_of_an_alias_is_refused(world: World) -> None:
    with pytest.raises(UnsupportedRouteError, match="alias"):
        world.session.execute(delete(aliased(Document)))


REFUSED: dict[str, Callable[[World, Document], Any]] = {
    "bulk_save_objects": lambda w, row: w.session.bulk_save_objects([Document(file=w.file())]),
    "bulk_save_objects_of_rows": lambda w, row: w.session.bulk_save_objects([row]),
    "bulk_insert_mappings": lambda w, row: w.session.bulk_insert_mappings(Document, [{"file": w.file(), "pages": []}]),
    "bulk_update_mappings": lambda w, row: w.session.bulk_update_mappings(Document, [{"id": row.id, "file": w.file()}]),
    "bulk_update_mappings_to_none": lambda w, row: w.session.bulk_update_mappings(Document, [{"id": row.id, "file": None}]),
}


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED)
def test_refused_legacy_bulk_method_leaves_the_session_usable(world: World, call: Callable[[World, Document], Any]) -> None:
    row = world.add(file=world.file(b"old"))
    assert row.title is None  # loaded, so that there is a primary key to update by
    with world.session.no_autoflush:
        row.file = world.file(b"new")
        with pytest.raises(UnsupportedRouteError, match="bulk_save_objects"):
            call(world, row)
    world.session.rollback()
    assert world.stored(row.file) == b"old"
    row.file = world.file(b"newer")
    world.session.commit()
    assert world.stored(row.file) == b"newer"
