"""SQLAlchemy 2.1 comes without greenlet: everything synchronous works without it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
sys.modules["greenlet"] = None  # as if it were not installed

from datetime import timedelta
from sqlalchemy import create_engine, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from filerow import FileObject, StoredObject, storages
from filerow.cli import main
from filerow.maintenance import adopt, check, doctor, drain, ls, migrate, stats, sweep
from filerow.outbox import Outbox

class Base(DeclarativeBase):
    pass

outbox = Outbox(Base.metadata, retention=timedelta(0))

class Document(Base):
    __tablename__ = "document"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))

storages.register_backend("memory://", key="docs")
storages.register_backend("memory://", key="new")
engine = create_engine("sqlite:///rows.db")
Base.metadata.create_all(engine)
with Session(engine) as session:
    session.add_all([Document(id=number, file=FileObject(content=b"x")) for number in (1, 2)])
    session.commit()
with engine.begin() as connection:
    connection.execute(text("DELETE FROM document WHERE id = 1"))
with outbox.drainer(engine):
    pass
for work in (
    check(Base.metadata, engine), sweep(Base.metadata, engine), doctor(Base.metadata, engine), drain(Base.metadata, engine),
    adopt(Base.metadata, engine, "document.file"), migrate(Base.metadata, engine, "document.file", to="new"),
    stats(Base.metadata, engine), ls(Base.metadata, engine, "document.file"),
):
    for _ in work:
        pass
assert len(list(storages.get_backend("new").list())) == 1
outbox.drain(engine)
assert not list(storages.get_backend("docs").list())
engine.dispose()
sys.argv = ["filerow", "stats", "--help"]
try:
    main()
except SystemExit as left:
    assert not left.code
"""


def test_maintenance_outbox_and_command_line_work_without_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
