"""What holds for a directory only: symbolic links, temporary files, the disk and the process failing."""

from __future__ import annotations

import asyncio
import errno
import heapq
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from stat import S_ISREG
from typing import Any

import pytest

from filerow.backends.base import PutOptions, SignRequest
from filerow.backends.local import LocalBackend
from filerow.exceptions import (
    InvalidPathError,
    ObjectExistsError,
    ObjectNotFoundError,
    StorageError,
    StoragePermissionError,
    UnsupportedOperationError,
)
from tests.backends.directories import hold, page_by

OVERWRITE = PutOptions(create_only=False)


@pytest.fixture(params=["unnamed", "by-descriptor", "by-path"])
def local(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalBackend:
    hold(monkeypatch, by_descriptor=request.param != "by-path", unnamed=request.param == "unnamed")
    return LocalBackend("local", tmp_path / "root", fsync=False)


def everything(root: Path) -> list[str]:
    """All files on the disk, temporary ones too."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_symlink() or not path.is_dir())


# -- the root ----------------------------------------------------------------------------------------------------------


def test_the_root_is_made_with_its_parents(tmp_path: Path) -> None:
    for root in (tmp_path / "a" / "b" / "c", str(tmp_path / "d" / "e")):
        backend = LocalBackend("local", root)
        backend.put("x", b"x")
        assert (Path(root) / "x").read_bytes() == b"x"
        assert backend.root == Path(root)


def test_the_root_must_be_a_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageError, match="cannot be the root of backend 'local'"):
            LocalBackend("local", root)
    with pytest.raises(ValueError, match="directory"):
        LocalBackend("local", "")


def test_a_relative_root_survives_a_change_of_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    backend = LocalBackend("local", "files")
    monkeypatch.chdir("/")
    backend.put("x", b"x")
    assert (tmp_path / "files" / "x").exists()


def test_a_linked_root_is_resolved_once(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    (tmp_path / "link").symlink_to("one")
    backend = LocalBackend("local", tmp_path / "link")
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("two")
    backend.put("x", b"x")
    assert (tmp_path / "one" / "x").exists()


def test_a_root_that_is_gone_is_neither_empty_nor_made_again(local: LocalBackend) -> None:
    """An unmounted disk must not look like deleted objects."""
    local.put("a/x", b"x")
    shutil.rmtree(local.root)
    calls: list[Callable[[], Any]] = [
        lambda: local.put("a/x", b"x"),
        lambda: local.read("a/x"),
        lambda: local.head("a/x"),
        lambda: local.exists("a/x"),
        lambda: local.copy("a/x", "b"),
        lambda: list(local.list()),
        lambda: list(local.list("a")),
        local.remove_leftovers,
    ]
    for call in calls:
        with pytest.raises(StorageError, match="is gone") as caught:
            call()
        assert not isinstance(caught.value, FileNotFoundError)
    assert "is gone" in str(local.delete("a/x")["a/x"])
    assert not local.root.exists()


# -- symbolic links ----------------------------------------------------------------------------------------------------


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    (folder / "deep").mkdir(parents=True)
    (folder / "secret").write_bytes(b"secret")
    (folder / "deep" / "secret").write_bytes(b"secret")
    return folder


@pytest.mark.parametrize(
    ("link", "to", "path"),
    [
        ("out", "../outside", "out/secret"),
        ("out", "../outside", "out/deep/secret"),
        ("a/out", "../../outside", "a/out/secret"),
        ("out", "../outside/secret", "out"),
        ("a/out", "../../outside/secret", "a/out"),
        ("in", "a", "in/object"),
        ("in", "a/object", "in"),
        ("loop", "loop", "loop"),
        ("loop", ".", "loop/a/object"),
    ],
)
def test_no_operation_follows_a_symbolic_link(local: LocalBackend, outside: Path, link: str, to: str, path: str) -> None:
    local.put("a/object", b"x")
    (local.root / link).symlink_to(to)
    before = {p: p.read_bytes() for p in outside.rglob("*") if p.is_file()}
    calls: list[Callable[[], Any]] = [
        lambda: local.read(path),
        lambda: list(local.stream(path)),
        lambda: local.head(path),
        lambda: local.exists(path),
        lambda: local.copy(path, "copied"),
        lambda: local.copy("a/object", path),
        lambda: local.put(path, b"evil"),
        lambda: local.put(path, iter([b"evil"])),
        lambda: local.put(path, b"evil", OVERWRITE),
    ]
    if path != link:
        calls += [lambda: local.put(f"{path}-new", b"evil"), lambda: list(local.list(path.rpartition("/")[0]))]
    for call in calls:
        with pytest.raises(InvalidPathError, match="symbolic link"):
            call()
    assert isinstance(local.delete(path)[path], InvalidPathError)
    assert [info.path for info in local.list()] == ["a/object"]
    assert {p: p.read_bytes() for p in outside.rglob("*") if p.is_file()} == before
    assert everything(local.root) == sorted(["a/object", link])


def test_folder_swapped_for_a_link_in_a_write_is_not_followed(tmp_path: Path, outside: Path) -> None:
    """A check before the use would be too early; the descriptor of the folder is not."""
    backend = LocalBackend("local", tmp_path / "root", fsync=False)
    backend.put("a/x", b"x")

    def swap() -> Iterator[bytes]:
        yield b"evil"
        (backend.root / "a").rename(tmp_path / "moved")
        (backend.root / "a").symlink_to(outside)

    backend.put("a/secret", swap(), OVERWRITE)
    assert (outside / "secret").read_bytes() == b"secret"
    assert (tmp_path / "moved" / "secret").read_bytes() == b"evil"


def test_folder_swapped_for_a_link_in_a_listing_is_not_followed(tmp_path: Path, outside: Path) -> None:
    backend = LocalBackend("local", tmp_path / "root", fsync=False)
    for name in ("a/1", "b/1", "c/1"):
        backend.put(name, b"x")
    listing = backend.list()
    next(listing)
    shutil.rmtree(backend.root / "b")
    (backend.root / "b").symlink_to(outside)
    assert [info.path for info in listing] == ["c/1"]


# -- only objects are shown --------------------------------------------------------------------------------------------


def test_a_listing_shows_exactly_the_objects(local: LocalBackend) -> None:
    local.put("a/object", b"x")
    (local.root / "empty" / "er").mkdir(parents=True)
    (local.root / "object#1").write_bytes(b"another library's staging file")
    (local.root / "folder#1").mkdir()
    (local.root / "folder#1" / "x").write_bytes(b"")
    os.mkfifo(local.root / "a" / "pipe")
    with open(os.fsencode(local.root) + b"/a/\xff\xfe", "wb"):
        pass
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(local.root / "a" / "socket"))
        assert [info.path for info in local.list()] == ["a/object"]
        for path in ("a/pipe", "a/socket", "a", "empty"):
            with pytest.raises(ObjectNotFoundError):
                local.read(path)  # and does not wait for a writer to open the pipe
            assert local.exists(path) is False
            assert local.delete(path) == {}
    assert (local.root / "a" / "pipe").exists()


def test_delete_by_generated_name_spares_folders_and_links(local: LocalBackend, outside: Path) -> None:
    folder, link = f"{1:032x}.png", f"{2:032x}.png"
    local.put(f"a/{folder}/x", b"x")
    (local.root / "a" / link).symlink_to(outside / "secret")
    assert list(local.delete([f"a/{folder}", f"a/{link}"])) == [f"a/{link}"]
    assert (local.root / "a" / link).is_symlink()
    assert (outside / "secret").read_bytes() == b"secret"
    assert local.read(f"a/{folder}/x") == b"x"


def test_a_file_is_hidden_until_it_is_whole(local: LocalBackend, request: pytest.FixtureRequest) -> None:
    seen: list[Any] = []

    def chunks() -> Iterator[bytes]:
        yield b"x" * 1_000_000
        seen.append(list(local.list()))
        seen.append(local.exists("a/x"))
        temporary = everything(local.root)
        seen.append(len(temporary))
        name = (*temporary, "a/.put#1")[0]
        for call in (local.read, local.head, lambda path: local.copy(path, "y"), lambda path: local.put(path, b"")):
            with pytest.raises(InvalidPathError):
                call(name)
        assert isinstance(local.delete(name)[name], InvalidPathError)
        yield b"y"

    local.put("a/x", chunks())
    assert seen == [[], False, 0 if request.node.callspec.id == "unnamed" else 1]
    assert everything(local.root) == ["a/x"]


def test_objects_of_any_name_sort_like_their_bytes(local: LocalBackend) -> None:
    names = ["a", "a-", "a-b", "a.", "a0", "aa", "é", "z", "\uffee", "\U0001f600", "a b", "A", "~", "!"]
    paths = [f"{one}d/{two}d/{three}" for one in names for two in names[:6] for three in names[:4]] + names
    for path in paths:
        local.put(path, b"")
    expected = sorted(paths, key=str.encode)
    assert [info.path for info in local.list()] == expected
    for after in expected[::7]:
        assert [info.path for info in local.list("", after)] == expected[expected.index(after) + 1 :]


def test_a_large_folder_is_listed_in_bounded_memory(local: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        (local.root / f"d{number:02}").mkdir()
        for name in "abc":
            (local.root / f"d{number:02}" / name).touch()
    expected = [f"d{number:02}/{name}" for number in range(30) for name in "abc"]
    pages: list[int] = []
    nsmallest = heapq.nsmallest

    def counting(count: int, items: Iterator[str]) -> list[str]:
        page = nsmallest(count, items)
        pages.append(len(page))
        return page

    monkeypatch.setattr(heapq, "nsmallest", counting)
    for size in (1, 2, 3, 7, 30, 31):
        page_by(monkeypatch, size)
        for position in (0, 1, 44, 45, 88, 89):
            after = expected[position]
            assert [info.path for info in local.list("", after)] == expected[position + 1 :], (size, after)
        assert max(pages) <= size
        pages.clear()
        assert [info.path for info in local.list("", "d10/")] == expected[30:]


def test_folders_before_the_start_are_not_even_opened(local: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        local.put(f"t/{number:02}/x", b"")
    opened: list[str] = []
    open_, scandir = os.open, os.scandir

    def note(path: Any) -> None:
        name = Path(path).name
        if name not in {local.root.name, *opened}:
            opened.append(name)

    def opening(path: Any, *given: Any, **more: Any) -> int:
        note(path)
        return open_(path, *given, **more)

    def scanning(folder: Any) -> Any:
        if not isinstance(folder, int):  # a descriptor has been opened
            note(folder)
        return scandir(folder)

    monkeypatch.setattr(os, "open", opening)
    monkeypatch.setattr(os, "scandir", scanning)
    assert [info.path for info in local.list("t", "t/17/x")] == ["t/18/x", "t/19/x"]
    assert opened == ["t", "17", "18", "19"]
    opened.clear()
    assert list(local.list("t", "u")) == []
    assert opened == []


def test_objects_and_folders_deleted_while_listed_are_left_out(local: LocalBackend) -> None:
    for name in ("a", "b", "c", "d/x", "e"):
        local.put(name, b"")
    listing = local.list()
    assert next(listing).path == "a"
    local.delete("b")
    shutil.rmtree(local.root / "d")
    assert [info.path for info in listing] == ["c", "e"]


def test_a_name_that_no_file_could_have_is_absent(local: LocalBackend) -> None:
    """Rows of other libraries may have such paths."""
    local.put("a/x", b"")
    for path in ("a/" + "x" * 300, "x" * 300 + "/a", "a/x/y"):
        with pytest.raises(ObjectNotFoundError):
            local.read(path)
        with pytest.raises(ObjectNotFoundError):
            local.copy(path, "y")
        assert local.exists(path) is False
        assert local.delete(path) == {}


# -- file and folder of one name ---------------------------------------------------------------------------------------


def test_an_object_and_a_folder_cannot_have_one_name(local: LocalBackend) -> None:
    local.put("file", b"x")
    local.put("folder/x", b"x")
    for options in (PutOptions(), OVERWRITE):
        with pytest.raises(StorageError, match="an object is where the path needs a folder") as caught:
            local.put("file/below", b"y", options)
        assert not isinstance(caught.value, ObjectExistsError)
        with pytest.raises(StorageError, match="a folder is where the path needs an object") as caught:
            local.put("folder", b"y", options)
        assert not isinstance(caught.value, ObjectExistsError)
    with pytest.raises(StorageError, match="needs a folder"):
        local.copy("folder/x", "file/below")
    assert everything(local.root) == ["file", "folder/x"]


def test_a_folder_removed_under_a_put_is_made_again(local: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody's cron job removes empty directories."""
    open_, link = os.open, os.link
    left = [3]

    def remove() -> None:
        if left[0]:
            left[0] -= 1
            (local.root / "a" / "b").rmdir()

    def racing(path: Any, flags: int, *given: Any, **more: Any) -> int:
        if flags & os.O_CREAT or flags & os.O_TMPFILE == os.O_TMPFILE:
            remove()
        return open_(path, flags, *given, **more)

    def racing_link(source: Any, target: Any, **more: Any) -> None:
        if str(source).startswith("/proc"):
            remove()
        link(source, target, **more)

    monkeypatch.setattr(os, "open", racing)
    monkeypatch.setattr(os, "link", racing_link)
    local.put("a/b/x", b"x")
    assert local.read("a/b/x") == b"x"
    left[0] = 1_000
    local.delete("a/b/x")
    with pytest.raises(StorageError, match="removed meanwhile") as caught:
        local.put("a/b/y", b"x")
    assert not isinstance(caught.value, FileNotFoundError)


# -- facts -------------------------------------------------------------------------------------------------------------


def test_put_returns_all_facts_and_head_agrees(local: LocalBackend) -> None:
    for content in (b"x" * 10, iter([b"x" * 10])):
        info = local.put("a", content, OVERWRITE)
        assert info == local.head("a") == next(local.list())
        assert info.size == 10
        assert abs((info.last_modified or 0) - time.time()) < 5
    assert local.copy("a", "b") == local.head("b")


def test_the_etag_changes_with_the_bytes(local: LocalBackend) -> None:
    etags = {local.put("a", content, OVERWRITE).etag for content in (b"one", b"two", b"one", b"three")}
    assert len(etags) == 4


def test_a_copy_has_a_time_of_its_own(local: LocalBackend) -> None:
    """Else a sweep would take a copy made a second ago for an old orphan."""
    local.put("a", b"x")
    os.utime(local.root / "a", (1000, 1000))
    assert abs((local.copy("a", "b").last_modified or 0) - time.time()) < 5
    assert os.stat(local.root / "b").st_nlink == 1
    assert local.head("a").last_modified == 1000


def test_a_copy_works_where_the_kernel_cannot_copy(local: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    data = os.urandom(3_000_000)
    local.put("a", data)
    real = os.copy_file_range

    def refuse(*_: object) -> int:
        raise OSError(errno.EXDEV, "no")

    def stop_early(source: int, target: int, _: int, done: int, __: int) -> int:
        if done:
            os.lseek(source, done + 5, os.SEEK_SET)  # whatever an error has done to the positions
            raise OSError(errno.EIO, "no")
        return real(source, target, 1_000_000, 0, 0)

    for number, call in enumerate((refuse, stop_early, lambda *_: 0)):
        monkeypatch.setattr(os, "copy_file_range", call)
        local.copy("a", f"copy{number}")
        assert local.read(f"copy{number}") == data


def test_files_get_the_permissions_of_the_umask(local: LocalBackend) -> None:
    old = os.umask(0o027)
    try:
        local.put("new/x", b"x")
    finally:
        os.umask(old)
    assert os.stat(local.root / "new/x").st_mode & 0o777 == 0o640
    assert os.stat(local.root / "new").st_mode & 0o777 == 0o750


def test_a_reader_keeps_the_object_it_began_with(local: LocalBackend) -> None:
    local.put("x", b"a" * 3_000_000)
    chunks = local.stream("x")
    first = next(chunks)
    local.put("x", b"b", OVERWRITE)
    local.delete("x")
    assert first + b"".join(chunks) == b"a" * 3_000_000


def test_large_objects_pass_in_bounded_memory(local: LocalBackend) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(256):
            yield bytes(1 << 18)

    async def from_loop() -> None:
        async def achunks() -> Any:
            for chunk in chunks():
                yield chunk

        await local.put_async("async", achunks())
        async for _ in local.stream_async("async"):
            pass

    tracemalloc.start()
    try:
        local.put("sync", chunks())
        for _ in local.stream("sync"):
            pass
        local.copy("sync", "copy")
        asyncio.run(from_loop())
        assert tracemalloc.get_traced_memory()[1] < 12 << 20
    finally:
        tracemalloc.stop()
    assert local.head("async").size == 64 << 20


def test_no_descriptor_stays_open(local: LocalBackend) -> None:
    def fail() -> Iterator[bytes]:
        yield b"x"
        raise LookupError

    def use() -> None:
        local.put("a/b/x", b"x", OVERWRITE)
        local.read("a/b/x")
        local.delete(["a/b/y", "no/x"])
        list(local.list())
        for call in (
            lambda: local.put("a/b/x", b"x"),
            lambda: local.put("a/b/x/y", b"x"),
            lambda: local.put("a/b/y", fail()),
            lambda: local.read("a/b"),
            lambda: local.read("none/x"),
            lambda: local.copy("a/b/x", "a/b/x"),
        ):
            with pytest.raises((StorageError, LookupError)):
                call()
        for iterator in (local.stream("a/b/x", 0, None, 1), local.list("a")):
            next(iterator)
            iterator.close()  # type: ignore[attr-defined]

    use()
    before = os.listdir("/proc/self/fd")
    use()
    assert os.listdir("/proc/self/fd") == before


def test_signing_says_what_to_do_instead(local: LocalBackend) -> None:
    with pytest.raises(UnsupportedOperationError, match="base_url='/files'"):
        local.sign("x", SignRequest("GET", 60))


# -- durability --------------------------------------------------------------------------------------------------------


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is synced, in order: ``file`` with its size, or the directory's name."""
    calls: list[str] = []
    real = os.fsync

    def noting(fd: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{fd}"))
        calls.append(path.name if path.is_dir() else f"file:{os.fstat(fd).st_size}")
        real(fd)

    monkeypatch.setattr(os, "fsync", noting)
    return calls


def test_a_put_waits_for_the_bytes_then_for_the_name(tmp_path: Path, synced: list[str]) -> None:
    backend = LocalBackend("local", tmp_path / "new" / "root")
    assert synced == [tmp_path.name, "new"]  # the directories that got a new entry
    synced.clear()
    backend.put("a/b/x", b"12345")
    assert synced == ["root", "a", "file:5", "b"]
    for folder in ("", "a"):
        os.utime(backend.root / folder, (1, 1))
    backend.put("a/b/y", b"")
    synced.clear()
    backend.put("a/b/z", iter([b"123", b"456"]))
    assert synced == ["file:6", "b"]
    synced.clear()
    backend.put("a/b/y", b"1", OVERWRITE)
    assert synced == ["file:1", "b"]
    synced.clear()
    backend.copy("a/b/x", "a/c/x")
    assert synced == ["a", "file:5", "c"]
    synced.clear()
    backend.delete(["a/b/x", "a/b/y", "a/b/none", "a/c/none", "none/x"])
    assert synced == ["b"]
    synced.clear()
    backend.delete("a/b/z")
    assert synced == ["a"]  # which has lost the folder
    synced.clear()
    backend.read("a/c/x")
    list(backend.list())
    assert synced == []


def test_folder_made_by_another_process_is_waited_for_too(tmp_path: Path, synced: list[str]) -> None:
    (tmp_path / "root" / "a" / "b").mkdir(parents=True)
    LocalBackend("local", tmp_path / "root").put("a/b/x", b"")
    assert synced == ["root", "a", "file:0", "b"]


def test_a_folder_made_again_is_waited_for_again(tmp_path: Path, synced: list[str]) -> None:
    backend = LocalBackend("local", tmp_path / "root")
    backend.put("a/x", b"")
    shutil.rmtree(tmp_path / "root" / "a")
    synced.clear()
    backend.put("a/x", b"")
    assert synced == ["root", "file:0", "a"]


def test_without_fsync_nothing_waits(tmp_path: Path, synced: list[str]) -> None:
    backend = LocalBackend("local", tmp_path / "new" / "root", fsync=False)
    backend.put("a/b/x", b"1")
    backend.put("a/b/x", b"1", OVERWRITE)
    backend.copy("a/b/x", "y")
    backend.delete("y")
    assert synced == []


@pytest.mark.parametrize("failing", range(4))
def test_a_failing_fsync_fails_the_put_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int) -> None:
    backend = LocalBackend("local", tmp_path / "root")
    calls = iter(range(10))

    def fail(fd: int) -> None:
        if next(calls) == failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match="Input/output error"):
        backend.put("a/b/x", b"1")
    assert everything(tmp_path / "root") == []


def test_a_delete_that_may_not_last_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = LocalBackend("local", tmp_path / "root")
    backend.put("a/x", b"1")

    def fail(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    assert list(backend.delete(["a/x", "a/none"])) == ["a/x"]


# -- disks and processes that fail -------------------------------------------------------------------------------------


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mount small file systems of their own; needs the right to do so."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    mounts: list[Path] = []

    def mount(*options: str) -> Path:
        if os.geteuid() or shutil.which("mount") is None:
            pytest.skip("only root may mount a tmpfs")
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip(f"no tmpfs: {done.stderr.decode()}")
        mounts.append(folder)
        return folder

    yield mount
    for place in mounts:
        subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_reported_and_nothing_stays(mounted: Callable[..., Path]) -> None:
    backend = LocalBackend("local", mounted("size=2m") / "root")
    backend.put("old", b"old")
    big = os.urandom(4 << 20)
    contents = [lambda: big, lambda: iter([big]), lambda: (big[i : i + 1000] for i in range(0, len(big), 1000))]
    for content in contents:
        for options in (PutOptions(), OVERWRITE):
            path = "old" if options is OVERWRITE else "a/new"
            with pytest.raises(StorageError, match="the disk is full") as caught:
                backend.put(path, content(), options)  # type: ignore[operator]
            assert (caught.value.operation, caught.value.path) == ("put", path)
            assert isinstance(caught.value.__cause__, OSError)
    backend.put("half", big[: 3 << 19])
    with pytest.raises(StorageError, match="the disk is full"):
        backend.copy("half", "copied")
    with pytest.raises(StorageError, match="the disk is full"):
        asyncio.run(backend.put_async("async", big))
    assert everything(backend.root) == ["half", "old"]
    assert backend.read("old") == b"old"
    assert backend.delete("half") == {}
    backend.put("fits", big[: 1 << 20])


def test_a_read_only_file_system_is_reported(mounted: Callable[..., Path]) -> None:
    place = mounted("size=1m")
    backend = LocalBackend("local", place)
    backend.put("old", b"old")
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
    for call in (
        lambda: backend.put("new", b""),
        lambda: backend.put("a/new", b""),
        lambda: backend.copy("old", "new"),
    ):
        with pytest.raises(StoragePermissionError, match="read-only"):
            call()
    assert isinstance(backend.delete("old")["old"], StoragePermissionError)
    assert backend.delete("none") == {}
    assert backend.read("old") == b"old"


def run(code: str, root: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(root)], capture_output=True, text=True, check=False, **options
    )


def test_a_directory_of_somebody_else_is_reported() -> None:
    if os.geteuid():
        pytest.skip("only root can become somebody else")
    with tempfile.TemporaryDirectory() as folder:  # pytest's own lets nobody else in
        os.chmod(folder, 0o755)
        _try_as_somebody_else(Path(folder) / "root")


def _try_as_somebody_else(root: Path) -> None:
    LocalBackend("local", root).put("a/x", b"x")
    done = run(
        """
        import os, sys
        from filerow.backends.local import LocalBackend
        from filerow.exceptions import StoragePermissionError
        backend = LocalBackend("local", sys.argv[1])
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        for call in (lambda: backend.put("b", b""), lambda: backend.put("c/d", b""), lambda: backend.copy("a/x", "b")):
            try:
                call()
            except StoragePermissionError as error:
                assert "may not" in str(error), error
            else:
                raise SystemExit("it was allowed")
        assert isinstance(backend.delete("a/x")["a/x"], StoragePermissionError)
        assert backend.read("a/x") == b"x"
        """,
        root,
    )
    assert done.returncode == 0, done.stderr
    assert everything(root) == ["a/x"]


def test_the_limit_of_a_file_size_is_reported(tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = run(
        """
        import sys
        from filerow.backends.local import LocalBackend
        from filerow.exceptions import StorageError
        backend = LocalBackend("local", sys.argv[1])
        for content in (bytes(200_000), iter([bytes(60_000)] * 3)):
            try:
                backend.put("x", content)
            except StorageError as error:
                assert "larger than the file system or the process's limit" in str(error), error
            else:
                raise SystemExit("it was allowed")
        """,
        tmp_path,
        preexec_fn=limit,
    )
    assert done.returncode == 0, done.stderr
    assert everything(tmp_path) == []


@pytest.mark.parametrize("unnamed", [True, False])
@pytest.mark.parametrize("create_only", [True, False])
def test_a_process_killed_in_a_put_leaves_no_object(tmp_path: Path, create_only: bool, unnamed: bool) -> None:
    backend = LocalBackend("local", tmp_path)
    if not create_only:
        backend.put("a/x", b"old")
    done = run(
        f"""
        import os, signal, sys
        from filerow.backends.base import PutOptions
        from filerow.backends.local import LocalBackend, directory
        directory.UNNAMED = directory.UNNAMED if {unnamed} else None
        def chunks():
            yield bytes(2_000_000)
            os.kill(os.getpid(), signal.SIGKILL)
        LocalBackend("local", sys.argv[1]).put("a/x", chunks(), PutOptions(create_only={create_only}))
        """,
        tmp_path,
    )
    assert done.returncode == -signal.SIGKILL
    assert len(everything(tmp_path)) == (not create_only) + (not unnamed)  # a temporary file with a name is there …
    assert [info.path for info in backend.list()] == ([] if create_only else ["a/x"])
    assert backend.exists("a/x") is not create_only
    assert backend.remove_leftovers() == 0  # … and may belong to a put that still runs
    assert backend.remove_leftovers(older_than=-1) == (not unnamed)
    assert everything(tmp_path) == ([] if create_only else ["a/x"])
    backend.put("a/x", b"new", PutOptions(create_only=create_only))
    assert backend.read("a/x") == b"new"


@pytest.mark.parametrize("error", [PermissionError(errno.EPERM, "no"), FileNotFoundError(errno.ENOENT, "no /proc")])
def test_files_that_cannot_be_named_later_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    backend = LocalBackend("local", tmp_path)
    link, tried = os.link, []

    def refuse(source: Any, target: Any, **more: Any) -> None:
        if str(source).startswith("/proc"):
            tried.append(source)
            raise error
        link(source, target, **more)

    monkeypatch.setattr(os, "link", refuse)
    backend.put("a/x", iter([b"12", b"345"]))
    asked = len(tried)
    assert asked >= 1
    with pytest.raises(ObjectExistsError):
        backend.put("a/x", b"other")
    backend.put("a/y", b"old")
    info = backend.put("a/y", b"new", OVERWRITE)
    assert len(tried) == asked  # it is not tried again
    assert (backend.read("a/x"), backend.read("a/y"), backend.head("a/y")) == (b"12345", b"new", info)
    assert everything(tmp_path) == ["a/x", "a/y"]


def test_removing_leftovers_removes_nothing_else(local: LocalBackend) -> None:
    local.put("a/x", b"x")
    for name in ("a/.put#12", "a/b#1", "a/.put#x", "a/.putx"):
        (local.root / name).write_bytes(b"")
        os.utime(local.root / name, (1000, 1000))
    assert local.remove_leftovers() == 1
    assert everything(local.root) == ["a/.put#x", "a/.putx", "a/b#1", "a/x"]


def test_a_fork_may_use_the_backend(tmp_path: Path) -> None:
    done = run(
        """
        import os, sys
        from filerow.backends.local import LocalBackend
        backend = LocalBackend("local", sys.argv[1])
        backend.put("before", b"x")
        if not (child := os.fork()):
            backend.put("in-child", backend.read("before"))
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        """,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert everything(tmp_path) == ["before", "in-child"]


# -- network file systems ----------------------------------------------------------------------------------------------


def test_a_link_whose_answer_was_lost_is_the_file_s_own(local: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def asked_twice(*args: Any, **options: Any) -> None:
        link(*args, **options)
        link(*args, **options)

    with monkeypatch.context() as nfs:
        nfs.setattr(os, "link", asked_twice)
        local.put("a", b"ours")
        with pytest.raises(ObjectExistsError):
            local.put("a", b"theirs")
    assert local.read("a") == b"ours"
    assert [path.name for path in local.root.iterdir()] == ["a"]


def test_facts_are_those_that_a_server_sets_from_the_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend, fsync = LocalBackend("docs", tmp_path), os.fsync

    def by_the_server_s_clock(fd: int) -> None:
        fsync(fd)
        if S_ISREG(os.fstat(fd).st_mode):
            os.utime(fd, (1_000, 1_000))

    monkeypatch.setattr(os, "fsync", by_the_server_s_clock)
    stored = backend.put("a", b"x")
    assert stored == backend.head("a")


@pytest.mark.parametrize("local", [True], ids=["by-descriptor"], indirect=True)
@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ESTALE, "mount it again"),
        (errno.ENOTCONN, "mount it again"),
        (errno.EIO, "system's log"),
        (errno.ENFILE, "fs.file-max"),
        (errno.EDQUOT, "quota"),
    ],
)
def test_failing_file_system_is_reported_with_a_remedy(
    local: LocalBackend, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    local.put("a/b", b"x")

    def fail(*_: Any, **__: Any) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", fail)
    for call in (
        lambda: local.read("a/b"),
        lambda: local.put("a/c", b"x"),
        lambda: list(local.list()),
        lambda: local.exists("a/b"),
    ):
        with pytest.raises(StorageError, match=said) as caught:
            call()
        assert not isinstance(caught.value, ObjectNotFoundError)
    failed = local.delete(["a/b"])
    assert said in failed["a/b"].message
