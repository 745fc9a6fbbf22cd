"""A program that is killed while its commit makes variants: a folder, and how many it may make before."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, StoredObject, storages
from filerow.backends.local import LocalBackend
from filerow.variants import Resize
from tests.variants.pictures import four_colours, saved


class Base(DeclarativeBase):
    pass


class Photo(Base):
    __tablename__ = "photo"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(
        StoredObject("photos", variants={f"w{n}": Resize(width=n) for n in (10, 20, 30)}, make_variants="commit")
    )


class Killing(LocalBackend):
    """Ends its process like a power cut, when that stores a variant too many."""

    left = 0

    def _put(self, path: str, content: Any, options: Any) -> Any:
        if path.startswith("_filerow/"):
            self.left -= 1
            if self.left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return super()._put(path, content, options)


if __name__ == "__main__":
    folder, left = sys.argv[1:]
    store = Killing("photos", f"{folder}/store")
    store.left = int(left)
    storages.register_backend(store)
    engine = create_engine(f"sqlite:///{folder}/rows.db")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all(Photo(file=FileObject(filename="a.png", content=saved(four_colours()))) for _ in range(2))
        session.commit()
