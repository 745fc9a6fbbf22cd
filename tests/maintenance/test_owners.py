"""Who owns an object is asked by its path, whatever a row calls its backend and whatever its document looks like (P13)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic, sleep
from typing import Any

import pytest
from sqlalchemy import JSON, Column, Engine, Integer, MetaData, Table, create_engine, insert, text
from sqlalchemy.pool import StaticPool

from filerow import StoredObject, storages
from filerow.backends.memory import MemoryBackend
from filerow.exceptions import MaintenanceRefusedError
from filerow.maintenance import Finding, Progress, adopt, check, doctor, drain, migrate, sweep, undelete
from filerow.outbox import Outbox
from tests.databases import EmptyDatabase

LIVE = "paper/file/0190000000007000800000000000000a.png"
DEAD = "paper/file/0190000000007000800000000000000b.png"
STAGED_PATH = "staged/files/0190000000007000800000000000000d.png"
OTHERS = "note/file/0190000000007000800000000000000c.png"


@dataclass
class Case:
    """What a row says, and how the column is declared now.

    Attributes:
        value: The column's JSON.
        multiple: Whether the column holds a list.
        key: The backend of the column.
        code: What is reported; empty when all is understood.
        keeps: A dead object of the same table is kept, too, for nobody knows.
    """

    value: Any
    multiple: bool = False
    key: str = "docs"
    code: str = ""
    keeps: bool = False


def document(**changes: Any) -> dict[str, Any]:
    return {"v": 1, "backend": "docs", "path": LIVE, "filename": "cat.png", **changes}


CASES = {
    "as_ever": Case(document()),
    "as_ever_in_a_list": Case([document()], multiple=True),
    "backend_renamed": Case(document(backend="old"), code="unknown-backend"),
    "backend_renamed_in_a_list": Case([document(backend="old")], multiple=True, code="unknown-backend"),
    "backend_key_given_to_another": Case(document(backend="docs"), key="files"),
    "newer_version": Case(document(v=2)),
    "newer_version_in_a_list": Case([document(v=2)], multiple=True),
    "newer_version_that_puts_the_path_elsewhere": Case({"v": 2, "at": ["docs", LIVE]}, code="unreadable-documents", keeps=True),
    "newer_version_in_a_list_of_its_own": Case([{"v": 2, "at": LIVE}], multiple=True, code="unreadable-documents", keeps=True),
    "newer_version_that_says_no_path": Case({"v": 3, "object": 17}, code="unreadable-documents", keeps=True),
    "newer_version_that_only_has_a_filename": Case(
        {"v": 2, "backend": "docs", "filename": "cat.png", "object": 17}, code="unreadable-documents", keeps=True
    ),
    "newer_version_whose_path_is_an_object": Case(
        {"v": 2, "backend": "docs", "filename": "cat.png", "path": {"key": LIVE}}, code="unreadable-documents", keeps=True
    ),
    "newer_version_whose_path_is_a_list": Case(document(v=2, path=["docs", LIVE]), code="unreadable-documents", keeps=True),
    "newer_version_whose_path_is_empty": Case(document(v=2, path="", at=LIVE), code="unreadable-documents", keeps=True),
    "newer_version_whose_path_is_null": Case(document(v=2, path=None, at=LIVE), code="unreadable-documents", keeps=True),
    "newer_version_with_several_files": Case(
        {"v": 2, "filename": "cat.png", "files": [document()]}, code="unreadable-documents", keeps=True
    ),
    "newer_version_with_an_id": Case(document(v=2, file_id="17")),
    "newer_version_with_a_numeric_id": Case(document(v=2, file_id=17)),
    "later_release_with_an_id": Case(document(file_id="17")),
    "later_release_with_an_empty_id": Case(document(file_id="")),
    "list_of_newer_versions_with_filenames": Case(
        [{"v": 2, "backend": "docs", "filename": "cat.png", "at": LIVE}], multiple=True, code="unreadable-documents", keeps=True
    ),
    "list_of_newer_versions_with_objects": Case(
        [document(v=2, path={"key": LIVE})], multiple=True, code="unreadable-documents", keeps=True
    ),
    "list_of_newer_versions_with_ids": Case([document(v=2, file_id="17")], multiple=True),
    "list_in_a_list": Case([[document()]], multiple=True, code="unreadable-documents", keeps=True),
    "list_that_is_one_file_now": Case([document(), document(path="other")]),
    "one_file_that_is_a_list_now": Case(document(), multiple=True),
    "mere_path": Case(LIVE, code="unreadable-documents", keeps=True),
    "document_in_a_string": Case('{"v": 1, "backend": "docs", "path": "paper\\/file\\/' + LIVE.rpartition("/")[2] + '"}'),
}


@dataclass
class World:
    metadata: MetaData
    engine: Engine
    paper: Table
    outbox: Outbox | None

    def write(self, value: Any, table: Table | None = None) -> None:
        table = self.paper if table is None else table
        plain = Table(table.name, MetaData(), Column("id", Integer, primary_key=True), Column("file", JSON(none_as_null=True)))
        with self.engine.begin() as connection:
            connection.execute(insert(plain).values(file=value))

    def tombstone(self, key: str, *paths: str, **values: Any) -> None:
        assert self.outbox is not None
        with self.engine.begin() as connection:
            connection.execute(
                insert(self.outbox.table), [{"backend": key, "path": path, "dropped_at": 1.0, **values} for path in paths]
            )

    def swept(self, **options: Any) -> list[Finding]:
        steps = sweep(self.metadata, self.engine, delete=True, full=True, grace=timedelta(0), allow_many=True, **options)
        return [finding for step in steps for finding in step.findings]

    def drained(self) -> list[Finding]:
        return [finding for step in drain(self.metadata, self.engine) for finding in step.findings]


def make_world(engine: Engine, case: Case, *, with_outbox: bool) -> World:
    metadata = MetaData()
    column = Column("file", StoredObject(case.key, multiple=case.multiple))
    paper = Table("paper", metadata, Column("id", Integer, primary_key=True), column)
    Table("note", metadata, Column("id", Integer, primary_key=True), Column("file", StoredObject(case.key)))
    outbox = Outbox(metadata) if with_outbox else None
    metadata.create_all(engine)
    return World(metadata, engine, paper, outbox)


@pytest.fixture(autouse=True)
def stores() -> Iterator[dict[str, MemoryBackend]]:
    """Two backends with the same objects."""
    made = {key: MemoryBackend(key) for key in ("docs", "files")}
    for backend in made.values():
        storages.register_backend(backend)
        for path in (LIVE, DEAD, OTHERS):
            backend.put(path, b"x")
    yield made
    storages.clear_backends()


def left(backend: MemoryBackend) -> set[str]:
    return {info.path for info in backend.list()}


each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@each_case
@pytest.mark.parametrize("with_outbox", [True, False], ids=["outbox", "no_outbox"])
@pytest.mark.one_in(8)
def test_sweep_keeps_what_any_row_names(
    database: EmptyDatabase, stores: dict[str, MemoryBackend], case: Case, *, with_outbox: bool
) -> None:
    world = make_world(database.engine(), case, with_outbox=with_outbox)
    world.write(case.value)
    findings = world.swept()
    assert left(stores[case.key]) == ({LIVE, DEAD} if case.keeps else {LIVE})
    assert {finding.code for finding in findings} - {"orphan"} == ({case.code} if case.code else set())


@each_case
@pytest.mark.one_in(4)
def test_drain_keeps_what_any_row_names(database: EmptyDatabase, stores: dict[str, MemoryBackend], case: Case) -> None:
    world = make_world(database.engine(), case, with_outbox=True)
    world.write(case.value)
    world.tombstone(case.key, LIVE, DEAD, OTHERS)
    findings = world.drained()
    assert left(stores[case.key]) == ({LIVE, DEAD} if case.keeps else {LIVE})
    assert {finding.code for finding in findings} == ({case.code} if case.code else set())


@pytest.mark.parametrize("path", ["former/file/0190000000007000800000000000000d.png", STAGED_PATH], ids=["former", "staged"])
@pytest.mark.parametrize("how", ["sweep", "drain"])
@pytest.mark.one_in(2)
def test_unreadable_document_keeps_what_its_table_has_elsewhere(
    database: EmptyDatabase, stores: dict[str, MemoryBackend], path: str, how: str
) -> None:
    """Its table may have been renamed since, and a file that was saved before it had a row stays in ``staged/``."""
    world = make_world(database.engine(), CASES["as_ever"], with_outbox=how == "drain")
    world.write({"v": 3, "object": 17})
    stores["docs"].put(path, b"x")
    if how == "drain":
        world.tombstone("docs", OTHERS)
        world.tombstone("docs", path, table_name="shop.paper")
        world.drained()
    else:
        world.swept(former=["former/file"])
    assert stores["docs"].exists(path)
    assert not stores["docs"].exists(OTHERS)


def test_kept_tombstone_is_drained_when_its_table_can_be_read(database: EmptyDatabase, stores: dict[str, MemoryBackend]) -> None:
    world = make_world(database.engine(), CASES["as_ever"], with_outbox=True)
    world.write({"v": 2, "at": 1})
    world.tombstone("docs", DEAD)
    assert world.outbox is not None
    assert world.outbox.drain(world.engine).kept == 1
    with world.engine.begin() as connection:
        connection.execute(text("DELETE FROM paper"))
        connection.execute(text("UPDATE filerow_outbox SET next_attempt = 1 WHERE next_attempt IS NOT NULL"))
    assert world.outbox.drain(world.engine).deleted == 1
    assert DEAD not in left(stores["docs"])


def later_release(world: World) -> MetaData:
    """Return the models of a release that knows one table less."""
    older = MetaData()
    Table("note", older, Column("id", Integer, primary_key=True), Column("file", StoredObject("docs")))
    Outbox(older)
    return older


def less_columns(world: World) -> MetaData:
    """Return the models of a release that knows one column less."""
    older = MetaData()
    for name in ("paper", "note"):
        Table(name, older, Column("id", Integer, primary_key=True))
    older.tables["note"].append_column(Column("file", StoredObject("docs")))
    Outbox(older)
    return older


@pytest.mark.parametrize("models", [later_release, less_columns])
@pytest.mark.parametrize("work", ["sweep", "drain"])
@pytest.mark.one_in(4)
def test_files_that_the_models_do_not_know_refuse(
    database: EmptyDatabase, stores: dict[str, MemoryBackend], models: Callable[[World], MetaData], work: str
) -> None:
    world = make_world(database.engine(), CASES["as_ever"], with_outbox=True)
    world.write(document())
    world.tombstone("docs", LIVE, DEAD)
    older = World(models(world), world.engine, world.paper, world.outbox)
    with pytest.raises(MaintenanceRefusedError, match=r"paper\.file.*do not know"):
        older.swept() if work == "sweep" else older.drained()
    assert left(stores["docs"]) == {LIVE, DEAD, OTHERS}


@pytest.mark.parametrize("models", [later_release, less_columns])
def test_files_of_other_models_are_known_by_name(
    database: EmptyDatabase, stores: dict[str, MemoryBackend], models: Callable[[World], MetaData]
) -> None:
    world = make_world(database.engine(), CASES["as_ever"], with_outbox=True)
    world.write(document())
    world.tombstone("docs", LIVE, DEAD)
    older = models(world)
    list(drain(older, world.engine, also=[world.metadata]))
    assert left(stores["docs"]) == {LIVE, OTHERS}
    list(sweep(older, world.engine, delete=True, full=True, grace=timedelta(0), also=[world.metadata]))
    assert left(stores["docs"]) == {LIVE}


def test_hand_made_copy_refuses_until_models_say_it_owns_nothing(
    database: EmptyDatabase, stores: dict[str, MemoryBackend]
) -> None:
    world = make_world(database.engine(), CASES["as_ever"], with_outbox=True)
    world.write(document())
    world.tombstone("docs", DEAD)
    with world.engine.begin() as connection:
        connection.execute(text("CREATE TABLE paper_backup AS SELECT * FROM paper"))
    with pytest.raises(MaintenanceRefusedError, match=r"'paper_backup\.file': rows have files in columns"):
        world.drained()
    with pytest.raises(MaintenanceRefusedError, match="as plain JSON if they do not"):
        world.swept()
    assert left(stores["docs"]) == {LIVE, DEAD, OTHERS}
    found = {finding.code: finding.where for step in doctor(world.metadata, world.engine) for finding in step.findings}
    assert found["files-unknown"] == "paper_backup.file"
    Table("paper_backup", world.metadata, Column("id", Integer), Column("file", JSON))
    assert world.drained() == []
    assert left(stores["docs"]) == {LIVE, OTHERS}


@pytest.fixture
def other_engine(database: EmptyDatabase) -> Engine:
    """A second database with the same tables."""
    return create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})


@pytest.mark.parametrize("work", ["sweep", "drain"])
def test_rows_of_another_database_keep_their_files(
    database: EmptyDatabase, other_engine: Engine, stores: dict[str, MemoryBackend], work: str
) -> None:
    """Shards, or a database for each tenant, that share a bucket."""
    world = make_world(database.engine(), CASES["as_ever"], with_outbox=True)
    world.metadata.create_all(other_engine)
    World(world.metadata, other_engine, world.paper, world.outbox).write(document())
    world.tombstone("docs", LIVE, DEAD)
    if work == "sweep":
        with world.engine.begin() as connection:
            connection.execute(text("DELETE FROM filerow_outbox"))
        list(sweep(world.metadata, world.engine, delete=True, full=True, grace=timedelta(0), also=[other_engine]))
        assert left(stores["docs"]) == {LIVE}
    else:
        list(drain(world.metadata, world.engine, also=[(world.metadata, other_engine)]))
        assert left(stores["docs"]) == {LIVE, OTHERS}
    other_engine.dispose()


def test_drainer_inside_an_application_asks_another_database(
    database: EmptyDatabase, other_engine: Engine, stores: dict[str, MemoryBackend]
) -> None:
    world = make_world(database.engine(), CASES["as_ever"], with_outbox=True)
    world.metadata.create_all(other_engine)
    World(world.metadata, other_engine, world.paper, world.outbox).write(document())
    world.tombstone("docs", LIVE, DEAD)
    assert world.outbox is not None
    with world.outbox.drainer(world.engine, interval=timedelta(seconds=0.05), also=[other_engine]):
        until = monotonic() + 30
        while DEAD in left(stores["docs"]):
            assert monotonic() < until, "it deleted nothing"
            sleep(0.01)
    assert left(stores["docs"]) == {LIVE, OTHERS}
    other_engine.dispose()


@pytest.mark.parametrize("share", [True, False], ids=["named", "not_named"])
def test_migrate_leaves_what_another_database_names(
    database: EmptyDatabase, other_engine: Engine, stores: dict[str, MemoryBackend], *, share: bool
) -> None:
    """Without an outbox the old object goes at once; the case that names nobody says that the other one can fail."""
    world = make_world(database.engine(), CASES["as_ever"], with_outbox=False)
    world.write(document())
    world.metadata.create_all(other_engine)
    World(world.metadata, other_engine, world.paper, None).write(document())
    list(migrate(world.metadata, world.engine, "paper.file", to="files", also=[other_engine] if share else []))
    assert (LIVE in left(stores["docs"])) is share
    other_engine.dispose()


def test_check_looks_at_the_rows_of_all_databases(
    database: EmptyDatabase, other_engine: Engine, stores: dict[str, MemoryBackend]
) -> None:
    world = make_world(database.engine(), CASES["as_ever"], with_outbox=True)
    world.write(document())
    world.metadata.create_all(other_engine)
    other = World(world.metadata, other_engine, world.paper, world.outbox)
    for name in ("first", "second"):
        other.write(document(path=f"paper/file/{name}"))
    steps = list(check(world.metadata, world.engine, also=[other_engine], batch=1))
    assert [(finding.code, finding.path) for step in steps for finding in step.findings] == [
        ("missing", "paper/file/first"), ("missing", "paper/file/second"),
    ]  # fmt: skip
    assert [step.step for step in steps] == ["paper.file", "paper.file (2)", "paper.file (2)"]
    [rest] = check(world.metadata, world.engine, also=[other_engine], batch=1, resume=steps[1].cursor)
    assert [finding.path for finding in rest.findings] == ["paper/file/second"]
    resumed = check(world.metadata, world.engine, also=[other_engine], batch=1, resume=steps[0].cursor)
    assert [step.step for step in resumed] == ["paper.file (2)", "paper.file (2)"]
    list(check(world.metadata, world.engine, also=[other_engine], repair="null"))
    with other_engine.connect() as connection:
        assert connection.scalars(text("SELECT count(*) FROM paper WHERE file IS NOT NULL")).one() == 0
    with pytest.raises(LookupError):
        check(world.metadata, world.engine, also=[other_engine], columns=["paper.fiel"])
    other_engine.dispose()


def test_tombstones_of_another_database_keep_their_files(
    database: EmptyDatabase, other_engine: Engine, stores: dict[str, MemoryBackend]
) -> None:
    world = make_world(database.engine(), CASES["as_ever"], with_outbox=True)
    world.metadata.create_all(other_engine)
    World(world.metadata, other_engine, world.paper, world.outbox).tombstone("docs", LIVE)
    list(sweep(world.metadata, world.engine, delete=True, full=True, grace=timedelta(0), also=[other_engine]))
    assert left(stores["docs"]) == {LIVE}
    other_engine.dispose()


@pytest.mark.parametrize("work", ["sweep", "drain"])
def test_a_view_refuses(database: EmptyDatabase, stores: dict[str, MemoryBackend], work: str) -> None:
    world = make_world(database.engine(), CASES["as_ever"], with_outbox=True)
    world.write(document())
    world.tombstone("docs", LIVE)
    with world.engine.begin() as connection:
        connection.execute(text("CREATE VIEW some_papers AS SELECT * FROM paper WHERE id > 100"))
    filtered = MetaData()
    Table("some_papers", filtered, Column("id", Integer, primary_key=True), Column("file", StoredObject("docs")))
    for name in ("paper", "note"):
        world.metadata.tables[name].to_metadata(filtered)
    Outbox(filtered)
    with pytest.raises(MaintenanceRefusedError, match=r"some_papers.*views"):
        World(filtered, world.engine, world.paper, None).swept() if work == "sweep" else list(drain(filtered, world.engine))
    assert left(stores["docs"]) == {LIVE, DEAD, OTHERS}


WORK: dict[str, Callable[[MetaData, Engine], Iterator[Progress]]] = {
    "sweep": lambda metadata, engine: sweep(metadata, engine, delete=True, full=True, grace=timedelta(0)),
    "drain": drain,
    "migrate": lambda metadata, engine: migrate(metadata, engine, "paper.file", to="files"),
    "adopt": lambda metadata, engine: adopt(metadata, engine, "paper.file"),
    "undelete": lambda metadata, engine: undelete(metadata, engine, "docs", [DEAD]),
}


@dataclass
class RestrictedTable:
    """A table of which a role sees some rows."""

    world: World
    engine: Engine


@pytest.fixture
def restricted(database: EmptyDatabase, request: pytest.FixtureRequest) -> Iterator[RestrictedTable]:
    world = make_world(database.engine(), CASES["as_ever"], with_outbox=True)
    world.write(document())
    world.tombstone("docs", LIVE, DEAD)
    role = f"filtered_{world.engine.url.database}"
    with world.engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN"))
        connection.execute(text(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}"))
        connection.execute(text("ALTER TABLE paper ENABLE ROW LEVEL SECURITY"))
        connection.execute(text(f"CREATE POLICY some_rows ON paper USING ({request.param})"))
    engine = create_engine(world.engine.url.set(username=role))
    yield RestrictedTable(world, engine)
    engine.dispose()
    with world.engine.begin() as connection:
        connection.execute(text(f"DROP OWNED BY {role}"))
        connection.execute(text(f"DROP ROLE {role}"))


on_postgresql = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


@on_postgresql
@pytest.mark.parametrize("restricted", ["id < 0", "true"], indirect=True)
@pytest.mark.parametrize("work", WORK)
@pytest.mark.one_in(2)
def test_row_level_security_refuses(restricted: RestrictedTable, stores: dict[str, MemoryBackend], work: str) -> None:
    with pytest.raises(MaintenanceRefusedError, match="BYPASSRLS"):
        list(WORK[work](restricted.world.metadata, restricted.engine))
    assert left(stores["docs"]) == left(stores["files"]) == {LIVE, DEAD, OTHERS}


@on_postgresql
@pytest.mark.parametrize("restricted", ["id < 0"], indirect=True)
@pytest.mark.parametrize("work", WORK)
def test_owner_of_a_restricted_table_sees_all_rows(restricted: RestrictedTable, work: str) -> None:
    list(WORK[work](restricted.world.metadata, restricted.world.engine))


@on_postgresql
@pytest.mark.parametrize("restricted", ["id < 0"], indirect=True)
def test_check_and_doctor_report_hidden_rows(restricted: RestrictedTable) -> None:
    metadata = restricted.world.metadata
    for steps in (check(metadata, restricted.engine), doctor(metadata, restricted.engine)):
        assert ("rows-hidden", "paper") in {(finding.code, finding.where) for step in steps for finding in step.findings}
    for steps in (check(metadata, restricted.world.engine), doctor(metadata, restricted.world.engine)):
        assert "rows-hidden" not in {finding.code for step in steps for finding in step.findings}


@on_postgresql
@pytest.mark.parametrize(("force", "level"), [(False, "warning"), (True, "error")])
def test_doctor_reports_policies_on_the_outbox(database: EmptyDatabase, *, force: bool, level: str) -> None:
    world = make_world(database.engine(), CASES["as_ever"], with_outbox=True)
    with world.engine.begin() as connection:
        connection.execute(text("ALTER TABLE filerow_outbox ENABLE ROW LEVEL SECURITY"))
        if force:
            connection.execute(text("ALTER TABLE filerow_outbox FORCE ROW LEVEL SECURITY"))
    found = [finding for step in doctor(world.metadata, world.engine) for finding in step.findings]
    assert [(one.code, one.level) for one in found if one.code == "outbox-policies"] == [("outbox-policies", level)]
