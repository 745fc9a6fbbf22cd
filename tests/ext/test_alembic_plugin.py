"""Alembic finds Filerow by itself: an ``env.py`` need not know it."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.databases import EmptyDatabase
from tests.servers._process import ROOT

MODELS = """
from typing import Any
from sqlalchemy import create_engine, insert
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from filerow import FileObject, FileObjectList, StoredObject
from filerow.outbox import Outbox

class Base(DeclarativeBase):
    pass

class Document(Base):
    __tablename__ = "document"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))

class Grown(DeclarativeBase):
    pass

class GrownDocument(Grown):
    __tablename__ = "document"
    id: Mapped[int] = mapped_column(primary_key=True)
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))

for base in (Base, Grown):
    Outbox(base.metadata)
"""
ENV = """
from alembic import context

options = context.config.attributes
if context.is_offline_mode():
    context.configure(dialect_name="postgresql", target_metadata=options["metadata"], literal_binds=True)
    context.run_migrations()
else:
    with options["engine"].connect() as connection:
        batch = connection.dialect.name == "sqlite"
        context.configure(connection=connection, target_metadata=options["metadata"], render_as_batch=batch)
        with context.begin_transaction():
            context.run_migrations()
"""
PLAIN = """
import sys
from pathlib import Path
from alembic import command
from alembic.config import Config
assert "filerow.outbox" not in sys.modules, "Alembic has loaded more than the plugin"
from models import Base, Document, Grown, create_engine, insert

config = Config()
config.set_main_option("script_location", "migrations")
config.set_main_option("path_separator", "os")
config.attributes.update(engine=create_engine(sys.argv[1]), metadata=Base.metadata)
first = Path(command.revision(config, "first", autogenerate=True).path).read_text()
assert "import filerow\\n" in first and "op.create_file_triggers('document'" in first, first
command.upgrade(config, "head")
command.check(config)
with config.attributes["engine"].begin() as connection:
    connection.execute(insert(Document).values(id=1))
config.attributes["metadata"] = Grown.metadata
second = Path(command.revision(config, "second", autogenerate=True).path).read_text()
assert "server_default=sa.text(" in second, second
command.upgrade(config, "head")
command.check(config)
command.downgrade(config, "-1")
from filerow.ext import alembic
alembic.install()
config.attributes["engine"].dispose()
print("done")
"""
ADVANCED = """
import sys
from pathlib import Path
from advanced_alchemy.alembic.commands import AlembicCommands
from advanced_alchemy.config import AlembicSyncConfig, SQLAlchemySyncConfig
from advanced_alchemy.base import BigIntBase, orm_registry
from sqlalchemy.orm import Mapped, mapped_column
from filerow import FileObject, FileObjectList, StoredObject
from filerow.outbox import Outbox

class Document(BigIntBase):
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))

Outbox(orm_registry.metadata)
config = SQLAlchemySyncConfig(connection_string=sys.argv[1], alembic_config=AlembicSyncConfig(script_location="aa"))
commands = AlembicCommands(config)
commands.init("aa")
commands.revision(message="first", autogenerate=True)
(made,) = Path("aa/versions").glob("*.py")
source = made.read_text()
assert "filerow.StoredObject('docs')" in source and "sa.StoredObject('docs'" not in source, source
commands.upgrade("head")
commands.check()
commands.downgrade("base")
print("done")
"""
LINE = '# a migration\n"""${message}"""\nfrom alembic import op\nimport sqlalchemy as sa\n${imports if imports else ""}\n'
TEMPLATE = (
    LINE
    + "revision = ${repr(up_revision)}\ndown_revision = ${repr(down_revision)}\n\n"
    + 'def upgrade():\n    ${upgrades if upgrades else "pass"}\n\n'
    + 'def downgrade():\n    ${downgrades if downgrades else "pass"}\n'
)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Return a folder in which Python finds the entry points of ``pyproject.toml``, as if they were installed."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    info = tmp_path / "site" / "filerow-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: filerow\nVersion: 0.1.0\n")
    lines = [f"{name} = {value}\n" for name, value in groups["alembic.plugins"].items()]
    (info / "entry_points.txt").write_text("[alembic.plugins]\n" + "".join(lines))
    return info.parent


def run(code: str, url: str, folder: Path, installed: Path) -> str:
    """Run a program in a folder, in a process of its own, for Alembic loads plugins with itself."""
    search = os.pathsep.join([str(installed), str(folder), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-W", "error:Plugin:DeprecationWarning", "-c", code, url],
        capture_output=True, text=True, cwd=folder, env={**os.environ, "PYTHONPATH": search}, check=False, timeout=300,
    )  # fmt: skip
    return done.stdout + done.stderr


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.thorough)], indirect=True)
def test_migrations_know_files_without_any_call(database: EmptyDatabase, tmp_path: Path, installed: Path) -> None:
    versions = tmp_path / "migrations" / "versions"
    versions.mkdir(parents=True)
    (versions.parent / "env.py").write_text(ENV)
    (versions.parent / "script.py.mako").write_text(TEMPLATE)
    (tmp_path / "models.py").write_text(MODELS)
    said = run(PLAIN, str(database.url), tmp_path, installed)
    assert said.endswith("done\n"), said


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.thorough)], indirect=True)
def test_advanced_alchemy_takes_our_type(database: EmptyDatabase, tmp_path: Path, installed: Path) -> None:
    said = run(ADVANCED, str(database.url), tmp_path, installed)
    assert said.endswith("done\n"), said
