"""What renames, versions, shapes, archives, policies and further databases do to maintenance, on every database (P13).

Each case stores files with variants, changes something, and has check, doctor, sweep and drain run as an application would that
knows nothing of it. At every moment the live file is there, with its variant. What has no row goes in the end, or something
refuses and says what to do; then that is done, and it goes. ``pytest -s`` prints a line for each round: check, doctor, sweep,
drain, sweep of everything.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import JSON, Column, Engine, Integer, MetaData, Table, create_engine, insert, text
from sqlalchemy.pool import StaticPool

from filerow import StoredObject, storages
from filerow.exceptions import MaintenanceRefusedError
from filerow.ext import alembic
from filerow.maintenance import Progress, check, doctor, drain, sweep
from filerow.outbox import Outbox
from tests.databases import NAMES, EmptyDatabase

LIVE, GONE, ORPHAN = (f"paper/file/01900000000070008000000000{n:06d}.png" for n in (1, 2, 3))

VARIANTS = {path: f"_filerow/variants/{path}/{'0' * 32}.webp" for path in (LIVE, GONE, ORPHAN)}

HARMLESS = {"truncate-hidden", "replace-hidden", "no-outbox", "drainer-not-running", "outbox-late"}
"""What the doctor says of a database where nothing is wrong."""


def document(path: str, **changes: Any) -> dict[str, Any]:
    return {"v": 1, "backend": "docs", "path": path, "filename": "cat.png", **changes}


def models(
    table: str = "paper", column: str = "file", *, outbox: bool, key: str = "docs", schema: str | None = None, **options: Any
) -> MetaData:
    metadata = MetaData(schema=schema)
    Table(table, metadata, Column("id", Integer, primary_key=True), Column(column, StoredObject(key, **options)))
    if outbox:
        Outbox(metadata, retention=timedelta(0))
    return metadata


@dataclass
class After:
    """What maintenance is run with once something has changed.

    Attributes:
        metadata: The models.
        engine: Their database, if it is another one.
        also: Who else is named.
        former: Former names for the sweep.
        refuses: What sweep and drain say, if they refuse.
        keeps: The code of what they find in doubt, so that nothing is deleted yet.
        remedy: What is done then, and what to run next.
        doctor: Codes of which the doctor reports one at least.
    """

    metadata: MetaData
    engine: Engine | None = None
    also: list[Any] = field(default_factory=list)
    former: list[str] = field(default_factory=list)
    refuses: str = ""
    keeps: str = ""
    remedy: Callable[[], After] | None = None
    doctor: set[str] = field(default_factory=set)


@dataclass
class World:
    """One database with a live file, one that has lost its row, and one that never had one."""

    name: str
    engine: Engine
    folder: Path
    outbox: bool
    dropped: bool = False

    def __post_init__(self) -> None:
        self.before = models(outbox=self.outbox)
        self.before.create_all(self.engine)
        self.write("paper", file=document(GONE))
        self.sql("DELETE FROM paper")
        self.write("paper", file=document(LIVE))

    def sql(self, *statements: str) -> None:
        with self.engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement))

    def write(self, table: str, engine: Engine | None = None, **values: Any) -> None:
        columns = [Column(name, JSON(none_as_null=True)) for name in values]
        with (engine or self.engine).begin() as connection:
            connection.execute(insert(Table(table, MetaData(), *columns)).values(values))

    def update(self, value: Any) -> None:
        with self.engine.begin() as connection:
            kind = "jsonb" if self.name == "postgresql" else "json"
            given = f"CAST(:value AS {kind})" if self.name == "postgresql" else ":value"
            connection.execute(text(f"UPDATE paper SET file = {given}"), {"value": json.dumps(value)})

    def models(self, *args: Any, **options: Any) -> MetaData:
        metadata = models(*args, outbox=self.outbox, **options)
        metadata.create_all(self.engine)
        return metadata

    def migrate(self, work: Callable[[Any], None]) -> None:
        alembic.install()
        with self.engine.begin() as connection:
            work(Operations(MigrationContext.configure(connection)))

    def objects(self) -> set[str]:
        found = [file.relative_to(self.folder).as_posix() for file in self.folder.rglob("*") if file.is_file()]
        return {path for path in found if not path.startswith("staged/places/")}


# -- what happens ----------------------------------------------------------------------------------------------------------


def nothing(world: World) -> After:
    return After(world.before)


def column_renamed(world: World) -> After:
    world.sql("ALTER TABLE paper RENAME COLUMN file TO scan")
    return After(world.models(column="scan"), former=["paper/file"])


def table_renamed(world: World) -> After:
    world.sql("ALTER TABLE paper RENAME TO report")
    return After(world.models("report"), former=["paper/file"])


def table_renamed_and_not_repaired(world: World) -> After:
    """The models know the new name, and nobody has run create_all or a migration."""
    world.sql("ALTER TABLE paper RENAME TO report")
    reported = {"trigger-broken", "trigger-outdated"} if world.outbox else set[str]()
    return After(models("report", outbox=world.outbox), former=["paper/file"], doctor=reported)


def schema_moved(world: World) -> After:
    world.sql("CREATE SCHEMA shop")
    world.sql(*(f"ALTER TABLE IF EXISTS {name} SET SCHEMA shop" for name in ("paper", "filerow_outbox", "filerow_outbox_state")))
    return After(world.models(schema="shop"))


def backend_key_renamed(world: World) -> After:
    storages.unregister_backend("docs")
    storages.register_backend(f"file://{world.folder}", key="files", fsync=False)

    def both_keys() -> After:
        storages.register_backend(f"file://{world.folder}", key="docs", fsync=False)
        world.sql(*["UPDATE filerow_outbox SET next_attempt = NULL, attempts = 0, dead = 0"] * world.outbox)
        return After(world.models(key="files"), doctor={"same-place"})

    return After(world.models(key="files"), keeps="unknown-backend", remedy=both_keys, doctor={"backend-missing"})


def newer_version(world: World) -> After:
    world.update(document(LIVE, v=2, future=True))
    return After(world.before)


def newer_version_without_a_path(world: World) -> After:
    world.update({"v": 2, "at": LIVE})

    def upgraded() -> After:
        world.update(document(LIVE))
        world.sql(*["UPDATE filerow_outbox SET next_attempt = NULL"] * world.outbox)
        return After(world.before)

    return After(world.before, keeps="unreadable-documents", remedy=upgraded)


def single_to_list(world: World) -> After:
    return After(world.models(multiple=True))


def list_to_single(world: World) -> After:
    world.update([document(LIVE)])
    return After(world.models())


def column_dropped(world: World) -> After:
    """Its file has no row any more, so it goes, too."""

    def drop(op: Any) -> None:
        with op.batch_alter_table("paper") as batch:
            batch.drop_column("file")

    return dropped(world, drop)


def table_dropped(world: World) -> After:
    return dropped(world, lambda op: op.drop_table("paper"))


def dropped(world: World, drop: Callable[[Any], None]) -> After:
    after = MetaData()
    Table("note", after, Column("id", Integer, primary_key=True), Column("file", StoredObject("docs")))
    if world.outbox:
        Outbox(after, retention=timedelta(0))
        world.migrate(drop)
        world.sql("UPDATE filerow_outbox SET next_attempt = NULL")  # an hour later
    else:
        with pytest.raises(MaintenanceRefusedError, match=r"op\.leave_files"):
            world.migrate(drop)

        def left(op: Any) -> None:
            op.leave_files("paper", columns=["file"])
            drop(op)

        world.migrate(left)
    after.create_all(world.engine)
    return After(after, former=["paper/file"])


def archived_by_rename(world: World) -> After:
    """With an outbox the archive's triggers show it, and its rows do in any case."""
    world.sql("ALTER TABLE paper RENAME TO paper_2025")
    metadata, archive = world.models(), models("paper_2025", outbox=False)
    named = After(metadata, also=[archive], doctor={"files-unknown"})
    return After(metadata, refuses=r"paper_2025\.file", remedy=lambda: named, doctor={"files-unknown"})


def archived_by_plain_sql(world: World) -> After:
    """The archive has no triggers, and no models."""
    world.sql("CREATE TABLE old_paper AS SELECT id, file AS scan FROM paper", "DELETE FROM paper")
    archive = MetaData()
    Table("old_paper", archive, Column("id", Integer, primary_key=True), Column("scan", StoredObject("docs")))
    named = After(world.before, also=[archive], doctor={"files-unknown"})
    return After(world.before, refuses=r"old_paper\.scan", remedy=lambda: named, doctor={"files-unknown"})


def archived_by_copy(world: World) -> After:
    metadata = models(outbox=world.outbox)
    Table("archive", metadata, Column("id", Integer, primary_key=True), Column("file", StoredObject("docs")))
    metadata.create_all(world.engine)
    world.sql("INSERT INTO archive (id, file) SELECT id, file FROM paper", "DELETE FROM paper")
    return After(metadata)


def partitioned_later(world: World) -> After:
    """The triggers of the table that becomes a partition are dropped first; the whole table has its own."""
    world.migrate(lambda op: op.drop_file_triggers("paper", columns={"file": False}))
    world.sql(
        "ALTER TABLE paper RENAME TO paper_1",
        "CREATE TABLE paper (LIKE paper_1 INCLUDING DEFAULTS) PARTITION BY RANGE (id)",
        "ALTER TABLE paper ADD PRIMARY KEY (id)",
        "ALTER TABLE paper ATTACH PARTITION paper_1 FOR VALUES FROM (0) TO (1000)",
    )
    return After(world.models())


def older_release(world: World) -> After:
    """The older models do not know the column; a rolling deploy runs both."""
    older = MetaData()
    Table("paper", older, Column("id", Integer, primary_key=True))
    Table("note", older, Column("id", Integer, primary_key=True), Column("file", StoredObject("docs")))
    if world.outbox:
        Outbox(older, retention=timedelta(0))
    older.create_all(world.engine)
    reported = {"trigger-unknown"} if world.outbox else set[str]()  # of the older models' own table
    newer = After(world.before, also=[older], doctor=reported)
    return After(older, refuses=r"paper\.file", remedy=lambda: newer, doctor={"files-unknown"})


def policy(world: World) -> After:
    role = f"matrix_{world.engine.url.database}"
    world.sql(
        f"CREATE ROLE {role} LOGIN",
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}",
        "ALTER TABLE paper ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY few ON paper USING (id < 0)",
    )
    filtered = create_engine(world.engine.url.set(username=role))

    def as_owner() -> After:
        filtered.dispose()
        world.sql(f"DROP OWNED BY {role}", f"DROP ROLE {role}")
        return After(world.before)

    return After(world.before, filtered, refuses="BYPASSRLS", remedy=as_owner, doctor={"rows-hidden"})


def standby(world: World) -> After:
    """A server that says it is one; PostgreSQL's is asked by a function that another one hides here."""
    if world.name == "mariadb":
        world.sql("SET GLOBAL read_only = ON")
    else:
        world.sql("CREATE SCHEMA lag", "CREATE FUNCTION lag.pg_is_in_recovery() RETURNS boolean LANGUAGE sql AS 'SELECT true'")
    path = {"options": "-c search_path=lag,public,pg_catalog"} if world.name == "postgresql" else {}
    lagging = create_engine(world.engine.url, connect_args=path)

    def primary() -> After:
        lagging.dispose()
        world.sql(*["SET GLOBAL read_only = OFF"] * (world.name == "mariadb"))
        return After(world.before)

    reported = {"read-only"} if world.name == "postgresql" and world.outbox else set[str]()
    return After(world.before, lagging, refuses="standby or read-only", remedy=primary, doctor=reported)


def second_database(world: World) -> After:
    """The row is in the other one of two databases that share the place."""
    other = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    world.before.create_all(other)
    world.write("paper", other, file=document(LIVE))
    world.sql("DELETE FROM paper")
    return After(world.before, also=[other])


def backup_restored(world: World) -> After:
    """The row was deleted, and the database set back to before; its object was kept by the retention."""
    world.sql("DELETE FROM paper", *[f"DELETE FROM filerow_outbox WHERE path = '{LIVE}'"] * world.outbox)
    world.write("paper", file=document(LIVE))
    return After(world.before)


ON_POSTGRESQL = {
    "schema_moved": schema_moved,
    "partitioned_later": partitioned_later,
    "policy": policy,
    "standby": standby,
}
EVERYWHERE = {
    function.__name__: function
    for function in (
        nothing, column_renamed, table_renamed, table_renamed_and_not_repaired, backend_key_renamed, newer_version,
        newer_version_without_a_path, single_to_list, list_to_single, column_dropped, table_dropped, archived_by_rename,
        archived_by_plain_sql, archived_by_copy, older_release, second_database, backup_restored,
    )
}  # fmt: skip
CASES = [(name, case) for name in NAMES for case in EVERYWHERE] + [("postgresql", case) for case in ON_POSTGRESQL]
CASES.append(("mariadb", "standby"))


# -- what is done ----------------------------------------------------------------------------------------------------------


def codes(steps: Callable[[], Iterator[Progress]]) -> set[str]:
    """Return the codes of what is found, or what it says when it refuses."""
    try:
        return {finding.code for step in steps() for finding in step.findings}
    except MaintenanceRefusedError as error:
        return {f"refused: {error}"}


@dataclass
class Round:
    """What one round of maintenance has found."""

    check: set[str]
    doctor: set[str]
    incremental: set[str]
    drain: set[str]
    full: set[str]

    def __str__(self) -> str:
        return " | ".join(re.sub(r"refused: .*", "refused", ",".join(sorted(one))) or "-" for one in vars(self).values())

    @property
    def deleting(self) -> list[set[str]]:
        return [self.incremental, self.drain, self.full]


def run(world: World, after: After) -> Round:
    engine, also = after.engine or world.engine, after.also
    options: dict[str, Any] = {"grace": timedelta(0), "delete": True, "also": also, "former": after.former}

    def alive(found: set[str]) -> set[str]:
        assert world.dropped or {LIVE, VARIANTS[LIVE]} <= world.objects()
        return found

    return Round(
        alive(codes(lambda: check(after.metadata, engine, also=also))),
        alive(codes(lambda: doctor(after.metadata, engine)) - HARMLESS),
        alive(codes(lambda: sweep(after.metadata, engine, **options))),
        alive(codes(lambda: drain(after.metadata, engine, also=also)) if world.outbox else set()),
        alive(codes(lambda: sweep(after.metadata, engine, full=True, allow_many=True, **options))),
    )


@pytest.fixture(autouse=True)
def no_backends_left() -> Iterator[None]:
    storages.clear_backends()
    yield
    storages.clear_backends()


@pytest.mark.parametrize("outbox", [True, False], ids=["outbox", "no_outbox"])
@pytest.mark.parametrize(("database", "case"), CASES, indirect=["database"])
@pytest.mark.one_in(8)
def test_nothing_live_goes_and_nothing_stays_for_good(
    database: EmptyDatabase, tmp_path: Path, case: str, *, outbox: bool
) -> None:
    folder = tmp_path / "docs"
    docs = storages.register_backend(f"file://{folder}", key="docs", fsync=False)
    everything = {*VARIANTS, *VARIANTS.values()}
    for path in everything:
        docs.put(path, b"x")
    world = World(database.name, database.engine(), folder, outbox)
    after = {**EVERYWHERE, **ON_POSTGRESQL}[case](world)
    world.dropped = case in {"column_dropped", "table_dropped"}
    label = f"{database.name:10} {'outbox' if outbox else '-':6} {case:30}"
    found = run(world, after)
    sys.stdout.write(f"{label} {found}\n")
    assert found.doctor & after.doctor if after.doctor else found.doctor <= {"partition-hidden", "unreadable"}
    for one in found.deleting if after.refuses else ():
        assert not one or re.search(after.refuses, " ".join(one)), one
    if after.refuses:
        assert world.objects() == everything, "who refuses deletes nothing"
    if after.keeps:
        assert after.keeps in set().union(*found.deleting)
    if after.remedy is not None:
        after = after.remedy()
        found = run(world, after)
        sys.stdout.write(f"{label} {found}\n")
        assert found.doctor & after.doctor if after.doctor else not found.doctor
    assert not [code for one in found.deleting for code in one if code.startswith("refused")]
    assert world.objects() == (set() if world.dropped else {LIVE, VARIANTS[LIVE]})
