"""Our own route: what a signed URL allows, and nothing else."""

from __future__ import annotations

import json
import pickle
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filerow import FileObject, storages
from filerow.backends.base import SignRequest
from filerow.backends.local import LocalBackend
from filerow.backends.memory import MemoryBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.exceptions import (
    ClaimError,
    ContentError,
    ExpiredTokenError,
    FileTooLargeError,
    FileValidationError,
    ImageDimensionsError,
    InvalidOptionError,
    InvalidTokenError,
    ObjectExistsError,
    ObjectHiddenError,
    ObjectNotFoundError,
    StorageError,
    StoragePermissionError,
    StorageTimeoutError,
    UntrustedDocumentError,
)
from filerow.http import Reply, answer, answer_async, problem, receive, receive_async
from tests.http.conftest import SECRET, arriving, parts, read

EXPLAINED = (Path(__file__).parents[2] / "docs" / "problems.md").read_text()
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


def link(backend: Any, method: Any = "GET", path: str = "a/b.png", **bound: Any) -> tuple[str, str, str]:
    return parts(backend.sign(path, SignRequest(method, bound.pop("expires_in", 60), **bound)))


@pytest.fixture(params=["docs", "folder"])
def backend(request: pytest.FixtureRequest, folder: LocalBackend) -> Any:
    return storages.get_backend(request.param)


# -- reading ---------------------------------------------------------------------------------------------------------------


async def test_a_link_is_answered_with_the_file(backend: Any) -> None:
    backend.put("a/b.png", PNG)
    url = link(backend)
    for reply in (answer("GET", *url), await answer_async("GET", *url)):
        assert (reply.status, read(reply)) == (200, PNG)
        assert reply.header("etag") == f'"{backend.head("a/b.png").etag}"'
        assert reply.header("cross-origin-resource-policy") == "cross-origin"
        assert reply.header("referrer-policy") == "no-referrer"
        kind, age, *_ = str(reply.header("cache-control")).split(", ")
        assert kind == "private"
        assert 55 <= int(age.removeprefix("max-age=")) <= 61  # as long as the link works
    head = await answer_async("HEAD", *url)
    assert (head.status, head.body, head.header("content-length")) == (200, b"", str(len(PNG)))
    assert answer("GET", *url, {"If-None-Match": str(head.header("etag"))}).status == 304
    dated = {"If-Range": str(head.header("last-modified")), "Range": "bytes=0-3"}
    assert read(answer("GET", *url, dated)) == PNG[:4]
    assert answer("GET", *url, cache_control="public").header("cache-control") == "public"


async def both(method: str, *url: str) -> int:
    reply, again = answer(method, *url), await answer_async(method, *url)
    assert reply.status == again.status
    return reply.status


async def test_a_changed_link_is_refused(backend: Any) -> None:
    backend.put("a/b.png", PNG)
    backend.put("a/c.png", PNG)
    key, path, query = link(backend, content_type="image/png", content_disposition="attachment")
    assert await both("GET", key, path, query) == 200
    for wrong in (
        (key, "a/c.png", query), ("folder" if key == "docs" else "docs", path, query), ("nobody", path, query), (key, path, ""),
        (key, path, query.replace("attachment", "inline")), (key, path, query.replace("image", "text")), (key, path, query + "x"),
        (key, path, query + "&method=GET"), (key, path, query.replace("type=", "kind=")),
        (key, path, query.partition("&type")[0]),
        (key, path, query.replace("expires=", "expires=9")), (key, path, query + "&x=1"), (key, "../a/b.png", query),
        (key, path, "\udcff"), (key, path + "\0", query), (key, "", query), ("", path, query),
    ):  # fmt: skip
        assert await both("GET", *wrong) == 403, wrong
    for method in ("PUT", "POST", "DELETE", "OPTIONS", "PATCH"):
        assert await both(method, key, path, query) == 405
    assert receive("PUT", key, path, query, {"content-length": "1"}, [b"x"]).status == 403
    assert backend.read("a/b.png") == PNG


async def test_an_expired_link_is_refused(backend: Any) -> None:
    backend.put("a/b.png", PNG)
    assert await both("GET", *link(backend, signed_at=1_000.0)) == 403


async def test_a_link_to_nothing_says_so(backend: Any) -> None:
    assert await both("GET", *link(backend, path="a/gone.png")) == 404
    assert await both("HEAD", *link(backend, path="a/gone.png")) == 404


async def test_a_link_to_upload_reads_nothing(backend: Any) -> None:
    backend.put("a/b.png", PNG)
    assert await both("GET", *link(backend, "PUT")) == 403
    assert await both("HEAD", *link(backend, "PUT")) == 403


def test_a_backend_with_links_of_its_own_has_none_of_ours() -> None:
    storages.register_backend(ObstoreBackend("other", "memory://"))
    assert answer("GET", "other", "a", "expires=99999999999&signature=x").status == 403


@given(st.text(), st.text(), st.text(), st.sampled_from(["GET", "HEAD", "PUT"]))
def test_no_url_breaks_the_route(key: str, path: str, query: str, method: str) -> None:
    storages.clear_backends()
    storages.register_backend(MemoryBackend("docs", base_url="/files", secret=SECRET))
    for name in (key, "docs"):
        assert answer("GET", name, path, query).status == 403
        assert receive("PUT", name, path, query, {}, []).status == 403


# -- uploading -------------------------------------------------------------------------------------------------------------


class Chunks:
    """A body that counts how many of its chunks were taken."""

    def __init__(self, *chunks: Any) -> None:
        self.left = list(chunks)
        self.taken = 0

    def __iter__(self) -> Iterator[bytes]:
        while self.left:
            self.taken += 1
            chunk = self.left.pop(0)
            if isinstance(chunk, BaseException):
                raise chunk
            yield chunk

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self:
            yield chunk


SENT = {"Content-Length": str(len(PNG)), "Content-Type": "image/png"}
PIECES = (PNG[:50], PNG[50:])


@pytest.fixture(params=["sync", "async"])
def upload(request: pytest.FixtureRequest) -> Any:
    async def call(url: tuple[str, str, str], headers: Any, body: Any, method: str = "PUT") -> Reply:
        if request.param == "sync":
            return receive(method, *url, headers, body)
        return await receive_async(method, *url, headers, body)

    return call


async def test_an_upload_is_stored_and_found(backend: Any, upload: Any) -> None:
    bound = {"content_type": "image/png", "content_length": len(PNG), "max_length": 1000}
    reply = await upload(link(backend, "PUT", **bound), SENT, Chunks(*PIECES))
    assert reply.status == 201
    assert reply.header("etag") == f'"{backend.head("a/b.png").etag}"' == answer("GET", *link(backend)).header("etag")
    assert backend.read("a/b.png") == PNG
    if backend.key == "docs":
        assert backend.head("a/b.png").content_type == "image/png"


@pytest.mark.parametrize("bound", [{}, {"max_length": 0}, {"content_length": 0}])
async def test_an_empty_upload_is_an_empty_file(backend: Any, upload: Any, bound: dict[str, int]) -> None:
    reply = await upload(link(backend, "PUT", **bound), {"content-length": "0"}, Chunks())
    assert (reply.status, backend.read("a/b.png")) == (201, b"")


async def test_chunks_need_no_length(backend: Any, upload: Any) -> None:
    chunked = {"Transfer-Encoding": "chunked", "Content-Type": "image/png"}
    assert (await upload(link(backend, "PUT", content_length=len(PNG)), chunked, Chunks(*PIECES))).status == 201
    assert backend.read("a/b.png") == PNG


TOO_MUCH = (PNG, b"more", b"than", b"that")
REFUSED: dict[str, tuple[dict[str, Any], dict[str, str], tuple[bytes, ...], int, int]] = {
    # what the link binds, what is sent, the body; the status, and how many chunks are read at most
    "another_type": ({"content_type": "image/jpeg"}, SENT, PIECES, 415, 0),
    "no_type": ({"content_type": "image/png"}, {"content-length": "108"}, PIECES, 415, 0),
    "a_type_with_more": ({"content_type": "image/png"}, {**SENT, "Content-Type": "image/png; x=y"}, PIECES, 415, 0),
    "compressed": ({}, {**SENT, "Content-Encoding": "gzip"}, PIECES, 415, 0),
    "a_part": ({}, {**SENT, "Content-Range": "bytes 0-107/500"}, PIECES, 400, 0),
    "no_length": ({}, {"Content-Type": "image/png"}, PIECES, 411, 0),
    "no_number": ({}, {**SENT, "Content-Length": "-1"}, PIECES, 400, 0),
    "two_lengths": ({}, {**SENT, "Content-Length": "108, 108"}, PIECES, 400, 0),
    "announced_too_long": ({"max_length": 107}, SENT, PIECES, 413, 0),
    "announced_longer": ({"content_length": 107}, SENT, PIECES, 413, 0),
    "announced_shorter": ({"content_length": 109}, SENT, PIECES, 400, 0),
    "longer_than_announced": ({}, SENT, TOO_MUCH, 413, 2),
    "shorter_than_announced": ({}, SENT, PIECES[:1], 400, 1),
    "chunks_too_long": ({"max_length": 110}, {"transfer-encoding": "chunked"}, TOO_MUCH, 413, 2),
    "chunks_too_long_for_exactly": ({"content_length": 108}, {"transfer-encoding": "chunked"}, TOO_MUCH, 413, 2),
    "chunks_too_long_for_one_limit": (
        {"content_length": 108, "max_length": 1000},
        {"transfer-encoding": "chunked"},
        TOO_MUCH,
        413,
        2,
    ),
    "chunks_too_short": ({"content_length": 110}, {"transfer-encoding": "chunked"}, PIECES, 400, 2),
    "expired": ({"signed_at": 1000.0}, SENT, PIECES, 403, 0),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
async def test_an_upload_that_is_not_what_was_signed_leaves_nothing(backend: Any, upload: Any, case: Any) -> None:
    bound, headers, body, status, read_at_most = case
    chunks = Chunks(*body)
    reply = await upload(link(backend, "PUT", **bound), headers, chunks)
    assert reply.status == status
    assert reply.header("content-type") == "application/problem+json"
    assert chunks.taken <= read_at_most
    assert not backend.exists("a/b.png")
    assert list(backend.list()) == []


CODES: dict[str, dict[str, object]] = {
    "another_type": {"code": "type-not-allowed", "limit": "image/jpeg", "actual": "image/png"},
    "compressed": {"code": "encoding-not-allowed", "limit": "identity", "actual": "gzip"},
    "a_part": {"code": "upload-refused"},
    "no_length": {"code": "length-missing"},
    "announced_longer": {"code": "file-too-large", "limit": 107, "actual": 108},
    "announced_shorter": {"code": "upload-differs", "limit": 109, "actual": 108},
    "shorter_than_announced": {"code": "upload-incomplete", "limit": 108, "actual": 50},
    "expired": {"code": "token-expired"},
}


@pytest.mark.parametrize("name", CODES)
async def test_a_refused_upload_says_limit_and_value(backend: Any, upload: Any, name: str) -> None:
    bound, headers, body, _, _ = REFUSED[name]
    document = json.loads(read(await upload(link(backend, "PUT", **bound), headers, Chunks(*body))))
    assert {key: document[key] for key in ("code", "limit", "actual") if key in document} == CODES[name]
    assert f"### {document['code']}\n" in EXPLAINED, "its type leads there"


async def test_of_a_client_s_header_little_is_repeated(backend: Any, upload: Any) -> None:
    for name, bound in (("Content-Encoding", {}), ("Content-Type", {"content_type": "image/png"})):
        reply = await upload(link(backend, "PUT", **bound), {**SENT, name: "x" * 50_000}, Chunks(PNG))
        assert (reply.status, len(read(reply)) < 1000) == (415, True)


async def test_nothing_is_overwritten(backend: Any, upload: Any) -> None:
    backend.put("a/b.png", b"first")
    url, chunks = link(backend, "PUT"), Chunks(PNG)
    assert (await upload(url, SENT, chunks)).status == 409
    assert (await upload(url, {**SENT, "If-None-Match": "*"}, chunks)).status == 412
    assert chunks.taken == 0
    assert backend.read("a/b.png") == b"first"


async def test_of_two_uploads_at_once_one_wins(backend: Any, upload: Any) -> None:
    url = link(backend, "PUT")

    class Rude(Chunks):
        def __iter__(self) -> Iterator[bytes]:
            yield PNG[:50]
            backend.put("a/b.png", b"the other one")
            yield PNG[50:]

    assert (await upload(url, SENT, Rude())).status == 409
    assert backend.read("a/b.png") == b"the other one"


async def test_a_lost_client_leaves_nothing(backend: Any, upload: Any) -> None:
    gone = ConnectionResetError("the client is gone")
    with pytest.raises(ConnectionResetError):
        await upload(link(backend, "PUT"), SENT, Chunks(PNG[:50], gone))
    assert list(backend.list()) == []


async def test_an_upload_is_by_put(backend: Any, upload: Any) -> None:
    chunks = Chunks(PNG)
    for method in ("POST", "GET", "PATCH", "DELETE"):
        reply = await upload(link(backend, "PUT"), SENT, chunks, method)
        assert (reply.status, reply.header("allow"), chunks.taken) == (405, "PUT", 0)
    for url in (link(backend), ("nobody", "a", ""), (backend.key, "a/c.png", link(backend, "PUT")[2])):
        assert (await upload(url, SENT, chunks)).status == 403
    assert chunks.taken == 0
    assert list(backend.list()) == []


async def test_an_asynchronous_body_may_be_any_iterable(backend: Any) -> None:
    assert (await receive_async("PUT", *link(backend, "PUT"), SENT, arriving(*PIECES))).status == 201


# -- errors ----------------------------------------------------------------------------------------------------------------

WHERE = {"operation": "read", "backend": "secret-backend", "path": "secret/path"}
PROBLEMS: list[tuple[Exception, int]] = [
    (FileTooLargeError("too large", field="file", limit=5, actual=6), 413),
    (FileValidationError("no"), 422),
    (InvalidTokenError("no"), 403),
    (ExpiredTokenError("no"), 403),
    (ClaimError("no"), 422),
    (UntrustedDocumentError("secret/path"), 422),
    (ObjectNotFoundError("secret/path", **WHERE), 404),
    (ObjectExistsError("secret/path", **WHERE), 409),
    (StoragePermissionError("secret key", **WHERE), 502),
    (ObjectHiddenError("secret key", **WHERE), 404),
    (StorageTimeoutError("secret host", **WHERE), 504),
    (StorageError("secret host", **WHERE), 503),
]


def test_a_hidden_object_is_a_404_that_the_log_explains(caplog: pytest.LogCaptureFixture) -> None:
    assert problem(ObjectHiddenError("missing, or s3:GetObject is", **WHERE)).status == 404
    [record] = caplog.records
    assert record.levelname == "ERROR"
    assert "secret/path" in record.getMessage()
    assert "s3:GetObject" in record.getMessage()


@pytest.mark.parametrize(("error", "status"), PROBLEMS, ids=lambda value: type(value).__name__)
def test_an_error_becomes_a_problem_document_without_secrets(error: Exception, status: int) -> None:
    reply = problem(error)
    assert reply.status == status
    assert reply.header("content-type") == "application/problem+json"
    assert reply.header("cache-control") == "no-store"
    body = read(reply)
    assert reply.header("content-length") == str(len(body))
    assert b"secret" not in body
    document = json.loads(body)
    assert document["type"] == f"https://filerow.readthedocs.io/problems#{document['code']}"
    assert f"### {document['code']}\n" in EXPLAINED, "its type leads there"
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]


def test_a_refused_file_says_field_limit_and_value() -> None:
    document = json.loads(read(problem(FileValidationError("no", field="photo", limit=("image/*",), actual="text/html"))))
    assert (document["field"], document["limit"], document["actual"]) == ("photo", ["image/*"], "text/html")
    document = json.loads(read(problem(FileTooLargeError("no", limit=0, actual=[b"x"]))))
    assert (document["limit"], document["actual"], "field" in document) == (0, ["b'x'"], False)
    assert (document["code"], document["rule"]) == ("file-too-large", "max_size")


def test_a_refusal_has_a_code_that_outlives_a_pickle() -> None:
    error = ImageDimensionsError("no", field="photo", limit=1, actual=2, rule="max_width")
    again = pickle.loads(pickle.dumps(error))
    assert (again.code, again.rule, again.field) == ("image-dimensions", "max_width", "photo")
    own = FileValidationError("no", code="contains-a-cat")
    assert json.loads(read(problem(pickle.loads(pickle.dumps(own)))))["code"] == "contains-a-cat"


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), InvalidOptionError("x"), ContentError("x")], ids=repr)
def test_errors_beyond_the_client_s_control_are_raised(error: BaseException) -> None:
    with pytest.raises(type(error)) as raised:
        problem(error)
    assert raised.value is error


def test_files_of_rows_and_links_have_tags_of_their_own() -> None:
    file = FileObject("docs", "a.png", content=PNG).save()
    assert answer("GET", *parts(file.sign())).header("etag") == f'"{file.etag}"'


async def test_a_backend_without_a_secret_answers_as_one_with(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A different answer would show which backends exist and which have no secret."""
    monkeypatch.delenv("FILEROW_SECRET", raising=False)
    storages.register_backend(MemoryBackend("bare", base_url="/files"))
    query = "expires=9999999999&signature=x"
    bodies = {json.dumps(json.loads(answer("GET", key, "a.txt", query).body)) for key in ("bare", "docs", "nowhere")}
    assert len(bodies) == 1
    for reply in (
        await answer_async("GET", "bare", "a.txt", query),
        receive("PUT", "bare", "a.txt", query, {"content-length": "1"}, [b"x"]),
        await receive_async("PUT", "bare", "a.txt", query, {"content-length": "1"}, arriving([b"x"])),
    ):
        assert reply.status == 403
    assert "there is no secret to check it with" in caplog.text
