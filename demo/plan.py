"""The order of the steps, and how many rows and objects each leaves more than it found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from demo import async_steps, steps

if TYPE_CHECKING:
    from collections.abc import Callable

    from demo.app import Library

__all__ = ("STEPS", "Step")


@dataclass(frozen=True)
class Step:
    """One thing the application does.

    Attributes:
        name: What it is.
        run: Does it; may return a note, and with a line break before it another verdict than "ok".
        rows: How many rows more there are afterwards.
        objects: How many objects more there are afterwards.
        unchanged: Every row and every object has to be the very same afterwards.
        empty: There is no row and no object afterwards.
    """

    name: str
    run: Callable[[Library], str | None]
    rows: int = 0
    objects: int = 0
    unchanged: bool = False
    empty: bool = False


STEPS = [
    Step("insert: a PNG, a PDF, a text", steps.insert, rows=4, objects=5),
    Step("read back in another process", steps.read_elsewhere, unchanged=True),
    Step("find by type, size and name; read a part", steps.find, unchanged=True),
    Step("replace under the same filename", steps.replace),
    Step("the same filename twice", steps.same_filename, rows=2, objects=2),
    Step("append to a list", steps.append, objects=2),
    Step("remove from a list, reverse it", steps.remove, objects=-1),
    Step("savepoint rolled back, the rest committed", steps.savepoint_rolled_back, rows=1, objects=1),
    Step("savepoint released, all rolled back", steps.savepoint_released, unchanged=True),
    Step("commit fails: deferred foreign key", steps.failed_commit, unchanged=True),
    Step("flush fails: unique slug", steps.failed_flush, unchanged=True),
    Step("rollback; close without commit", steps.rollback, unchanged=True),
    Step("refused: a PDF as a cover", steps.refused_type, unchanged=True),
    Step("bulk insert", steps.bulk_insert, rows=5, objects=5),
    Step("bulk update", steps.bulk_update, objects=-2),
    Step("bulk delete", steps.bulk_delete, rows=-5, objects=-3),
    Step("move to another row", steps.move, objects=-1),
    Step("share with another row: a copy", steps.share, objects=1),
    Step("delete-orphan", steps.delete_orphan, rows=-1, objects=-1),
    Step("8 threads insert 3 each", steps.threads, rows=24, objects=24),
    Step("async: insert, from an async iterator", async_steps.insert, rows=1, objects=3),
    Step("async: replace, append, savepoint", async_steps.change, objects=1),
    Step("async: 8 tasks insert 3 each", async_steps.tasks, rows=24, objects=24),
    Step("async: cancelled in the middle of an upload", async_steps.cancelled, unchanged=True),
    Step("async: delete", async_steps.delete, rows=-1, objects=-4),
    Step("sign a URL and fetch it", steps.sign, unchanged=True),
    Step("stream of 64 MB", steps.big, objects=1),
    Step("upload fails half-way, one of three", steps.failing_upload, unchanged=True),
    Step("delete", steps.delete, rows=-1, objects=-5),
    Step("delete everything", steps.delete_everything, empty=True),
]
