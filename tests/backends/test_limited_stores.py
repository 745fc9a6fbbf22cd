"""Backends on S3-compatible stores that can do less than Amazon's: everything works, or refuses before anything is lost."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from filerow import StorageBackend
from filerow.backends.base import PutOptions
from filerow.backends.fsspec import FSSpecBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.exceptions import (
    ObjectExistsError,
    ObjectHiddenError,
    ObjectNotFoundError,
    StorageError,
    StoragePermissionError,
    UnsupportedOperationError,
)
from tests.backends.stores import QUICK, s3_options, s3fs_options
from tests.servers._s3 import S3Server
from tests.servers.limited_s3 import (
    ANSWERS_400,
    ANSWERS_501,
    IGNORES_CONDITIONS,
    IGNORES_ON_COPIES,
    IGNORES_ON_UPLOADS,
    LIMITED,
    NO_BULK_DELETE,
    NO_BULK_DELETE_501,
    NO_LISTING,
    LimitedS3,
    Limits,
)

pytestmark = [pytest.mark.one_in(3), pytest.mark.servers]

MIB = 1 << 20
OVERWRITE = PutOptions(create_only=False)
WITHOUT_CONDITIONS = {"ignored": IGNORES_CONDITIONS, "501": ANSWERS_501, "400": ANSWERS_400}

Make = Callable[..., tuple[StorageBackend, LimitedS3]]


class Side:
    """One of the two forms that every method has."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, backend: StorageBackend, method: str, *args: Any, **options: Any) -> Any:
        if self.name == "sync":
            return getattr(backend, method)(*args, **options)

        async def awaited() -> Any:
            return await getattr(backend, f"{method}_async")(*args, **options)

        return asyncio.run(awaited())


@pytest.fixture(params=["sync", "async"])
def side(request: pytest.FixtureRequest) -> Side:
    return Side(request.param)


@pytest.fixture(params=["obstore", pytest.param("s3fs", marks=pytest.mark.thorough)])
def make(request: pytest.FixtureRequest, s3_server: S3Server) -> Iterator[Make]:
    """Makes a backend on a store with limits, in a folder of its own that must be empty of probes at the end."""
    made: list[LimitedS3] = []
    folder = uuid.uuid4().hex

    def call(limits: Limits, **options: Any) -> tuple[StorageBackend, LimitedS3]:
        limited = LimitedS3(s3_server, limits)
        made.append(limited)
        url = f"s3://{s3_server.shared_bucket}/{folder}"
        if request.param == "s3fs":
            return FSSpecBackend("docs", url, **{**s3fs_options(limited.server), "skip_instance_cache": True, **options}), limited
        default = {name: value for name, value in s3_options(limited.server).items() if name != "retry_config"}
        return ObstoreBackend("docs", url, **{**default, **options}), limited

    yield call
    left = {key.removeprefix(f"{folder}/") for key in s3_server.keys(s3_server.shared_bucket, f"{folder}/")}
    for limited in made:
        limited.stop()
    assert not [key for key in left if key.startswith("staged/")], "a probe was left behind"


on_obstore = pytest.mark.parametrize("make", ["obstore"], indirect=True)


# -- paths that nobody else can have -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(LIMITED))
def test_a_fresh_path_needs_no_condition(make: Make, side: Side, name: str) -> None:
    backend, limited = make(LIMITED[name])
    side(backend, "put", "a", b"first", OVERWRITE)
    copied = side(backend, "copy", "a", "b", create_only=False)
    assert (copied.path, copied.size) == ("b", 5)
    assert backend.read("b") == b"first"
    assert not [asked for asked in limited.asked if asked.conditional]


def test_a_copy_to_a_fresh_path_is_one_request_and_a_look(make: Make, side: Side) -> None:
    backend, limited = make(Limits())
    side(backend, "put", "a", b"first", OVERWRITE)
    before = len(limited.asked)
    side(backend, "copy", "a", "b", create_only=False)
    assert [asked.kind or asked.method for asked in limited.asked[before:] if asked.kind] == ["copy"]
    with pytest.raises(ObjectNotFoundError):
        side(backend, "copy", "missing", "c", create_only=False)
    assert not backend.exists("c")


# -- paths that somebody chose -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", WITHOUT_CONDITIONS.values(), ids=WITHOUT_CONDITIONS)
def test_a_chosen_path_is_refused_where_nothing_keeps_it(make: Make, side: Side, limits: Limits) -> None:
    backend, _ = make(limits)
    backend.put("source", b"source", OVERWRITE)
    backend.put("taken", b"first", OVERWRITE)

    def chunks() -> Iterator[bytes]:
        pulled.append(True)
        yield b"second"

    pulled: list[bool] = []
    for path in ("taken", "free"):
        for content in (b"second", chunks()):
            with pytest.raises(UnsupportedOperationError, match="conditional_put") as caught:
                side(backend, "put", path, content)
            assert (caught.value.operation, caught.value.backend, caught.value.path) == ("put", "docs", path)
        with pytest.raises((UnsupportedOperationError, ObjectExistsError)) as copied:  # some look first
            side(backend, "copy", "source", path)
        assert isinstance(copied.value, UnsupportedOperationError) or path == "taken"
    assert not pulled, "content was taken for a write that is refused"
    assert backend.read("taken") == b"first"
    assert not backend.exists("free")
    assert "create-only" in side(backend, "limits")


@pytest.mark.parametrize("limits", WITHOUT_CONDITIONS.values(), ids=WITHOUT_CONDITIONS)
def test_a_store_is_asked_once_what_conditions_are_worth(make: Make, limits: Limits) -> None:
    backend, limited = make(limits)
    backend.put("source", b"source", OVERWRITE)
    for attempt in range(3):
        with pytest.raises(UnsupportedOperationError):
            backend.put(f"{attempt}", b"x")
        with pytest.raises(UnsupportedOperationError):
            backend.copy("source", f"{attempt}")
        if not attempt:
            before = len(limited.asked)
    assert limited.asked[before:] == [] or {asked.kind for asked in limited.asked[before:]} <= {""}
    assert sum(asked.conditional for asked in limited.asked) <= 3
    assert not [asked for asked in limited.asked if asked.conditional and "/staged/" not in asked.path]


@pytest.mark.parametrize("limits", WITHOUT_CONDITIONS.values(), ids=WITHOUT_CONDITIONS)
def test_conditions_that_are_switched_off_leave_a_look(make: Make, side: Side, limits: Limits) -> None:
    options = {"aws_conditional_put": "disabled"}
    backend, limited = make(limits, **options) if _is_obstore(make, limits) else make(limits, conditional_put="disabled")
    assert not backend.capabilities.exclusive
    side(backend, "put", "a", b"first")
    side(backend, "put", "large", iter([bytes(MIB)] * 7))
    side(backend, "copy", "a", "b")
    for path in ("a", "b", "large"):
        with pytest.raises(ObjectExistsError):
            side(backend, "put", path, b"second")
        with pytest.raises(ObjectExistsError):
            side(backend, "put", path, iter([bytes(MIB)] * 7))
        with pytest.raises(ObjectExistsError):
            side(backend, "copy", "a", path)
    assert backend.read("a") == backend.read("b") == b"first"
    assert not [asked for asked in limited.asked if asked.conditional]
    assert "create-only" in side(backend, "limits")


def _is_obstore(make: Make, limits: Limits) -> bool:
    return isinstance(make(limits)[0], ObstoreBackend)


@pytest.mark.parametrize("limits", [IGNORES_ON_COPIES, IGNORES_ON_UPLOADS, Limits()], ids=["uploads", "copies", "both"])
@on_obstore
def test_either_condition_is_enough_to_keep_a_path(make: Make, side: Side, limits: Limits) -> None:
    backend, _ = make(limits)
    side(backend, "put", "a", b"first")
    side(backend, "put", "large", iter([bytes(MIB)] * 7), PutOptions(content_type="image/png"))
    assert backend.head("large").content_type == "image/png"
    side(backend, "copy", "a", "b")
    for path in ("a", "b", "large"):
        with pytest.raises(ObjectExistsError):
            side(backend, "put", path, b"second")
        with pytest.raises(ObjectExistsError):
            side(backend, "put", path, iter([bytes(MIB)] * 7))
        with pytest.raises(ObjectExistsError):
            side(backend, "copy", "a", path)
    assert backend.read("a") == backend.read("b") == b"first"
    assert "create-only" not in side(backend, "limits")
    assert sorted(info.path for info in backend.list()) == ["a", "b", "large"]


@on_obstore
def test_failing_store_is_not_one_without_conditions(make: Make, side: Side) -> None:
    backend, limited = make(Limits(denied=frozenset({"s3:PutObject"})))
    with pytest.raises(StoragePermissionError):
        side(backend, "put", "a", b"x")
    limited.limits = Limits()
    side(backend, "put", "a", b"x")
    with pytest.raises(ObjectExistsError):
        side(backend, "put", "a", b"y")


@on_obstore
def test_a_busy_store_is_asked_again_what_conditions_are_worth(make: Make, side: Side) -> None:
    backend, limited = make(Limits(refused={"put": 503, "copy": 503}))
    limited.refuses_at_most = 2
    side(backend, "put", "a", b"x")
    limited.refuses_at_most = 4
    side(backend, "copy", "a", "b")
    for method, args in (("put", ("b", b"y")), ("copy", ("a", "b"))):
        with pytest.raises(ObjectExistsError):
            side(backend, method, *args)


@pytest.mark.parametrize("make", ["s3fs"], indirect=True)
def test_s3fs_refuses_and_copies_as_well(make: Make) -> None:
    backend, limited = make(IGNORES_CONDITIONS)
    backend.put("a", b"first", OVERWRITE)
    backend.copy("a", "b", create_only=False)
    for call in (lambda: backend.put("c", b"second"), lambda: backend.copy("a", "c")):
        with pytest.raises(UnsupportedOperationError, match="conditional_put"):
            call()
    limited.limits = NO_BULK_DELETE
    assert backend.delete(["a", "b", "missing"]) == {}
    limited.limits = NO_LISTING
    with pytest.raises(ObjectHiddenError):
        backend.head("a")


# -- deletes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [NO_BULK_DELETE, NO_BULK_DELETE_501], ids=["400", "501"])
def test_a_store_without_bulk_deletes_is_asked_one_by_one(
    make: Make, side: Side, limits: Limits, caplog: pytest.LogCaptureFixture
) -> None:
    backend, limited = make(limits)
    paths = [f"{number}" for number in range(12)]
    for path in paths:
        backend.put(path, b"x", OVERWRITE)
    with caplog.at_level(logging.WARNING, "filerow"):
        assert side(backend, "delete", [*paths[:6], "missing"]) == {}
        first = limited.count("bulk-delete")
        assert side(backend, "delete", [*paths[6:], "missing"]) == {}
        assert side(backend, "delete", "missing") == {}
    assert limited.count("bulk-delete") == first
    assert first <= 1 or not isinstance(backend, ObstoreBackend)
    assert list(backend.list()) == []
    logged = [record.getMessage() for record in caplog.records if "DeleteObjects" in record.getMessage()]
    assert len(logged) == 1
    assert "docs" in logged[0]
    assert "bulk-delete" in side(backend, "limits")


@on_obstore
def test_one_by_one_is_side_by_side(make: Make, side: Side) -> None:
    backend, limited = make(NO_BULK_DELETE_501)
    paths = [f"{number}" for number in range(30)]
    for path in paths:
        backend.put(path, b"x", OVERWRITE)
    backend.delete("missing")
    assert side(backend, "delete", paths) == {}
    assert limited.most_at_once > 1
    assert list(backend.list()) == []


@on_obstore
def test_deletes_one_by_one_report_each_failure(make: Make, side: Side) -> None:
    backend, limited = make(NO_BULK_DELETE_501)
    for path in ("a", "b"):
        backend.put(path, b"x", OVERWRITE)
    assert backend.delete("missing") == {}
    limited.limits = Limits(bulk_delete=501, denied=frozenset({"s3:DeleteObject"}))
    failed = side(backend, "delete", ["a", "b"])
    assert {path: type(error) for path, error in failed.items()} == {"a": StoragePermissionError, "b": StoragePermissionError}
    limited.limits = NO_BULK_DELETE_501
    assert side(backend, "delete", ["a", "b"]) == {}


@on_obstore
def test_failing_bulk_delete_does_not_mean_there_is_none(make: Make, side: Side) -> None:
    backend, limited = make(Limits(bulk_delete=503), retry_config=QUICK)
    backend.put("a", b"x", OVERWRITE)
    assert list(side(backend, "delete", ["a"])) == ["a"]
    assert limited.count("bulk-delete") == sum(asked.action == "s3:DeleteObject" for asked in limited.asked)
    limited.limits = Limits()
    assert side(backend, "delete", ["a"]) == {}
    assert "bulk-delete" not in side(backend, "limits")


@on_obstore
def test_a_large_create_only_stream_outlives_a_failing_clean_up(make: Make, side: Side) -> None:
    backend, limited = make(Limits(), retry_config={"max_retries": 0})
    backend.put("source", b"x")
    backend.copy("source", "copy")
    backend.delete(["source", "copy"])
    limited.limits = Limits(bulk_delete=503)
    side(backend, "put", "large", iter([bytes(MIB)] * 7))
    assert backend.head("large").size == 7 * MIB
    limited.limits = Limits()
    [left] = [info.path for info in backend.list() if info.path != "large"]
    assert backend.delete(left) == {}


# -- permissions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["read", "head", "copy"])
def test_without_listing_what_is_missing_may_be_forbidden(make: Make, side: Side, operation: str) -> None:
    backend, _ = make(NO_LISTING)
    args = ("missing", "target") if operation == "copy" else ("missing",)
    with pytest.raises(ObjectHiddenError, match=r"missing.*s3:ListBucket|s3:ListBucket.*missing") as caught:
        side(backend, operation, *args)
    assert isinstance(caught.value, StoragePermissionError)
    assert not isinstance(caught.value, ObjectNotFoundError)
    assert (caught.value.operation, caught.value.path) == (operation, "missing")


def test_with_listing_what_is_forbidden_is_forbidden(make: Make, side: Side) -> None:
    backend, _ = make(Limits(denied=frozenset({"s3:GetObject"})))
    backend.put("a", b"x", OVERWRITE)
    with pytest.raises(StoragePermissionError) as caught:
        side(backend, "read", "a")
    assert not isinstance(caught.value, ObjectHiddenError)


def test_a_listing_that_is_forbidden_is_a_permission_error(make: Make) -> None:
    backend, _ = make(NO_LISTING)
    with pytest.raises(StoragePermissionError):
        list(backend.list())


def test_a_wrong_key_is_not_taken_for_a_missing_object(make: Make, side: Side) -> None:
    backend, _ = make(Limits())
    wrong: dict[str, Any] = {"aws_secret_access_key": "wrong"}
    if isinstance(backend, FSSpecBackend):
        wrong = {"storage_options": {"key": backend.fs.key, "secret": "wrong"}}
    stranger, _ = make(Limits(), **wrong)
    with pytest.raises(StorageError) as caught:
        side(stranger, "head", "missing")
    assert not isinstance(caught.value, (ObjectHiddenError, ObjectNotFoundError))


# -- buckets that keep versions ----------------------------------------------------------------------------------------


@pytest.fixture
def versioned(s3_server: S3Server) -> Iterator[str]:
    """A bucket that keeps versions."""
    bucket = s3_server.make_bucket()
    s3_server.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    yield bucket
    found = s3_server.client.list_object_versions(Bucket=bucket)
    for one in [*found.get("Versions", []), *found.get("DeleteMarkers", [])]:
        s3_server.client.delete_object(Bucket=bucket, Key=one["Key"], VersionId=one["VersionId"])


def sizes(server: S3Server, bucket: str) -> list[int]:
    return sorted(one["Size"] for one in server.client.list_object_versions(Bucket=bucket).get("Versions", []))


def test_a_large_create_only_stream_leaves_one_version(s3_server: S3Server, versioned: str, side: Side) -> None:
    backend = ObstoreBackend("docs", f"s3://{versioned}", **s3_options(s3_server))
    side(backend, "put", "large", iter([bytes(MIB)] * 7))
    assert [size for size in sizes(s3_server, versioned) if size > MIB] == [7 * MIB]
    assert "versions" in side(backend, "limits")


def test_a_version_may_go_for_good(s3_server: S3Server, versioned: str, side: Side) -> None:
    backend = ObstoreBackend("docs", f"s3://{versioned}", **s3_options(s3_server))
    for path in ("kept", "purged"):
        backend.put(path, b"bytes", OVERWRITE)
    assert side(backend, "delete", "kept") == {}
    version = backend.head("purged").version_id
    assert side(backend, "purge", {"purged": version, "missing": None}) == {}
    assert side(backend, "purge", {"purged": version}) == {}
    assert not backend.exists("purged")
    assert sizes(s3_server, versioned) == [5]


def test_a_version_that_may_not_go_is_deleted(s3_server: S3Server, versioned: str, side: Side) -> None:
    with LimitedS3(s3_server, Limits(denied=frozenset({"s3:DeleteObjectVersion"}))) as limited:
        backend = ObstoreBackend("docs", f"s3://{versioned}", **s3_options(limited.server))
        backend.put("a", b"bytes", OVERWRITE)
        assert side(backend, "purge", {"a": backend.head("a").version_id}) == {}
        assert not backend.exists("a")
        assert limited.count("s3:DeleteObjectVersion") == 1
    assert sizes(s3_server, versioned) == [5]
