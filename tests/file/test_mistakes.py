"""Common mistakes are refused at the wrong line, in an error that says what to write instead."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, insert, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from werkzeug.datastructures import FileStorage

from filerow import FileObject, FileObjectList, StoredObject, storages
from filerow.backends.fsspec import FSSpecBackend
from filerow.backends.local import LocalBackend
from filerow.backends.memory import MemoryBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.exceptions import FileStateError, UntrustedDocumentError
from tests.frameworks import fastapi, litestar, starlette


class Base(DeclarativeBase):
    pass


class Paper(Base):
    __tablename__ = "paper"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))


def stored() -> FileObject:
    return FileObject("docs", content=b"x").save()


# What is done, and what the error has to say about it.
MISTAKES: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "content as the first argument": (
        lambda: FileObject(b"x"),  # type: ignore[arg-type]
        TypeError,
        r"not bytes; pass content by name: FileObject\(content=",
    ),
    "content as the second argument": (
        lambda: FileObject("a.txt", b"abc"),  # type: ignore[arg-type]
        TypeError,
        r"filename must be a string, not bytes; pass content by name: FileObject\(filename='a.txt', content=",
    ),
    "an open file as the second argument": (
        lambda: FileObject("a.txt", io.BytesIO(b"abc")),  # type: ignore[arg-type]
        TypeError,
        "not BytesIO; pass content by name",
    ),
    "a path as the second argument": (
        lambda: FileObject("docs", Path("/srv/a.txt")),  # type: ignore[arg-type]
        TypeError,
        "not PosixPath; pass content by name",
    ),
    "content as the third argument": (
        lambda: FileObject("docs", "a.txt", b"abc"),  # type: ignore[arg-type]
        TypeError,
        "to_filename must be a string, not bytes; pass content by name",
    ),
    "an option that save() does not have": (
        lambda: FileObject("docs", content=b"x").save(overwrite=True),  # type: ignore[call-arg]
        TypeError,
        r"save\(\) has no option 'overwrite'; it accepts, and ignores, chunk_size, max_concurrency, use_multipart",
    ),
    "a stored file's name is set": (
        lambda: setattr(stored(), "filename", "x"),
        AttributeError,
        r"cannot be set; assign a changed file: row\.file = row\.file\.replace\(filename=",
    ),
    "a pending file's metadata is set": (
        lambda: setattr(FileObject(content=b"x"), "metadata", {}),
        AttributeError,
        r"row\.file = row\.file\.replace\(metadata=",
    ),
    "a stored file's size is set": (
        lambda: setattr(stored(), "size", 1),
        AttributeError,
        "describes the stored bytes; assign another FileObject",
    ),
    "several files for a column of one": (
        lambda: Paper(file=[FileObject(content=b"x")]),
        TypeError,
        r"file takes a FileObject, not list; for several files declare the column as StoredObject\(multiple=True\)",
    ),
    "one file for a list column": (
        lambda: Paper(pages=FileObject(content=b"x")),
        TypeError,
        r"pages holds a list of files: assign a list, \[file\], or add to the one there is, row\.pages\.append\(file\)",
    ),
    "a folder as content": (
        lambda: FileObject(content=Path("/")),
        FileNotFoundError,
        "'/', but there is no such file: that is a folder",
    ),
    "a path in place of a URL": (
        lambda: storages.register_backend("/srv/files", key="new"),
        ValueError,
        "write file:///srv/files for a directory",
    ),
    "a relative URL": (
        lambda: storages.register_backend("file://files", key="new"),
        ValueError,
        rf"absolute/path, such as {Path.cwd().as_uri()}/files, or pass LocalBackend\(key, 'files'\)",
    ),
    "a relative URL without a host": (
        lambda: storages.register_backend("file:files", key="new"),
        ValueError,
        r"absolute/path, such as file:///.*/files",
    ),
    "an option that a directory does not have": (
        lambda: storages.register_backend("file:///srv/files", key="new", fsinc=False),
        TypeError,
        "this backend has no option 'fsinc'; it takes base_url, development, fsync, public_url, secret",
    ),
    "an option that memory does not have": (
        lambda: storages.register_backend("memory://", key="new", root="/srv"),
        TypeError,
        "this backend has no option 'root'; it takes base_url",
    ),
    "an option that a bucket does not have": (
        lambda: storages.register_backend("s3://bucket", key="new", nonsense="x"),
        ValueError,
        "'nonsense' is not valid",
    ),
    "an option that a filesystem does not have": (
        lambda: storages.register_backend("sftp://files.example.org/srv", key="new", user="app"),
        TypeError,
        "fsspec's sftp filesystem has no option 'user'; it takes allow_agent, .*, username$",
    ),
    "a Path in place of a URL": (
        lambda: storages.register_backend(Path("/srv/files"), key="new"),  # type: ignore[arg-type]
        TypeError,
        "a backend or a URL, not PosixPath; for a directory write 'file:///srv/files'",
    ),
    "a number in place of a backend": (
        lambda: storages.register_backend(5, key="new"),  # type: ignore[arg-type]
        TypeError,
        "a backend or a URL, not int$",
    ),
    "a class in place of a backend": (
        lambda: storages.register_backend(MemoryBackend, key="new"),  # type: ignore[arg-type]
        TypeError,
        r"not its class: register_backend\(MemoryBackend\(key=",
    ),
    "options beside a backend": (
        lambda: storages.register_backend(MemoryBackend("new"), base_url="/files"),
        TypeError,
        "base_url: options are for URLs",
    ),
    "a URL that nobody speaks": (
        lambda: storages.register_backend("sss3://bucket", key="new"),
        ValueError,
        "no backend speaks sss3://; there are file, memory, s3",
    ),
    "a file extension as a type": (
        lambda: StoredObject("docs", content_types=[".png"]),
        ValueError,
        "media types such as 'image/png' and patterns such as 'image/\\*', not '.png'",
    ),
    "a validator that is not in a list": (
        lambda: StoredObject("docs", validators=lambda head, facts: None),  # type: ignore[arg-type]
        TypeError,
        r"write validators=\[\.\.\.\]",
    ),
    "a folder as path": (
        lambda: StoredObject("docs", path="uploads/"),  # type: ignore[arg-type]
        TypeError,
        "a function that gets a PathRequest and returns a path, not str",
    ),
    "fewer than no shards": (
        lambda: StoredObject("docs", shards=-3),
        ValueError,
        "shards is a number of folders, 0 for none, not -3",
    ),
    "a column with a number for a backend": (
        lambda: StoredObject(5),  # type: ignore[arg-type]
        TypeError,
        "must be a backend or its key, not int",
    ),
    "a timedelta as expiry": (
        lambda: stored().sign(expires_in=timedelta(hours=1)),  # type: ignore[arg-type]
        TypeError,
        r"a number of seconds, not timedelta; of a timedelta: int\(delta\.total_seconds\(\)\)",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_gets_an_error_that_says_what_to_write(mistake: str) -> None:
    make, kind, said = MISTAKES[mistake]
    with pytest.raises(kind, match=said):
        make()
    assert not storages.is_registered("new")


UPLOADS = [starlette.datastructures.UploadFile, fastapi.UploadFile, litestar.datastructures.UploadFile, FileStorage]


def upload_of(kind: type[Any]) -> Any:
    if kind is litestar.datastructures.UploadFile:
        return kind("text/plain", "a.txt", b"abc")
    return kind(io.BytesIO(b"abc"), filename="a.txt")


@pytest.mark.parametrize("kind", UPLOADS, ids=lambda kind: kind.__module__.partition(".")[0])
def test_upload_in_place_of_a_file_is_refused(kind: type[Any]) -> None:
    upload = upload_of(kind)
    for assign in (
        lambda: Paper(file=upload),
        lambda: Paper(pages=[upload]),
        lambda: Paper(pages=upload),
        lambda: Paper(pages=[]).pages.append(upload),
    ):
        with pytest.raises(TypeError, match=r"FileObject\.from_upload\(upload\).*Uploaded\(\.\.\.\) of filerow\.ext"):
            assign()
    (upload.stream if isinstance(upload, FileStorage) else upload.file).close()


@pytest.mark.parametrize("kind", UPLOADS, ids=lambda kind: kind.__module__.partition(".")[0])
def test_upload_in_a_bulk_statement_is_refused(kind: type[Any]) -> None:
    upload = upload_of(kind)
    with Session(create_engine("sqlite://")) as session:
        for statement, rows in (
            (insert(Paper), [{"file": upload}]),
            (insert(Paper), [{"pages": [upload]}]),
            (insert(Paper), [{"pages": upload}]),
            (insert(Paper).values(file=upload), None),
            (update(Paper), [{"id": 1, "file": upload}]),
            (update(Paper).values(pages=[upload]), None),
        ):
            with pytest.raises(TypeError, match=r"FileObject\.from_upload\(upload\).*Uploaded\(\.\.\.\) of filerow\.ext"):
                session.execute(statement, rows)
    (upload.stream if isinstance(upload, FileStorage) else upload.file).close()


@pytest.mark.parametrize(
    ("value", "refused"), [({"filename": "a"}, "not a dict: a document from a client"), (b"x", "not bytes; wrap")]
)
def test_bulk_statement_refuses_what_an_assignment_refuses(value: object, refused: str) -> None:
    with pytest.raises((TypeError, UntrustedDocumentError), match=refused):
        Paper(file=value)
    with Session(create_engine("sqlite://")) as session, pytest.raises((TypeError, UntrustedDocumentError), match=refused):
        session.execute(insert(Paper), [{"file": value}])


def test_missing_object_is_looked_for_in_a_named_place(tmp_path: Path) -> None:
    places = {
        str(tmp_path / "local"): LocalBackend("local", tmp_path / "local"),
        "this process's memory": MemoryBackend("memory"),
        "memory:///bucket/folder": FSSpecBackend("fsspec", "memory://bucket/folder"),
        str(tmp_path / "obstore"): ObstoreBackend("obstore", (tmp_path / "obstore").as_uri()),
    }
    (tmp_path / "obstore").mkdir(exist_ok=True)
    for place, backend in places.items():
        storages.register_backend(backend)
        for read in (backend.read, backend.head):
            with pytest.raises(FileNotFoundError, match=f"there is no object at this path in .*{re.escape(place)}"):
                read("gone.txt")


@pytest.mark.parametrize("kinds", [["image/*"], ["*/*"], ["*"], ["IMAGE/png", "application/vnd.api+json"]])
def test_media_types_and_patterns_of_them_are_taken(kinds: list[str]) -> None:
    assert StoredObject("docs", content_types=kinds).content_types == tuple(kind.lower() for kind in kinds)


def test_file_closed_before_the_commit_raises_stores_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x")
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        with path.open("rb") as file:
            paper = Paper(file=FileObject(content=file))
        session.add(paper)
        with pytest.raises(
            FileStateError, match=r"closed before its bytes were stored; commit, or call save\(\), while it is open"
        ):
            session.commit()
        session.rollback()
        paper.file = FileObject(content=path)  # the way out that the message names
        session.add(paper)
        session.commit()
        assert paper.file.get_content() == b"x"
    engine.dispose()


def test_closed_file_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x")
    with path.open("rb") as file:
        pass
    with pytest.raises(FileStateError, match="closed before its bytes were stored"):
        FileObject(content=file)


def test_text_in_an_iterator_gets_an_error_about_encoding() -> None:
    with pytest.raises(TypeError, match="content yielded str where bytes are needed; encode it"):
        FileObject("docs", content=iter(["text"])).save()


def test_protocol_registered_with_fsspec_is_accepted() -> None:
    import fsspec
    from fsspec.implementations.memory import MemoryFileSystem

    fsspec.register_implementation("ours", MemoryFileSystem, clobber=True)
    assert FSSpecBackend("docs", "ours://folder").put("a", b"x").path == "a"


def test_unknown_url_without_fsspec_names_choices_and_extra() -> None:
    code = (
        "import sys; sys.modules['fsspec'] = None; from filerow import storages; storages.register_backend('sftp://h/f', key='a')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "sftp:// is not one of file, memory, s3, gs, az and http" in done.stderr
    assert "'filerow[fsspec]'" in done.stderr
