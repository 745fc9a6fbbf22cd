"""A program: a drainer in its parent and in forked children, and one that nobody ends before the interpreter does."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from datetime import timedelta

from sqlalchemy import Engine, event
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, StoredObject
from filerow.outbox import Outbox
from tests.execution.running import DEADLINE
from tests.execution.stores import registered
from tests.execution.work import left, rows_engine
from tests.places import know_places


class Base(DeclarativeBase):
    pass


class Letter(Base):
    __tablename__ = "letter"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


OUTBOX = Outbox(Base.metadata, retention=timedelta(0))
SOON = timedelta(seconds=0.05)
NEVER = timedelta(days=1)


def dropped(engine: Engine, count: int = 1) -> None:
    """Make rows with files, and delete them; their tombstones wait for a drainer."""
    with Session(engine) as session:
        letters = [Letter(file=FileObject(content=b"%d" % number)) for number in range(count)]
        session.add_all(letters)
        session.commit()
        for letter in letters:
            session.delete(letter)
        session.commit()


def until(true: Callable[[], bool]) -> None:
    ends = time.monotonic() + DEADLINE / 2
    while not true():
        assert time.monotonic() < ends, "it never came true"
        time.sleep(0.02)


QUIET = threading.Lock()
"""Held while a thread has a connection: SQLite does not survive a fork while another thread is in a transaction."""


def one_at_a_time(engine: Engine) -> Engine:
    event.listen(engine, "checkout", lambda *_: QUIET.acquire())
    event.listen(engine, "checkin", lambda *_: QUIET.release())
    return engine


def in_child(work: Callable[[], None]) -> None:
    """Run something in a forked child, which must succeed."""
    with QUIET:
        time.sleep(0.2)  # what follows a check-in has no event
        child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:  # noqa: BLE001 - nobody else would show it
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def across_forks(engine: Engine) -> None:
    """The parent's drainer goes on; a child has none until it enters one, and leaving the parent's block ends nothing."""
    drainer = OUTBOX.drainer(engine, interval=NEVER)

    def child() -> None:
        dropped(engine)  # its commit wakes nobody: the thread is the parent's
        assert left() == 1
        drainer.__exit__()
        with drainer:
            until(lambda: left() == 0)
            dropped(engine)
            until(lambda: left() == 0)

    with drainer:
        dropped(engine)
        until(lambda: left() == 0)
        in_child(child)
        dropped(engine)
        until(lambda: left() == 0)
    dropped(engine)
    in_child(lambda: None)
    assert OUTBOX.drain(engine).deleted == 1


def never_ended(engine: Engine) -> None:
    """The interpreter ends while the drainer deletes."""
    OUTBOX.drainer(engine, interval=SOON, batch=1).__enter__()
    dropped(engine, 20)
    time.sleep(0.1)


def main(how: str) -> None:
    registered()
    engine = one_at_a_time(rows_engine())
    Base.metadata.create_all(engine)
    know_places(Base.metadata, engine)
    {"forks": across_forks, "exit": never_ended}[how](engine)
    sys.stdout.write(json.dumps({"done": how}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
