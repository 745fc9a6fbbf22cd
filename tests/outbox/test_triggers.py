"""Every way to change a row, on real databases: the tombstones are exactly right, or the documented limit shows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from tests.databases import NAMES
from tests.outbox.tables import (
    OUTBOX,
    Animal,
    Document,
    Dog,
    Folder,
    Tombstone,
    TriggerDatabase,
    doc,
    plain,
    sql,
    trigger_database,
)


@pytest.fixture(scope="module")
def databases(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], TriggerDatabase]]:
    """The databases, each made when the first case asks for it."""
    from contextlib import ExitStack

    made: dict[str, TriggerDatabase] = {}
    with ExitStack() as stack:

        def get(name: str) -> TriggerDatabase:
            if name not in made:
                made[name] = stack.enter_context(trigger_database(name, request, tmp_path_factory))
            made[name].clear()
            return made[name]

        yield get


DOCUMENT = plain("document")
ROW_1 = {("file", "a"), ("cover", "c"), ("pages", "p1"), ("pages", "p2"), ("pages", "p3")}


def tombstones(key: int, *what: tuple[str, str]) -> set[Tombstone]:
    return {Tombstone("document", key, *one) for one in what}


ALL_OF_ROW_1 = tombstones(1, *ROW_1)


class Case(NamedTuple):
    """One way to change rows, and the tombstones it leaves.

    Attributes:
        run: What happens in one transaction.
        left: The tombstones.
        only: The databases that know this way; all by default.
        live: Objects that rows name afterwards all the same.
    """

    run: Callable[[Session], Any]
    left: set[Tombstone]
    only: tuple[str, ...] = tuple(NAMES)
    live: str = ""


def core(statement: Any) -> Callable[[Session], Any]:
    return lambda session: session.connection().execute(statement)


def orm(statement: Any) -> Callable[[Session], Any]:
    return lambda session: session.execute(statement)


def driver(*statements: str) -> Callable[[Session], Any]:
    return lambda session: sql(session, *statements)


def of_1(**values: Any) -> Any:
    return update(DOCUMENT).where(DOCUMENT.c.id == 1).values(values)


def steps(*statements: Any) -> Callable[[Session], Any]:
    def run(session: Session) -> None:
        for statement in statements:
            session.connection().execute(statement)

    return run


def orm_set(**values: Any) -> Callable[[Session], Any]:
    def run(session: Session) -> None:
        document = session.get_one(Document, 1)
        for name, value in values.items():
            setattr(document, name, value)

    return run


def orm_list(change: Callable[[Any], Any]) -> Callable[[Session], Any]:
    def run(session: Session) -> None:
        document = session.get_one(Document, 1)
        change(document.pages)
        session.flush()

    return run


def orm_orphan(session: Session) -> None:
    folder = session.get_one(Folder, 1)
    folder.documents.clear()
    session.flush()


def orm_move(session: Session) -> None:
    first, second = session.get_one(Document, 1), session.get_one(Document, 2)
    second.cover, first.file = first.file, None


def orm_move_to_a_new_row(session: Session) -> None:
    first = session.get_one(Document, 1)
    session.add(Document(id=9, file=first.file))
    session.delete(first)


def orm_there_and_back(session: Session) -> None:
    document = session.get_one(Document, 1)
    file, document.file = document.file, None
    session.flush()
    document.file = file


def orm_undone_by_a_savepoint(session: Session) -> None:
    document = session.get_one(Document, 1)
    savepoint = session.begin_nested()
    document.file = None
    session.flush()
    savepoint.rollback()
    document.cover = None


def swap(session: Session) -> None:
    session.connection().execute(of_1(file=doc("b")))
    session.connection().execute(update(DOCUMENT).where(DOCUMENT.c.id == 2).values(file=doc("a")))


def recursive_replace(session: Session) -> None:
    sql(session, "PRAGMA recursive_triggers=ON", "INSERT OR REPLACE INTO document (id) VALUES (1)")
    sql(session, "PRAGMA recursive_triggers=OFF")


REUSE = json.dumps(doc("a"))
ON_CONFLICT = (
    f"INSERT INTO document (id, file) VALUES (1, '{json.dumps(doc('n'))}') ON CONFLICT (id) DO UPDATE SET file = excluded.file"
)
MERGE = (
    f"MERGE INTO document USING (VALUES (1, '{json.dumps(doc('n'))}'::jsonb), (7, '{json.dumps(doc('m'))}'::jsonb)) "
    "AS given (id, file) "
    "ON document.id = given.id WHEN MATCHED THEN UPDATE SET file = given.file "
    "WHEN NOT MATCHED THEN INSERT (id, file) VALUES (given.id, given.file)"
)
ON_DUPLICATE = f"INSERT INTO document (id, file) VALUES (1, '{json.dumps(doc('n'))}') ON DUPLICATE KEY UPDATE file = VALUES(file)"

CASES: dict[str, Case] = {
    "ORM delete": Case(lambda session: session.delete(session.get_one(Document, 1)), ALL_OF_ROW_1),
    "ORM cascade": Case(lambda session: session.delete(session.get_one(Folder, 1)), ALL_OF_ROW_1),
    "ORM delete-orphan": Case(orm_orphan, ALL_OF_ROW_1),
    "ORM set to None": Case(orm_set(file=None, pages=[]), tombstones(1, *(ROW_1 - {("cover", "c")}))),
    "ORM list member": Case(orm_list(lambda pages: pages.pop(1)), tombstones(1, ("pages", "p2"))),
    "ORM list order": Case(orm_list(lambda pages: pages.reverse()), set()),
    "ORM other column": Case(orm_set(title="new"), set()),
    "ORM move": Case(orm_move, set(), live="a"),
    "ORM move to a new row": Case(orm_move_to_a_new_row, ALL_OF_ROW_1 - tombstones(1, ("file", "a")), live="a"),
    "ORM there and back": Case(orm_there_and_back, set(), live="a"),
    "ORM savepoint rolled back": Case(orm_undone_by_a_savepoint, tombstones(1, ("cover", "c")), live="a"),
    "ORM bulk delete": Case(orm(delete(Document).where(Document.id == 1)), ALL_OF_ROW_1),
    "ORM bulk update": Case(orm(update(Document).where(Document.id == 1).values(file=None)), tombstones(1, ("file", "a"))),
    "Query.delete": Case(lambda session: session.query(Document).filter_by(id=1).delete(), ALL_OF_ROW_1),
    "Core delete": Case(core(delete(DOCUMENT).where(DOCUMENT.c.id == 1)), ALL_OF_ROW_1),
    "Core update to NULL": Case(core(of_1(file=None)), tombstones(1, ("file", "a"))),
    "Core update to another document": Case(core(of_1(file=doc("n"))), tombstones(1, ("file", "a")), live="n"),
    "Core update of nothing but metadata": Case(core(of_1(file={**doc("a"), "metadata": {"page": 2}})), set(), live="a"),
    "Core update of one list member": Case(
        core(of_1(pages=[doc("p1"), doc("n"), doc("p3")])), tombstones(1, ("pages", "p2")), live="p1 n p3"
    ),
    "Core update of a list to NULL": Case(core(of_1(pages=None)), tombstones(1, *[one for one in ROW_1 if one[0] == "pages"])),
    "one object twice in a list, once left": Case(
        steps(of_1(pages=[doc("p1"), doc("p1"), doc("p2")]), of_1(pages=[doc("p1")])),
        tombstones(1, ("pages", "p2"), ("pages", "p3")),
        live="p1",
    ),
    "one object twice in a list, gone": Case(
        steps(of_1(pages=[doc("p1"), doc("p1")]), of_1(pages=[])), tombstones(1, *[one for one in ROW_1 if one[0] == "pages"])
    ),
    "from column to column": Case(core(of_1(file=None, cover=doc("a"))), tombstones(1, ("cover", "c")), live="a"),
    "out of a list": Case(
        core(of_1(file=doc("p1"), pages=[doc("p2"), doc("p3")])), tombstones(1, ("file", "a")), live="p1 p2 p3"
    ),
    "into a list": Case(core(of_1(file=None, pages=[doc(p) for p in ("p3", "a", "p2", "p1")])), set(), live="a p1"),
    "to a column without lifecycle": Case(core(of_1(file=None, loose=doc("a"))), tombstones(1, ("file", "a")), live="a"),
    "there and back": Case(steps(of_1(file=None), of_1(file=doc("a"))), set(), live="a"),
    "back in another row": Case(
        steps(delete(DOCUMENT).where(DOCUMENT.c.id == 1), insert(DOCUMENT).values(id=9, pages=[doc("a"), doc("p1")])),
        tombstones(1, ("cover", "c"), ("pages", "p2"), ("pages", "p3")),
        live="a p1",
    ),
    "another case is another path": Case(core(of_1(file=doc("A"))), tombstones(1, ("file", "a")), live="A"),
    "another backend is another object": Case(core(of_1(file=doc("a", backend="other"))), tombstones(1, ("file", "a"))),
    "a document of Advanced Alchemy": Case(
        steps(of_1(file={"backend": "docs", "filename": "aa"}), of_1(file=None)), tombstones(1, ("file", "a"), ("file", "aa"))
    ),
    "a document of sqlalchemy-file": Case(
        steps(of_1(file={"upload_storage": "docs", "file_id": "sf", "path": "docs/sf"}), of_1(file=None)),
        tombstones(1, ("file", "a"), ("file", "sf")),
    ),
    "what is not a document": Case(
        steps(of_1(file=5, cover="text", pages=[1, None, "p1"]), delete(DOCUMENT).where(DOCUMENT.c.id == 1)), ALL_OF_ROW_1
    ),
    "a path and a backend too long to be ours": Case(
        steps(
            of_1(file=doc("x" * 1025), cover=doc("x", backend="k" * 256), pages=[doc("y" * 1500), doc("p1")]),
            delete(DOCUMENT).where(DOCUMENT.c.id == 1),
        ),
        ALL_OF_ROW_1,
    ),
    "a row without files": Case(core(delete(DOCUMENT).where(DOCUMENT.c.id == 3)), set()),
    "plain SQL through the driver": Case(driver("DELETE FROM document WHERE id = 1"), ALL_OF_ROW_1),
    "plain SQL over all rows": Case(
        driver("UPDATE document SET file = NULL"), tombstones(1, ("file", "a")) | tombstones(2, ("file", "b"))
    ),
    "JSON null": Case(driver("UPDATE document SET file = 'null', pages = 'null' WHERE id = 2"), tombstones(2, ("file", "b"))),
    "swapped by two updates": Case(swap, tombstones(2, ("file", "b")), live="a b"),
    "archived": Case(
        driver("INSERT INTO archive (id, file) SELECT id, file FROM document WHERE id = 1", "DELETE FROM document WHERE id = 1"),
        ALL_OF_ROW_1,
        live="a",
    ),
    "joined inheritance": Case(
        lambda session: session.delete(session.get_one(Dog, 1)),
        {Tombstone("dog", 1, "chip", "chip"), Tombstone("animal", 1, "photo", "photo")},
    ),
    "a joined child's row": Case(driver("DELETE FROM dog"), {Tombstone("dog", 1, "chip", "chip")}, live="photo"),
    "a joined base's column": Case(
        orm(update(Animal).values(photo=None)), {Tombstone("animal", 1, "photo", "photo")}, live="chip"
    ),
    "ON DELETE CASCADE": Case(driver("DELETE FROM folder WHERE id = 1"), ALL_OF_ROW_1, only=("sqlite", "postgresql")),
    "TRUNCATE": Case(driver("TRUNCATE document"), ALL_OF_ROW_1 | tombstones(2, ("file", "b")), only=("postgresql",)),
    "TRUNCATE CASCADE": Case(
        driver("TRUNCATE folder CASCADE"), ALL_OF_ROW_1 | tombstones(2, ("file", "b")), only=("postgresql",)
    ),
    "a merge that updates": Case(driver(MERGE), tombstones(1, ("file", "a")), only=("postgresql",), live="n m"),
    "a merge that deletes": Case(
        driver("MERGE INTO document USING (VALUES (1)) AS given (id) ON document.id = given.id WHEN MATCHED THEN DELETE"),
        ALL_OF_ROW_1,
        only=("postgresql",),
    ),
    "another primary key": Case(driver("UPDATE document SET id = 11 WHERE id = 1"), set(), live="a c p1"),
    "upsert": Case(driver(ON_CONFLICT), tombstones(1, ("file", "a")), only=("sqlite", "postgresql"), live="n"),
    "upsert of MariaDB": Case(driver(ON_DUPLICATE), tombstones(1, ("file", "a")), only=("mariadb",), live="n"),
    "REPLACE": Case(driver("REPLACE INTO document (id) VALUES (1)"), ALL_OF_ROW_1, only=("mariadb",)),
    "REPLACE that keeps a file": Case(
        driver(f"REPLACE INTO document (id, file) VALUES (1, '{REUSE}')"),
        ALL_OF_ROW_1 - tombstones(1, ("file", "a")),
        only=("mariadb",),
        live="a",
    ),
}

# What a database hides from triggers; "filerow doctor" says so.
LIMITS: dict[str, Case] = {
    "MariaDB runs no trigger for ON DELETE CASCADE": Case(driver("DELETE FROM folder WHERE id = 1"), set(), only=("mariadb",)),
    "MariaDB runs no trigger for TRUNCATE": Case(driver("TRUNCATE document"), set(), only=("mariadb",)),
    "SQLite runs no delete trigger for INSERT OR REPLACE": Case(
        driver("INSERT OR REPLACE INTO document (id) VALUES (1)"), set(), only=("sqlite",)
    ),
    "PostgreSQL runs no trigger in the role of a replica": Case(
        driver("SET LOCAL session_replication_role = replica", "DELETE FROM document"), set(), only=("postgresql",)
    ),
}


def each(cases: dict[str, Case]) -> Any:
    pairs = [(name, database) for name, case in cases.items() for database in case.only]
    return pytest.mark.parametrize(("name", "database"), pairs, ids=[f"{database}-{name}" for name, database in pairs])


@pytest.mark.one_in(6)
@each(CASES)
def test_what_leaves_a_row_is_noted_once_it_is_committed(
    name: str, database: str, databases: Callable[[str], TriggerDatabase]
) -> None:
    here, case = databases(database), CASES[name]
    with Session(here.engine) as session:
        case.run(session)
        session.rollback()
    assert here.tombstones() == set()
    with Session(here.engine) as session:
        case.run(session)
        session.commit()
    assert here.tombstones() == case.left
    objects = {tombstone.path for tombstone in case.left} | set(case.live.split())
    assert here.live(*objects) == set(case.live.split())


@each(LIMITS)
def test_what_a_database_hides(name: str, database: str, databases: Callable[[str], TriggerDatabase]) -> None:
    here, case = databases(database), LIMITS[name]
    with Session(here.engine) as session:
        case.run(session)
        session.commit()
    assert here.tombstones() == set()
    assert here.live("a") == set()


@pytest.mark.servers
def test_rows_swapped_by_one_update_keep_their_objects(databases: Callable[[str], TriggerDatabase]) -> None:
    here = databases("postgresql")
    with Session(here.engine) as session:
        sql(session, "UPDATE document SET file = (SELECT o.file FROM document o WHERE o.id = 3 - document.id) WHERE id < 3")
        session.commit()
    # of the row that the database came to last
    assert here.tombstones() in (tombstones(1, ("file", "a")), tombstones(2, ("file", "b")))
    assert here.live("a", "b") == {"a", "b"}


def test_recursive_triggers_let_sqlite_see_insert_or_replace(databases: Callable[[str], TriggerDatabase]) -> None:
    here = databases("sqlite")
    with here.engine.connect() as connection:
        connection.exec_driver_sql("COMMIT")  # the setting is not for the inside of a transaction
        connection.exec_driver_sql("PRAGMA recursive_triggers=ON")
        connection.exec_driver_sql("INSERT OR REPLACE INTO document (id) VALUES (1)")
        connection.exec_driver_sql("PRAGMA recursive_triggers=OFF")
        connection.exec_driver_sql("BEGIN")
    assert here.tombstones() == ALL_OF_ROW_1


# -- a deletion that has begun ---------------------------------------------------------------------------------------------

RETURNS = {
    "an INSERT": insert(DOCUMENT).values(id=9, file=doc("a")),
    "an INSERT into a list": insert(DOCUMENT).values(id=9, pages=[doc("x"), doc("a")]),
    "an UPDATE": update(DOCUMENT).where(DOCUMENT.c.id == 2).values(cover=doc("a")),
    "an UPDATE of a list": update(DOCUMENT).where(DOCUMENT.c.id == 2).values(pages=[doc("a")]),
}


@pytest.mark.parametrize("database", NAMES)
@pytest.mark.parametrize("way", RETURNS)
def test_no_row_is_given_an_object_whose_deletion_has_begun(
    way: str, database: str, databases: Callable[[str], TriggerDatabase]
) -> None:
    here = databases(database)
    with here.engine.begin() as connection:
        connection.execute(of_1(file=None))
        connection.execute(update(OUTBOX.table).values(attempts=1))
    with pytest.raises(DBAPIError, match="is being deleted and cannot be given to a row again"):
        with here.engine.begin() as connection:
            connection.execute(RETURNS[way])
    assert here.live("a", "x") == set()
    with here.engine.begin() as connection:
        assert connection.scalar(select(OUTBOX.table.c.attempts)) == 1
        connection.execute(of_1(title="still its row"))


@pytest.mark.parametrize("database", NAMES)
def test_what_a_row_has_already_is_not_judged_again(database: str, databases: Callable[[str], TriggerDatabase]) -> None:
    here = databases(database)
    with here.engine.begin() as connection:
        suspicion = {"backend": "docs", "path": "p1", "dropped_at": 1.0, "attempts": 1}
        connection.execute(insert(OUTBOX.table).values(suspicion))
        connection.execute(of_1(pages=[doc("p1"), doc("p2")]))
    assert here.live("p1", "p3") == {"p1"}


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ"])
@pytest.mark.parametrize("database", ["postgresql", "mariadb"])
def test_a_deletion_that_begins_behind_a_snapshot_is_noticed(
    database: str, level: str, databases: Callable[[str], TriggerDatabase]
) -> None:
    here = databases(database)
    with here.engine.begin() as connection:
        connection.execute(of_1(file=None))
    with here.engine.connect().execution_options(isolation_level=level) as connection, connection.begin():
        connection.execute(select(DOCUMENT))  # takes the snapshot
        with here.engine.begin() as drain:
            drain.execute(update(OUTBOX.table).values(attempts=1))
        with pytest.raises(DBAPIError, match=r"is being deleted|could not serialize|since last read"):
            connection.execute(RETURNS["an INSERT"])


@pytest.mark.servers
def test_replacing_transactions_do_not_block_on_mariadb(databases: Callable[[str], TriggerDatabase]) -> None:
    here = databases("mariadb")
    with here.engine.connect() as one, here.engine.connect() as two:
        for connection in (one, two):
            connection.execute(text("SET SESSION innodb_lock_wait_timeout = 1"))
        for number, connection in [(1, one), (2, two), (1, one), (2, two)]:
            mine = update(DOCUMENT).where(DOCUMENT.c.id == number)
            connection.execute(mine.values(file=doc(f"n{number}")))
            connection.execute(mine.values(cover=doc(f"m{number}")))
        one.commit()
        two.commit()
    assert here.tombstones() == tombstones(1, ("file", "a"), ("cover", "c")) | tombstones(2, ("file", "b"))
