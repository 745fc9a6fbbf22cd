"""Folders of a local directory go with the last object in them, and no put fails or is lost because of that."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from filerow.backends.base import PutOptions
from filerow.backends.local import LocalBackend
from filerow.exceptions import InvalidPathError, ObjectExistsError, StorageError

TOKEN = "0199d1a2c3d47e5f8a9b0c1d2e3f4a5b"
ID = "0123456789abcdef0123456789abcdef"


@pytest.fixture(params=[True, False], ids=["fsync", "no-fsync"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> LocalBackend:
    return LocalBackend("docs", tmp_path / "docs", fsync=request.param)


def entries(backend: LocalBackend) -> list[str]:
    return sorted(str(path.relative_to(backend.root)) for path in backend.root.rglob("*"))


def test_folders_of_files_and_variants_go(backend: LocalBackend) -> None:
    originals = [f"photo/file/{TOKEN[:-1]}{number}.png" for number in range(5)]
    variants = [f"_filerow/variants/{path}/{ID}{end}" for path in originals for end in (".webp", ".failed")]
    for path in (*originals, *variants):
        backend.put(path, b"x")
    assert backend.delete(originals) == {}
    assert backend.delete([*variants, "_filerow/variants/photo/file/none.png/none.webp"]) == {}
    assert entries(backend) == []
    assert backend.root.is_dir()


def test_folders_with_something_in_them_stay(backend: LocalBackend) -> None:
    for path in ("a/b/one", "a/b/two", "a/c", "d/e/f/g"):
        backend.put(path, b"x")
    backend.delete(["a/b/one", "d/e/f/g"])
    assert entries(backend) == ["a", "a/b", "a/b/two", "a/c"]
    backend.delete(["a/b/two", "a/b/two"])
    assert entries(backend) == ["a", "a/c"]


def test_an_empty_folder_goes_with_a_delete_that_finds_nothing(backend: LocalBackend) -> None:
    (backend.root / "a" / "b").mkdir(parents=True)
    assert backend.delete("a/b/none") == {}
    assert entries(backend) == []
    (backend.root / "a").mkdir()
    assert backend.delete("a/b/none") == {}
    assert entries(backend) == []


def test_a_failed_put_leaves_no_folder(backend: LocalBackend) -> None:
    def broken() -> Iterator[bytes]:
        yield b"x"
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError):
        backend.put("a/b/c", broken())
    assert entries(backend) == []
    backend.put("a/b/c", b"x")
    with pytest.raises(ObjectExistsError):
        backend.put("a/b/c", b"y", PutOptions(create_only=True))
    assert backend.read("a/b/c") == b"x"


def test_no_link_is_followed_or_removed(backend: LocalBackend, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "b").mkdir(parents=True)
    (backend.root / "a").symlink_to(outside)
    failed = backend.delete(["a/b/c"])
    assert isinstance(failed["a/b/c"], InvalidPathError)
    assert (outside / "b").is_dir()
    assert (backend.root / "a").is_symlink()


def test_a_folder_swapped_for_a_link_keeps_what_is_behind_it(backend: LocalBackend, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (backend.root / "a").mkdir()
    (backend.root / "a" / "b").symlink_to(outside)
    backend.delete("a/none")
    assert outside.is_dir()
    assert entries(backend) == ["a", "a/b"]


def test_the_root_stays(backend: LocalBackend) -> None:
    backend.put("one", b"x")
    backend.delete("one")
    assert backend.root.is_dir()
    backend.root.rmdir()
    assert isinstance(backend.delete("one")["one"], StorageError)


def test_puts_and_deletes_in_one_folder_do_not_fail(backend: LocalBackend) -> None:
    """Four writers and four deleters empty the same deep folder all the time."""
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(60):
                path = f"_filerow/variants/t/c/{number}-{turn}"
                backend.put(path, b"%d" % turn)
                assert backend.read(path) == b"%d" % turn
                assert backend.delete(path) == {}
        except BaseException as error:  # noqa: BLE001 - the test reports it
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert entries(backend) == []


_WORKER = """
import sys
from filerow.backends.local import LocalBackend
backend = LocalBackend("docs", sys.argv[1], fsync=False)
for turn in range(400):
    path = f"a/b/c/{sys.argv[2]}-{turn}"
    backend.put(path, path.encode())
    assert backend.read(path) == path.encode()
    assert backend.delete(path) == {}
kept = f"a/b/kept-{sys.argv[2]}"
backend.put(kept, b"kept")
"""


def test_processes_that_empty_one_folder_lose_nothing(tmp_path: Path) -> None:

    root = str(tmp_path / "docs")
    LocalBackend("docs", root, fsync=False)
    running = [subprocess.Popen([sys.executable, "-c", _WORKER, root, str(number)], env=os.environ) for number in range(4)]
    assert [process.wait(timeout=60) for process in running] == [0] * 4
    left = LocalBackend("docs", root, fsync=False)
    assert [info.path for info in left.list()] == [f"a/b/kept-{number}" for number in range(4)]
    assert not (tmp_path / "docs" / "a" / "b" / "c").exists()
