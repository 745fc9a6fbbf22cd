"""What a process is doing when it dies: every piece of a file's life, written as an application would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

from sqlalchemy import Engine, delete, select, update
from sqlalchemy.orm import Session

from filerow import FileObject
from filerow.direct import DirectUploads
from filerow.maintenance import adopt, migrate, sweep
from filerow.maintenance import undelete as undelete_files
from tests.soak.crash.child import Killer, World
from tests.soak.crash.models import SECRET, model, outbox

NO_TIME = timedelta(0)


def write(world: World, engine: Engine) -> None:
    """One transaction with everything in it: new files, a replaced one, a list that changes, a row that goes."""
    paper = model(with_outbox=world.with_outbox)
    with Session(engine) as session:
        first, second, third = (session.get_one(paper, number) for number in (1, 2, 3))
        first.file = FileObject(filename="new.txt", content=b"new " * 50_000)
        first.pages.pop(0)
        first.pages.append(FileObject(filename="appended.txt", content=b"appended"))
        second.file = None
        session.delete(third)
        session.add(
            paper(id=5, file=FileObject(content=b"inserted"), pages=[FileObject(content=b"page %d" % n) for n in range(3)])
        )
        session.commit()


def stream(world: World, engine: Engine) -> None:
    """One row with a file that comes in chunks, so that it goes up in parts."""

    def chunks() -> Iterator[bytes]:
        for number in range(16):
            Killer.at("chunk")
            yield bytes([number]) * (1 << 20)

    paper = model(with_outbox=world.with_outbox)
    with Session(engine) as session:
        session.add(paper(id=6, file=FileObject(content=chunks())))
        session.commit()


def share(world: World, engine: Engine) -> None:
    """A file that another row has gets copied on the server's side."""
    paper = model(with_outbox=world.with_outbox)
    with Session(engine) as session:
        first, second = session.get_one(paper, 1), session.get_one(paper, 2)
        second.file = first.file
        second.pages.append(first.pages[0])
        session.commit()


def savepoint(world: World, engine: Engine) -> None:
    """One savepoint is released, one is rolled back."""
    paper = model(with_outbox=world.with_outbox)
    with Session(engine) as session:
        with session.begin_nested():
            session.get_one(paper, 1).file = FileObject(content=b"released")
        nested = session.begin_nested()
        session.get_one(paper, 2).file = FileObject(content=b"rolled back")
        session.flush()
        nested.rollback()
        session.commit()


def rollback(world: World, engine: Engine) -> None:
    """A transaction that stored and replaced files is rolled back."""
    paper = model(with_outbox=world.with_outbox)
    with Session(engine) as session:
        session.get_one(paper, 1).file = FileObject(content=b"rolled back")
        session.add(paper(id=5, pages=[FileObject(content=b"page %d" % n) for n in range(3)]))
        session.flush()
        session.rollback()


def bulk(world: World, engine: Engine) -> None:
    """Statements, not objects, replace one file and delete two rows."""
    paper = model(with_outbox=world.with_outbox)
    with Session(engine) as session:
        session.execute(update(paper).where(paper.id == 1).values(file=FileObject(content=b"bulk")))
        session.execute(delete(paper).where(paper.id.in_([2, 3])))
        session.commit()


def save(world: World, engine: Engine) -> None:
    """A file is stored by hand, and given to a row later."""
    paper = model(with_outbox=world.with_outbox)
    file = FileObject(content=b"by hand", backend="docs").save()
    with Session(engine) as session:
        session.get_one(paper, 1).file = file
        session.commit()


def claim(world: World, engine: Engine) -> None:
    """What a client uploaded straight to the store becomes a row's file."""
    paper = model(with_outbox=world.with_outbox)
    file = DirectUploads(paper.file, secret=SECRET).claim(world.claim)
    with Session(engine) as session:
        session.get_one(paper, 1).file = file
        session.commit()


def undelete(world: World, engine: Engine) -> None:
    """A removed file is restored."""
    metadata = model(with_outbox=world.with_outbox).metadata
    with engine.connect() as connection:
        path = connection.scalars(select(outbox.table.c.path).where(outbox.table.c.column_name == "file")).one()
    for _ in undelete_files(metadata, engine, "docs", [path]):
        pass


def take_over(world: World, engine: Engine) -> None:
    """A column that another library has written becomes ours; the row that shares an object gets a copy."""
    for _ in adopt(model(with_outbox=world.with_outbox).metadata, engine, "paper.file"):
        pass


def drain(world: World, engine: Engine) -> None:
    """Delete what the outbox says."""
    outbox.drain(engine)


def clean(world: World, engine: Engine) -> None:
    """Delete what no row owns."""
    metadata = model(with_outbox=world.with_outbox).metadata
    for _ in sweep(metadata, engine, grace=NO_TIME, delete=True, full=True, allow_many=True):
        pass


def move(world: World, engine: Engine) -> None:
    """Move the older files."""
    metadata = model(with_outbox=world.with_outbox).metadata
    for name in ("paper.file", "paper.pages"):
        for _ in migrate(metadata, engine, name):
            pass


WORKS: dict[str, Callable[[World, Engine], None]] = {
    "write": write,
    "stream": stream,
    "share": share,
    "savepoint": savepoint,
    "rollback": rollback,
    "bulk": bulk,
    "save": save,
    "claim": claim,
    "undelete": undelete,
    "adopt": take_over,
    "drain": drain,
    "sweep": clean,
    "migrate": move,
}
