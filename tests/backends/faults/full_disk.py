"""Run in a namespace of its own, as root there: makes a disk of one MiB, or one that is read-only, and fills it.

Usage: full_disk.py full|read-only FOLDER
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, StoredObject, storages
from filerow.backends.local import LocalBackend
from filerow.exceptions import StorageError, StoragePermissionError


class Base(DeclarativeBase):
    pass


class Paper(Base):
    __tablename__ = "paper"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


def paper(size: int) -> Paper:
    return Paper(file=FileObject(filename="a.bin", content=b"x" * size))


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def full(disk: Path, session: Session) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], check=True)
    storages.register_backend(LocalBackend("docs", disk / "root"))
    session.add(paper(400_000))
    session.commit()
    session.add_all([paper(1000), paper(900_000), paper(1000)])
    refused(session, StorageError, "the disk is full")
    streamed = FileObject(filename="b.bin", content=iter([b"y" * 100_000] * 20))
    session.add(Paper(file=streamed))
    refused(session, StorageError, "the disk is full")
    assert len(files(disk)) == session.query(Paper).count() == 1, files(disk)
    session.delete(session.query(Paper).one())  # deleting works on a full disk, and makes room
    session.commit()
    session.add(paper(900_000))
    session.commit()
    assert len(files(disk)) == session.query(Paper).count() == 1


def read_only(disk: Path, session: Session) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(disk)], check=True)
    storages.register_backend(LocalBackend("docs", disk / "root"))
    session.add(paper(10))
    session.commit()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    session.add(paper(10))
    refused(session, StoragePermissionError, "the file system is read-only")
    kept = session.query(Paper).one()
    assert kept.file is not None
    assert kept.file.get_content() == b"x" * 10
    session.delete(kept)
    session.commit()  # a delete that fails never makes a commit raise; the file is an orphan now
    assert storages.failed_deletes == 1
    assert len(files(disk)) == 1
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    session.add(paper(10))
    session.commit()
    assert len(files(disk)) == 2


def refused(session: Session, kind: type[StorageError], text: str) -> None:
    try:
        session.commit()
    except kind as error:
        assert text in str(error), error  # noqa: PT017 - no pytest in here
        assert error.operation == "put", error  # noqa: PT017
        assert error.path, error  # noqa: PT017
    else:
        raise AssertionError(text)
    session.rollback()
    session.expunge_all()


def main() -> None:
    case, folder = sys.argv[1:]
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        {"full": full, "read-only": read_only}[case](Path(folder), session)
    engine.dispose()


if __name__ == "__main__":
    main()
