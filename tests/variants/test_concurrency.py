"""Many processes that want one variant at the same moment, and originals that go meanwhile."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, StoredObject, storages
from filerow.backends.base import StorageBackend
from filerow.backends.local import LocalBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.exceptions import ObjectNotFoundError, UndecodableError
from filerow.variants import Thumbnail
from tests.servers._s3 import S3Server
from tests.servers.limited_s3 import LIMITED, LimitedS3
from tests.variants.pictures import four_colours, saved, seen

PICTURE = saved(four_colours())

# 16 views in each of several processes, which begin together.
_VIEWER = """
import json, sys, threading
from filerow import FileObject, storages
from filerow.backends.obstore import ObstoreBackend
from filerow.variants import Thumbnail
key, url, endpoint, access, secret, document = sys.argv[1:]
storages.register_backend(ObstoreBackend(key, url, aws_endpoint=endpoint, aws_access_key_id=access, aws_secret_access_key=secret))
file = FileObject.from_dict(json.loads(document))
answers = []
def view():
    answers.append(file.variant(Thumbnail(8, 8)).get_content())
threads = [threading.Thread(target=view) for _ in range(16)]
print("ready", flush=True)
sys.stdin.readline()
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps([answer.hex() for answer in answers]))
"""


@pytest.mark.parametrize("limits", [pytest.param("", marks=pytest.mark.thorough), "ignores-conditions"])
def test_one_of_64_first_views_is_stored(s3_server: S3Server, limits: str) -> None:

    if limits:
        with LimitedS3(s3_server, LIMITED[limits]) as limited:
            answers, left = _viewed(limited.server)
    else:
        answers, left = _viewed(s3_server)
    assert len(answers) == 64
    assert {seen(bytes.fromhex(answer)).size for answer in answers} == {(8, 8)}
    assert len(left) == 2
    assert json.dumps(left).count("_filerow/variants/") == 1


def _viewed(server: S3Server) -> tuple[list[str], list[str]]:
    """Return what four processes saw, and the objects there are afterwards."""
    url = f"s3://{server.shared_bucket}/{server.make_prefix()}"
    given = (url, server.endpoint, server.access_key, server.secret_key)
    backend = ObstoreBackend("docs", url, aws_endpoint=given[1], aws_access_key_id=given[2], aws_secret_access_key=given[3])
    storages.register_backend(backend)
    try:
        file = FileObject(filename="cat.png", content=PICTURE, backend="docs").save()
        command = [sys.executable, "-c", _VIEWER, "docs", *given, json.dumps(file.to_dict())]
        running = [subprocess.Popen(command, stdin=-1, stdout=-1, text=True) for _ in range(4)]
        for one in running:
            assert one.stdout is not None
            assert one.stdout.readline() == "ready\n"
        answers = [answer for one in running for answer in json.loads(one.communicate("go\n", timeout=120)[0])]
        return answers, sorted(info.path for info in backend.list() if "probes" not in info.path)
    finally:
        storages.clear_backends()


@pytest.fixture
def docs(tmp_path: Path) -> Iterator[StorageBackend]:
    made = LocalBackend("docs", tmp_path / "docs", fsync=False)
    storages.register_backend(made)
    yield made
    storages.clear_backends()


class Base(DeclarativeBase):
    pass


class Photo(Base):
    __tablename__ = "photo"

    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs", variants={"thumb": Thumbnail(8, 8)}))


@pytest.mark.parametrize("content", [PICTURE, b"not an image"], ids=["image", "other"])
@pytest.mark.parametrize("replace", [False, True], ids=["delete", "replace"])
def test_a_file_that_goes_while_it_is_viewed_leaves_nothing(docs: LocalBackend, content: bytes, replace: bool) -> None:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    for turn in range(25):
        with Session(engine, expire_on_commit=False) as session:
            row = Photo(file=FileObject(filename="cat.png", content=content))
            session.add(row)
            session.commit()
            viewers = [threading.Thread(target=_view, args=(row.file,)) for _ in range(3)]
            for viewer in viewers:
                viewer.start()
            threading.Event().wait(turn / 4_000)
            row.file = FileObject(filename="dog.png", content=b"x") if replace else None
            session.commit()
            for viewer in viewers:
                viewer.join()
            left = [] if row.file is None else [row.file.path]
            assert [info.path for info in docs.list()] == left, f"turn {turn}"
            session.delete(row)
            session.commit()
            assert list(docs.root.iterdir()) == []
    engine.dispose()


def _view(file: FileObject) -> None:
    with contextlib.suppress(ObjectNotFoundError, UndecodableError):
        file.variant("thumb").get_content()
