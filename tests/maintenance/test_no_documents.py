"""What raw SQL left in a file column that is not a document: maintenance reports it, and does its work on the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import JSON, Column, Engine, Integer, MetaData, Table, column, create_engine, insert, select, table

from filerow import FileObject, StoredObject, storages
from filerow.backends.local import LocalBackend
from filerow.exceptions import DocumentError
from filerow.maintenance import ColumnStats, Listed, Progress, adopt, check, doctor, ls, migrate, stats, sweep
from filerow.outbox import Outbox
from tests.databases import EmptyDatabase

METADATA = MetaData()
PAPER = Table(
    "paper",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("file", StoredObject("docs")),
    Column("pages", StoredObject("docs", multiple=True)),
)
Outbox(METADATA)

NO_DOCUMENTS: list[Any] = [5, "text", [1], {"a": 1}, {"v": 1, "backend": "docs", "path": "x", "filename": "x", "size": "many"}]


@pytest.fixture
def engine(database: EmptyDatabase, tmp_path: Path) -> Iterator[Engine]:
    """A row with two files, and rows with none."""
    for key in ("docs", "archive"):
        storages.register_backend(LocalBackend(key, tmp_path / key, fsync=False))
    engine = database.engine()
    METADATA.create_all(engine)
    one, two = (FileObject("docs", "cat.txt", content=b"meow").save() for _ in range(2))
    plain = table("paper", column("id"), column("file", JSON), column("pages", JSON))
    with engine.begin() as connection:
        connection.execute(insert(PAPER).values(id=1, file=one, pages=[two]))
        for number, value in enumerate(NO_DOCUMENTS, 2):
            connection.execute(insert(plain).values(id=number, file=value, pages=[value]))
    yield engine
    storages.clear_backends()


def unreadable(steps: Iterator[Progress]) -> list[str]:
    """Return the rows that are reported to have no document."""
    return [one.where.rpartition("=")[2] for step in steps for one in step.findings if one.code == "unreadable"]


WORK: dict[str, Callable[[Engine, str], Iterator[Progress]]] = {
    "check": lambda engine, name: check(METADATA, engine, columns=[name]),
    "migrate": lambda engine, name: migrate(METADATA, engine, name, to="archive"),
    "adopt": lambda engine, name: adopt(METADATA, engine, name),
}


@pytest.mark.one_in(4)
@pytest.mark.parametrize("name", ["paper.file", "paper.pages"])
@pytest.mark.parametrize("work", WORK)
def test_rows_without_a_document_are_reported_and_stop_nothing(work: str, name: str, engine: Engine) -> None:
    reported = unreadable(WORK[work](engine, name))
    expected = {"2", "3", "4", "5", "6"}
    assert (set(reported), len(reported)) == (expected, 5)
    if work == "adopt":
        paper = table("paper", column("id"), column("file", JSON), column("pages", JSON))
        of_others = select(paper.c[name.partition(".")[2]]).where(paper.c.id > 1).order_by(paper.c.id)
        with engine.connect() as connection:
            left = connection.scalars(of_others).all()
        assert left == (NO_DOCUMENTS if name == "paper.file" else [[value] for value in NO_DOCUMENTS]), "all is left as it is"
    if work == "migrate":
        with engine.connect() as connection:
            found = connection.execute(select(PAPER).where(PAPER.c.id == 1)).one()
        moved = found.file if name == "paper.file" else found.pages[0]
        assert (moved.backend.key, moved.get_content()) == ("archive", b"meow")


def test_figures_lists_and_a_doctor_do_not_stop_at_them(engine: Engine) -> None:
    counted = [one for one in stats(METADATA, engine) if isinstance(one, ColumnStats) and one.backend == "docs"]
    assert [(one.column, one.size) for one in counted] == [("paper.file", 4), ("paper.pages", 4)]
    listed = [one for name in ("paper.file", "paper.pages") for one in ls(METADATA, engine, name)]
    assert [one.size for one in listed if isinstance(one, Listed) and one.filename == "cat.txt"] == [4, 4]
    found = [one for step in doctor(METADATA, engine) for one in step.findings]
    assert {one.code for one in found} >= {"unreadable"}
    assert "check-failed" not in {one.code for one in found}
    swept = list(sweep(METADATA, engine, full=True, grace=timedelta(0)))
    assert sum({step.step: step.done for step in swept}.values()) == 2, "both files were looked at"
    codes = [(finding.code, finding.where) for step in swept for finding in step.findings]
    assert codes == [("unreadable-documents", "paper.file"), ("unreadable-documents", "paper.pages")]


@pytest.fixture
def broken(tmp_path: Path) -> Iterator[Engine]:
    """A row with two files in SQLite, which checks no JSON, and one that has half a list; an index refuses half a document."""
    for key in ("docs", "archive"):
        storages.register_backend(LocalBackend(key, tmp_path / key, fsync=False))
    engine = create_engine(f"sqlite:///{tmp_path}/rows.db")
    METADATA.create_all(engine)
    one, two = (FileObject("docs", "cat.txt", content=b"meow").save() for _ in range(2))
    with engine.begin() as connection:
        connection.execute(insert(PAPER).values(id=1, file=one, pages=[two]))
        connection.exec_driver_sql("""INSERT INTO paper (id, pages) VALUES (2, '[{"v": 1, "pa')""")
    yield engine
    engine.dispose()
    storages.clear_backends()


@pytest.mark.parametrize("work", WORK)
def test_half_a_list_is_reported_and_stops_nothing(work: str, broken: Engine) -> None:
    assert unreadable(WORK[work](broken, "paper.pages")) == ["2"]
    if work == "migrate":
        with broken.connect() as connection:
            (moved,) = connection.execute(select(PAPER.c.pages).where(PAPER.c.id == 1)).scalar_one()
        assert (moved.backend.key, moved.get_content()) == ("archive", b"meow")


def test_maintenance_does_not_stop_at_half_a_list(broken: Engine) -> None:
    counted = [one for one in stats(METADATA, broken) if isinstance(one, ColumnStats) and one.backend == "docs"]
    assert [(one.column, one.size) for one in counted] == [("paper.file", 4), ("paper.pages", 4)]
    for name in ("paper.file", "paper.pages"):
        assert [one.filename for one in ls(METADATA, broken, name) if isinstance(one, Listed) and one.size] == ["cat.txt"]
    found = {one.code for step in doctor(METADATA, broken) for one in step.findings}
    assert "check-failed" not in found
    swept = [finding for step in sweep(METADATA, broken, full=True, grace=timedelta(0)) for finding in step.findings]
    assert [(finding.code, finding.where) for finding in swept] == [("unreadable-documents", "paper.pages")]


def test_application_that_loads_half_a_list_gets_an_error(broken: Engine) -> None:
    with broken.connect() as connection, pytest.raises(DocumentError, match="is not JSON"):
        connection.execute(select(PAPER.c.pages)).all()
