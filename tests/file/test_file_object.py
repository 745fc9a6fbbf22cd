"""A FileObject as a value: its states, its facts, and what it can do with its bytes."""

from __future__ import annotations

import copy
import hashlib
import io
import math
import os
import pickle
import struct
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from filerow import FileObject, FileState, storages
from filerow.backends.local import LocalBackend
from filerow.backends.memory import MemoryBackend
from filerow.exceptions import (
    BackendNotFoundError,
    ContentError,
    FileStateError,
    IntegrityError,
    InvalidPathError,
    ObjectExistsError,
    ObjectNotFoundError,
    StorageError,
    UnsupportedOperationError,
)
from tests.file.rows import loaded

if TYPE_CHECKING:
    from pathlib import Path

    from tests.file.conftest import Call, WatchedBackend

SHA_ABC = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
FACTS = (
    "backend", "backend_key", "protocol", "path", "filename", "content_type", "size", "checksum", "etag", "version_id",
    "last_modified", "metadata", "state", "has_pending_data",
)  # fmt: skip


def stored(content: bytes = b"abc", filename: str = "a.txt", **more: Any) -> FileObject:
    return FileObject("docs", filename, content=content, **more).save()


def attached(file: FileObject) -> FileObject:
    return FileObject.from_dict(file.to_dict())


# -- states --------------------------------------------------------------------------------------------------------------


def test_a_file_with_content_is_pending() -> None:
    file = FileObject(filename="a.txt", content=b"abc")
    assert file.state is FileState.PENDING
    assert file.has_pending_data
    assert file.size == 3
    assert file.checksum is None
    assert file.backend_key == ""
    with pytest.raises(FileStateError, match="no path until it is stored"):
        _ = file.path


def test_empty_bytes_are_content() -> None:
    file = FileObject("docs", "empty.txt", content=b"")
    assert file.has_pending_data
    file.save()
    assert file.size == 0
    assert file.get_content() == b""
    assert file.checksum == f"sha256:{hashlib.sha256().hexdigest()}"


async def test_save_completes_a_file_in_place(call: Call, docs: WatchedBackend) -> None:
    file = FileObject("docs", "a.txt", content=b"abc", metadata={"page": 1})
    assert await call(file, "save") is file
    assert file.state is FileState.STAGED
    assert not file.has_pending_data
    assert file.backend is docs
    assert file.protocol == "memory"
    assert file.size == 3
    assert file.checksum == SHA_ABC
    assert file.etag
    assert file.last_modified is not None
    assert file.content_type == "text/plain"
    assert file.metadata == {"page": 1}
    assert docs.paths == {file.path}
    assert await call(file, "get_content") == b"abc"


async def test_save_takes_the_content_of_a_file_made_without(call: Call) -> None:
    file = FileObject("docs", "a.txt")
    await call(file, "save", b"abc")
    assert await call(file, "get_content") == b"abc"


async def test_save_takes_advanced_alchemy_s_options_and_no_others(call: Call, docs: WatchedBackend) -> None:
    file = await call(FileObject("docs", "a.txt"), "save", b"abc", use_multipart=False, chunk_size=1024, max_concurrency=2)
    assert file.size == 3
    with pytest.raises(TypeError, match="no option 'filename'; it accepts, and ignores, chunk_size"):
        await call(FileObject("docs"), "save", b"abc", filename="b.txt")
    assert len(docs.paths) == 1


async def test_save_stores_a_file_once(call: Call, docs: WatchedBackend) -> None:
    file = FileObject("docs", "a.txt", content=b"abc")
    await call(file, "save")
    with pytest.raises(ContentError, match="no content to save"):
        await call(file, "save")
    with pytest.raises(FileStateError):
        await call(file, "save", b"other")
    with pytest.raises(FileStateError, match="already has its content"):
        await call(FileObject("docs", content=b"1"), "save", b"2")
    with pytest.raises(ContentError, match="no content to save"):
        await call(FileObject("docs", "a.txt"), "save")
    assert len(docs.paths) == 1


async def test_a_row_s_file_takes_no_other_content(call: Call, docs: WatchedBackend) -> None:
    legacy = FileObject.from_dict({"backend": "docs", "filename": "old.txt"})
    with pytest.raises(FileStateError, match="already has its content"):
        await call(legacy, "save", b"other")
    assert docs.paths == set()


async def test_save_uses_the_default_backend(call: Call) -> None:
    file = await call(FileObject(filename="a.txt", content=b"abc"), "save")
    assert file.backend_key == "docs"


async def test_save_without_a_backend_says_what_to_do(call: Call) -> None:
    storages.clear_backends()
    with pytest.raises(BackendNotFoundError, match="set_default_backend"):
        await call(FileObject(content=b"abc"), "save")


@pytest.mark.parametrize("name", FACTS)
def test_facts_are_read_only(name: str) -> None:
    for file in (FileObject("docs", "a.txt", content=b"abc"), stored()):
        with pytest.raises(AttributeError):
            setattr(file, name, "other")


def test_a_file_takes_no_other_attributes() -> None:
    with pytest.raises(AttributeError):
        stored().url = "x"  # type: ignore[attr-defined]


def test_metadata_is_read_only() -> None:
    source = {"page": 1}
    for file in (FileObject("docs", content=b"abc", metadata=source), stored(metadata=source), attached(stored(metadata=source))):
        with pytest.raises(TypeError):
            file.metadata["page"] = 2  # type: ignore[index]
    source["page"] = 3
    assert FileObject("docs", content=b"abc", metadata={"page": 1}).metadata == {"page": 1}


def test_metadata_must_be_json() -> None:
    for wrong in ({"when": object()}, {"n": float("nan")}):
        with pytest.raises(ValueError, match="kept as JSON"):
            FileObject(content=b"abc", metadata=wrong)


def test_all_keywords_of_the_constructor_work(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"abc")
    file = FileObject(
        backend="docs", filename="b.txt", to_filename="folder/c.txt", content_type="text/markdown", size=3, last_modified=1.5,
        checksum=SHA_ABC, etag="e", version_id="v", metadata={"k": 1}, source_path=tmp_path / "a.txt", content=None,
    )  # fmt: skip
    assert (file.path, file.filename, file.content_type, file.size) == ("folder/c.txt", "b.txt", "text/markdown", 3)
    assert (file.last_modified, file.checksum, file.etag, file.version_id) == (1.5, SHA_ABC, "e", "v")
    assert file.save().get_content() == b"abc"


@pytest.mark.parametrize(
    "wrong",
    [{"size": -1}, {"size": "3"}, {"last_modified": math.nan}, {"last_modified": "now"}, {"content_type": 5}, {"checksum": b""}],
    ids=repr,
)
def test_impossible_facts_are_refused_before_a_row_has_them(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"the {next(iter(wrong))} of a file cannot be"):
        FileObject("docs", to_filename="a/b", **wrong)


def test_the_backend_may_be_given_as_an_instance(docs: WatchedBackend) -> None:
    assert FileObject(docs, content=b"abc").backend_key == "docs"


def test_content_and_source_path_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(ContentError, match="not both"):
        FileObject(content=b"abc", source_path=tmp_path)


@pytest.mark.parametrize(
    "given",
    [{"filename": "a.txt"}, {"content": b"", "filename": "a.txt"}, {"content": b"abc"}, {"to_filename": "x/a.txt"}],
)
def test_a_filename_is_always_there(given: dict[str, Any]) -> None:
    assert FileObject("docs", **given).filename in {"a.txt", "file"}


# -- equality, hash, repr ------------------------------------------------------------------------------------------------


def test_pending_files_are_equal_to_themselves_only() -> None:
    one, two = FileObject("docs", "a", content=b"abc"), FileObject("docs", "a", content=b"abc")
    assert one == one  # noqa: PLR0124
    assert one != two
    assert len({one, two}) == 2
    chosen = FileObject("docs", "a", to_filename="x", content=b"abc"), FileObject("docs", "a", to_filename="x", content=b"abc")
    assert chosen[0] != chosen[1]
    assert FileObject("docs", "a") != FileObject("docs", "a")


def test_stored_files_are_equal_by_backend_and_path() -> None:
    file = stored()
    same = attached(file)
    assert file == same
    assert hash(file) == hash(same)
    assert file == same.replace(filename="other.txt")
    assert file != stored()
    elsewhere = FileObject.from_dict({**file.to_dict(), "backend": "elsewhere"})
    assert file != elsewhere
    assert file != file.to_dict()
    assert file != None  # noqa: E711
    storages.clear_backends()
    assert file == same


def test_repr_equality_and_hash_look_nothing_up() -> None:
    document = {"v": 1, "backend": "nowhere", "path": "a/b.txt", "filename": "b.txt", "size": 3}
    for make in (FileObject.from_dict, loaded):
        file = make(document)
        assert repr(file) == "<FileObject 'b.txt' 3 bytes attached nowhere:a/b.txt>"
        assert file == make(document)
        assert hash(file) == hash(make(document))
        with pytest.raises(BackendNotFoundError, match="'nowhere'"):
            _ = file.backend
        assert f"{file}" == str(file) == "b.txt"  # what templates show has no path
    assert repr(FileObject("nowhere", "b.txt", content=b"abc")) == "<FileObject 'b.txt' 3 bytes pending for nowhere>"
    assert repr(FileObject(filename="b.txt", content=iter([b"abc"]))) == "<FileObject 'b.txt' pending>"


# -- derived values ------------------------------------------------------------------------------------------------------


def test_replace_gives_a_changed_value_with_the_same_bytes() -> None:
    file = stored(metadata={"page": 1})
    changed = file.replace(metadata={"page": 2}, filename="../b.txt")
    assert (changed.filename, changed.metadata) == ("b.txt", {"page": 2})
    assert (file.filename, file.metadata) == ("a.txt", {"page": 1})
    assert changed == file
    assert changed.state is file.state
    assert changed.get_content() == b"abc"
    assert attached(file).replace(metadata={}).metadata == {}
    assert attached(file).replace().filename == "a.txt"


def test_replace_works_on_a_pending_file() -> None:
    changed = FileObject("docs", "a.txt", content=b"abc").replace(filename="b.txt")
    assert changed.save().get_content() == b"abc"
    assert changed.filename == "b.txt"


def test_update_metadata_adds_to_a_pending_file_only() -> None:
    file = FileObject("docs", content=b"abc", metadata={"a": 1})
    file.update_metadata({"b": 2})
    assert file.metadata == {"a": 1, "b": 2}
    file.save()
    with pytest.raises(FileStateError, match=r"replace\(metadata="):
        file.update_metadata({"c": 3})
    assert file.metadata == {"a": 1, "b": 2}


def test_a_stored_file_can_be_pickled() -> None:
    file = stored(metadata={"page": 1})
    for original in (file, attached(file), loaded(file.to_dict())):
        again = pickle.loads(pickle.dumps(original))
        assert again == original
        assert again.to_dict() == original.to_dict()
        assert again.state is original.state
        with pytest.raises(TypeError):
            again.metadata["page"] = 2
    with pytest.raises(FileStateError, match="cannot be pickled"):
        pickle.dumps(FileObject(content=b"abc"))


def test_copies_of_the_value_are_the_value() -> None:
    for file in (FileObject(content=b"abc"), stored()):
        assert copy.copy(file) is file
        assert copy.deepcopy([file])[0] is file


def test_to_dict_and_from_dict_are_each_other_s_inverse() -> None:
    file = stored(metadata={"page": 1})
    again = FileObject.from_dict(file.to_dict())
    assert again.state is FileState.ATTACHED
    assert again.to_dict() == file.to_dict()
    again.to_dict()["metadata"]["page"] = 2
    assert again.metadata == {"page": 1}


def test_a_pending_file_has_no_document() -> None:
    for file in (FileObject(content=b"abc"), FileObject("docs", to_filename="x", content=b"abc"), FileObject("docs", "a")):
        with pytest.raises(FileStateError, match="no document until it is stored"):
            file.to_dict()


@pytest.mark.parametrize("line", range(2, 7))
def test_a_loaded_document_can_be_decoded_by_two_threads_at_once(line: int) -> None:
    file = loaded(b'{"v":1,"backend":"docs","path":"a/b.txt","filename":"b.txt"}')
    left = line

    def meanwhile(frame: Any, event: str, arg: object) -> Any:
        nonlocal left
        if frame.f_code.co_name != "_facts":
            return None
        left -= 1
        if left == 0:
            assert file.filename == "b.txt"  # what another thread could do before this line runs
        return meanwhile

    before = sys.gettrace()
    sys.settrace(meanwhile)
    try:
        path = file.path
    finally:
        sys.settrace(before)
    assert path == "a/b.txt"


# -- a path of one's own choice ------------------------------------------------------------------------------------------


async def test_to_filename_is_stored_create_only(call: Call, docs: WatchedBackend) -> None:
    file = await call(FileObject("docs", "a.txt", to_filename="fixed/name.txt", content=b"first"), "save")
    assert file.path == "fixed/name.txt"
    with pytest.raises(FileExistsError) as refused:
        await call(FileObject("docs", "a.txt", to_filename="fixed/name.txt", content=b"second"), "save")
    assert isinstance(refused.value, ObjectExistsError)
    assert docs.read("fixed/name.txt") == b"first"


async def test_to_filename_without_content_names_an_existing_object(call: Call, docs: WatchedBackend) -> None:
    docs.put("there.txt", b"abc")
    file = FileObject("docs", to_filename="there.txt")
    assert file.state is FileState.STAGED
    assert file.filename == "there.txt"
    assert await call(file, "get_content") == b"abc"


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a//b", "a/./b", "a\nb", "a\\b", "a/", "x" * 300])
def test_to_filename_must_be_a_valid_path(path: str) -> None:
    with pytest.raises(InvalidPathError):
        FileObject("docs", to_filename=path, content=b"abc")


# -- delete --------------------------------------------------------------------------------------------------------------


async def test_delete_removes_a_staged_file(call: Call, docs: WatchedBackend) -> None:
    file = stored()
    await call(file, "delete")
    assert docs.paths == set()
    assert not await call(file, "exists")
    await call(file, "delete")


async def test_a_deleted_file_says_so(call: Call, docs: WatchedBackend) -> None:
    file = stored()
    await call(file, "delete")
    assert file.state is FileState.DELETED
    assert "deleted docs:" in repr(file)
    assert file.size is file.checksum is file.etag is None
    for method in ("get_content", "stream", "verify", "copy"):
        with pytest.raises(ObjectNotFoundError):
            await call(file, method)
    with pytest.raises(FileStateError):
        file.to_dict()
    docs.put(file.path, b"somebody's")
    assert not await call(file, "exists")
    await call(file, "delete")
    assert docs.paths == {file.path}, "a second delete() is not a second request"


async def test_a_deleted_file_can_be_saved_again(call: Call, docs: WatchedBackend) -> None:
    file = stored(metadata={"page": 1})
    old = file.path
    await call(file, "delete")
    with pytest.raises(TypeError, match="no content to save"):
        await call(file, "save")
    await call(file, "save", b"other")
    assert file.state is FileState.STAGED
    assert file.path != old, "a generated path is never used twice"
    assert (await call(file, "get_content"), file.metadata) == (b"other", {"page": 1})


async def test_a_file_that_others_deleted_can_be_saved_again(call: Call, docs: WatchedBackend) -> None:
    file = stored()
    docs.delete(file.path)
    await call(file, "save", b"other")
    assert await call(file, "get_content") == b"other"
    with pytest.raises(FileStateError, match="already has its content"):
        await call(file, "save", b"third")


async def test_a_chosen_path_is_used_again_after_delete(call: Call, docs: WatchedBackend) -> None:
    file = await call(FileObject("docs", to_filename="fixed/name.txt", content=b"abc"), "save")
    await call(file, "delete")
    await call(file, "save", b"other")
    assert docs.read("fixed/name.txt") == b"other"
    await call(file, "delete")
    docs.put("fixed/name.txt", b"somebody's")
    with pytest.raises(ObjectExistsError):
        await call(file, "save", b"third")


async def test_a_delete_that_fails_leaves_the_file_staged(call: Call) -> None:
    class Refusing(MemoryBackend):
        def _delete(self, paths: Any) -> Any:
            return {path: PermissionError("no") for path in paths}

        async def _delete_async(self, paths: Any) -> Any:
            return self._delete(paths)

    storages.register_backend(Refusing("refusing"))
    file = FileObject("refusing", content=b"abc").save()
    with pytest.raises(StorageError, match="delete"):
        await call(file, "delete")
    assert file.state is FileState.STAGED
    assert await call(file, "get_content") == b"abc"
    storages.unregister_backend("refusing")
    with pytest.raises(BackendNotFoundError):
        await call(file, "delete")


async def test_delete_is_refused_while_a_row_owns_the_file(call: Call, docs: WatchedBackend) -> None:
    file = attached(stored())
    with pytest.raises(FileStateError, match="belongs to a row"):
        await call(file, "delete")
    assert docs.paths == {file.path}
    await call(file, "delete", force=True)
    assert docs.paths == set()


async def test_delete_of_a_pending_file_touches_nobody_s_object(call: Call, docs: WatchedBackend) -> None:
    docs.put("fixed/name.txt", b"somebody's")
    for file in (FileObject("docs", to_filename="fixed/name.txt", content=b"mine"), FileObject("docs", content=b"mine")):
        for force in (False, True):
            with pytest.raises(FileStateError, match="not stored yet"):
                await call(file, "delete", force=force)
    assert docs.paths == {"fixed/name.txt"}


# -- verify, copy, exists ------------------------------------------------------------------------------------------------


async def test_verify_compares_the_bytes_with_the_document(call: Call, docs: WatchedBackend) -> None:
    file = stored()
    await call(file, "verify")
    for wrong in ({"size": 4}, {"checksum": "sha256:" + "0" * 64}):
        with pytest.raises(IntegrityError, match="verify"):
            await call(FileObject.from_dict({**file.to_dict(), **wrong}), "verify")
    await call(FileObject.from_dict({**file.to_dict(), "checksum": "md5-of-another-library", "size": None}), "verify")
    docs.delete(file.path)
    with pytest.raises(FileNotFoundError):
        await call(file, "verify")


async def test_copy_gives_an_independent_staged_file(call: Call, docs: WatchedBackend) -> None:
    file = attached(stored(metadata={"page": 1}))
    twin = await call(file, "copy")
    assert twin.state is FileState.STAGED
    assert twin != file
    assert twin.path.endswith(".txt")
    assert (twin.filename, twin.size, twin.checksum, twin.metadata) == (file.filename, 3, SHA_ABC, {"page": 1})
    docs.delete(file.path)
    assert await call(twin, "get_content") == b"abc"
    with pytest.raises(ObjectNotFoundError):
        await call(file, "copy")


async def test_exists_says_whether_the_object_is_there(call: Call, docs: WatchedBackend) -> None:
    file = stored()
    assert await call(file, "exists")
    docs.delete(file.path)
    assert not await call(file, "exists")
    assert not await call(FileObject("docs", content=b"abc"), "exists")
    docs.put("taken", b"other")
    assert not await call(FileObject("docs", to_filename="taken", content=b"abc"), "exists")


# -- reading -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["stream", "verify", "copy", "open", "sign"])
async def test_what_needs_stored_bytes_says_so_while_pending(call: Call, method: str) -> None:
    with pytest.raises(FileStateError, match="not stored yet"):
        await call(FileObject("docs", "a.txt", content=b"abc"), method)


async def test_get_content_of_a_pending_file_is_its_content(call: Call, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"abc")
    for content in (b"abc", bytearray(b"abc"), tmp_path / "a.txt", io.BytesIO(b"abc"), [b"a", b"bc"]):
        file = FileObject("docs", content=content)
        assert await call(file, "get_content") == b"abc"
        assert await call(file, "get_content") == b"abc"
        assert file.save().get_content() == b"abc"
    once = FileObject("docs", content=iter([b"abc"]))
    with pytest.raises(FileStateError, match="read only once"):
        await call(once, "get_content")
    assert once.save().get_content() == b"abc"


async def test_get_content_of_nothing_says_so(call: Call) -> None:
    with pytest.raises(FileStateError, match="not stored yet"):
        await call(FileObject("docs", "a.txt"), "get_content")


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(0, None, slice(None)), (5, 10, slice(5, 10)), (0, 0, slice(0, 0)), (95, 200, slice(95, 100)), (200, None, slice(0, 0))],
)
async def test_stream_yields_a_range_in_chunks(call: Call, start: int, end: int | None, expected: slice) -> None:
    data = bytes(range(100))
    file = stored(data)
    chunks = await call(file, "stream", start, end, chunk_size=30)
    assert b"".join(chunks) == data[expected]
    assert all(len(chunk) <= 30 for chunk in chunks)
    assert b"".join(await call(file, "stream", start=start, end=end)) == data[expected]


@pytest.mark.parametrize("size", [0, -1])
async def test_stream_refuses_chunks_without_bytes(call: Call, size: int) -> None:
    with pytest.raises(ValueError, match="chunk_size") as caught:
        await call(stored(), "stream", chunk_size=size)
    assert not isinstance(caught.value, StorageError)


async def test_stream_refuses_a_negative_range(call: Call) -> None:
    with pytest.raises(ValueError, match="negative"):
        await call(stored(), "stream", -1)


async def test_download_writes_the_file_whole(call: Call, tmp_path: Path) -> None:
    file = stored(b"abc")
    target = tmp_path / "copy.bin"
    target.write_bytes(b"old and longer")
    assert await call(file, "download", target) == target
    assert target.read_bytes() == b"abc"
    assert await call(file, "download", str(tmp_path)) == tmp_path / file.path.rsplit("/", 1)[-1]
    assert len(list(tmp_path.iterdir())) == 2  # noqa: ASYNC240


async def test_download_makes_a_file_with_ordinary_permissions(call: Call, tmp_path: Path) -> None:
    (tmp_path / "ordinary").touch()
    target = await call(stored(), "download", tmp_path / "copy.bin")
    assert target.stat().st_mode == (tmp_path / "ordinary").stat().st_mode


async def test_a_failed_download_leaves_what_was_there(call: Call, docs: WatchedBackend, tmp_path: Path) -> None:
    file = stored()
    docs.delete(file.path)
    (tmp_path / "copy.bin").write_bytes(b"old")
    with pytest.raises(FileNotFoundError):
        await call(file, "download", tmp_path / "copy.bin")
    assert [path.name for path in tmp_path.iterdir()] == ["copy.bin"]  # noqa: ASYNC240
    assert (tmp_path / "copy.bin").read_bytes() == b"old"


async def test_sign_says_what_is_wrong_with_a_request(call: Call) -> None:
    file = stored()
    for wrong in ({"expires_in": 0}, {"for_upload": True, "inline": True}, {"download_as": "x", "inline": True}):
        with pytest.raises(ValueError, match=r"expires_in|for_upload|inline"):
            await call(file, "sign", **wrong)
    with pytest.raises(UnsupportedOperationError):
        await call(file, "sign")


async def test_a_url_to_upload_to_needs_a_path(call: Call) -> None:
    with pytest.raises(FileStateError, match=r"to_filename=.*DirectUploads"):
        await call(FileObject("docs", "a.txt"), "sign", for_upload=True)


# -- seekable readers ----------------------------------------------------------------------------------------------------


def a_zip(size: int = 6 << 20) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("big.bin", os.urandom(size))
        archive.writestr("last.txt", "found")
    return target.getvalue()


def test_open_serves_zipfile_without_reading_all(docs: WatchedBackend) -> None:
    file = attached(stored(a_zip(), "a.zip"))
    with file.open() as source, zipfile.ZipFile(source) as archive:
        assert archive.read("last.txt") == b"found"
    assert len(docs.reads) <= 4
    assert sum((end or file.size or 0) - start for start, end in docs.reads) < 4 << 20
    with file.open() as source, zipfile.ZipFile(source) as archive:
        assert archive.testzip() is None


def test_open_serves_random_access_as_image_libraries_do_it() -> None:
    # A TIFF's header points to its directory at the end, which points back to the strips.
    directory = struct.pack("<HHHII", 1, 273, 4, 1, 8) + struct.pack("<I", 0)
    data = struct.pack("<2sHI", b"II", 42, 8 + 100_000) + bytes(100_000) + directory
    with stored(data, "a.tiff").open() as source:
        assert source.readable()
        assert source.seekable()
        assert not source.writable()
        assert source.read(2) == b"II"
        offset = struct.unpack("<HI", source.read(6))[1]
        source.seek(offset)
        count, tag = struct.unpack("<HH", source.read(4))
        assert (count, tag) == (1, 273)
        assert source.seek(-4, os.SEEK_END) == len(data) - 4
        assert source.read() == bytes(4)
        assert source.read() == b""
        source.seek(len(data) + 10)
        assert source.read(5) == b""
        source.seek(2)
        source.seek(2, os.SEEK_CUR)
        assert source.tell() == 4


def test_open_reads_all_in_one_request(docs: WatchedBackend) -> None:
    data = os.urandom(300_000)
    file = stored(data)
    with file.open() as source:
        assert source.read() == data
    assert len(docs.reads) == 1
    with file.open() as source:
        assert source.read(10) + source.read() == data
    assert len(docs.reads) <= 3


def test_open_knows_the_size_of_a_file_whose_document_does_not() -> None:
    file = FileObject.from_dict({**stored(b"abc").to_dict(), "size": None})
    with file.open() as source:
        assert source.seek(0, os.SEEK_END) == 3


def test_open_refuses_positions_before_the_start() -> None:
    with stored().open() as source, pytest.raises(ValueError, match="before the start"):
        source.seek(-1)


async def test_open_async_is_a_seekable_reader() -> None:
    data = os.urandom(2_500_000)
    for file in (stored(data), FileObject.from_dict({**stored(data).to_dict(), "size": None})):
        async with file.open_async() as source:
            assert await source.read(10) == data[:10]
            assert source.tell() == 10
            assert await source.seek(-10, os.SEEK_END) == len(data) - 10
            assert await source.read(100) == data[-10:]
            assert await source.read(100) == b""
            assert await source.seek(1_000_000) == 1_000_000
            assert await source.seek(5, os.SEEK_CUR) == 1_000_005
            assert await source.read(1_200_000) == data[1_000_005:2_200_005]
            assert await source.read() == data[2_200_005:]
            await source.seek(0)
            assert await source.read(0) == b""
            assert await source.read() == data
            with pytest.raises(ValueError, match="before the start"):
                await source.seek(-1)
            with pytest.raises(ValueError, match="whence"):
                await source.seek(0, 7)


async def test_open_async_works_without_a_with_block() -> None:
    file = FileObject.from_dict({**stored(b"abc").to_dict(), "size": None})
    source = file.open_async()
    assert await source.seek(0, os.SEEK_END) == 3


async def test_open_async_makes_no_request_it_does_not_need(docs: WatchedBackend) -> None:
    data = os.urandom(2_500_000)
    async with stored(data).open_async() as source:
        read = b""
        while chunk := await source.read(65_536):
            read += chunk
    assert read == data
    assert len(docs.reads) <= 4


def test_files_live_on_a_local_directory_too(tmp_path: Path) -> None:
    storages.register_backend(LocalBackend("local", tmp_path, fsync=False))
    file = FileObject("local", "a.zip", content=a_zip(1000)).save()
    assert file.protocol == "file"
    with file.open() as source, zipfile.ZipFile(source) as archive:
        assert archive.read("last.txt") == b"found"
    assert file.content_type == "application/zip"
