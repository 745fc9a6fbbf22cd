"""What a database does by itself when a row is written: no document may lose its object, whoever wrote it.

Each case makes rows, then triggers, rules or views, then changes or deletes the rows by the ORM; afterwards each document of each
table names an object that is there.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Engine, ForeignKey, String, UniqueConstraint, create_engine, delete, event, insert, select, update
from sqlalchemy.exc import SAWarning
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.orm.exc import StaleDataError

from filerow import FileObject, FileObjectList, StoredObject
from filerow.backends.memory import MemoryBackend
from filerow.exceptions import UnsupportedRouteError
from tests.databases import EmptyDatabase


class Base(DeclarativeBase):
    pass


class Paper(Base):
    __tablename__ = "paper"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(50), default="")
    hidden: Mapped[bool] = mapped_column(default=False)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


class Archive(Base):
    __tablename__ = "archive"
    number: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


class Node(Base):
    __tablename__ = "node"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(50))
    title: Mapped[str] = mapped_column(String(50), default="")
    cover: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "node"}


class Leaf(Node):
    __tablename__ = "leaf"
    id: Mapped[int] = mapped_column(ForeignKey("node.id"), primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    __mapper_args__ = {"polymorphic_identity": "leaf"}


TABLES: dict[str, tuple[str, ...]] = {"paper": ("file",), "archive": ("file",), "node": ("cover",), "leaf": ("file",)}

FUNCTION = "CREATE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {} END$$"
KEEP_1, KEEP_OLD = (f"INSERT INTO archive(file) VALUES ({value})" for value in ("$1", "old"))
ARCHIVE_OLD = "INSERT INTO archive(file) VALUES (OLD.file);"


class Case(NamedTuple):
    """Statements that make a database do something by itself, and the databases that can."""

    statements: tuple[str, ...]
    database: str = "postgresql"
    partitioned: bool = False
    view: str = ""


def on_postgresql(body: str, trigger: str, **more: Any) -> Case:
    return Case((FUNCTION.format(body), f"CREATE {trigger} EXECUTE FUNCTION act()"), **more)


AFTER = "TRIGGER act AFTER DELETE OR UPDATE ON {} FOR EACH ROW"
DEFERRED = "CONSTRAINT TRIGGER act AFTER DELETE OR UPDATE ON paper DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"
REINSERT = "INSERT INTO paper(id, title, hidden, file) VALUES (OLD.id + 10, OLD.title, true, OLD.file); RETURN NULL;"
SOFT = "UPDATE paper SET hidden = true WHERE id = OLD.id; RETURN NULL;"

CASES = {
    "a partition archives": on_postgresql(f"{ARCHIVE_OLD} RETURN NULL;", AFTER.format("paper_1"), partitioned=True),
    "a partition puts the row back": on_postgresql(
        REINSERT, "TRIGGER act AFTER DELETE ON paper_1 FOR EACH ROW", partitioned=True
    ),
    "a partition keeps the row": on_postgresql(SOFT, "TRIGGER act BEFORE DELETE ON paper_1 FOR EACH ROW", partitioned=True),
    "a deferred trigger archives": on_postgresql(f"{ARCHIVE_OLD} RETURN NULL;", DEFERRED),
    "a deferred trigger puts the row back": on_postgresql(REINSERT, DEFERRED.replace(" OR UPDATE", "")),
    "a trigger archives deleted rows together": Case(
        (
            FUNCTION.format("INSERT INTO archive(file) SELECT file FROM gone; RETURN NULL;"),
            "CREATE TRIGGER act AFTER DELETE ON paper REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION act()",
        )
    ),
    "a trigger by dynamic SQL archives": on_postgresql(
        "EXECUTE 'INS' || 'ERT INTO archive(file) VALUES ($1)' USING OLD.file; RETURN OLD;",
        "TRIGGER act BEFORE DELETE ON paper FOR EACH ROW",
    ),
    "a trigger calls a function that archives": Case(
        (
            f"CREATE FUNCTION keep(jsonb) RETURNS integer LANGUAGE sql AS $${KEEP_1} RETURNING number$$",
            FUNCTION.format("OLD.title := concat('kept as ', public.keep (OLD.file)); RETURN OLD;"),
            "CREATE TRIGGER act BEFORE DELETE OR UPDATE ON paper FOR EACH ROW EXECUTE FUNCTION act()",
        )
    ),
    "a view shows what a trigger keeps": on_postgresql(
        SOFT, "TRIGGER act BEFORE DELETE ON base FOR EACH ROW", view="SELECT * FROM base WHERE NOT hidden"
    ),
    "a view shows what a rule keeps": Case(
        ("CREATE RULE act AS ON DELETE TO base DO INSTEAD UPDATE base SET hidden = true WHERE id = OLD.id",),
        view="SELECT * FROM base WHERE NOT hidden",
    ),
    "a view hides what a trigger puts back": on_postgresql(
        "NEW.file := OLD.file; NEW.hidden := true; RETURN NEW;",
        "TRIGGER act BEFORE UPDATE ON base FOR EACH ROW",
        view="SELECT * FROM base WHERE NOT hidden",
    ),
    "a child that inherits archives": Case(
        (
            "CREATE TABLE more () INHERITS (paper)",
            "ALTER TABLE more ADD PRIMARY KEY (id)",
            "INSERT INTO more SELECT * FROM ONLY paper",
            "DELETE FROM ONLY paper",
            FUNCTION.format(f"{ARCHIVE_OLD} RETURN OLD;"),
            "CREATE TRIGGER act BEFORE DELETE ON more FOR EACH ROW EXECUTE FUNCTION act()",
        )
    ),
    "the new document goes to the archive": on_postgresql(
        "INSERT INTO archive(file) VALUES (NEW.file); NEW.file := OLD.file; RETURN NEW;",
        "TRIGGER act BEFORE UPDATE ON paper FOR EACH ROW",
    ),
    "an update makes a new row": on_postgresql(
        "INSERT INTO paper(id, title, hidden, file) VALUES (NEW.id + 10, NEW.title, false, NEW.file); RETURN OLD;",
        "TRIGGER act BEFORE UPDATE ON paper FOR EACH ROW",
    ),
    "SQLite moves the new document away": Case(
        (
            (
                "CREATE TRIGGER act AFTER UPDATE OF file ON paper BEGIN INSERT INTO archive(file) VALUES (NEW.file); "
                "UPDATE paper SET file = OLD.file WHERE id = OLD.id; END"
            ),
        ),
        "sqlite",
    ),
    "SQLite archives": Case(
        ("CREATE TRIGGER act AFTER DELETE ON Paper BEGIN INSERT INTO archive(file) VALUES (OLD.file); END",), "sqlite"
    ),
    "a function that MariaDB calls archives": Case(
        (
            f"CREATE FUNCTION keep(old json) RETURNS integer MODIFIES SQL DATA BEGIN {KEEP_OLD}; RETURN last_insert_id(); END",
            "CREATE TRIGGER act BEFORE DELETE ON paper FOR EACH ROW SET @kept = `keep`(OLD.file)",
        ),
        "mariadb",
    ),
    "MariaDB archives": Case(
        ("CREATE TRIGGER act AFTER DELETE ON paper FOR EACH ROW INSERT INTO archive(file) VALUES (OLD.file)",), "mariadb"
    ),
}


def _delete(session: Session) -> None:
    for paper in session.scalars(select(Paper)):
        session.delete(paper)


def _delete_all(session: Session) -> None:
    session.execute(delete(Paper))


def _replace(session: Session) -> None:
    for paper in session.scalars(select(Paper)):
        paper.file = FileObject(content=b"new")


def _clear_all(session: Session) -> None:
    session.execute(update(Paper).values(file=None))


@pytest.fixture
def engine(database: EmptyDatabase) -> Iterator[Engine]:
    made = database.engine()
    yield made
    made.dispose()


def prepare(engine: Engine, case: Case) -> None:
    """Make the tables, three rows with files, and what the case adds."""
    with engine.begin() as connection:
        if case.partitioned:
            connection.exec_driver_sql(
                "CREATE TABLE paper (id integer PRIMARY KEY, title varchar, hidden boolean, file jsonb) PARTITION BY RANGE (id)"
            )
            connection.exec_driver_sql("CREATE TABLE paper_1 PARTITION OF paper FOR VALUES FROM (0) TO (1000)")
        Base.metadata.create_all(connection)
        if case.view:
            connection.exec_driver_sql("ALTER TABLE paper RENAME TO base")
            connection.exec_driver_sql(f"CREATE VIEW paper AS {case.view}")
    with Session(engine) as session:
        session.add_all([Paper(id=number, file=FileObject(content=b"%d" % number)) for number in (1, 2, 3)])
        session.commit()
    with engine.begin() as connection:
        for statement in case.statements:
            connection.exec_driver_sql(statement)


def named(engine: Engine, tables: dict[str, tuple[str, ...]]) -> list[str]:
    """Return the paths that documents name, as often as they do, read without the library."""
    paths = []
    with engine.connect() as connection:
        for table, columns in tables.items():
            for column in columns:
                rows = connection.exec_driver_sql(f"SELECT {column} FROM {table} WHERE {column} IS NOT NULL").scalars()
                documents = [json.loads(row) if isinstance(row, str) else row for row in rows]
                paths += [document["path"] for document in documents if document]
    return paths


def objects(docs: MemoryBackend) -> set[str]:
    return {one.path for one in docs.list()}


@pytest.mark.parametrize("act", [_delete, _delete_all, _replace, _clear_all], ids=lambda one: one.__name__.strip("_"))
@pytest.mark.parametrize(("database", "name"), [(case.database, name) for name, case in CASES.items()], indirect=["database"])
def test_documents_a_database_keeps_by_itself_keep_their_objects(
    engine: Engine, docs: MemoryBackend, name: str, act: Callable[[Session], None]
) -> None:
    case = CASES[name]
    prepare(engine, case)
    with Session(engine) as session, warnings.catch_warnings():
        warnings.simplefilter("ignore", SAWarning)  # fewer rows were deleted than asked for
        act(session)
        session.commit()
    tables: dict[str, tuple[str, ...]] = {"base": ("file",), "archive": ("file",)} if case.view else TABLES
    assert set(named(engine, tables)) <= objects(docs)


@pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
def test_a_trigger_that_writes_no_row_keeps_nothing(docs: MemoryBackend, engine: Engine) -> None:
    stamp = on_postgresql(
        "IF (TG_OP = 'INSERT') THEN NEW.title := 'select'; END IF; /* update */ NEW.hidden := false; "
        "NEW.title := concat(to_char(pg_catalog.now(), 'YYYY'), coalesce(lower(NEW.title), '')); RETURN (NEW);",
        "TRIGGER act BEFORE UPDATE ON paper FOR EACH ROW",
    )
    if engine.dialect.name != "postgresql":
        statement = "CREATE TRIGGER act BEFORE UPDATE ON paper BEGIN SELECT RAISE(IGNORE) WHERE NEW.title = 'insert'; END"
        stamp = Case((statement,), "sqlite")
    prepare(engine, stamp)
    asked: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda conn, cursor, statement, *_: asked.append(statement))
    with Session(engine) as session:
        session.get_one(Paper, 1).file = FileObject(content=b"new")
        session.commit()
        session.delete(session.get_one(Paper, 2))
        session.commit()
    assert not [one for one in asked if "FROM archive" in one], "no other table needs to be asked"
    assert sorted(named(engine, TABLES)) == sorted(objects(docs))


@pytest.mark.parametrize("how", ["before_cursor_execute", "do_execute"])
def test_delete_turned_into_an_update_deletes_nothing(engine: Engine, docs: MemoryBackend, how: str) -> None:
    prepare(engine, Case(()))

    def soft(statement: str) -> str:
        return re.sub(r"^DELETE FROM paper", "UPDATE paper SET hidden = (1 = 1)", statement)

    if how == "do_execute":

        def send(cursor: Any, statement: str, parameters: Any, context: object) -> bool:
            cursor.execute(soft(statement), parameters)
            return True

        event.listen(engine, "do_execute", send)
    else:
        event.listen(engine, how, lambda conn, cursor, statement, values, *_: (soft(statement), values), retval=True)
    for number in (1, 2):  # the first time PostgreSQL is asked more than the second
        with Session(engine) as session:
            session.delete(session.get_one(Paper, number))
            session.commit()
    assert set(named(engine, TABLES)) == objects(docs)
    assert len(objects(docs)) == 3


@pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
@pytest.mark.parametrize("act", ["delete", "bulk", "clear"])
def test_an_archive_that_a_trigger_fills_can_be_purged(engine: Engine, docs: MemoryBackend, act: str) -> None:
    archive = "INSERT INTO archive(file) VALUES (OLD.file);"
    one = on_postgresql(f"{archive} RETURN NEW;", "TRIGGER act AFTER UPDATE ON paper FOR EACH ROW")
    if engine.dialect.name == "sqlite":
        one = Case((f"CREATE TRIGGER act AFTER UPDATE ON paper BEGIN {archive} END",), "sqlite")
    prepare(engine, one)
    with Session(engine) as session:
        for title in ("b", "c"):  # the file stays, and the archive names it twice
            session.get_one(Paper, 1).title = title
            session.commit()
        old = session.scalars(select(Archive).limit(1)).one()
        if act == "delete":
            session.delete(old)
        elif act == "clear":
            old.file = None
        else:
            session.execute(delete(Archive))
        session.commit()
    assert set(named(engine, TABLES)) == objects(docs)


def test_later_mapped_class_brings_its_table_s_triggers(docs: MemoryBackend) -> None:
    class Later(DeclarativeBase):
        pass

    class Shelf(Later):
        __tablename__ = "archive"
        number: Mapped[int] = mapped_column(primary_key=True)
        file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))

    class Thing(Later):
        __tablename__ = "thing"
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str]
        title: Mapped[str] = mapped_column(default="")
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "thing"}

    engine = create_engine("sqlite://")
    Later.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(one := Shelf(file=FileObject(content=b"old")))
        session.commit()
        session.delete(one)
        session.commit()

    class Picture(Thing):
        file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
        __mapper_args__ = {"polymorphic_identity": "picture"}

    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE thing ADD COLUMN file JSON")
        connection.exec_driver_sql(
            "CREATE TRIGGER act AFTER UPDATE ON thing BEGIN INSERT INTO archive(file) VALUES (OLD.file); END"
        )
    with Session(engine) as session:
        session.add(picture := Picture(file=FileObject(content=b"new")))
        session.commit()
        picture.title = "b"
        session.commit()
        session.delete(session.scalars(select(Shelf)).one())
        session.commit()
    assert named(engine, {"thing": ("file",)}) == list(objects(docs))
    engine.dispose()


@pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
def test_a_trigger_of_another_table_of_the_row_archives(engine: Engine, docs: MemoryBackend) -> None:
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Leaf(id=1, title="a", cover=FileObject(content=b"cover"), file=FileObject(content=b"file")))
        session.commit()
    statement = "INSERT INTO archive(file) SELECT file FROM leaf WHERE id = OLD.id; INSERT INTO archive(file) VALUES (OLD.cover);"
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql(FUNCTION.format(f"{statement} RETURN NEW;"))
            connection.exec_driver_sql("CREATE TRIGGER act BEFORE UPDATE ON node FOR EACH ROW EXECUTE FUNCTION act()")
        else:
            connection.exec_driver_sql(f"CREATE TRIGGER act BEFORE UPDATE ON node BEGIN {statement} END")
    with Session(engine) as session:
        leaf = session.get_one(Leaf, 1)
        leaf.title, leaf.file = "b", FileObject(content=b"new")
        session.commit()
    assert set(named(engine, TABLES)) == objects(docs)
    assert len(objects(docs)) == 3


@pytest.mark.parametrize("first", [True, False], ids=["before ours", "after ours"])
@pytest.mark.parametrize("when", ["before_update", "before_delete"])
def test_listener_archives_by_a_statement_during_a_flush(engine: Engine, docs: MemoryBackend, when: str, first: bool) -> None:
    prepare(engine, Case(()))
    tables = Base.metadata.tables
    archive, paper = tables["archive"], tables["paper"]

    def keep(mapper: object, connection: Any, target: Paper) -> None:
        connection.execute(archive.insert().from_select(["file"], select(paper.c.file).where(paper.c.id == target.id)))

    event.listen(Paper, when, keep, insert=first)
    try:
        with Session(engine) as session:
            if when == "before_update":
                session.get_one(Paper, 1).file = FileObject(content=b"new")
            else:
                session.delete(session.get_one(Paper, 1))
            session.commit()
    finally:
        event.remove(Paper, when, keep)
    assert set(named(engine, TABLES)) == objects(docs)


def test_another_session_moves_the_file_that_a_flush_lets_go(engine: Engine, docs: MemoryBackend) -> None:
    prepare(engine, Case(()))

    def move(session: Session, *_: object) -> None:
        with Session(session.connection()) as inner:
            one, two = inner.get_one(Paper, 1), inner.get_one(Paper, 2)
            one.file, two.file = None, one.file
            inner.commit()

    with Session(engine) as session:
        event.listen(session, "before_flush", move)
        session.get_one(Paper, 1).file = FileObject(content=b"new")
        session.commit()
    assert set(named(engine, TABLES)) == objects(docs)


# -- what is refused -------------------------------------------------------------------------------------------------------


class Replacing(DeclarativeBase):
    pass


class Unique(Replacing):
    __tablename__ = "unique_paper"
    __table_args__ = (UniqueConstraint("title", sqlite_on_conflict="REPLACE"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


class List(Replacing):
    __tablename__ = "list"
    id: Mapped[int] = mapped_column(primary_key=True)
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))


def test_constraint_that_replaces_rows_is_refused_where_it_does(docs: MemoryBackend) -> None:
    engine = create_engine("sqlite://")
    Replacing.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Unique(title="a", file=FileObject(content=b"a")))
        with pytest.raises(UnsupportedRouteError, match="REPLACE"):
            session.commit()
    with Session(engine) as session, pytest.raises(UnsupportedRouteError, match="REPLACE"):
        session.execute(insert(Unique), [{"title": "a", "file": FileObject(content=b"a")}])
    engine.dispose()
    assert not objects(docs)


def test_a_list_is_edited_whose_row_another_session_has_deleted(database: EmptyDatabase, docs: MemoryBackend) -> None:
    engine = database.engine()
    Replacing.metadata.create_all(engine, [Replacing.metadata.tables["list"]])
    with Session(engine, expire_on_commit=False) as session:
        session.add(List(id=1, pages=[FileObject(content=b"one"), FileObject(content=b"two")]))
        session.commit()
        session.refresh(pages := session.get_one(List, 1))
        session.commit()
        pages.pages.append(FileObject(content=b"mine"))
        with Session(engine) as other:
            other.delete(other.get_one(List, 1))
            other.commit()
        with pytest.raises(StaleDataError):
            session.commit()
    engine.dispose()
    assert not objects(docs)
