"""What FSSpecBackend does beyond the contract: URLs and instances, escapes, headers, stale caches, signatures, odd names."""

from __future__ import annotations

import errno
import os
import signal
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from filerow.backends.base import PutOptions, SignRequest
from filerow.backends.fsspec import FSSpecBackend
from filerow.exceptions import (
    InvalidOptionError,
    InvalidPathError,
    ObjectExistsError,
    ObjectNotFoundError,
    StorageError,
    StoragePermissionError,
    UnsupportedOperationError,
)
from tests.backends.stores import LARGE_BODY, NO_BUCKET, bucket_of, s3fs_options, shared
from tests.backends.test_obstore import fetch
from tests.servers import samba
from tests.servers._relay import Relay
from tests.servers.counting import CountingProxy

OVERWRITE = PutOptions(create_only=False)
SECRET = "Top+Secret/Key0123456789"


def on_files(tmp_path: Path, **options: Any) -> FSSpecBackend:
    return FSSpecBackend("files", "file", prefix=str(tmp_path / "root"), **options)


def in_memory() -> FSSpecBackend:
    return FSSpecBackend("memory", "memory", prefix=f"/{uuid.uuid4().hex}")


@pytest.fixture
def s3(request: pytest.FixtureRequest) -> FSSpecBackend:
    server, bucket = bucket_of(request, "s3_server")
    return shared(f"s3://{bucket}", **s3fs_options(server))


@pytest.mark.parametrize(
    ("url", "misspelled", "meant"),
    [
        ("memory://x", "skip_cache", "skip_instance_cache"),
        ("file:///x", "auto_mkdirs", "auto_mkdir"),
        ("s3://b", "endpoint", "endpoint_url"),
        ("s3://b", "profile_name", "profile"),
        ("gs://b", "projekt", "project"),
        ("az://c", "acount_key", "account_key"),
        ("ftp://localhost/x", "user", "username"),
        ("smb://localhost/x", "user", "username"),
        ("sftp://localhost/x", "key_file", "key_filename"),
    ],
)
def test_unknown_option_of_a_filesystem_is_refused(url: str, misspelled: str, meant: str) -> None:
    with pytest.raises(TypeError, match=rf"has no option '{misspelled}'; it takes .*\b{meant}\b") as refused:
        FSSpecBackend("docs", url, storage_options={misspelled: SECRET})
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("memory://x", {"use_listings_cache": False}),
        ("s3://b", {"anon": True, "profile": "mine"}),
        ("gs://b", {"token": "anon", "retry_timeout": 3.0}),
        ("az://c", {"account_name": "mine", "exclude_cli_credential": True}),
        ("http://localhost", {"headers": {"accept": "text/plain"}}),  # hands everything to its client
    ],
)
def test_options_for_the_client_below_are_passed_on(url: str, options: dict[str, Any]) -> None:
    assert FSSpecBackend("docs", url, skip_instance_cache=True, **options).fs is not None


class Remote(MemoryFileSystem):
    """Files that promise nothing, as sftp has them: no exclusive mode, no create, and a write shows as it happens."""

    protocol = "remote"
    store: dict[str, Any] = {}
    pseudo_dirs = [""]


class _NumberError(OSError):
    """An error of a driver that says what it means by ``errno`` only, as SMB's does."""


class ByNumber(Remote):
    """Files whose driver has errors of its own."""

    protocol = "numbered"
    store: dict[str, Any] = {}
    pseudo_dirs = [""]

    def info(self, path: str, **kwargs: Any) -> Any:
        try:
            return super().info(path, **kwargs)
        except FileNotFoundError:
            raise _NumberError(errno.ENOENT, "no such file") from None

    def mkdir(self, path: str, create_parents: bool = True, **kwargs: Any) -> None:
        if "forbidden" in path:
            raise _NumberError(errno.EACCES, "not here")
        super().mkdir(path, create_parents, **kwargs)

    def open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        if "forbidden" in path:
            raise _NumberError(errno.EACCES, "not here")
        return super().open(path, mode, **kwargs)


# -- building ----------------------------------------------------------------------------------------------------------


def test_a_url_names_filesystem_and_folder(tmp_path: Path) -> None:
    for backend in (
        FSSpecBackend("files", f"file://{tmp_path}/root"),
        FSSpecBackend("files", f"file://{tmp_path}", prefix="root"),
        FSSpecBackend("files", LocalFileSystem(auto_mkdir=True), prefix=f"{tmp_path}/root/"),
    ):
        backend.put(name := uuid.uuid4().hex, b"x")
        assert (tmp_path / "root" / name).read_bytes() == b"x"
        assert backend.protocol == "file"


def test_a_file_backend_needs_a_folder() -> None:
    with pytest.raises(ValueError, match="needs a folder"):
        FSSpecBackend("files", "file")


@pytest.mark.parametrize("prefix", ["../up", "/srv/../etc", "a/.."])
def test_a_prefix_does_not_climb(prefix: str) -> None:
    with pytest.raises(ValueError, match=r"no '\.\.'"):
        FSSpecBackend("files", "file", prefix=prefix)


def test_options_go_with_a_url_only() -> None:
    with pytest.raises(TypeError, match="options belong"):
        FSSpecBackend("files", LocalFileSystem(), prefix="/x", auto_mkdir=True)
    with pytest.raises(TypeError, match="not int"):
        FSSpecBackend("files", 3, prefix="/x")


def test_filesystem_made_for_an_event_loop_is_built_again(s3_server: Any) -> None:
    import s3fs

    options = s3fs_options(s3_server)
    options |= options.pop("storage_options")
    awaited = s3fs.S3FileSystem(asynchronous=True, skip_instance_cache=True, **options)
    backend = FSSpecBackend("docs", awaited, prefix=s3_server.make_bucket())
    backend.put("a", b"x")
    assert backend.read("a") == b"x"
    assert backend.fs is not awaited


def test_an_error_means_what_its_number_says() -> None:
    """Not every driver's "no such file" is a ``FileNotFoundError``."""
    backend = FSSpecBackend("docs", ByNumber(), prefix=f"/{uuid.uuid4().hex}")
    assert not backend.exists("a")
    backend.put("a", b"x")
    with pytest.raises(ObjectExistsError):
        backend.put("a", b"y")
    with pytest.raises(ObjectNotFoundError):
        backend.head("b")
    with pytest.raises(StoragePermissionError, match="not here"):
        backend.put("forbidden/a", b"x")
    assert backend.delete(["a", "b"]) == {}


# -- escapes and odd names ---------------------------------------------------------------------------------------------


def test_nothing_outside_the_folder_is_reached(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    backend = on_files(tmp_path)
    backend.put("a", b"x")
    for path in ("../secret", "a/../../secret", "..", f"{tmp_path}/secret", "/../secret", "x/..", "./../secret"):
        with pytest.raises(StorageError):
            backend.put(path, b"evil", OVERWRITE)
        with pytest.raises(StorageError):
            backend.read(path)
        with pytest.raises(StorageError):
            backend.copy(path, "copied")
        backend.delete(path)
    assert (tmp_path / "secret").read_bytes() == b"secret"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["root", "secret"]


@pytest.mark.servers
def test_a_name_that_looks_like_a_version_is_refused(s3: FSSpecBackend) -> None:
    """s3fs takes what follows '?versionId=' for a version, and would replace and delete ``a``."""
    s3.put("a", b"a")
    with pytest.raises(InvalidPathError, match="another one"):
        s3.put("a?versionId=1", b"evil", OVERWRITE)
    assert list(s3.delete(["a?versionId=1"])) == ["a?versionId=1"]
    assert s3.read("a") == b"a"


@pytest.mark.servers
def test_a_star_deletes_only_itself(s3: FSSpecBackend) -> None:
    for path in ("a*", "ab", "ac", "[a-c]b"):
        s3.put(path, b"x")
    assert s3.delete(["a*", "[a-c]b"]) == {}
    assert [info.path for info in s3.list()] == ["ab", "ac"]


# -- writing -----------------------------------------------------------------------------------------------------------


def failing(before: int) -> Iterator[bytes]:
    for _ in range(before):
        yield bytes(1 << 20)
    msg = "the source broke"
    raise LookupError(msg)


def test_a_failed_write_leaves_no_file_and_no_part(tmp_path: Path, s3_server: Any) -> None:
    bucket = s3_server.make_bucket()
    for backend in (on_files(tmp_path), FSSpecBackend("docs", f"s3://{bucket}", **s3fs_options(s3_server))):
        for before in (0, 2, 12):
            with pytest.raises(LookupError, match="the source broke"):
                backend.put("a", failing(before), OVERWRITE)
    assert [path for path in (tmp_path / "root").rglob("*") if path.is_file()] == []
    assert s3_server.keys(bucket) == set()
    assert s3_server.client.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []


def test_an_overwritten_file_is_whole_at_every_moment(tmp_path: Path) -> None:
    backend = on_files(tmp_path)
    backend.put("a", b"old")

    def chunks() -> Iterator[bytes]:
        for _ in range(7):
            assert backend.read("a") == b"old"
            yield bytes(1 << 20)

    backend.put("a", chunks(), OVERWRITE)
    assert backend.head("a").size == 7 << 20
    assert [info.path for info in backend.list()] == ["a"]


def test_a_plain_filesystem_looks_before_it_writes() -> None:
    backend = FSSpecBackend("remote", Remote(skip_instance_cache=True), prefix=f"/{uuid.uuid4().hex}")
    backend.put("a/b", b"x")
    with pytest.raises(ObjectExistsError):
        backend.put("a/b", b"y")
    with pytest.raises(ObjectExistsError):
        backend.put("a/b", iter([bytes(6 << 20)]))
    backend.put("a/b", b"z", OVERWRITE)
    assert backend.copy("a/b", "a/c").size == 1
    assert [info.path for info in backend.list("a")] == ["a/b", "a/c"]
    assert backend.delete(["a/b", "a/c", "a/d"]) == {}
    assert list(backend.list()) == []


def test_readers_in_memory_do_not_share_a_position() -> None:
    backend = in_memory()
    data = bytes(range(256)) * 20_000
    backend.put("a", data)
    pairs = list(zip(backend.stream("a", chunk_size=1 << 20), backend.stream("a", chunk_size=1 << 20), strict=True))
    assert b"".join(one for one, _ in pairs) == b"".join(other for _, other in pairs) == data


def test_one_of_many_writers_in_memory_wins() -> None:
    backend = in_memory()
    won: list[int] = []

    def write(number: int) -> None:
        try:
            backend.put("a", b"%d" % number)
        except ObjectExistsError:
            return
        won.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [b"%d" % number for number in won] == [backend.read("a")]


def test_s3_keeps_all_headers(s3_server: Any) -> None:
    bucket = s3_server.make_bucket()
    backend = FSSpecBackend("docs", f"s3://{bucket}", **s3fs_options(s3_server))
    options = PutOptions("image/png", "inline", "no-store", {"Some Key": "wörd"})
    backend.put("bytes", b"x", options)
    backend.put("stream", iter([bytes(6 << 20)]), options)
    backend.copy("bytes", "copied")
    for key in ("bytes", "stream", "copied"):
        found = s3_server.client.head_object(Bucket=bucket, Key=key)
        assert (found["ContentType"], found["ContentDisposition"], found["CacheControl"]) == (
            "image/png",
            "inline",
            "no-store",
        )
        assert found["Metadata"] == {"some-key": "w%C3%B6rd"}


def test_azure_keeps_all_headers(azurite_server: Any) -> None:
    container = azurite_server.make_container()
    backend = FSSpecBackend("docs", f"az://{container}", connection_string=azurite_server.connection_string)
    backend.put("a", b"x", PutOptions("image/png", "inline", "no-store", {"some-key": "wörd"}))
    with azurite_server.client() as client:
        found = client.get_blob_client(container, "a").get_blob_properties()
    settings = found.content_settings
    assert (settings.content_type, settings.content_disposition, settings.cache_control) == (
        "image/png",
        "inline",
        "no-store",
    )
    assert found.metadata["some_key"] == "w%C3%B6rd"


@LARGE_BODY
def test_google_keeps_the_type(gcs_server: Any) -> None:
    backend = FSSpecBackend(
        "docs", f"gs://{gcs_server.make_bucket()}", project=gcs_server.project, token="anon", endpoint_url=gcs_server.endpoint
    )
    for name, content in (("bytes", b"x"), ("stream", iter([bytes(6 << 20)]))):
        backend.put(name, content, PutOptions("image/png", metadata={"k": "v"}))
        assert backend.head(name).content_type == "image/png"


def test_a_header_with_a_line_break_is_refused() -> None:
    with pytest.raises(InvalidOptionError):
        in_memory().put("a", b"x", PutOptions(content_type="a\r\nb"))


# -- reading -----------------------------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_another_writer_is_seen_at_once(s3_server: Any) -> None:
    import s3fs

    bucket = s3_server.make_bucket()
    options = s3fs_options(s3_server)
    options |= options.pop("storage_options")
    cached = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=True, **options)
    backend = FSSpecBackend("docs", cached, prefix=bucket)
    backend.put("a", b"x")
    assert [info.path for info in backend.list()] == ["a"]
    s3_server.client.put_object(Bucket=bucket, Key="b", Body=b"yy")
    s3_server.client.delete_object(Bucket=bucket, Key="a")
    assert [info.path for info in backend.list()] == ["b"]
    assert not backend.exists("a")


def test_a_listing_skips_the_folders_before_its_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = on_files(tmp_path)
    for folder in ("a", "b", "c"):
        backend.put(f"{folder}/x", b"")
    listed: list[str] = []
    ls = backend.fs.ls
    monkeypatch.setattr(backend.fs, "ls", lambda path, **options: listed.append(path[-1]) or ls(path, **options))
    assert [info.path for info in backend.list("", "b/w")] == ["b/x", "c/x"]
    assert listed == ["t", "b", "c"]


def test_deletes_on_s3_go_in_one_request(s3_server: Any) -> None:
    with CountingProxy(s3_server.endpoint) as proxy:
        options = {**s3fs_options(s3_server), "endpoint_url": proxy.endpoint}
        backend = FSSpecBackend("docs", f"s3://{s3_server.make_bucket()}", **options)
        for number in range(5):
            backend.put(f"{number}", b"x")
        with proxy.record() as seen:
            assert backend.delete([f"{number}" for number in range(6)]) == {}
        assert [request.method for request in seen] == ["POST"]
        with proxy.record() as seen:
            backend.put("one", b"x")
        assert [request.method for request in seen] == ["PUT"]


# -- SMB, whose client has one connection for all of a process -------------------------------------------------------------


@pytest.mark.servers
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_leaves_its_parent_the_connection_to_smb(smb_server: Any) -> None:
    backend = FSSpecBackend("docs", "smb", prefix=f"/{samba.SHARE}/{uuid.uuid4().hex}", **smb_server.options)
    backend.put("parent", b"content")
    child = os.fork()
    if not child:
        signal.alarm(30)  # the child would wait forever for what only its parent's thread reads
        try:
            backend.put("child", backend.read("parent"))
        except BaseException:  # noqa: BLE001 - it must not run the tests that follow
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert backend.read("child") == b"content"


@pytest.mark.servers
def test_a_process_is_one_user_of_an_smb_server(smb_server: Any) -> None:
    """The client takes the first login to a server for every call to it."""
    prefix = f"/{samba.SHARE}/{uuid.uuid4().hex}"
    FSSpecBackend("docs", "smb", prefix=prefix, **smb_server.options).put("a", b"")
    other = FSSpecBackend("docs", "smb", prefix=prefix, **{**smb_server.options, "username": "somebody-else"})
    with pytest.raises(StoragePermissionError, match="one user for each server"):
        other.read("a")


@pytest.mark.servers
def test_missing_name_is_not_a_message_of_the_client(smb_server: Any) -> None:
    backend = FSSpecBackend("docs", "smb", prefix=f"/{samba.SHARE}/{uuid.uuid4().hex}", **smb_server.options)
    for name in ("Connection timeout of 5", "0 credits are available", "Failed to connect"):
        with pytest.raises(ObjectNotFoundError):
            backend.read(name)


@pytest.mark.servers
def test_smb_without_the_password_is_forbidden(smb_server: Any) -> None:
    with Relay(f"{smb_server.options['host']}:{smb_server.options['port']}") as another:  # to connect again
        login = {**smb_server.options, "port": another.port}
        backend = FSSpecBackend("docs", "smb", prefix=f"/{samba.SHARE}", **{**login, "password": "wrong"})
        with pytest.raises(StoragePermissionError):
            backend.read("a")


@pytest.mark.servers
def test_calls_to_smb_at_once_have_credits(smb_server: Any) -> None:
    """Smbprotocol raises an error for what finds none left, and a large write takes all."""
    backend = FSSpecBackend("docs", "smb", prefix=f"/{samba.SHARE}/{uuid.uuid4().hex}", **smb_server.options)
    contents = {f"{number}": bytes([number]) * (5 << 20) for number in range(8)}
    with ThreadPoolExecutor(len(contents)) as pool:
        list(pool.map(backend.put, contents, contents.values()))
        assert list(pool.map(backend.read, contents)) == list(contents.values())
        taken = list(pool.map(lambda path: b"".join(backend.stream(path)) == contents[path], contents))
    assert all(taken)


# -- signing -----------------------------------------------------------------------------------------------------------


@pytest.mark.servers
def test_s3_signs_what_it_must_answer_with(s3: FSSpecBackend) -> None:
    s3.put("a b.png", b"hello", PutOptions("text/html"))
    url = s3.sign("a b.png", SignRequest("GET", 60, content_disposition="attachment", content_type="image/png"))
    status, headers, body = fetch(url)
    assert (status, body) == (200, b"hello")
    assert (headers["content-type"], headers["content-disposition"]) == ("image/png", "attachment")
    up = s3.sign("up", SignRequest("PUT", 60, content_type="image/png"))
    assert fetch(up, "PUT", b"x", content_type="text/html")[0] == 403
    assert fetch(up, "PUT", b"x", content_type="image/png")[0] == 200


def test_azure_signs_what_it_must_answer_with(azurite_server: Any) -> None:
    container = azurite_server.make_container()
    backend = FSSpecBackend("docs", f"az://{container}", connection_string=azurite_server.connection_string)
    backend.put("a.png", b"hello")
    url = backend.sign("a.png", SignRequest("GET", 60, content_disposition="attachment", content_type="image/png"))
    status, headers, body = fetch(url)
    assert (status, body) == (200, b"hello")
    assert (headers["content-type"], headers["content-disposition"]) == ("image/png", "attachment")
    with pytest.raises(UnsupportedOperationError):
        backend.sign("a.png", SignRequest("PUT", 60))


@pytest.mark.servers
def test_what_cannot_be_signed_says_so(s3: FSSpecBackend) -> None:
    with pytest.raises(UnsupportedOperationError, match="memory filesystem cannot sign"):
        in_memory().sign("a", SignRequest("GET", 60))
    with pytest.raises(UnsupportedOperationError):
        s3.sign("a", SignRequest("PUT", 60, content_disposition="inline"))
    with pytest.raises(InvalidOptionError):
        s3.sign("a", SignRequest("GET", 8 * 24 * 3600))


# -- FTP ---------------------------------------------------------------------------------------------------------------


def test_what_ftp_forbids_is_not_taken_for_missing(ftp_server: Any) -> None:
    """It says 550 to both."""
    folder = f"/{uuid.uuid4().hex}"
    FSSpecBackend("docs", "ftp", prefix=folder, **ftp_server.options).put("kept", b"x")
    reader = FSSpecBackend("docs", "ftp", prefix=folder, **ftp_server.reading_options)
    failed = reader.delete(["gone", "kept"])
    assert [(path, isinstance(error, PermissionError)) for path, error in failed.items()] == [("kept", True)]
    with pytest.raises(StorageError, match="Not enough privileges"):
        reader.put("new", b"x")
    assert [info.path for info in reader.list()] == ["kept"]
    assert reader.read("kept") == b"x"


# -- errors ------------------------------------------------------------------------------------------------------------


def test_secrets_are_not_shown(s3_server: Any) -> None:
    options = {**s3fs_options(s3_server), "storage_options": {"key": s3_server.access_key, "secret": SECRET}}
    backend = FSSpecBackend("docs", f"s3://{s3_server.make_bucket()}", **options)
    with pytest.raises(StorageError) as caught:
        backend.put("a", b"x")
    assert isinstance(caught.value, PermissionError)
    assert SECRET not in str(caught.value) + repr(caught.value) + repr(backend)


def test_memory_is_fsspecs_own() -> None:
    name = uuid.uuid4().hex
    FSSpecBackend("memory", f"memory://{name}").put("a", b"x")
    assert fsspec.filesystem("memory").cat_file(f"/{name}/a") == b"x"


# -- a bucket that is missing ------------------------------------------------------------------------------------------


@pytest.mark.servers
@pytest.mark.parametrize("kind", ["s3", "gcs", "azure"])
def test_missing_bucket_is_neither_empty_nor_rid_of_its_objects(request: pytest.FixtureRequest, kind: str) -> None:
    if kind == "s3":
        backend = FSSpecBackend("docs", f"s3://{NO_BUCKET}/docs", **s3fs_options(request.getfixturevalue("s3_server")))
    elif kind == "gcs":
        endpoint = request.getfixturevalue("gcs_server").endpoint
        backend = FSSpecBackend("docs", f"gs://{NO_BUCKET}/docs", project="p", token="anon", endpoint_url=endpoint)
    else:
        server = request.getfixturevalue("azurite_server")
        account = f"AccountName={server.account_name};AccountKey={server.account_key}"
        connection = f"DefaultEndpointsProtocol=http;{account};BlobEndpoint={server.endpoint};"
        backend = FSSpecBackend("docs", f"az://{NO_BUCKET}/docs", connection_string=connection)
    with pytest.raises(StorageError, match="does not exist"):
        list(backend.list())
    for paths in (["a"], ["a", "b"]):
        assert list(backend.delete(paths)) == paths
