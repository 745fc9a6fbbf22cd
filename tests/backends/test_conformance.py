"""Every backend of ours passes the conformance kit, synchronously and asynchronously."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from filerow.backends.base import PutOptions, StorageBackend
from filerow.backends.fsspec import FSSpecBackend
from filerow.backends.local import LocalBackend
from filerow.backends.memory import MemoryBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.exceptions import ObjectExistsError, StoragePermissionError
from filerow.testing import Case, overrides_case
from tests.backends.directories import hold
from tests.backends.stores import (
    LARGE_BODY,
    NO_BUCKET,
    azure_options,
    bucket_of,
    gcs_options,
    on_obstore,
    s3_options,
    s3fs_options,
    shared,
)
from tests.backends.suite import ALSO, CORE, RACES, SLOW, Suite
from tests.servers import samba
from tests.servers.counting import CountingProxy

SECRET = "6eCm2wFPrp-RDgdtIEudJKmH0zOwNXXT"


class TestMemory(Suite):
    @classmethod
    def is_in_every_run(cls, case: Case) -> bool:
        return super().is_in_every_run(case) or case.large  # nowhere are they as quick

    def make(self) -> StorageBackend:
        return MemoryBackend("memory", base_url="/files", secret=SECRET)


class TestLocal(Suite):
    def make(self) -> StorageBackend:
        return LocalBackend("local", self.fixture("tmp_path") / "root", fsync=False, base_url="/files", secret=SECRET)


class TestLocalWithFsync(Suite):
    every_run = CORE

    def make(self) -> StorageBackend:
        return LocalBackend("local", self.fixture("tmp_path") / "root")


class TestLocalByPath(Suite):
    """What Windows gets."""

    every_run = CORE

    def make(self) -> StorageBackend:
        hold(self.fixture("monkeypatch"), by_descriptor=False)
        return LocalBackend("local", self.fixture("tmp_path") / "root", fsync=False)


class TestObstoreMemory(Suite):
    every_run = CORE

    def make(self) -> StorageBackend:
        return ObstoreBackend("obstore", "memory://")


class TestObstoreLocal(Suite):
    later = SLOW

    def make(self) -> StorageBackend:
        return ObstoreBackend("obstore", f"file://{self.fixture('tmp_path')}/root")


@pytest.mark.servers
class TestObstoreS3(Suite):
    """On SeaweedFS."""

    later = SLOW

    def make(self) -> StorageBackend:
        server, bucket = bucket_of(self.request, "s3_server")
        return on_obstore(f"s3://{bucket}", **s3_options(server))

    def make_missing(self) -> StorageBackend:
        return on_obstore(f"s3://{NO_BUCKET}", **s3_options(self.fixture("s3_server")))


@pytest.mark.servers
class TestObstoreMoto(Suite):
    """On a second S3."""

    every_run = CORE
    known_faults = dict.fromkeys(
        [
            "a_signed_url_expires",
            "a_signed_url_is_for_one_path",
            "a_signed_url_that_was_changed_is_refused",
            "a_url_signed_to_read_reads_and_does_nothing_else",
            "a_url_signed_to_upload_uploads_and_does_nothing_else",
            "a_url_to_read_answers_with_the_headers_it_was_signed_for",
            "an_upload_is_of_the_length_that_was_signed",
            "an_upload_is_of_the_type_that_was_signed",
        ],
        "moto checks neither signatures nor expiry",
    )

    def make(self) -> StorageBackend:
        server, bucket = bucket_of(self.request, "moto_server")
        backend = on_obstore(f"s3://{bucket}", **s3_options(server))
        backend.capabilities = backend.capabilities._replace(exclusive=False)  # moto looks, then writes, in several threads
        return backend

    @overrides_case("moto closes an object's file while others read it")
    def test_readers_see_whole_objects_while_they_are_replaced_sync(self) -> None: ...

    @overrides_case("moto closes an object's file while others read it")
    def test_readers_see_whole_objects_while_they_are_replaced_async(self) -> None: ...

    def make_missing(self) -> StorageBackend:
        return on_obstore(f"s3://{NO_BUCKET}", **s3_options(self.fixture("moto_server")))


@pytest.mark.servers
class TestObstoreAzure(Suite):
    every_run = CORE | ALSO
    later = RACES | SLOW

    def make(self) -> StorageBackend:
        server, container = bucket_of(self.request, "azurite_server")
        return on_obstore(f"az://{container}", **azure_options(server))

    def make_missing(self) -> StorageBackend:
        return on_obstore(f"az://{NO_BUCKET}", **azure_options(self.fixture("azurite_server")))


@pytest.mark.servers
class TestObstoreGCS(Suite):
    every_run = CORE | ALSO

    def make(self) -> StorageBackend:
        server, bucket = bucket_of(self.request, "gcs_facade")
        return on_obstore(f"gs://{bucket}", **gcs_options(server))

    def make_missing(self) -> StorageBackend:
        return on_obstore(f"gs://{NO_BUCKET}", **gcs_options(self.fixture("gcs_facade")))


class TestFSSpecMemory(Suite):
    every_run = CORE

    def make(self) -> StorageBackend:
        return FSSpecBackend("fsspec", "memory", prefix=f"/{uuid.uuid4().hex}")


class TestFSSpecFile(Suite):
    later = SLOW

    def make(self) -> StorageBackend:
        return FSSpecBackend("fsspec", "file", prefix=f"{self.fixture('tmp_path')}/root")


@pytest.mark.servers
class TestFSSpecS3(Suite):
    """On SeaweedFS."""

    every_run = CORE | {"a_url_to_read_answers_with_the_headers_it_was_signed_for"}
    later = RACES

    def make(self) -> StorageBackend:
        server, bucket = bucket_of(self.request, "s3_server")
        return shared(f"s3://{bucket}", **s3fs_options(server))

    def make_missing(self) -> StorageBackend:
        return shared(f"s3://{NO_BUCKET}", **s3fs_options(self.fixture("s3_server")))

    @overrides_case("SeaweedFS looks for the path, then completes a multipart upload")
    def test_a_race_of_large_iterators_has_exactly_one_winner_sync(self) -> None:
        store, path = self.make(), uuid.uuid4().hex

        def content() -> Iterator[bytes]:
            yield bytes(12 << 20)
            store.put(path, b"first")

        with pytest.raises(ObjectExistsError):
            store.put(path, content())
        assert [(info.path, info.size) for info in store.list()] == [(path, 5)]

    @overrides_case("SeaweedFS looks for the path, then completes a multipart upload")
    async def test_a_race_of_large_iterators_has_exactly_one_winner_async(self) -> None:
        store, path = self.make(), uuid.uuid4().hex

        async def content() -> AsyncIterator[bytes]:
            yield bytes(12 << 20)
            await store.put_async(path, b"first")

        with pytest.raises(ObjectExistsError):
            await store.put_async(path, content())
        assert (await store.head_async(path)).size == 5


@pytest.mark.servers
@LARGE_BODY
class TestFSSpecGCS(Suite):
    every_run = CORE

    def make(self) -> StorageBackend:
        server, bucket = bucket_of(self.request, "gcs_server")
        return shared(f"gs://{bucket}", project=server.project, token="anon", endpoint_url=server.endpoint)

    def make_missing(self) -> StorageBackend:
        server = self.fixture("gcs_server")
        return shared(f"gs://{NO_BUCKET}", project=server.project, token="anon", endpoint_url=server.endpoint)

    def conditions(self, write: Callable[[StorageBackend], Any], of: str) -> list[bool]:
        """Return for each matching request whether it had the condition that nothing is there."""
        server, bucket = bucket_of(self.request, "gcs_server")
        with CountingProxy(server.endpoint) as proxy:
            write(FSSpecBackend("fsspec", f"gs://{bucket}", project=server.project, token="anon", endpoint_url=proxy.endpoint))
            begun = [request for request in proxy.requests if of in str(request) and "upload_id=" not in request.query]
            return ["ifGenerationMatch=0" in request.query for request in begun]

    @overrides_case("fake-gcs-server ignores the condition of a copy")
    def test_a_race_of_copies_has_exactly_one_winner_sync(self) -> None:
        folder = uuid.uuid4().hex

        def copy(store: StorageBackend) -> None:
            store.put(f"{folder}/source", b"content")
            store.copy(f"{folder}/source", f"{folder}/target")
            assert store.read(f"{folder}/target") == b"content"

        assert self.conditions(copy, "/rewriteTo/") == [True]

    @overrides_case("fake-gcs-server ignores the condition of a copy")
    def test_a_race_of_copies_has_exactly_one_winner_async(self) -> None: ...  # the same code, in a thread

    @overrides_case("fake-gcs-server forgets the condition of a resumable upload")
    def test_a_race_of_large_iterators_has_exactly_one_winner_sync(self) -> None:
        assert self.conditions(lambda store: store.put(uuid.uuid4().hex, iter([bytes(12 << 20)])), "uploadType=resumable&") == [
            True
        ]

    @overrides_case("fake-gcs-server forgets the condition of a resumable upload")
    def test_a_race_of_large_iterators_has_exactly_one_winner_async(self) -> None: ...  # the same code, in a thread


@pytest.mark.servers
@LARGE_BODY
class TestFSSpecAzure(Suite):
    every_run = CORE
    known_faults = {
        "unusual_paths_are_kept_as_they_are": "adlfs drops a '#' at the end of a name, so FSSpecBackend refuses such a path",
    }

    def make(self) -> StorageBackend:
        server, container = bucket_of(self.request, "azurite_server")
        return shared(f"az://{container}", connection_string=server.connection_string)

    def make_missing(self) -> StorageBackend:
        return shared(f"az://{NO_BUCKET}", connection_string=self.fixture("azurite_server").connection_string)


@pytest.mark.servers
class TestFSSpecSFTP(Suite):
    large = False  # the server that the tests start, in Python, takes a minute for 100 MB
    every_run = CORE - {"large_iterators_are_content"}

    def make(self) -> StorageBackend:
        server = self.fixture("sftp_server")
        if server not in _sftp:
            _sftp[server] = FSSpecBackend("fsspec", "sftp", **server.options)
        return FSSpecBackend("fsspec", _sftp[server].fs, prefix=f"/{uuid.uuid4().hex}")


_sftp: dict[object, FSSpecBackend] = {}


@pytest.mark.servers
class TestFSSpecFTP(Suite):
    every_run = CORE

    def make(self) -> StorageBackend:
        server = self.fixture("ftp_server")
        if server not in _ftp:
            _ftp[server] = FSSpecBackend("fsspec", "ftp", **server.options)
        return FSSpecBackend("fsspec", _ftp[server].fs, prefix=f"/{uuid.uuid4().hex}")


_ftp: dict[object, FSSpecBackend] = {}


@pytest.mark.servers
class TestFSSpecSMB(Suite):
    every_run = CORE
    known_faults = {
        "unusual_paths_are_kept_as_they_are": "names of Windows hold fewer characters, and the backend refuses the others",
        "deleting_one_object_leaves_those_with_a_longer_name": "an asterisk is among them",
    }

    def make(self) -> StorageBackend:
        return FSSpecBackend("fsspec", "smb", prefix=f"/{samba.SHARE}/{uuid.uuid4().hex}", **self.fixture("smb_server").options)

    @overrides_case("a file that somebody reads cannot be replaced, as on Windows")
    def test_readers_see_whole_objects_while_they_are_replaced_sync(self) -> None:
        store = self.make()
        store.put("a", bytes(200))
        reading = store.stream("a", chunk_size=100)
        assert next(reading) == bytes(100)
        with pytest.raises(StoragePermissionError):
            store.put("a", b"another", PutOptions(create_only=False))
        assert list(reading) == [bytes(100)]
        store.put("a", b"another", PutOptions(create_only=False))
        assert [(info.path, info.size) for info in store.list()] == [("a", 7)]

    @overrides_case("a file that somebody reads cannot be replaced, as on Windows")
    async def test_readers_see_whole_objects_while_they_are_replaced_async(self) -> None:
        store = self.make()
        await store.put_async("a", bytes(200))
        reading = store.stream_async("a", chunk_size=100)
        assert await anext(reading) == bytes(100)
        with pytest.raises(StoragePermissionError):
            await store.put_async("a", b"another", PutOptions(create_only=False))
        assert [chunk async for chunk in reading] == [bytes(100)]
