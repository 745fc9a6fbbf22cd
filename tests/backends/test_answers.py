"""What stores and their proxies answer besides success: each answer becomes the right error, none a success."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, create_engine, select
from sqlalchemy.orm import Session, registry

from filerow import FileObject, StorageBackend, StoredObject, storages
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
from filerow.outbox import Outbox
from tests.backends.stores import s3_options, s3fs_options
from tests.servers._s3 import S3Server
from tests.servers.limited_s3 import Answer, Asked, LimitedS3, Limits

pytestmark = [pytest.mark.one_in(3), pytest.mark.servers]

OVERWRITE = PutOptions(create_only=False)
PAGE = "<!DOCTYPE html>\n<html>\n<head><title>Bad Gateway</title></head>\n<body>\n" + "<p>nginx</p>\n" * 500 + "</body></html>"
HTML = {"Content-Type": "text/html"}

Store = tuple[StorageBackend, LimitedS3]


@pytest.fixture(params=["obstore", "s3fs"])
def store(request: pytest.FixtureRequest, s3_server: S3Server) -> Iterator[Store]:
    """A backend with the objects ``a`` and ``b``, and the proxy before it."""
    with LimitedS3(s3_server, Limits()) as proxy:
        url = f"s3://{s3_server.shared_bucket}/{uuid.uuid4().hex}"
        backend: StorageBackend
        if request.param == "s3fs":
            backend = FSSpecBackend("docs", url, **s3fs_options(proxy.server), skip_instance_cache=True)
        else:
            backend = ObstoreBackend("docs", url, **s3_options(proxy.server))
        for path in ("a", "b"):
            backend.put(path, b"first", OVERWRITE)
        proxy.asked.clear()
        yield backend, proxy


def to_kind(kind: str, answer: Answer) -> Callable[[Asked], Answer | None]:
    return lambda asked: answer if asked.kind == kind else None


def for_each_key(element: str) -> Callable[[bytes], str]:
    """Return what makes an answer to a bulk delete that says the same of each object."""

    def body(asked: bytes) -> str:
        keys = re.findall(rb"<Key>([^<]*)</Key>", asked)
        return f"<DeleteResult>{''.join(element.format(key=key.decode()) for key in keys)}</DeleteResult>"

    return body


def refused_with(code: str) -> Answer:
    return Answer(200, for_each_key(f"<Error><Key>{{key}}</Key><Code>{code}</Code><Message>no</Message></Error>"))


# -- deletes: nothing counts as deleted that is there ------------------------------------------------------------------


@pytest.mark.parametrize(("code", "kind"), [("AccessDenied", StoragePermissionError), ("SlowDown", StorageError)])
def test_object_that_a_bulk_delete_leaves_is_not_deleted(store: Store, code: str, kind: type[StorageError]) -> None:
    backend, proxy = store
    proxy.script = to_kind("bulk-delete", refused_with(code))
    failed = backend.delete(["a", "b"])
    assert {path: type(error) for path, error in failed.items()} == {"a": kind, "b": kind}
    assert all(code in error.message for error in failed.values())
    assert backend.exists("a")


def test_locked_object_does_not_keep_others_from_being_deleted(store: Store) -> None:
    backend, proxy = store
    locked = "<DeleteResult><Error><Key>{}</Key><Code>AccessDenied</Code><Message>locked</Message></Error>{}</DeleteResult>"

    def body(asked: bytes) -> str:
        keys = [key.decode() for key in re.findall(rb"<Key>([^<]*)</Key>", asked)]
        held = next((key for key in keys if key.endswith("/a")), None)
        done = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys if key != held)
        return f"<DeleteResult>{done}</DeleteResult>" if held is None else locked.format(held, done)

    proxy.script = to_kind("bulk-delete", Answer(200, body))
    assert list(backend.delete(["a", "b"])) == ["a"]


def test_missing_object_in_a_bulk_delete_counts_as_deleted(store: Store) -> None:
    backend, proxy = store
    proxy.script = to_kind("bulk-delete", refused_with("NoSuchKey"))
    assert backend.delete(["missing", "gone"]) == {}
    assert backend.delete(["missing"]) == {}


@pytest.mark.parametrize(
    "answer",
    [
        Answer.error(400, "InvalidRequest", "Missing required header for this request: Content-MD5"),
        Answer.error(403, "AccessDenied"),
        Answer.error(404, "NoSuchKey"),
        Answer.error(405, "MethodNotAllowed"),
        Answer.error(409, "OperationAborted"),
        Answer.error(411, "MissingContentLength"),
        Answer.error(412, "PreconditionFailed"),
        Answer.error(413, "EntityTooLarge"),
        Answer(200, ""),
        Answer(200, "<DeleteResult/>"),
        Answer(200, PAGE, HTML),
        Answer(204),
    ],
    ids=lambda answer: f"{answer.status}-{len(answer.body)}",
)
def test_store_that_misreads_bulk_deletes_is_asked_one_by_one(store: Store, answer: Answer) -> None:
    backend, proxy = store
    proxy.script = to_kind("bulk-delete", answer)
    assert backend.delete(["a", "b", "missing"]) == {}
    assert not backend.exists("a")
    assert not backend.exists("b")


@pytest.mark.parametrize("status", [403, 405, 501])
def test_refused_deletes_do_not_count_as_missing_bulk_deletes(
    store: Store, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    backend, proxy = store
    proxy.script = lambda asked: Answer.error(status, "NotNow") if asked.action == "s3:DeleteObject" else None
    assert set(backend.delete(["a", "b"])) == {"a", "b"}
    assert proxy.count("s3:DeleteObject") <= 6
    assert not [record for record in caplog.records if "DeleteObjects" in record.getMessage() and record.levelname == "WARNING"]
    proxy.script = lambda _: None
    assert backend.delete(["a", "b"]) == {}
    assert "bulk-delete" not in backend.limits()


def test_too_large_a_bulk_delete_is_sent_in_smaller_ones(s3_server: S3Server) -> None:
    with LimitedS3(s3_server, Limits()) as proxy:
        url = f"s3://{s3_server.shared_bucket}/{uuid.uuid4().hex}"
        backend = ObstoreBackend("docs", url, **s3_options(proxy.server))
        paths = [f"{number}" for number in range(10)]
        for path in paths:
            backend.put(path, b"x", OVERWRITE)
        too_large = [Answer.error(413, "EntityTooLarge")] * 2
        proxy.script = lambda asked: too_large.pop() if asked.kind == "bulk-delete" and too_large else None
        assert backend.delete(paths) == {}
        assert list(backend.list()) == []
        assert proxy.count("bulk-delete") == 2 + 5
        assert "bulk-delete" not in backend.limits()


@pytest.mark.parametrize("count", [1, 2])
def test_delete_in_a_bucket_that_is_missing_fails(store: Store, count: int) -> None:
    backend, proxy = store
    proxy.script = lambda _: Answer.error(404, "NoSuchBucket", "The specified bucket does not exist")
    paths = ["a", "b"][:count]
    assert list(backend.delete(paths)) == paths


# -- writes: what is said to be written is looked at -------------------------------------------------------------------


def test_missing_copy_is_not_a_missing_source(store: Store) -> None:
    backend, proxy = store
    proxy.script = to_kind("copy", Answer(200, ""))
    with pytest.raises(StorageError, match="says that it has written") as caught:
        backend.copy("a", "c", create_only=False)
    assert type(caught.value) is StorageError  # so what may be there is removed
    assert caught.value.path == "c"


@pytest.mark.parametrize("code", ["InternalError", "SlowDown"])
@pytest.mark.parametrize(("kind", "size"), [("copy", 1), ("complete", 7 << 20)])
def test_success_with_an_error_in_its_body_is_an_error(store: Store, kind: str, size: int, code: str) -> None:
    backend, proxy = store
    proxy.script = to_kind(kind, Answer(200, f"<Error><Code>{code}</Code><Message>no</Message></Error>"))
    with pytest.raises(StorageError, match=rf"busy.*{code}"):
        if kind == "copy":
            backend.copy("a", "c", create_only=False)
        else:
            backend.put("c", iter([bytes(1 << 20)] * (size >> 20)), OVERWRITE)


WRITES = ("put", "copy", "complete")
ALWAYS = {
    "304": Answer(304),
    "403": Answer.error(403, "AccessDenied"),
    "405": Answer.error(405, "MethodNotAllowed"),
    "409": Answer.error(409, "Conflict"),
    "412": Answer.error(412, "PreconditionFailed"),
    "422": Answer.error(422, "Unprocessable"),
}


@pytest.mark.parametrize("answer", ALWAYS.values(), ids=ALWAYS)
def test_chosen_paths_are_refused_where_conditions_are_vague(store: Store, answer: Answer) -> None:
    backend, proxy = store
    proxy.script = lambda asked: answer if asked.conditional and asked.kind in WRITES else None
    with pytest.raises(UnsupportedOperationError, match="conditional_put"):
        backend.put("free", b"x")
    with pytest.raises(UnsupportedOperationError, match="conditional_put"):
        backend.copy("a", "free")
    assert "create-only" in backend.limits()
    backend.copy("a", "c", create_only=False)


@pytest.mark.parametrize("answer", ALWAYS.values(), ids=ALWAYS)
def test_targets_are_reserved_where_copy_conditions_are_vague(store: Store, answer: Answer) -> None:
    backend, proxy = store
    proxy.script = lambda asked: answer if asked.conditional and asked.kind == "copy" else None
    assert backend.copy("a", "free").size == 5
    with pytest.raises(ObjectExistsError):
        backend.copy("a", "b")
    assert "create-only" not in backend.limits()


def test_conditional_write_with_a_lost_answer_is_not_a_refusal(store: Store) -> None:
    backend, proxy = store
    lost = [Answer.error(412, "PreconditionFailed")]
    proxy.script = lambda asked: lost.pop() if asked.conditional and lost else None
    backend.put("free", b"x")
    with pytest.raises(ObjectExistsError):
        backend.put("free", b"y")


# -- reads: no bytes of another place ----------------------------------------------------------------------------------


def test_answer_to_a_range_that_is_the_whole_object_is_refused(store: Store) -> None:
    backend, proxy = store
    proxy.script = lambda asked: Answer(200, "first") if (asked.method, asked.action) == ("GET", "s3:GetObject") else None
    with pytest.raises(StorageError, match="range"):
        backend.read("a", 1, 3)
    with pytest.raises(StorageError, match="range"):
        list(backend.stream("a", 1, 3))


# -- messages -----------------------------------------------------------------------------------------------------------


CALLS: dict[str, Callable[[StorageBackend], Any]] = {
    "put": lambda backend: backend.put("c", b"x", OVERWRITE),
    "read": lambda backend: backend.read("a"),
    "copy": lambda backend: backend.copy("a", "c", create_only=False),
    "list": lambda backend: list(backend.list()),
    "limits": lambda backend: backend.limits(),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (Answer.error(400, "ExpiredToken", "The provided token has expired."), StoragePermissionError, "credential_provider="),
        (Answer.error(403, "RequestTimeTooSkewed"), StoragePermissionError, "NTP"),
        (Answer.error(301, "PermanentRedirect", **{"x-amz-bucket-region": "eu-west-1"}), StorageError, "region"),
        (Answer.error(503, "SlowDown"), StorageError, "busy"),
        (Answer(502, PAGE, HTML), StorageError, "busy"),
        (Answer.error(507, "XMinioStorageFull"), StorageError, "full"),
    ],
    ids=lambda value: getattr(value, "status", None) and str(value.status),
)
def test_answer_becomes_an_error_with_a_remedy(
    store: Store, call: str, answer: Answer, kind: type[StorageError], said: str
) -> None:
    backend, proxy = store
    proxy.script = lambda _: answer
    with pytest.raises(StorageError) as caught:
        CALLS[call](backend)
    text = str(caught.value)
    # the answer to a HEAD, with which s3fs begins many a call, has no code
    coded = answer.status in {301, 502, 503, 507} or isinstance(backend, ObstoreBackend) or call in {"put", "limits"}
    assert not coded or (type(caught.value) is kind and said in text), text
    assert not isinstance(caught.value, (ObjectNotFoundError, ObjectHiddenError))
    assert "\n" not in text
    assert len(text) < 1_500
    assert "nginx" not in text


def test_archived_object_is_neither_forbidden_nor_hidden(store: Store) -> None:
    backend, proxy = store
    archived = Answer.error(403, "InvalidObjectState", "The operation is not valid for the object's storage class")
    listing = Answer.error(403, "AccessDenied")

    def script(asked: Asked) -> Answer | None:
        if asked.action == "s3:ListBucket":
            return listing
        return archived if asked.kind == "copy" or (asked.action, asked.method) == ("s3:GetObject", "GET") else None

    proxy.script = script
    for call in (lambda: backend.read("a"), lambda: backend.copy("a", "c", create_only=False)):
        with pytest.raises(StorageError, match="restore it") as caught:
            call()
        assert type(caught.value) is StorageError


def test_answer_of_another_server_is_not_shown_whole(store: Store) -> None:
    backend, proxy = store
    secret = "<StringToSign>AWS4-HMAC-SHA256 …</StringToSign><AWSAccessKeyId>AKIA</AWSAccessKeyId>"
    text = f"<Error><Code>SignatureDoesNotMatch</Code>{secret}<Message>no</Message></Error>"
    proxy.script = lambda _: Answer(403, text)
    with pytest.raises(StoragePermissionError) as caught:
        backend.put("c", b"x", OVERWRITE)
    assert "SignatureDoesNotMatch" in str(caught.value)
    assert "AKIA" not in str(caught.value)


@pytest.mark.parametrize("drains", [False, True], ids=["session", "drain"])
def test_same_failure_of_many_objects_is_logged_once(store: Store, caplog: pytest.LogCaptureFixture, drains: bool) -> None:
    backend, proxy = store
    storages.register_backend(backend)
    metadata = MetaData()
    outbox = Outbox(metadata, retention=timedelta(0)) if drains else None
    table = Table("paper", metadata, Column("id", Integer, primary_key=True), Column("file", StoredObject("docs")))
    paper = type("Paper", (), {})
    registry().map_imperatively(paper, table)
    engine = create_engine("sqlite://")
    metadata.create_all(engine)

    def script(asked: Asked) -> Answer | None:
        if asked.kind == "bulk-delete":
            return refused_with("AccessDenied")
        return Answer.error(403, "AccessDenied") if asked.action == "s3:DeleteObject" else None

    with Session(engine) as session:
        for _ in range(20):
            one = paper()
            one.file = FileObject(content=b"x")
            session.add(one)
        session.commit()
        proxy.script = script
        for one in session.scalars(select(paper)):
            session.delete(one)
        session.commit()
    if outbox is not None:
        outbox.drain(engine, take_over=True)
    [line] = [record.getMessage() for record in caplog.records if record.name == "filerow"]
    assert "20 objects" in line
    engine.dispose()
    storages.clear_backends()
