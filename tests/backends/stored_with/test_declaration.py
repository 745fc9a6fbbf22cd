"""What cannot be stored is refused where it is declared: by the value, by the column and its backend, by the backend itself."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, registry

from filerow import Encryption, FileObject, StorageBackend, StoredObject, StoredWith, storages
from filerow.backends.base import SignRequest
from filerow.backends.fsspec import FSSpecBackend
from filerow.backends.local import LocalBackend
from filerow.backends.memory import MemoryBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.direct import DirectUploads
from filerow.exceptions import InvalidOptionError, UnsupportedOperationError
from filerow.http import answer, serve
from tests.backends.stored_with.conftest import CACHE, TAGS, Model
from tests.direct.conftest import PNG, SECRET

LINE_BREAK = "a\r\nx-amz-acl: public-read"
S3: dict[str, Any] = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "aws_region": "us-east-1"}


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"cache_control": LINE_BREAK}, "Cache-Control"),
        ({"cache_control": ""}, "Cache-Control"),
        ({"cache_control": "max-age=1, ü"}, "Cache-Control"),
        ({"storage_class": LINE_BREAK}, "storage_class"),
        ({"storage_class": ""}, "storage_class"),
        ({"storage_class": "GLACIER"}, "GLACIER_IR"),
        ({"storage_class": "DEEP_ARCHIVE"}, "restored"),
        ({"storage_class": "Archive"}, "restored"),
        ({"tags": {"a": LINE_BREAK}}, "tag 'a'"),
        ({"tags": {"ü": "b"}}, "tag 'ü'"),
        ({"tags": {"a&b=c": "?"}}, "tag"),
        ({"tags": {"": "b"}}, "tags"),
        ({"tags": {"a": 1}}, "tags"),
        ({"tags": {"k" * 129: "b"}}, "128"),
        ({"tags": {"k": "v" * 257}}, "256"),
        ({"tags": {str(number): "" for number in range(11)}}, "at most 10"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"metadata": {"a b": "1", "a-b": "2"}}, "two metadata keys"),
    ],
)
def test_values_that_no_store_takes_are_refused(values: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidOptionError, match=named) as refused:
        StoredWith(**values)
    assert "backend ''" not in str(refused.value)


@pytest.mark.parametrize("values", [{"tags": [("a", "b")]}, {"metadata": "a"}])
def test_values_of_other_types_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="maps texts to texts"):
        StoredWith(**values)


def test_google_s_archive_is_allowed_and_azure_s_refused(tmp_path: Path) -> None:
    scan = scan_on("kept", StoredWith(storage_class="ARCHIVE"))
    storages.register_backend(google(tmp_path))
    storages.clear_backends()
    with pytest.raises(InvalidOptionError, match=r"Scan\.file.*restored"):
        storages.register_backend(ObstoreBackend("kept", "az://c", account_name="a"))
    assert scan is not None


def test_options_are_values() -> None:
    tags = {"a": "b"}
    one = StoredWith(tags=tags, metadata={"x": "line\nbreak ü"})
    tags["c"] = "d"
    assert one == StoredWith(tags={"a": "b"}, metadata={"x": "line\nbreak ü"}) == pickle.loads(pickle.dumps(one))
    assert len({one, StoredWith(), StoredWith()}) == 2
    with pytest.raises(AttributeError):
        one.cache_control = "x"  # type: ignore[misc]


def test_a_column_takes_nothing_else() -> None:
    with pytest.raises(TypeError, match="StoredWith"):
        StoredObject("kept", stored_with={"cache_control": "no-store"})  # type: ignore[arg-type]
    assert StoredObject("kept", stored_with=StoredWith()).stored_with is None


# -- a column and its backend ----------------------------------------------------------------------------------------------


def local(folder: Path) -> StorageBackend:
    return LocalBackend("kept", folder / "root", fsync=False)


def memory(_: Path) -> StorageBackend:
    return MemoryBackend("kept")


def on_fsspec(_: Path) -> StorageBackend:
    return FSSpecBackend("kept", "memory", prefix="kept")


def google(_: Path) -> StorageBackend:
    return ObstoreBackend("kept", "gs://bucket", bearer_token="x")


EVERYTHING = StoredWith(cache_control=CACHE, storage_class="STANDARD_IA", tags=TAGS, metadata={"a": "b"})
MISSING = {
    memory: ("storage_class=", "tags=", "metadata="),
    local: ("storage_class=", "tags=", "metadata="),
    on_fsspec: ("cache_control=", "storage_class=", "tags=", "metadata="),
    google: ("tags=",),
}


def scan_on(key: str, options: StoredWith) -> Any:
    class Base(DeclarativeBase):
        registry = registry()

    class Scan(Base):
        __tablename__ = "scan"
        id: Mapped[int] = mapped_column(primary_key=True)
        file: Mapped[FileObject | None] = mapped_column(StoredObject(key, stored_with=options))

    return Scan


def assert_names(refused: pytest.ExceptionInfo[UnsupportedOperationError], names: tuple[str, ...]) -> None:
    text = str(refused.value)
    assert text.startswith(f"Scan.file is stored with {' and '.join(names)}, which backend 'kept'")
    assert "leave that out" in text


@pytest.mark.parametrize("make", list(MISSING))
def test_a_backend_that_is_registered_later_is_refused(make: Any, tmp_path: Path) -> None:
    scan = scan_on("kept", EVERYTHING)
    with pytest.raises(UnsupportedOperationError) as refused:
        storages.register_backend(make(tmp_path))
    assert_names(refused, MISSING[make])
    assert not storages.is_registered("kept")
    assert scan is not None


@pytest.mark.parametrize("make", list(MISSING))
def test_a_class_that_is_mapped_later_is_refused(make: Any, tmp_path: Path) -> None:
    storages.register_backend(make(tmp_path))
    with pytest.raises(UnsupportedOperationError) as refused:
        scan_on("kept", EVERYTHING)
    assert_names(refused, MISSING[make])


def test_the_default_backend_is_refused_before_a_byte_is_stored() -> None:
    backend = storages.register_backend(MemoryBackend("kept"))
    scan = scan_on("", EVERYTHING)
    engine = create_engine("sqlite://")
    scan.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(scan(file=FileObject(content=b"x")))
        with pytest.raises(UnsupportedOperationError, match="file is stored with storage_class= and tags="):
            session.commit()
    engine.dispose()
    assert not list(backend.list())
    with pytest.raises(UnsupportedOperationError, match="tags="):
        DirectUploads(scan.file, secret=SECRET).begin(filename="a", size=1)


# -- the backend itself ----------------------------------------------------------------------------------------------------

KMS = Encryption("gcp:kms", key="projects/p/locations/l/keyRings/r/cryptoKeys/k")


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: ObstoreBackend("kept", "gs://bucket", bearer_token="x", encryption=KMS), "gcp:kms.*default key"),
        (lambda: ObstoreBackend("kept", "az://c", account_name="a", encryption="AES256"), "AES256.*encryption scope"),
        (lambda: ObstoreBackend("kept", "memory://", encryption="AES256"), "AES256"),
        (lambda: ObstoreBackend("kept", "gs://bucket", bearer_token="x", checksum="sha256"), "checksum="),
        (lambda: ObstoreBackend("kept", "s3://bucket", **S3, acl="private"), "acl=.*FSSpecBackend"),
        (lambda: ObstoreBackend("kept", "az://c", account_name="a", acl="private"), "acl="),
        (lambda: ObstoreBackend("kept", "s3://bucket", **S3, encryption=KMS), "it knows AES256"),
        (lambda: ObstoreBackend("kept", "s3://bucket", **S3, encryption="ROT13"), "it knows AES256"),
        (lambda: FSSpecBackend("kept", "memory", prefix="x", acl="private"), "acl="),
        (lambda: FSSpecBackend("kept", "memory", prefix="x", encryption="AES256"), "AES256"),
        (lambda: FSSpecBackend("kept", "s3://bucket", checksum="sha256"), "CRC32"),
        (lambda: FSSpecBackend("kept", "az://c", encryption="AES256"), "encryption scope"),
    ],
)
def test_unidentified_store_is_refused_by_name(make: Any, named: str) -> None:
    with pytest.raises(UnsupportedOperationError, match=named) as refused:
        make()
    assert "'kept'" in str(refused.value)


@pytest.mark.parametrize(
    ("make", "kind", "named"),
    [
        (lambda: ObstoreBackend("kept", "s3://b", **S3, encryption=Encryption("AES256", key="k")), ValueError, "neither key"),
        (lambda: ObstoreBackend("kept", "s3://b", **S3, encryption=Encryption("aws:kms", key=LINE_BREAK)), ValueError, "the key"),
        (lambda: ObstoreBackend("kept", "s3://b", **S3, encryption=1), TypeError, "Encryption"),
        (lambda: ObstoreBackend("kept", "s3://b", **S3, checksum="md5"), ValueError, "sha256"),
        (lambda: FSSpecBackend("kept", "s3://b", acl=LINE_BREAK), ValueError, "canned ACL"),
        (lambda: FSSpecBackend("kept", "gs://b", encryption=Encryption("gcp:kms")), ValueError, "needs a key"),
    ],
)
def test_values_that_make_no_sense_are_refused(make: Any, kind: type[Exception], named: str) -> None:
    with pytest.raises(kind, match=named):
        make()


@pytest.mark.parametrize(
    ("make", "request_"),
    [
        (lambda: ObstoreBackend("kept", "s3://bucket", **S3), SignRequest("GET", 60, cache_control=CACHE)),
        (lambda: MemoryBackend("kept", base_url="/files", secret=SECRET), SignRequest("PUT", 60, cache_control=CACHE)),
    ],
)
def test_a_cache_control_is_bound_where_it_is_answered(make: Any, request_: SignRequest) -> None:
    with pytest.raises(UnsupportedOperationError, match="Cache-Control"):
        make().sign("a.png", request_)
    with pytest.raises(InvalidOptionError, match="Cache-Control"):
        MemoryBackend("kept", base_url="/files", secret=SECRET).sign("a", SignRequest("GET", 60, cache_control=LINE_BREAK))


def test_kms_needs_no_key() -> None:
    store = ObstoreBackend("kept", "s3://bucket", **S3, encryption="aws:kms").store
    assert store.config["server_side_encryption"] == "aws:kms"


def test_options_for_a_ready_store_get_an_error_that_says_where() -> None:
    from obstore.store import MemoryStore
    from s3fs import S3FileSystem

    with pytest.raises(TypeError, match="s3_additional_kwargs"):
        FSSpecBackend("kept", S3FileSystem(anon=True), prefix="bucket", acl="private")
    with pytest.raises(TypeError, match="aws_server_side_encryption"):
        ObstoreBackend("kept", MemoryStore(), encryption="AES256")


# -- what the application answers with -------------------------------------------------------------------------------------


def test_application_sends_the_column_s_cache_control(tmp_path: Path) -> None:
    backend = LocalBackend("direct", tmp_path / "root", fsync=False, base_url="/files", secret=SECRET)
    storages.register_backend(backend)
    model = Model(StoredWith(cache_control=CACHE))
    with Session(model.engine) as session:
        session.add(model.Scan(file=FileObject(content=PNG), plain=FileObject(content=PNG), pages=[FileObject(content=PNG)]))
        session.commit()
        scan = session.scalars(select(model.Scan)).one()
        for file, expected in ((scan.file, CACHE), (scan.pages[0], CACHE), (scan.plain, "private, no-cache")):
            assert dict(serve(file).headers)["cache-control"] == expected
            assert dict(serve(pickle.loads(pickle.dumps(file))).headers)["cache-control"] == expected
            assert dict(serve(file, cache_control="no-store").headers)["cache-control"] == "no-store"
        urls = [scan.file.sign(), *storages.sign_many([scan.file, scan.plain])]
        answers = []
        for url in urls:
            path, _, query = url.removeprefix("/files/direct/").partition("?")
            answers.append(dict(answer("GET", "direct", path, query).headers)["cache-control"])
        assert answers[:2] == [CACHE, CACHE]
        assert answers[2].startswith("private, max-age=")
        forged = urls[0].replace("max-age%3D31536000", "max-age%3D1")
        assert forged != urls[0]
        path, _, query = forged.removeprefix("/files/direct/").partition("?")
        assert answer("GET", "direct", path, query).status == 403
    model.engine.dispose()
