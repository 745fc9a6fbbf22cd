"""What newcomers get wrong is refused at the line that is wrong, in words that say what to write instead."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, FileObjectList, StoredObject, storages
from filerow.backends.fsspec import FSSpecBackend
from filerow.backends.memory import MemoryBackend
from filerow.exceptions import FileStateError


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


@pytest.mark.parametrize("kinds", [["image/*"], ["*/*"], ["*"], ["IMAGE/png", "application/vnd.api+json"]])
def test_media_types_and_patterns_of_them_are_taken(kinds: list[str]) -> None:
    assert StoredObject("docs", content_types=kinds).content_types == tuple(kind.lower() for kind in kinds)


def test_file_closed_before_the_commit_gets_an_error_stores_nothing(tmp_path: Path) -> None:
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


def test_unknown_url_without_fsspec_names_the_choices_and_the_extra() -> None:
    code = (
        "import sys; sys.modules['fsspec'] = None; from filerow import storages; storages.register_backend('sftp://h/f', key='a')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "sftp:// is not one of file, memory, s3, gs, az and http" in done.stderr
    assert "'filerow[fsspec]'" in done.stderr
