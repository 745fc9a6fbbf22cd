"""Triggers and rules of an application, for as long as a test needs them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy.exc import SAWarning

from tests.cases.world import World

_FUNCTION = "CREATE FUNCTION application() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN {body} END'"


@contextmanager
def trigger(world: World, when: str, *, sqlite: str, postgresql: str, condition: str = "") -> Iterator[None]:
    """Have a trigger on ``document`` in the session's transaction only.

    Args:
        world: Where.
        when: ``BEFORE DELETE``, say.
        sqlite: The statement to run.
        postgresql: The body of its function.
        condition: When to run it, if not always.
    """
    on = f"{when} ON document"
    condition = f"WHEN ({condition})" if condition else ""
    if world.database.name == "sqlite":
        made = [f"CREATE TRIGGER application {on} {condition} BEGIN {sqlite}; END"]
        dropped = ["DROP TRIGGER application"]
    else:
        made = [
            _FUNCTION.format(body=postgresql.replace("'", "''")),
            f"CREATE TRIGGER application {on} FOR EACH ROW {condition} EXECUTE FUNCTION application()",
        ]
        dropped = ["DROP TRIGGER application ON document", "DROP FUNCTION application()"]
    with ddl(world, made, dropped):
        yield


@contextmanager
def ddl(world: World, made: Sequence[str], dropped: Sequence[str]) -> Iterator[None]:
    """Run DDL in the session's transaction, and its opposite; meanwhile SQLAlchemy may warn that fewer rows were deleted."""
    for statement in made:
        world.session.connection().exec_driver_sql(statement)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SAWarning)
        yield
    for statement in dropped:
        world.session.connection().exec_driver_sql(statement)
