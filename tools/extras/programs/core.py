"""No extra: rows and files in a directory, in memory and through obstore; nothing optional is installed."""

from importlib.util import find_spec
from tempfile import mkdtemp

from sqlalchemy import select
from sqlalchemy.orm import Session

from filerow import FileObject, storages
from filerow.backends.local import LocalBackend
from filerow.backends.memory import MemoryBackend
from filerow.backends.obstore import ObstoreBackend
from tools.extras.programs.model import CONTENT, Document, database


def main() -> None:
    """Store, replace, roll back and delete."""
    optional = [name for name in ("pydantic", "fsspec", "botocore", "msgspec", "greenlet") if find_spec(name)]
    assert optional in ([], ["greenlet"]), optional
    for backend in (LocalBackend("docs", mkdtemp()), ObstoreBackend("docs", f"file://{mkdtemp()}"), MemoryBackend("docs")):
        storages.clear_backends()
        storages.register_backend(backend)
        with Session(database()) as session:
            session.add(document := Document(file=FileObject(filename="a.txt", content=CONTENT)))
            session.commit()
            assert session.scalars(select(Document).where(Document.file.size == len(CONTENT))).one() is document
            assert document.file is not None
            path = document.file.path
            document.file = FileObject(filename="b.txt", content=b"other")
            session.rollback()
            assert document.file.get_content() == CONTENT
            session.delete(document)
            session.commit()
            assert not backend.exists(path)


if __name__ == "__main__":
    main()
