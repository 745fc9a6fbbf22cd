"""Code written for Advanced Alchemy: the same lines run on both libraries, and the guide explains what differs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa
from obstore.store import LocalStore, MemoryStore
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import filerow
import filerow.backends.fsspec
import filerow.backends.obstore
from tests.frameworks import advanced_alchemy
from tests.servers._process import ROOT

GUIDE = (ROOT / "docs" / "from-advanced-alchemy.md").read_text()


class Library(NamedTuple):
    """What code imports from one library or the other."""

    FileObject: Any
    FileObjectList: Any
    StoredObject: Any
    StorageRegistry: Any
    storages: Any
    ObstoreBackend: Any
    FSSpecBackend: Any


def theirs() -> Library:
    from advanced_alchemy.types.file_object.backends.fsspec import FSSpecBackend
    from advanced_alchemy.types.file_object.backends.obstore import ObstoreBackend

    names = (getattr(advanced_alchemy, name) for name in Library._fields[:5])
    return Library(*names, ObstoreBackend, FSSpecBackend)


def ours() -> Library:
    names = (getattr(filerow, name) for name in Library._fields[:5])
    return Library(*names, filerow.backends.obstore.ObstoreBackend, filerow.backends.fsspec.FSSpecBackend)


@pytest.fixture(params=[theirs, ours], ids=["advanced_alchemy", "filerow"])
def library(request: pytest.FixtureRequest) -> Iterator[Library]:
    """Both libraries, each with nothing registered."""
    found: Library = request.param()
    found.storages.clear_backends()
    yield found
    found.storages.clear_backends()


BACKENDS: dict[str, Callable[[Library, Path], Any]] = {
    "obstore, URL of a folder": lambda lib, at: lib.ObstoreBackend(key="docs", fs=f"file://{at}/", mkdir=True),
    "obstore, URL by position": lambda lib, at: lib.ObstoreBackend("docs", "memory://"),
    "obstore, store of a folder": lambda lib, at: lib.ObstoreBackend(fs=LocalStore(prefix=at, mkdir=True), key="docs"),
    "obstore, store in memory": lambda lib, at: lib.ObstoreBackend(fs=MemoryStore(), key="docs"),
    "fsspec, protocol": lambda lib, at: lib.FSSpecBackend(key="docs", fs="memory", prefix=str(at)),
    "fsspec, prefix by position": lambda lib, at: lib.FSSpecBackend("docs", "file", str(at), auto_mkdir=True),
    "fsspec, filesystem": lambda lib, at: lib.FSSpecBackend(fs=memory_filesystem(), key="docs", prefix=str(at)),
}


def memory_filesystem() -> Any:
    import fsspec

    return fsspec.filesystem("memory")


@pytest.mark.parametrize("make", BACKENDS.values(), ids=BACKENDS)
def test_a_backend_is_made_and_registered(library: Library, make: Callable[[Library, Path], Any], tmp_path: Path) -> None:
    backend = make(library, tmp_path)
    library.storages.register_backend(backend)
    assert library.storages.is_registered("docs")
    assert library.storages.registered_backends() == ["docs"]
    assert library.storages.get_backend("docs") is backend
    assert backend.fs is not None
    assert (backend.key, backend.protocol) == ("docs", backend.protocol)
    file = library.FileObject(backend="docs", filename="a.txt", content=b"Hello Storage!")
    file.save()
    assert file.get_content() == b"Hello Storage!"
    library.storages.unregister_backend("docs")
    assert not library.storages.is_registered("docs")


async def test_a_file_is_saved_read_and_deleted(library: Library, tmp_path: Path) -> None:
    backend = library.ObstoreBackend(key="docs", fs=LocalStore(prefix=tmp_path, mkdir=True))
    library.storages.register_backend(backend)
    file = library.FileObject(backend=backend, filename="report.bin", to_filename="test_basic.txt", content_type="text/plain")
    same = await file.save_async(b"Hello Storage!", use_multipart=True, chunk_size=1024, max_concurrency=2)
    assert same is file
    assert file.backend is backend
    assert (file.path, file.size, file.protocol, file.content_type) == ("test_basic.txt", 14, "file", "text/plain")
    assert isinstance(file.last_modified, float)
    assert file.etag
    assert not file.has_pending_data
    assert await file.get_content_async() == b"Hello Storage!"
    assert file.to_dict()["backend"] == "docs"
    await file.delete_async()
    with pytest.raises(FileNotFoundError):
        await file.get_content_async()


def test_a_file_takes_its_arguments_by_position_and_by_name(library: Library, tmp_path: Path) -> None:
    library.storages.register_backend("memory://", "docs")
    source = tmp_path / "source.txt"
    source.write_bytes(b"abc")
    made = library.FileObject("docs", "a.txt", "x/y.txt", "text/plain", 3, 1.0, None, None, None, {"k": 1}, str(source))
    assert made.has_pending_data
    assert (made.content_type, made.metadata) == ("text/plain", {"k": 1})
    made.update_metadata({"n": 2})
    made.save()
    assert (made.path, made.size, made.metadata) == ("x/y.txt", 3, {"k": 1, "n": 2})
    with pytest.raises((TypeError, ValueError), match="both"):
        library.FileObject("docs", "a.txt", content=b"abc", source_path=source)


async def test_there_is_one_content_and_not_two_or_none(library: Library, tmp_path: Path) -> None:
    library.storages.register_backend("memory://", "docs")
    with pytest.raises(ValueError, match="both"):
        library.FileObject("docs", "a.txt", content=b"abc", source_path=tmp_path / "a.txt")
    file = library.FileObject("docs", "a.txt")
    with pytest.raises(TypeError):
        file.save()
    with pytest.raises(TypeError):
        await file.save_async()


async def test_a_source_path_is_looked_at_when_it_is_saved(library: Library, tmp_path: Path) -> None:
    library.storages.register_backend("memory://", "docs")
    for name in ("sync.txt", "async.txt"):
        file = library.FileObject("docs", name, source_path=tmp_path / name)
        assert file.has_pending_data
        with pytest.raises(FileNotFoundError):
            file.save()
        with pytest.raises(FileNotFoundError):
            await file.save_async()
        (tmp_path / name).write_bytes(b"abc")
        assert (file.save() if name == "sync.txt" else await file.save_async()) is file
        assert file.get_content() == b"abc"


def test_the_type_of_a_pending_file_is_guessed_from_its_name(library: Library) -> None:
    library.storages.register_backend("memory://", "docs")
    for name, guessed in (("a.txt", "text/plain"), ("a.PNG", "image/png"), ("a", "application/octet-stream")):
        assert library.FileObject("docs", name).content_type == guessed
        assert library.FileObject("docs", name, content=b"abc").content_type == guessed
        assert library.FileObject("docs", name, content_type="text/x-own").content_type == "text/x-own"


def test_what_cannot_be_signed_is_not_implemented(library: Library) -> None:
    library.storages.register_backend(library.ObstoreBackend(key="docs", fs="memory://"))
    file = library.FileObject(backend="docs", filename="a.txt", content=b"abc").save()
    with pytest.raises(NotImplementedError):
        file.sign(expires_in=60)
    s3 = library.ObstoreBackend("s3", "s3://bucket/", aws_access_key_id="a", aws_secret_access_key="b", aws_region="eu-west-1")
    library.storages.register_backend(s3)
    file = library.FileObject(backend="s3", filename="a.txt", to_filename="a.txt")
    assert file.sign(expires_in=60).startswith("https://")
    assert file.sign(for_upload=True) != file.sign()


def test_rows_keep_files_and_lists(library: Library) -> None:
    class Base(DeclarativeBase):
        pass

    class Document(Base):
        __tablename__ = "documents"
        id: Mapped[int] = mapped_column(primary_key=True)
        attachment: Mapped[Any] = mapped_column(library.StoredObject(backend="docs"), nullable=True)
        images: Mapped[Any] = mapped_column(library.StoredObject("docs", True), nullable=True)

    library.storages.register_backend(library.ObstoreBackend(key="docs", fs=MemoryStore()))
    engine = sa.create_engine("sqlite://")
    Base.metadata.create_all(engine)
    files = [library.FileObject(backend="docs", filename=f"{n}.txt", to_filename=f"{n}.txt").save(b"abc") for n in "123"]
    with Session(engine) as session:
        session.add(Document(attachment=files[0], images=files[1:]))
        session.commit()
        document = session.scalars(sa.select(Document)).one()
        assert isinstance(document.attachment, library.FileObject)
        assert (document.attachment.path, document.attachment.size) == ("1.txt", 3)
        assert document.attachment.backend.key == "docs"
        assert document.attachment.get_content() == b"abc"
        assert [image.path for image in document.images] == ["2.txt", "3.txt"]
        assert document.images[0] == files[1]
    engine.dispose()


ALIKE = [
    ("FileObject", theirs().FileObject, filerow.FileObject),
    ("StoredObject", theirs().StoredObject, filerow.StoredObject),
    ("StorageRegistry", theirs().StorageRegistry, filerow.StorageRegistry),
    ("ObstoreBackend", theirs().ObstoreBackend, ours().ObstoreBackend),
    ("FSSpecBackend", theirs().FSSpecBackend, ours().FSSpecBackend),
]


@pytest.mark.parametrize(("name", "old", "new"), ALIKE, ids=[name for name, _, _ in ALIKE])
def test_the_guide_names_every_member_that_is_not_here(name: str, old: type, new: type) -> None:
    missing = [member for member in dir(old) if not member.startswith("_") and not hasattr(new, member)]
    explained = [f"`{member}`" in GUIDE or f".{member}" in GUIDE or f"`{member}(" in GUIDE for member in missing]
    assert all(explained), dict(zip(missing, explained, strict=True))


@pytest.mark.parametrize(("name", "old", "new"), ALIKE, ids=[name for name, _, _ in ALIKE])
def test_the_guide_names_every_argument_that_is_not_taken(name: str, old: type, new: type) -> None:
    missing = [
        (member, argument)
        for member, function in inspect.getmembers(old, inspect.isfunction)
        if (member == "__init__" or not member.startswith("_")) and hasattr(new, member) and member in vars(old)
        for argument in not_taken(function, getattr(new, member))
    ]
    assert not [(member, argument) for member, argument in missing if f"{argument}=" not in GUIDE and f"{member}(" not in GUIDE]


def not_taken(old: Callable[..., Any], new: Callable[..., Any]) -> list[str]:
    """Return the arguments of one function that another takes neither by name nor as one of its options."""
    taken = inspect.signature(new).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values())
    named = [p.name for p in inspect.signature(old).parameters.values() if p.kind not in {p.VAR_POSITIONAL, p.VAR_KEYWORD}]
    return [] if takes_any else [name for name in named if name not in taken]
