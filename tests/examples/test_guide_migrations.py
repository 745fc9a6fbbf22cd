"""The guide's migrations: those it comes with, and those that its command line makes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.examples import EXAMPLES, skip_without_guide

if TYPE_CHECKING:
    from advanced_alchemy.alembic.commands import AlembicCommands

    from tests.servers.postgres import PostgresServer

# Importing everything takes longer than the commands do, so one process imports and forks one child per command. It says after
# each which tables there are.
RUN = """
import json, os, sqlite3, sys
import advanced_alchemy.alembic.commands, advanced_alchemy.extensions.litestar.cli, aiosqlite
from filerow import storages
from litestar.cli.main import litestar_group
from litestar_guide.app import create_app

create_app()  # imports the rest
storages.clear_backends()

for command in json.loads(sys.argv[1]):
    child = os.fork()
    if not child:
        litestar_group.main(["--app", "litestar_guide.app:create_app", *command])
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        sys.exit(f"failed: {command}")
    with sqlite3.connect("guide.sqlite") as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    print("TABLES", json.dumps(tables), flush=True)
"""

TABLES = {"author", "book", "document", "user_account", "web_session"}


def run_commands(folder: Path, *commands: list[str]) -> list[set[str]]:
    """Run litestar's command line in a folder that has a copy of the guide; return the guide's tables after each command."""
    environment = {
        **os.environ,
        "DATABASE_URL": "sqlite+aiosqlite:///guide.sqlite",
        "STORAGE_URL": (folder / "files").as_uri(),
        "PYTHONPATH": str(folder),
        "TERM": "dumb",
    }
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(commands)],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.findall(r"^TABLES (.*)$", done.stdout, re.MULTILINE)
    return [set(json.loads(tables)) & TABLES for tables in found]


@pytest.mark.thorough
def test_the_command_line_makes_migrations_with_our_column_types(tmp_path: Path) -> None:
    skip_without_guide()
    shutil.copytree(EXAMPLES / "litestar_guide", tmp_path / "litestar_guide", ignore=shutil.ignore_patterns("data", "migrations"))
    migrations = tmp_path / "litestar_guide" / "migrations"

    after = run_commands(
        tmp_path,
        ["database", "init", str(migrations), "--no-prompt"],
        ["database", "make-migrations", "-m", "first tables", "--no-prompt"],
        ["database", "upgrade", "--no-prompt"],
        ["guide", "create-user", "Ada@example.org", "--password", "difference engine"],
        ["database", "downgrade", "base", "--no-prompt"],
    )

    assert after == [set(), set(), TABLES, TABLES, set()]
    [migration] = (migrations / "versions").glob("*first_tables*.py")
    text = migration.read_text()
    assert re.search(r"^import filerow$", text, re.MULTILINE)
    assert "sa.Column('file', filerow.StoredObject('documents', max_size=26214400), nullable=False)" in text
    assert "sa.StoredObject(" not in text


@pytest.fixture(params=["sqlite", "postgresql"])
def commands(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AlembicCommands]:
    """Advanced Alchemy's commands, on an empty database."""
    skip_without_guide()
    from tests.examples import guide

    if request.param == "sqlite":
        yield guide.commands_for(f"sqlite+aiosqlite:///{tmp_path / 'guide.sqlite'}")
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    database = server.make_database()
    yield guide.commands_for(database.url("asyncpg"))
    server.drop_database(database)


def test_shipped_migrations_make_and_unmake_what_the_models_say(commands: Any) -> None:
    commands.upgrade()
    commands.check()  # raises when the models and the tables differ
    assert tables_of(commands) >= TABLES
    commands.downgrade("base")
    assert tables_of(commands) & TABLES == set()
    commands.upgrade()
    assert tables_of(commands) >= TABLES


def tables_of(commands: AlembicCommands) -> set[str]:
    """Return the tables of a database."""
    import asyncio

    from sqlalchemy import inspect

    engine = commands.sqlalchemy_config.get_engine()

    async def look() -> set[str]:
        async with engine.connect() as connection:
            found = await connection.run_sync(lambda connection: inspect(connection).get_table_names())
        await engine.dispose()
        return set(found)

    return asyncio.run(look())
