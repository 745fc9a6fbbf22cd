"""Row level security: rows that a flush may see and not lock, lock and not delete, or not see any more."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import delete, update
from sqlalchemy.orm.exc import StaleDataError

from tests.cases.models import Document
from tests.cases.triggers import ddl
from tests.cases.world import World

pytestmark = pytest.mark.only("postgresql")

ALL = {"select": "true", "insert": "true", "update": "true", "delete": "true"}


@contextmanager
def policies(world: World, **rules: str) -> Iterator[None]:
    """Have the session's transaction be that of a user with these policies on ``document``."""
    made = ["CREATE ROLE tenant", "GRANT ALL ON ALL TABLES IN SCHEMA public TO tenant"]
    made += ["GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO tenant", "ALTER TABLE document ENABLE ROW LEVEL SECURITY"]
    for verb, rule in (ALL | rules).items():
        made.append(f"CREATE POLICY may_{verb} ON document FOR {verb} {'WITH CHECK' if verb == 'insert' else 'USING'} ({rule})")
    dropped = ["RESET ROLE", *(f"DROP POLICY may_{verb} ON document" for verb in ALL)]
    dropped += ["ALTER TABLE document DISABLE ROW LEVEL SECURITY", "DROP OWNED BY tenant", "DROP ROLE tenant"]
    with ddl(world, [*made, "SET LOCAL ROLE tenant"], dropped):
        yield


@contextmanager
def soft_deletes(world: World) -> Iterator[None]:
    """Mark rows as deleted, which a policy hides then."""
    body = "BEGIN UPDATE document SET title = ''deleted'' WHERE id = OLD.id; RETURN NULL; END"
    made = [
        f"CREATE FUNCTION soft() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS '{body}'",
        "CREATE TRIGGER soft BEFORE DELETE ON document FOR EACH ROW EXECUTE FUNCTION soft()",
    ]
    dropped = ["DROP TRIGGER soft ON document", "DROP FUNCTION soft()"]
    with ddl(world, made, dropped), policies(world, select="title <> 'deleted'"):
        yield


def documents(world: World, count: int) -> list[Document]:
    rows = [Document(title="a", file=world.file(b"%d" % number)) for number in range(count)]
    world.session.add_all(rows)
    world.session.commit()
    return rows


each_count = pytest.mark.parametrize("count", [1, 3])


@each_count
def test_rows_that_may_be_deleted_take_their_files(world: World, count: int) -> None:
    rows = documents(world, count)
    with policies(world):
        for row in rows:
            world.session.delete(row)
        world.session.flush()
    world.session.commit()
    assert world.count() == 0


@each_count
def test_rows_that_may_not_be_deleted_keep_their_files(world: World, count: int) -> None:
    rows = documents(world, count)
    with policies(world, delete="false"):
        for row in rows:
            world.session.delete(row)
        world.session.flush()
    world.session.commit()
    assert world.count() == count


@each_count
def test_deleted_rows_that_could_not_be_locked_leave_orphans(world: World, caplog: pytest.LogCaptureFixture, count: int) -> None:
    """Nobody knows whether something else names the objects by now, so they are logged and left to a sweep."""
    rows = documents(world, count)
    left = {("docs", row.file.path) for row in rows}
    with policies(world, update="false"), caplog.at_level(logging.WARNING, "filerow"):
        for row in rows:
            world.session.delete(row)
        world.session.flush()
    world.session.commit()
    world.check(left)
    assert all(path in caplog.text for _, path in left)
    assert "sweep" in caplog.text
    for _, path in left:
        world.sweep("docs", path)


def test_row_with_policies_may_be_edited(world: World) -> None:
    (row,) = documents(world, 1)
    with policies(world):
        row.title = "b"
        world.session.flush()
    world.session.commit()
    assert world.stored(row.file) == b"0"


def test_one_row_that_may_not_be_updated_fails_the_flush(world: World) -> None:
    (row,) = documents(world, 1)
    with pytest.raises(StaleDataError), policies(world, update="false"):
        row.file = world.file(b"new")
        world.session.flush()
    world.session.rollback()
    assert world.stored(row.file) == b"0"
    assert world.count() == 1


def test_rows_that_may_not_be_updated_keep_their_files(world: World) -> None:
    rows = documents(world, 3)
    try:
        with policies(world, update="false"):  # asyncpg does not say how many rows it has updated
            for row in rows:
                row.file = world.file(b"new")
            world.session.flush()
    except StaleDataError:
        world.session.rollback()
    world.session.commit()
    assert [world.stored(row.file) for row in rows] == [b"0", b"1", b"2"]
    assert world.count() == 3


@each_count
def test_rows_kept_by_a_trigger_and_hidden_keep_their_files(world: World, caplog: pytest.LogCaptureFixture, count: int) -> None:
    rows = documents(world, count)
    with soft_deletes(world), caplog.at_level(logging.WARNING, "filerow"):
        for row in rows:
            world.session.delete(row)
        world.session.flush()
    world.session.commit()
    assert world.count() == count
    assert "sweep" in caplog.text


@contextmanager
def archivist(world: World) -> Iterator[None]:
    """Have the session's transaction be that of a user who may DELETE and not UPDATE, which a new pool finds out."""
    world.session.commit()  # the session holds no connection
    world.session.get_bind().dispose()  # type: ignore[union-attr]
    made = ["CREATE ROLE archivist", "GRANT SELECT, INSERT, DELETE ON document TO archivist", "SET LOCAL ROLE archivist"]
    with ddl(world, made, ["RESET ROLE", "DROP OWNED BY archivist", "DROP ROLE archivist"]):
        yield


@each_count
def test_user_who_may_not_update_deletes(world: World, caplog: pytest.LogCaptureFixture, count: int) -> None:
    """PostgreSQL lets nobody lock a row who may not UPDATE it."""
    rows = documents(world, count)
    left = {("docs", row.file.path) for row in rows}
    with archivist(world), caplog.at_level(logging.WARNING, "filerow"):
        for row in rows:
            world.session.delete(row)
        world.session.flush()
    world.session.commit()
    world.check(left)
    assert all(path in caplog.text for _, path in left)
    for _, path in left:
        world.sweep("docs", path)


def test_user_who_may_not_update_deletes_in_bulk(world: World, caplog: pytest.LogCaptureFixture) -> None:
    left = {("docs", row.file.path) for row in documents(world, 2)}
    with archivist(world), caplog.at_level(logging.WARNING, "filerow"):
        world.session.execute(delete(Document), execution_options={"synchronize_session": False})
    world.session.commit()
    world.check(left)
    assert "2 rows" in caplog.text
    for _, path in left:
        world.sweep("docs", path)


# -- statements ------------------------------------------------------------------------------------------------------------


def test_bulk_delete_of_rows_that_could_not_be_locked_is_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    rows = documents(world, 2)
    left = {("docs", row.file.path) for row in rows}
    with policies(world, update="false"), caplog.at_level(logging.WARNING, "filerow"):
        world.session.execute(delete(Document), execution_options={"synchronize_session": False})
    world.session.commit()
    world.check(left)
    assert "2 rows" in caplog.text
    for _, path in left:
        world.sweep("docs", path)


def test_bulk_deleted_rows_kept_by_a_trigger_and_hidden(world: World) -> None:
    documents(world, 2)
    with soft_deletes(world):
        world.session.execute(delete(Document), execution_options={"synchronize_session": False})
    world.session.commit()
    assert world.count() == 2


def test_bulk_delete_of_rows_that_may_be_deleted(world: World) -> None:
    documents(world, 2)
    with policies(world):
        world.session.execute(delete(Document), execution_options={"synchronize_session": False})
    world.session.commit()
    assert world.count() == 0


def test_bulk_update_of_rows_that_may_not_be_updated(world: World) -> None:
    documents(world, 2)
    with policies(world, update="false"):
        world.session.execute(update(Document).values(file=None), execution_options={"synchronize_session": False})
    world.session.commit()
    assert world.count() == 2
