"""What DuckDB cannot do, and says; when one of these fails, it can."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import SQLAlchemyError

from tests.dialects.models import OUTBOX


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"duckdb:///{tmp_path}/rows.db")
    yield engine
    engine.dispose()


def test_it_has_no_savepoints(engine: Engine) -> None:
    with engine.connect() as connection, pytest.raises(SQLAlchemyError, match="SAVEPOINT"):
        connection.begin_nested()


def test_it_can_make_no_outbox(engine: Engine) -> None:
    with pytest.raises(SQLAlchemyError, match="Type with name BIGSERIAL does not exist"):
        OUTBOX.table.create(engine)
