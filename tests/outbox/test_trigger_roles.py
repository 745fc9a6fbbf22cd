"""PostgreSQL's triggers note what leaves a row whoever removes it, whatever that role may see or do (P13)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import ProgrammingError

from filerow.maintenance import doctor
from filerow.outbox import Outbox
from tests.databases import EmptyDatabase
from tests.outbox.test_triggers_ddl import doc, models, paths, put

pytestmark = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


@pytest.fixture
def outbox(database: EmptyDatabase) -> Outbox:
    """An outbox beside a table with two papers."""
    metadata, outbox = models()
    metadata.create_all(database.engine())
    with database.engine().begin() as connection:
        for number in (1, 2):
            put(connection, "paper", id=number, file=doc(f"f{number}"))
    return outbox


@pytest.fixture
def restricted_engine(database: EmptyDatabase, outbox: Outbox) -> Iterator[Engine]:
    """A role that may do anything with papers, and nothing else."""
    owner = database.engine()
    role = f"clerk_{owner.url.database}"
    run(
        owner,
        f"CREATE ROLE {role} LOGIN",
        f"GRANT ALL ON paper TO {role}",
        f"GRANT TEMPORARY ON DATABASE {owner.url.database} TO {role}",
    )
    engine = create_engine(owner.url.set(username=role))
    yield engine
    engine.dispose()
    run(owner, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def run(engine: Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


FILTERED = ("ALTER TABLE paper ENABLE ROW LEVEL SECURITY", "CREATE POLICY first_one ON paper USING (id = 1)")


def test_truncate_by_a_filtered_role_notes_all_files(database: EmptyDatabase, outbox: Outbox, restricted_engine: Engine) -> None:
    run(database.engine(), *FILTERED)
    run(restricted_engine, "TRUNCATE paper")
    assert paths(database.engine(), outbox) == ["f1", "f2"]


def test_role_without_rights_on_the_outbox_deletes_rows(
    database: EmptyDatabase, outbox: Outbox, restricted_engine: Engine
) -> None:
    run(restricted_engine, "DELETE FROM paper WHERE id = 1", "UPDATE paper SET file = NULL")
    assert paths(database.engine(), outbox) == ["f1", "f2"]


def test_row_level_security_on_the_outbox_is_allowed(database: EmptyDatabase, outbox: Outbox, restricted_engine: Engine) -> None:
    run(
        database.engine(),
        "ALTER TABLE filerow_outbox ENABLE ROW LEVEL SECURITY",
        f"GRANT ALL ON filerow_outbox TO {restricted_engine.url.username}",
    )
    run(restricted_engine, "DELETE FROM paper")
    assert paths(database.engine(), outbox) == ["f1", "f2"]


def test_temporary_table_called_like_the_outbox_gets_nothing(
    database: EmptyDatabase, outbox: Outbox, restricted_engine: Engine
) -> None:
    with restricted_engine.begin() as connection:
        connection.execute(text("CREATE TEMPORARY TABLE filerow_outbox (LIKE paper)"))
        connection.execute(text("DELETE FROM paper"))
    assert paths(database.engine(), outbox) == ["f1", "f2"]


def test_session_with_another_search_path_uses_the_same_outbox(
    database: EmptyDatabase, outbox: Outbox, restricted_engine: Engine
) -> None:
    with restricted_engine.begin() as connection:
        connection.execute(text("SET LOCAL search_path = pg_catalog"))
        connection.execute(text("DELETE FROM public.paper"))
    assert paths(database.engine(), outbox) == ["f1", "f2"]


def test_tables_with_a_new_owner_are_an_error_and_fixed(
    database: EmptyDatabase, outbox: Outbox, restricted_engine: Engine
) -> None:
    """The triggers run as who made them, who has no rights on the outbox any more."""
    owner, maker = database.engine(), create_engine(restricted_engine.url)
    outbox.metadata.drop_all(owner)
    run(owner, f"GRANT CREATE ON SCHEMA public TO {restricted_engine.url.username}")
    outbox.metadata.create_all(maker)
    maker.dispose()
    assert problems(owner, outbox) == set()
    for table in ("paper", "filerow_outbox", "filerow_outbox_state"):
        run(owner, f"ALTER TABLE {table} OWNER TO CURRENT_USER")
    with owner.begin() as connection, pytest.raises(ProgrammingError, match="permission denied for table filerow_outbox"):
        put(connection, "paper", id=1, file=doc("f1"))
    [found] = problems(owner, outbox)
    assert found[:2] == ("trigger-broken", "error")
    assert str(restricted_engine.url.username) in found[2]
    assert "GRANT SELECT, INSERT, DELETE" in found[2]
    outbox.metadata.create_all(owner)
    assert problems(owner, outbox) == set()
    with owner.begin() as connection:
        put(connection, "paper", id=1, file=doc("f1"))
    run(owner, "DELETE FROM paper")
    assert paths(owner, outbox) == ["f1"]


def problems(engine: Engine, outbox: Outbox) -> set[tuple[str, str, str]]:
    found = [one for step in doctor(outbox.metadata, engine) for one in step.findings if one.code.startswith("trigger")]
    return {(one.code, one.level, one.message) for one in found}


def test_nobody_calls_the_functions(database: EmptyDatabase, outbox: Outbox) -> None:
    with database.engine().connect() as connection:
        query = text(
            "SELECT count(*) FROM pg_proc WHERE proname LIKE 'filerow%' AND has_function_privilege('public', oid, 'EXECUTE')"
        )
        assert connection.scalar(query) == 0
