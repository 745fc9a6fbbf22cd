"""``python -m benchmarks.contention [--seconds N]``: count deadlocks and lost list edits, on PostgreSQL and MariaDB.

Two threads give rows new files and two change titles, each some 20 of 60 rows in a commit. SQLAlchemy writes the rows of a flush
in the order of their keys, so threads without files never wait for each other in a circle; those with files should not either.
Then eight sessions append a file each to the list of one row, all having read it before the first commits.
"""

from __future__ import annotations

import argparse
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import JSON, Engine, String, create_engine, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, FileObjectList, StoredObject, storages
from filerow.backends.memory import MemoryBackend
from tests.servers import mariadb, postgres
from tests.servers._database import Database

ROWS, SHARE, EDITORS = 60, 20, 8
_DEADLOCKS = ("deadlock detected", "Deadlock found")


class Base(DeclarativeBase):
    """The tables of this program."""


class Plain(Base):
    """Rows without files."""

    __tablename__ = "plain"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None] = mapped_column(String(40))
    file: Mapped[dict[str, Any] | None] = mapped_column(JSON)


class Numbered(Base):
    """Rows with files and integer keys."""

    __tablename__ = "numbered"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None] = mapped_column(String(40))
    file: Mapped[FileObject | None] = mapped_column(StoredObject("bench"))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("bench", multiple=True))


class Named(Base):
    """Rows with files and text keys."""

    __tablename__ = "named"
    # MariaDB compares these letters without regard to case, and PostgreSQL as its locale says: neither is Python's order
    id: Mapped[str] = mapped_column(
        String(40).with_variant(String(40, collation="utf8mb4_general_ci"), "mysql"), primary_key=True
    )
    title: Mapped[str | None] = mapped_column(String(40))
    file: Mapped[FileObject | None] = mapped_column(StoredObject("bench"))


def _key(model: type[Any], number: int) -> Any:
    return f"{'aBcDeF'[number % 6]}{number}" if model is Named else number + 1


def _file(model: type[Any], number: int) -> Any:
    return {"number": number} if model is Plain else FileObject(filename="a.txt", content=b"%d" % number)


def _change(engine: Engine, model: type[Any], column: str, seconds: float, seed: int, counts: Counter[str]) -> None:
    chosen, end = random.Random(seed), time.monotonic() + seconds  # noqa: S311 - which rows is not secret
    while time.monotonic() < end:
        keys = [_key(model, number) for number in chosen.sample(range(ROWS), SHARE)]
        with Session(engine) as session:
            try:
                for row in session.scalars(select(model).where(model.id.in_(keys))):
                    number = chosen.randrange(1_000_000)
                    setattr(row, column, str(number) if column == "title" else _file(model, number))
                session.commit()
            except DBAPIError as error:
                if not any(word in str(error) for word in _DEADLOCKS):
                    raise
                counts["deadlocks"] += 1
            else:
                counts[column] += 1


def deadlocks(engine: Engine, model: type[Any], seconds: float) -> Counter[str]:
    """Let two threads change files and two change titles; return the commits of each kind and the deadlocks."""
    with Session(engine) as session:
        session.add_all(model(id=_key(model, number), file=_file(model, number)) for number in range(ROWS))
        session.commit()
    counts: Counter[str] = Counter()
    work = [(engine, model, column, seconds, seed, counts) for seed, column in enumerate(["file", "file", "title", "title"])]
    _together([lambda one=one: _change(*one) for one in work])  # type: ignore[misc]
    return counts


def list_edits(engine: Engine) -> int:
    """Let eight sessions append to one list at once; return how many of their files are left."""
    with Session(engine) as session:
        session.add(row := Numbered(id=1_000))
        session.commit()
        key = row.id
    loaded = threading.Barrier(EDITORS)

    def edit(number: int) -> None:
        with Session(engine, expire_on_commit=False) as session:
            row = session.get_one(Numbered, key)
            assert row.pages == []
            session.commit()  # MariaDB's REPEATABLE READ would read no newer row otherwise
            loaded.wait()
            row.pages.append(_file(Numbered, number))
            session.commit()

    _together([lambda number=number: edit(number) for number in range(EDITORS)])  # type: ignore[misc]
    with Session(engine) as session:
        return len(session.get_one(Numbered, key).pages)


def _together(work: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=one) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@contextmanager
def _databases() -> Iterator[list[tuple[str, Engine]]]:
    with postgres.start() as first, mariadb.start() as second:
        made: list[tuple[str, Database, str]] = [
            ("PostgreSQL", first.make_database(), "psycopg"),
            ("MariaDB", second.make_database(), "pymysql"),
        ]
        engines = [(name, create_engine(database.url(driver), pool_size=EDITORS)) for name, database, driver in made]
        yield engines
        for _, engine in engines:
            engine.dispose()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.contention")
    parser.add_argument("--seconds", type=float, default=25.0, help="how long each line of the table takes")
    seconds = parser.parse_args().seconds
    storages.register_backend(MemoryBackend("bench"))
    print("| database | rows | commits with files | commits with titles | deadlocks |\n|---|---|---|---|---|")
    with _databases() as databases:
        for name, engine in databases:
            Base.metadata.create_all(engine)
            for model, what in ((Plain, "plain JSON"), (Numbered, "files, integer keys"), (Named, "files, text keys")):
                counts = deadlocks(engine, model, seconds)
                print(f"| {name} | {what} | {counts['file']:,} | {counts['title']:,} | {counts['deadlocks']} |", flush=True)
        for name, engine in databases:
            print(f"{name}: {list_edits(engine)} of {EDITORS} files appended to one list at once are left")


if __name__ == "__main__":
    main()
