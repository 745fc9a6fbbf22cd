"""Migrations: autogeneration notices what triggers and indexes need, and what it writes runs up and down."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from contextlib import redirect_stdout
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import JSON, Column, Engine, Integer, MetaData, String, Table, column, insert, inspect, table, text

import filerow.ext.alembic  # noqa: F401  # pyright: ignore[reportUnusedImport] - the operations, whatever test comes first
from filerow import StoredObject, storages
from filerow.backends.memory import MemoryBackend
from filerow.exceptions import MaintenanceRefusedError
from filerow.outbox import Drained, Outbox
from tests.databases import NAMES, EmptyDatabase
from tests.outbox.catalogue import names_by_table, state
from tests.outbox.tables import doc
from tests.places import know_places

ENV = """
from alembic import context
from filerow.ext import alembic

alembic.install()
options = context.config.attributes
if context.is_offline_mode():
    context.configure(url=options["url"], target_metadata=options["metadata"], literal_binds=True)
    context.run_migrations()
else:
    with options["engine"].connect() as connection:
        batch = connection.dialect.name == "sqlite"
        context.configure(
            connection=connection, target_metadata=options["metadata"], render_as_batch=batch, compare_server_default=True
        )
        with context.begin_transaction():
            context.run_migrations()
"""
TEMPLATE = '''
"""${message}"""
from alembic import op
import sqlalchemy as sa
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade():
    ${upgrades if upgrades else "pass"}


def downgrade():
    ${downgrades if downgrades else "pass"}
'''


def first() -> MetaData:
    metadata = MetaData()
    Outbox(metadata)
    Table("paper", metadata, Column("id", Integer, primary_key=True), Column("file", StoredObject("docs")))
    Table("author", metadata, Column("id", Integer, primary_key=True))
    return metadata


def second() -> MetaData:
    """The next models: a list more in one table, files for another, and a third that is new."""
    metadata = MetaData()
    Outbox(metadata)
    Table(
        "paper", metadata, Column("id", Integer, primary_key=True), Column("file", StoredObject("docs")),
        Column("pages", StoredObject("docs", multiple=True)),
    )  # fmt: skip
    Table("author", metadata, Column("id", Integer, primary_key=True), Column("photo", StoredObject("docs")))
    Table("note", metadata, Column("key", String(9), primary_key=True), Column("scan", StoredObject("docs")))
    return metadata


def third() -> MetaData:
    """The models after that: a column, a table and a table's files are gone."""
    metadata = MetaData()
    Outbox(metadata)
    Table(
        "paper", metadata, Column("id", Integer, primary_key=True), Column("pages", StoredObject("docs", multiple=True))
    )  # fmt: skip
    Table("author", metadata, Column("id", Integer, primary_key=True))
    return metadata


class Project:
    """A folder with migrations, as ``alembic init`` makes it."""

    def __init__(self, folder: Path, database: EmptyDatabase) -> None:
        self.engine: Engine = database.engine()
        self.folder = folder / "migrations"
        (self.folder / "versions").mkdir(parents=True)
        (self.folder / "env.py").write_text(ENV)
        (self.folder / "script.py.mako").write_text(TEMPLATE)
        self.config = Config()
        self.config.set_main_option("script_location", str(self.folder))
        self.config.set_main_option("path_separator", "os")
        self.config.attributes.update(engine=self.engine, url=database.url)

    def revision(self, metadata: MetaData) -> str:
        """Autogenerate a migration to these models and return its source."""
        self.config.attributes["metadata"] = metadata
        made: Any = command.revision(self.config, "next", autogenerate=True)
        return Path(made.path).read_text()

    def check(self, metadata: MetaData) -> None:
        """Fail if autogeneration finds anything to do."""
        self.config.attributes["metadata"] = metadata
        command.check(self.config)
        assert state(self.engine, metadata) == []

    def names(self) -> dict[str, set[str]]:
        """Return the names of our triggers and indexes in the database, by table."""
        return names_by_table(self.engine)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with redirect_stdout(io.StringIO()):
        yield


@pytest.fixture
def project(tmp_path: Path, database: EmptyDatabase) -> Project:
    return Project(tmp_path, database)


def calls(source: str) -> list[str]:
    """Return the operations of ours in a migration's source: the upgrade's, then the downgrade's."""
    return re.findall(r"op\.(\w+_file_triggers\(.*\))", source)


@pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
def test_the_table_of_places_is_left_alone(project: Project) -> None:
    metadata = MetaData()
    Table("paper", metadata, Column("id", Integer, primary_key=True), Column("file", StoredObject("docs")))
    project.revision(metadata)
    command.upgrade(project.config, "head")
    with TemporaryDirectory() as folder:
        storages.register_backend(f"file://{folder}", key="docs")
        know_places(metadata, project.engine)
    assert inspect(project.engine).has_table("filerow_places")
    project.check(metadata)


@pytest.mark.one_in(3)
def test_migrations_run_up_and_down_and_leave_nothing_to_find(project: Project) -> None:
    one = project.revision(first())
    assert calls(one) == [
        "create_file_triggers('paper', columns={'file': False})",
        "drop_file_triggers('paper', columns={'file': False}, release=['file'])",
    ]
    assert "op.create_table('filerow_outbox'," in one
    command.upgrade(project.config, "head")
    project.check(first())
    at_first = project.names()

    two = project.revision(second())
    upgrade, downgrade = two.split("def downgrade")
    assert calls(upgrade) == [
        "drop_file_triggers('paper', columns={'file': False})",
        "create_file_triggers('author', columns={'photo': False})",
        "create_file_triggers('note', columns={'scan': False}, primary_key=['key'])",
        "create_file_triggers('paper', columns={'file': False, 'pages': True})",
    ]
    assert calls(downgrade) == [
        "drop_file_triggers('paper', columns={'file': False, 'pages': True}, release=['pages'])",
        "drop_file_triggers('note', columns={'scan': False}, primary_key=['key'], release=['scan'])",
        "drop_file_triggers('author', columns={'photo': False}, release=['photo'])",
        "create_file_triggers('paper', columns={'file': False})",
    ]
    assert "_index(" not in two
    command.upgrade(project.config, "head")
    project.check(second())
    at_second = project.names()

    three = project.revision(third())
    assert "_index(" not in three
    assert calls(three)[:3] == [
        "drop_file_triggers('note', columns={'scan': False}, primary_key=['key'], release=['scan'])",
        "drop_file_triggers('author', columns={'photo': False}, release=['photo'])",
        "drop_file_triggers('paper', columns={'file': False, 'pages': True}, release=['file'])",
    ]
    command.upgrade(project.config, "head")
    project.check(third())

    command.downgrade(project.config, "-1")
    assert project.names() == at_second
    command.downgrade(project.config, "-1")
    assert project.names() == at_first
    command.downgrade(project.config, "base")
    assert project.names() == {}
    assert inspect(project.engine).get_table_names() == ["alembic_version"]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_table_that_already_has_its_column_gets_its_triggers(project: Project) -> None:
    metadata = first()
    plain = MetaData()
    Table("paper", plain, Column("id", Integer, primary_key=True), Column("file", StoredObject("docs")))
    Table("author", plain, Column("id", Integer, primary_key=True))
    plain.create_all(project.engine)
    source = project.revision(metadata)
    assert calls(source)[0] == "create_file_triggers('paper', columns={'file': False})"
    assert "import filerow.ext.alembic" in source
    command.upgrade(project.config, "head")
    project.check(metadata)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_without_an_outbox_nothing_of_the_kind_is_written(project: Project) -> None:
    metadata = MetaData()
    Table("paper", metadata, Column("id", Integer, primary_key=True), Column("file", StoredObject("docs")))
    source = project.revision(metadata)
    assert calls(source) == []
    assert "filerow.StoredObject('docs')" in source


@pytest.mark.parametrize("dialect", ["postgresql", "sqlite", "mysql"])
def test_sql_can_be_written_without_a_connection(dialect: str) -> None:
    written = io.StringIO()
    context = MigrationContext.configure(dialect_name=dialect, opts={"as_sql": True, "output_buffer": written})
    operations: Any = Operations(context)
    operations.create_file_triggers("paper", columns={"file": False, "pages": True})
    operations.drop_file_triggers("paper", columns={"file": False, "pages": True})
    text = written.getvalue()
    made = set(re.findall(r"CREATE TRIGGER \W(filerow_\w+)", text))
    assert len(made) == (4 if dialect == "postgresql" else 3)
    assert set(re.findall(r"DROP TRIGGER IF EXISTS \W(filerow_\w+)", text)) == made


def test_a_database_without_triggers_of_ours_is_left_alone() -> None:
    written = io.StringIO()
    context = MigrationContext.configure(dialect_name="oracle", opts={"as_sql": True, "output_buffer": written})
    operations: Any = Operations(context)
    operations.create_file_triggers("paper", columns={"file": False})
    assert written.getvalue() == ""


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_table_rebuilt_by_a_batch_has_its_triggers_again(project: Project) -> None:
    before, after = first(), first()
    before.tables["paper"].append_column(Column("title", String(9)))
    project.revision(before)
    command.upgrade(project.config, "head")
    project.revision(after)
    command.upgrade(project.config, "head")
    project.check(after)
    command.downgrade(project.config, "-1")
    project.config.attributes["metadata"] = before
    assert len(project.names()["paper"]) == 3 + 2


# -- files, when what has them is renamed or dropped -----------------------------------------------------------------------


def put(project: Project, table_name: str = "paper", **values: Any) -> None:
    """Insert a row whose documents are plain JSON, as another program does."""
    kinds = {key: JSON(none_as_null=True) if isinstance(value, dict | list) else None for key, value in values.items()}
    with project.engine.begin() as connection:
        connection.execute(insert(table(table_name, *[column(key, kind) for key, kind in kinds.items()])).values(values))


def run(project: Project, statement: str) -> None:
    with project.engine.begin() as connection:
        connection.execute(text(statement))


def notes(project: Project) -> list[tuple[str, str, str]]:
    """Return the path, table and column of all tombstones."""
    query = "SELECT path, table_name, column_name FROM filerow_outbox ORDER BY path"
    with project.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def upgrade(project: Project, *lines: str) -> None:
    """Run a migration that somebody wrote by hand."""
    made: Any = command.revision(project.config, "by hand")
    path = Path(made.path)
    body = "\n".join(f"    {line}" for line in lines)
    path.write_text(
        re.sub(r"def upgrade\(\):.*?\n\n\n", lambda _: f"def upgrade():\n{body}\n\n\n", path.read_text(), flags=re.DOTALL)
    )
    command.upgrade(project.config, "head")


@pytest.fixture
def stored(project: Project) -> Project:
    """A project whose first release runs: one removed file is in the outbox, one in a row."""
    project.revision(first())
    command.upgrade(project.config, "head")
    put(project, id=1, file=doc("removed"))
    run(project, "DELETE FROM paper")
    put(project, id=2, file=doc("live"))
    return project


TO_SCAN = "alter_column('file', new_column_name='scan', existing_type=sa.JSON())"
IN_BATCH = ["with op.batch_alter_table('paper') as batch:", f"    batch.{TO_SCAN}"]
TITLE = "    batch.add_column(sa.Column('title', sa.String(9)))"
RENAMES = {
    "table": (["op.rename_table('paper', 'note')"], "note", "file"),
    "column": ([f"op.{TO_SCAN[:13]}'paper', {TO_SCAN[13:]}"], "paper", "scan"),
    "column_in_a_batch": (IN_BATCH, "paper", "scan"),
    "both": ([*IN_BATCH, TITLE, "op.rename_table('paper', 'note')"], "note", "scan"),
}

# Alembic has no ALTER COLUMN on SQLite outside of a batch
PAIRS = [(name, how) for name in NAMES for how in RENAMES if (name, how) != ("sqlite", "column")]


@pytest.mark.parametrize(("database", "how"), PAIRS, indirect=["database"])
@pytest.mark.one_in(2)
def test_triggers_and_tombstones_follow_a_rename_by_hand(stored: Project, how: str) -> None:
    lines, name, file = RENAMES[how]
    upgrade(stored, *lines)
    metadata = MetaData()
    Outbox(metadata)
    Table(name, metadata, Column("id", Integer, primary_key=True), Column(file, StoredObject("docs")))
    assert state(stored.engine, metadata) == []
    put(stored, name, id=3, **{file: doc("new")})
    run(stored, f"DELETE FROM {name}")
    assert notes(stored) == [(path, name, file) for path in ("live", "new", "removed")]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_batch_by_hand_keeps_triggers(stored: Project) -> None:
    upgrade(stored, "with op.batch_alter_table('paper', recreate='always') as batch:",
            "    batch.add_column(sa.Column('title', sa.String(9)))")  # fmt: skip
    stored.config.attributes["metadata"] = first()
    assert state(stored.engine, first()) == []


@pytest.mark.parametrize("database", ["postgresql", "mariadb"], indirect=True)
def test_outbox_that_is_renamed_is_still_written_to(stored: Project) -> None:
    upgrade(stored, "op.rename_table('filerow_outbox', 'gone_files')")
    run(stored, "DELETE FROM paper")
    run(stored, "ALTER TABLE gone_files RENAME TO filerow_outbox")
    assert [path for path, _, _ in notes(stored)] == ["live", "removed"]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_table_that_moves_to_a_schema_gets_its_triggers_there(stored: Project) -> None:
    run(stored, "CREATE SCHEMA archive")
    upgrade(stored, "op.execute('ALTER TABLE paper SET SCHEMA archive')",
            "op.create_file_triggers('paper', columns={'file': False}, schema='archive')")  # fmt: skip
    run(stored, "DELETE FROM archive.paper")
    assert notes(stored)[0] == ("live", "archive.paper", "file")


@pytest.mark.parametrize("by_hand", [False, True], ids=["autogenerated", "by_hand"])
@pytest.mark.parametrize("what", ["column", "table"])
@pytest.mark.one_in(2)
def test_files_of_what_is_dropped_are_noted(stored: Project, what: str, *, by_hand: bool) -> None:
    after = first()
    after.remove(after.tables["paper"])
    if what == "column":
        Table("paper", after, Column("id", Integer, primary_key=True))
    if by_hand and what == "table":
        upgrade(stored, "op.drop_table('paper')")
    elif by_hand:
        upgrade(stored, "with op.batch_alter_table('paper') as batch:", "    batch.drop_column('file')")
    else:
        stored.revision(after)
        command.upgrade(stored.config, "head")
    stored.check(after)
    assert notes(stored) == [("live", "paper", "file"), ("removed", "paper", "file")]


@pytest.mark.one_in(2)
def test_files_of_what_a_downgrade_drops_are_noted(stored: Project) -> None:
    stored.revision(second())
    command.upgrade(stored.config, "head")
    put(stored, "author", id=1, photo=doc("photo"))
    put(stored, "paper", id=7, pages=[doc("p"), doc("q")])
    put(stored, "note", key="n", scan=doc("scan"))
    command.downgrade(stored.config, "-1")
    assert [(path, name) for path, name, _ in notes(stored)] == [
        ("p", "paper"), ("photo", "author"), ("q", "paper"), ("removed", "paper"), ("scan", "note"),
    ]  # fmt: skip
    assert state(stored.engine, first()) == []


@pytest.mark.parametrize("database", ["mariadb"], indirect=True)
def test_drain_between_the_note_and_the_drop_takes_nothing_back(stored: Project) -> None:
    """MariaDB commits the notes before the column is gone; a drain then would still find the rows."""
    storages.register_backend(MemoryBackend("docs"))
    metadata = MetaData()
    outbox = Outbox(metadata, retention=timedelta(0))
    paper = Table("paper", metadata, Column("id", Integer, primary_key=True), Column("file", StoredObject("docs")))
    with stored.engine.begin() as connection:
        operations: Any = Operations(MigrationContext.configure(connection))
        operations.drop_file_triggers("paper", columns={"file": False}, release=["file"])
    assert outbox.drain(stored.engine) == Drained(deleted=1), "what was removed before, and nothing else"
    run(stored, "ALTER TABLE paper DROP COLUMN file")
    run(stored, "UPDATE filerow_outbox SET next_attempt = NULL")  # an hour later
    metadata.remove(paper)
    assert outbox.drain(stored.engine).deleted == 1


def test_document_that_cannot_be_read_keeps_its_column(stored: Project) -> None:
    put(stored, id=9, file={"v": 7, "object": "elsewhere"})
    with pytest.raises(MaintenanceRefusedError, match=r"paper\.file has a document that this release cannot read"):
        upgrade(stored, "with op.batch_alter_table('paper') as batch:", "    batch.drop_column('file')")
    assert "file" in {one["name"] for one in inspect(stored.engine).get_columns("paper")}


def test_outbox_with_notes_is_not_dropped(stored: Project) -> None:
    with pytest.raises(MaintenanceRefusedError, match="1 tombstones of removed files"):
        upgrade(stored, "op.drop_table('filerow_outbox')")
    run(stored, "DELETE FROM filerow_outbox")
    command.upgrade(stored.config, "head")


@pytest.mark.one_in(3, least=2)
def test_outbox_with_notes_keeps_its_other_table(stored: Project) -> None:
    run(stored, "DELETE FROM paper")
    with pytest.raises(MaintenanceRefusedError, match="filerow_outbox has 2 tombstones"):
        command.downgrade(stored.config, "base")
    assert {"filerow_outbox", "filerow_outbox_state"} <= set(inspect(stored.engine).get_table_names())
    run(stored, "DELETE FROM filerow_outbox")
    command.downgrade(stored.config, "base")
    assert inspect(stored.engine).get_table_names() == ["alembic_version"]


@pytest.mark.one_in(2)
def test_downgrade_of_everything_says_how_to_keep_objects(stored: Project) -> None:
    with pytest.raises(MaintenanceRefusedError, match=r"drops 'paper\.file'.*op\.leave_files\('paper', columns=\['file'\]\)"):
        command.downgrade(stored.config, "base")
    [script] = (stored.folder / "versions").glob("*.py")
    leave = "def downgrade():\n    op.leave_files('paper', columns=['file'])"
    script.write_text(script.read_text().replace("def downgrade():", leave))
    run(stored, "DELETE FROM filerow_outbox")
    command.downgrade(stored.config, "base")
    assert inspect(stored.engine).get_table_names() == ["alembic_version"]


@pytest.mark.parametrize("what", ["column", "table"])
@pytest.mark.one_in(2)
def test_without_an_outbox_a_drop_refuses_and_says_what_to_do(project: Project, what: str) -> None:
    metadata = MetaData()
    Table("paper", metadata, Column("id", Integer, primary_key=True), Column("file", StoredObject("docs")))
    project.revision(metadata)
    command.upgrade(project.config, "head")
    put(project, id=1, file=doc("live"))
    after = MetaData()
    if what == "column":
        Table("paper", after, Column("id", Integer, primary_key=True))
    project.revision(after)
    with pytest.raises(MaintenanceRefusedError, match=r"leave_files\('paper', columns=\['file'\]\).*--former paper/file"):
        command.upgrade(project.config, "head")
    run(project, "UPDATE paper SET file = NULL")
    command.upgrade(project.config, "head")


@pytest.mark.one_in(2)
def test_files_that_a_sweep_shall_find_may_lose_their_table(project: Project) -> None:
    metadata = MetaData()
    Table("paper", metadata, Column("id", Integer, primary_key=True), Column("file", StoredObject("docs")))
    project.revision(metadata)
    command.upgrade(project.config, "head")
    put(project, id=1, file=doc("live"))
    upgrade(project, "op.leave_files('paper', columns=['file'])", "op.drop_table('paper')")
    assert "paper" not in inspect(project.engine).get_table_names()


@pytest.mark.one_in(3, least=2)
def test_a_list_is_added_to_a_table_with_rows(project: Project) -> None:
    project.revision(first())
    command.upgrade(project.config, "head")
    with project.engine.begin() as connection:
        connection.execute(insert(table("paper", column("id"))).values(id=1))
    after = first()
    after.tables["paper"].append_column(Column("pages", StoredObject("docs", multiple=True), nullable=False))
    source = project.revision(after)
    assert "server_default=sa.text(" in source
    command.upgrade(project.config, "head")
    with project.engine.connect() as connection:
        assert connection.execute(after.tables["paper"].select()).one().pages == []
    project.check(after)
    command.downgrade(project.config, "-1")
    command.upgrade(project.config, "head")


@pytest.mark.one_in(3, least=2)
def test_a_downgrade_adds_a_dropped_list_to_a_table_with_rows(project: Project) -> None:
    before = first()
    before.tables["paper"].append_column(Column("pages", StoredObject("docs", multiple=True), nullable=False))
    project.revision(before)
    command.upgrade(project.config, "head")
    project.revision(first())
    command.upgrade(project.config, "head")
    with project.engine.begin() as connection:
        connection.execute(insert(table("paper", column("id"))).values(id=1))
    command.downgrade(project.config, "-1")
    with project.engine.connect() as connection:
        assert connection.execute(before.tables["paper"].select()).one().pages == []
    assert state(project.engine, before) == []


def with_text(kind: Any) -> MetaData:
    metadata = MetaData()
    Table("paper", metadata, Column("id", Integer, primary_key=True), Column("the file", kind))
    return metadata


@pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
def test_a_column_of_text_becomes_a_file_column(project: Project) -> None:
    before, after = with_text(String(4000)), with_text(StoredObject("docs"))
    project.revision(before)
    command.upgrade(project.config, "head")
    rows: list[dict[str, Any]] = [
        {"id": 1, "the file": json.dumps(doc("a"))},
        {"id": 2, "the file": None},
        {"id": 3, "the file": ""},
    ]
    is_postgresql = project.engine.dialect.name == "postgresql"
    with project.engine.begin() as connection:
        connection.execute(insert(before.tables["paper"]), rows if is_postgresql else rows[:2])
    source = project.revision(after)
    assert source.count("postgresql_using") == is_postgresql
    command.upgrade(project.config, "head")
    with project.engine.connect() as connection:
        found = connection.execute(after.tables["paper"].select().order_by(after.tables["paper"].c.id)).all()
    assert found[0][1].path == doc("a")["path"]
    assert {row[1] for row in found[1:]} == {None}
    project.check(after)
    command.downgrade(project.config, "-1")
    with project.engine.connect() as connection:
        assert doc("a")["path"] in connection.execute(before.tables["paper"].select()).all()[0][1]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_sql_of_a_migration_converts_and_fills_columns(project: Project) -> None:
    project.revision(with_text(String(4000)))
    command.upgrade(project.config, "head")
    after = with_text(StoredObject("docs"))
    after.tables["paper"].append_column(Column("pages", StoredObject("docs", multiple=True), nullable=False))
    project.revision(after)
    project.config.output_buffer = written = io.StringIO()
    command.upgrade(project.config, "head", sql=True)
    assert "ADD COLUMN pages JSONB DEFAULT '[]' NOT NULL" in written.getvalue()
    assert """USING NULLIF("the file", '')::jsonb""" in written.getvalue()
