"""Extra ``cli``: the command checks, sweeps and lists the files of a small application."""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import mkdtemp

APPLICATION = """
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from filerow import FileObject, StoredObject, storages

storages.register_backend("file://{root}/files", key="docs")

class Base(DeclarativeBase): ...

class Document(Base):
    __tablename__ = "document"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))

engine = create_engine("sqlite:///{root}/shop.db")
Base.metadata.create_all(engine)
"""


STORE = """
import shop
with shop.Session(shop.engine) as session:
    session.add(shop.Document(file=shop.FileObject(filename="a.txt", content=b"a")))
    session.commit()
"""


def main() -> None:
    """Run commands, for people and for programs."""
    root = Path(mkdtemp())
    (root / "shop.py").write_text(APPLICATION.format(root=root))
    subprocess.run([sys.executable, "-c", STORE], cwd=root, check=True)
    program = str(Path(sys.executable).parent / "filerow")
    where = ["--app", "shop:Base", "--url", "shop:engine"]
    for command in (["--help"], ["check", "--help"], ["check", *where], ["sweep", *where], ["stats", *where], ["doctor", *where]):
        done = subprocess.run([program, *command], cwd=root, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
    done = subprocess.run([program, "stats", "--json", *where], cwd=root, capture_output=True, text=True, check=True)
    assert [json.loads(line) for line in done.stdout.splitlines()], done.stdout


if __name__ == "__main__":
    main()
