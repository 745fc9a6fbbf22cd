"""Emptied folders of fsspec's filesystems go with the last file in them."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from filerow.backends.fsspec import FSSpecBackend
from tests.servers import samba

ORIGINALS = [f"photo/file/0199d1a2c3d47e5f8a9b0c1d2e3f4a5{number}.png" for number in range(5)]
VARIANTS = [f"_filerow/variants/{path}/0123456789abcdef0123456789abcdef.webp" for path in ORIGINALS]

Fixture = Callable[[str], Any]


def local(fixture: Fixture, key: str) -> FSSpecBackend:
    return FSSpecBackend(key, "file", prefix=str(fixture("tmp_path") / "root"))


def sftp(fixture: Fixture, key: str) -> FSSpecBackend:
    server = fixture("sftp_server")
    return FSSpecBackend(key, "sftp", prefix=f"{fixture('folder')}", **server.options)


def ftp(fixture: Fixture, key: str) -> FSSpecBackend:
    return FSSpecBackend(key, "ftp", prefix=f"/{fixture('folder')}", **fixture("ftp_server").options)


def smb(fixture: Fixture, key: str) -> FSSpecBackend:
    return FSSpecBackend(key, "smb", prefix=f"/{samba.SHARE}/{fixture('folder')}", **fixture("smb_server").options)


@pytest.fixture
def folder() -> str:
    return uuid.uuid4().hex


@pytest.fixture(params=[local, *(pytest.param(each, marks=pytest.mark.servers) for each in (sftp, ftp, smb))])
def made(request: pytest.FixtureRequest) -> Callable[[], FSSpecBackend]:
    return lambda: request.param(request.getfixturevalue, "docs")


def folders(backend: FSSpecBackend) -> list[str]:
    """Return the folders below the root, as the server shows them."""
    root = backend._root
    backend.fs.invalidate_cache()
    found: list[str] = []
    left = [root]
    while left:
        for info in backend.fs.ls(left.pop(), detail=True):
            if info["type"] == "directory":
                left.append(info["name"])
                found.append(str(info["name"]).rstrip("/")[len(root.rstrip("/")) + 1 :])
    return sorted(found)


def test_the_folders_of_variants_go(made: Callable[[], FSSpecBackend], request: pytest.FixtureRequest) -> None:
    backend = made()
    for path in (*ORIGINALS, *VARIANTS):
        backend.put(path, b"x")
    assert backend.delete(ORIGINALS) == {}
    assert backend.delete(VARIANTS) == {}
    everything = backend.protocol == "file"
    assert folders(backend) == ([] if everything else ["photo", "photo/file"])  # one each for all files of a column
    assert list(backend.list()) == []


def test_puts_where_others_empty_folders_do_not_fail(made: Callable[[], FSSpecBackend]) -> None:
    made().put("kept", b"x")
    errors: list[BaseException] = []

    def work(backend: FSSpecBackend, number: int) -> None:
        try:
            for turn in range(8):
                path = f"_filerow/variants/t/c/{number}/{turn}"
                backend.put(path, b"x")
                assert backend.read(path) == b"x"
                assert backend.delete(path) == {}
        except BaseException as error:  # noqa: BLE001 - the test reports it
            errors.append(error)

    threads = [threading.Thread(target=work, args=(made(), number)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_no_link_is_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "b").mkdir(parents=True)
    (outside / "b" / "c").write_bytes(b"x")
    backend = FSSpecBackend("docs", "file", prefix=str(tmp_path / "root"))
    backend.put("one", b"x")
    (tmp_path / "root" / "a").symlink_to(outside)
    backend.delete("a/b/c")
    assert (outside / "b").is_dir()
    backend.delete("one")
    assert (tmp_path / "root").is_dir()
