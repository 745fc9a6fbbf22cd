"""The guide application, on this machine or on servers."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from sqlalchemy.exc import SADeprecationWarning

with warnings.catch_warnings():
    warnings.simplefilter("ignore", SADeprecationWarning)  # Advanced Alchemy still speaks to SQLAlchemy 2.0's mypy plugin
    from advanced_alchemy.alembic.commands import AlembicCommands
    from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig
    from litestar.testing import TestClient
    from litestar_guide.app import create_app
    from litestar_guide.database import alchemy_for, alchemy_of
    from litestar_guide.models import User
    from litestar_guide.passwords import COST, hash_password
    from litestar_guide.settings import Settings

from tests.examples.applications import Application
from tests.examples.raw import Bucket, Folder, Postgres, Raw, SQLite

if TYPE_CHECKING:
    from tests.servers._database import Database
    from tests.servers._s3 import S3Server

COST["n"] = 16  # what makes guessing slow makes tests slow

EMAIL, PASSWORD = "ada@example.org", "difference engine"


def commands_for(database_url: str) -> AlembicCommands:
    """Return the commands that migrate a database by the shipped migrations."""
    return AlembicCommands(alchemy_for(Settings(database_url)))


def migrate(database_url: str) -> None:
    """Make the tables of an empty database, and one user."""
    commands = commands_for(database_url)
    commands.upgrade()
    alchemy = cast("SQLAlchemyAsyncConfig", commands.sqlalchemy_config)

    async def add_user() -> None:
        async with alchemy.get_session() as session:
            session.add(User(email=EMAIL, password_hash=hash_password(PASSWORD)))
            await session.commit()
        await alchemy.get_engine().dispose()

    asyncio.run(add_user())


@contextmanager
def on_this_machine(tmp_path: Path, template: Path, *, log_in: bool = True) -> Iterator[Application]:
    """Run it on SQLite and a directory."""
    database, files = tmp_path / "guide.sqlite", tmp_path / "files"
    shutil.copy(template, database)
    settings = Settings(f"sqlite+aiosqlite:///{database}", files.as_uri())
    with _run(settings, Raw(SQLite(database), Folder(files)), log_in=log_in) as running:
        yield running


def reset(app: Application, template: Path) -> None:
    """Make its tables what they are in the template, remove its objects, and forget the client's cookies."""
    assert isinstance(app.raw.rows, SQLite)
    with closing(sqlite3.connect(app.raw.rows.file)) as connection:
        connection.execute("ATTACH ? AS template", (str(template),))
        with connection:
            for table in ("book", "author", "document", "web_session", "user_account"):
                connection.execute(f"DELETE FROM {table}")
            connection.execute("INSERT INTO user_account SELECT * FROM template.user_account")
    app.raw.objects.remove()
    app.client.cookies.clear()


@contextmanager
def on_servers(database: Database, s3: S3Server) -> Iterator[Application]:
    """Run it on PostgreSQL and S3."""
    import psycopg

    bucket, prefix = s3.shared_bucket, s3.make_prefix()
    options = {
        "aws_endpoint": s3.endpoint,
        "aws_access_key_id": s3.access_key,
        "aws_secret_access_key": s3.secret_key,
        "aws_region": s3.region,
    }
    settings = Settings(database.url("asyncpg"), f"s3://{bucket}/{prefix}", options)
    where = {"host": database.host, "port": database.port, "user": database.user, "dbname": database.name}
    with (
        psycopg.connect(**where, autocommit=True) as connection,
        _run(settings, Raw(Postgres(connection), Bucket(s3, bucket, prefix)), log_in=True) as running,
    ):
        yield running


@contextmanager
def _run(settings: Settings, raw: Raw, *, log_in: bool) -> Iterator[Application]:
    app = create_app(settings)

    async def close() -> None:  # Advanced Alchemy does that for the first application of a process only
        await alchemy_of(app).get_engine().dispose()

    app.on_shutdown.append(close)
    with TestClient(app, raise_server_exceptions=False) as client:
        if log_in:
            assert log_in_with(client).status_code == 200
        yield Application(client, raw, str(uuid4()), app)


def log_in_with(client: Any, email: str = EMAIL, password: str = PASSWORD) -> Any:
    """Log in and return the answer."""
    return client.post("/login", json={"email": email, "password": password})
