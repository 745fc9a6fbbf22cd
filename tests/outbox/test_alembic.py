"""Migrations: autogeneration notices what triggers and indexes need, and what it writes runs up and down."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Column, Engine, Integer, MetaData, String, Table, inspect

from filerow import StoredObject
from filerow.outbox import Outbox
from tests.databases import EmptyDatabase
from tests.outbox.catalogue import names_by_table, state

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
        context.configure(connection=connection, target_metadata=options["metadata"], render_as_batch=batch)
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


@pytest.mark.one_in(3)
def test_migrations_run_up_and_down_and_leave_nothing_to_find(project: Project) -> None:
    one = project.revision(first())
    assert calls(one) == [
        "create_file_triggers('paper', columns={'file': False})",
        "drop_file_triggers('paper', columns={'file': False})",
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
        "drop_file_triggers('paper', columns={'file': False, 'pages': True})",
        "drop_file_triggers('note', columns={'scan': False}, primary_key=['key'])",
        "drop_file_triggers('author', columns={'photo': False})",
        "create_file_triggers('paper', columns={'file': False})",
    ]
    assert "_index(" not in two
    command.upgrade(project.config, "head")
    project.check(second())
    at_second = project.names()

    three = project.revision(third())
    assert "_index(" not in three
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
    operations = Operations(context)
    operations.create_file_triggers("paper", columns={"file": False, "pages": True})
    operations.drop_file_triggers("paper", columns={"file": False, "pages": True})
    text = written.getvalue()
    made = set(re.findall(r"CREATE TRIGGER \W(filerow_\w+)", text))
    assert len(made) == (4 if dialect == "postgresql" else 3)
    assert set(re.findall(r"DROP TRIGGER IF EXISTS \W(filerow_\w+)", text)) == made


def test_a_database_without_triggers_of_ours_is_left_alone() -> None:
    written = io.StringIO()
    context = MigrationContext.configure(dialect_name="oracle", opts={"as_sql": True, "output_buffer": written})
    Operations(context).create_file_triggers("paper", columns={"file": False})
    assert written.getvalue() == ""


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_table_that_a_batch_makes_anew_has_its_triggers_again(project: Project) -> None:
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
