"""What somebody else has put into the root of a ``LocalBackend``: links, pipes, sockets, devices. None of them is an object.

That no operation of the backend follows a symbolic link, not even one that is swapped in between a check and its use, is shown in
``tests/backends/test_local.py``; here are the other kinds of files, and the ways around the backend's own methods.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from filerow import FileObject
from filerow.backends.base import PutOptions, SignRequest
from filerow.backends.local import LocalBackend
from filerow.direct import DirectUploads
from filerow.exceptions import FilerowError, InvalidPathError, ObjectNotFoundError
from filerow.http import accelerate, answer, receive, serve
from filerow.maintenance import sweep
from tests.http.conftest import parts, read
from tests.security.hostile import CANARY, INSIDE, SECRET, Store
from tests.security.test_entry_points import Base, Document
from tests.tokens import claim_of, sealed

pytestmark = pytest.mark.parametrize("store", ["local", "local-by-path"], indirect=True)

FOLDER = "document/file"
NAME = "0190d3f0a0007000800000000000000a"  # as our generator made it long ago, so that a sweep takes an interest
PATH = f"{FOLDER}/{NAME}"
DEVICE = "/dev/zero"


def _bind(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(here)


# What is put at PATH, given the place and a file outside.
PLANTED: dict[str, Callable[[Path, Path], None]] = {
    "link_to_a_file": lambda place, outside: place.symlink_to(outside),
    "relative_link": lambda place, outside: place.symlink_to(os.path.relpath(outside, place.parent)),
    "link_to_nothing": lambda place, outside: place.symlink_to(outside.parent / "not-there"),
    "link_to_itself": lambda place, outside: place.symlink_to(place),
    "link_to_a_folder": lambda place, outside: place.symlink_to(outside.parent),
    "link_to_a_device": lambda place, outside: place.symlink_to(DEVICE),
    "pipe": lambda place, outside: os.mkfifo(place),
    "socket": lambda place, outside: _bind(place),
    "folder": lambda place, outside: place.mkdir(),
}


@pytest.fixture
def local(store: Store) -> LocalBackend:
    assert isinstance(store.backend, LocalBackend)
    (store.backend.root / FOLDER).mkdir(parents=True)
    store.backend.put("inside", INSIDE)
    return store.backend


def plant(local: LocalBackend, kind: str) -> Path:
    place = local.root / PATH
    PLANTED[kind](place, local.root.parent / "canary.txt")
    return place


def ways(local: LocalBackend, path: str) -> Iterator[Callable[[], Any]]:
    file = FileObject.from_dict({"v": 1, "backend": "docs", "path": path, "filename": "a.txt", "size": 20})
    unknown = FileObject.from_dict({"backend": "docs", "filename": path})
    url = parts(local.own_urls.sign(path, SignRequest("GET", 60)))
    upload = parts(local.own_urls.sign(path, SignRequest("PUT", 60)))
    yield lambda: local.put(path, b"hostile")
    yield lambda: local.put(path, iter([b"hostile"]))
    yield lambda: local.read(path)
    yield lambda: list(local.stream(path))
    yield lambda: local.head(path)
    yield lambda: local.exists(path)
    yield lambda: local.copy(path, "copied")
    yield lambda: local.copy("inside", path)
    yield lambda: local.delete(path)
    yield lambda: file.download(local.root.parent / "rooted")
    yield lambda: read(serve(file))
    yield lambda: read(serve(unknown))
    yield lambda: read(answer("GET", *url))
    yield lambda: read(receive("PUT", *upload, [("content-length", "7")], iter([b"hostile"])))
    yield lambda: accelerate(file)
    yield lambda: accelerate(file, header="X-Sendfile")


def outcome(way: Callable[[], Any]) -> object:
    try:
        return way()
    except FilerowError as error:
        return error


@pytest.mark.parametrize("kind", PLANTED)
def test_only_a_file_is_an_object(store: Store, local: LocalBackend, kind: str) -> None:
    place = plant(local, kind)
    before = os.lstat(place).st_mode
    begin = time.monotonic()
    results = [outcome(way) for path in (PATH, f"{PATH}/secret", f"{PATH}/canary.txt") for way in ways(local, path)]
    assert time.monotonic() - begin < 30  # a pipe without a writer would wait forever, a device would never end
    if kind != "folder":  # below which objects may be
        store.check(*results)
        assert os.lstat(place).st_mode == before
        assert {info.path for info in local.list()} == {"inside"}
    assert CANARY not in repr(results).encode()


@pytest.mark.parametrize("header", ["X-Accel-Redirect", "X-Sendfile"])
def test_a_web_server_is_sent_to_no_link(local: LocalBackend, header: Any) -> None:
    plant(local, "link_to_a_file")
    with pytest.raises(InvalidPathError):
        accelerate(FileObject.from_dict({"v": 1, "backend": "docs", "path": PATH}), header=header)
    (local.root / "folder").symlink_to(local.root.parent / "outside")
    with pytest.raises(InvalidPathError):
        accelerate(FileObject.from_dict({"v": 1, "backend": "docs", "path": "folder/secret"}), header=header)
    with pytest.raises(ObjectNotFoundError):
        accelerate(FileObject.from_dict({"v": 1, "backend": "docs", "path": "nothing"}), header=header)


@pytest.mark.parametrize("kind", PLANTED)
def test_sweep_neither_follows_nor_removes_other_things(store: Store, local: LocalBackend, kind: str) -> None:
    place = plant(local, kind)
    old = local.root / FOLDER / f"{NAME[:-1]}b"
    old.write_bytes(b"an orphan of long ago")
    os.utime(old, (1, 1))
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    found = [
        finding.path
        for step in sweep(Base.metadata, engine, delete=True, grace=timedelta(1), full=True, take_over=True)
        for finding in step.findings
    ]
    engine.dispose()
    assert found == [f"{FOLDER}/{NAME[:-1]}b"]
    assert not old.exists()
    assert os.path.lexists(place)
    store.check()


@pytest.mark.parametrize("kind", ["link_to_a_file", "pipe", "link_to_a_device"])
def test_claim_is_redeemed_for_objects_only(store: Store, local: LocalBackend, kind: str) -> None:
    plant(local, kind)
    size = os.stat(local.root.parent / "canary.txt").st_size
    with pytest.raises(FilerowError):
        DirectUploads(Document.file, secret=SECRET).claim(sealed(claim_of(size, path=PATH), SECRET))
    assert {info.path for info in local.list()} == {"inside"}
    store.check()


def test_a_hard_link_is_only_a_name(store: Store, local: LocalBackend) -> None:
    """It looks like any other file, so it can be read; but writing and deleting change the name, and never what it shares."""
    os.link(local.root.parent / "canary.txt", local.root / PATH)
    local.put(PATH, b"new", PutOptions(create_only=False))
    assert local.read(PATH) == b"new"
    store.check()
    local.delete(PATH)  # with its folder
    (local.root / PATH).parent.mkdir(parents=True, exist_ok=True)
    os.link(local.root.parent / "canary.txt", local.root / PATH)
    local.delete(PATH)
    assert not local.exists(PATH)
    store.check()
