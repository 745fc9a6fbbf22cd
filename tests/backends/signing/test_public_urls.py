"""Permanent URLs of public backends, templates of CDNs, and CDNs that sign."""

from __future__ import annotations

import asyncio
import http.client
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import pytest

from filerow import FileObject, StorageBackend, storages
from filerow.backends.base import SignRequest
from filerow.backends.fsspec import FSSpecBackend
from filerow.backends.local import LocalBackend
from filerow.backends.memory import MemoryBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.exceptions import FileStateError, InvalidPathError, StorageError, UnsupportedOperationError
from filerow.http import redirect
from filerow.testing import FaultyBackend
from tests.backends.stores import s3_options
from tests.servers import nginx

if TYPE_CHECKING:
    from tests.servers._s3 import S3Server

BASE = "https://media.example.org/docs"
KEYS = {"aws_access_key_id": "AKID", "aws_secret_access_key": "the secret of nobody"}

BACKENDS: dict[str, Callable[..., StorageBackend]] = {
    "memory": lambda folder, **options: MemoryBackend("docs", **options),
    "local": lambda folder, **options: LocalBackend("docs", folder, fsync=False, **options),
    "obstore": lambda folder, **options: ObstoreBackend("docs", "memory://", **options),
    "obstore-s3": lambda folder, **options: ObstoreBackend("docs", "s3://bucket/pre", **KEYS, **options),
    "fsspec": lambda folder, **options: FSSpecBackend("docs", "memory://pre", **options),
    "faulty": lambda folder, **options: FaultyBackend(MemoryBackend("docs", **options)),
    "registered": lambda folder, **options: storages.register_backend(folder.as_uri(), key="docs", fsync=False, **options),
}


@pytest.mark.parametrize("kind", list(BACKENDS))
def test_public_backend_has_permanent_urls_private_one_says_how(kind: str, tmp_path: Path) -> None:
    backend = BACKENDS[kind](tmp_path / "public", public_url=f"{BASE}/")
    assert backend.url("a/b.png") == f"{BASE}/a/b.png"
    storages.clear_backends()
    private = BACKENDS[kind](tmp_path / "private")
    with pytest.raises(
        UnsupportedOperationError, match=r"this backend is private: use sign\(\), or give it public_url="
    ) as caught:
        private.url("a/b.png")
    assert (caught.value.operation, caught.value.backend, caught.value.path) == ("url", "docs", "a/b.png")


def test_a_file_has_its_backend_s_url() -> None:
    storages.register_backend("memory://", key="docs", public_url="/media")
    file = FileObject("docs", "cat.png", content=b"x")
    with pytest.raises(FileStateError, match="not stored yet"):
        file.url()
    file.save()
    assert file.url() == f"/media/{file.path}"
    file.delete()
    with pytest.raises(FileNotFoundError):
        file.url()


@pytest.mark.parametrize(
    "path", ["a b/ü+%.png", "x?y=1#z", "50%25.png", 'q"u<o>t&e.png', "semi;colon,comma=1", "~user/-_.png", "a*b.png", "日本.png"]
)
def test_a_path_is_encoded_whole(path: str) -> None:
    url = MemoryBackend("docs", public_url=BASE).url(path)
    parts = urlsplit(url)
    assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("https", "media.example.org", "", "")
    assert parts.path == f"/docs/{quote(path)}"
    assert "*" not in url


@pytest.mark.parametrize("path", ["../secret", "a/../../b", ".", "a/..", "..\\..\\b", "a\0b", ""])
def test_no_path_leads_out_of_the_backend(path: str) -> None:
    for backend in (
        MemoryBackend("docs", public_url=BASE),
        ObstoreBackend("docs", "memory://", cdn="https://cdn.example.org/{path}"),
        ObstoreBackend("docs", "memory://", public_url=BASE, cdn=Recorder()),
    ):
        with pytest.raises(InvalidPathError):
            backend.url(path)
        with pytest.raises((InvalidPathError, UnsupportedOperationError)):
            backend.sign(path, SignRequest("GET", 60))


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("media.example.org", "does not begin with"),
        ("//media.example.org/x", "does not begin with"),
        ("javascript:alert(1)//", "does not begin with"),
        ("https://media.example.org/?x=1", "has a query"),
        ("https://media.example.org/#x", "has a fragment"),
        ("https://user:pa55word@media.example.org", "has a user or password"),
        ("https://media.example.org/a/../b", "has a '.' or '..'"),
        ("https://media.example.org/a/%2E%2e/b", "has a '.' or '..'"),
        ("https://media.example.org/.%2e", "has a '.' or '..'"),
        ("https://127.1/a", "names no host"),
        ("/media/%2e%2e/b", "has a '.' or '..'"),
        ("https://media.example.org/a\r\nSet-Cookie: x", "has a character"),
        ("/media\r\nSet-Cookie: x", "has a character"),
        ("/media/..", "has a '.' or '..'"),
        ("", "does not begin with"),
    ],
)
def test_a_base_is_checked_at_construction(given: str, why: str) -> None:
    with pytest.raises(ValueError, match="public_url of backend 'docs'") as caught:
        MemoryBackend("docs", public_url=given)
    assert why in str(caught.value)
    assert "pa55word" not in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(TypeError, match="is a URL, not PosixPath"):
        MemoryBackend("docs", public_url=Path("/media"))  # type: ignore[arg-type]


def test_a_path_of_a_base_may_have_an_at_sign() -> None:
    assert (
        MemoryBackend("docs", public_url="https://media.example.org/@team").url("a.png")
        == "https://media.example.org/@team/a.png"
    )


@pytest.mark.parametrize(
    ("template", "url"),
    [
        ("https://cdn.example.org/{path}", "https://cdn.example.org/a%20b.png"),
        ("https://cdn.example.org/docs/{path}?w=640", "https://cdn.example.org/docs/a%20b.png?w=640"),
        ("https://proxy.example.org/?url=s3://bucket/pre/{path}", "https://proxy.example.org/?url=s3://bucket/pre/a%20b.png"),
    ],
)
def test_a_template_says_where_the_path_goes(template: str, url: str) -> None:
    backend = ObstoreBackend("docs", "s3://bucket/pre", cdn=template, **KEYS)
    assert backend.url("a b.png") == url
    assert backend.sign("a b.png", SignRequest("GET", 60)).startswith("https://s3.us-east-1.amazonaws.com/bucket/")


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("https://cdn.example.org/", "does not have {path}"),
        ("https://cdn.example.org/{path}/{path}", "does not have {path}"),
        ("https://cdn.example.org/{path.__class__}", "does not have {path}"),
        ("https://cdn.example.org/{path!r}", "does not have {path}"),
        ("https://cdn.example.org/{key}/{path}", "does not have {path}"),
        ("https://{path}.example.org/", "has {path} where its host should be"),
        ("https://cdn.example.org{path}", "has {path} where its host should be"),
        ("{path}", "has {path} where its host should be"),
        ("/{path}", "has {path} where its host should be"),
        ("ftp://cdn.example.org/{path}", "does not begin with"),
        ("javascript:alert('{path}')", "has {path} where its host should be"),
        ("https://user:pa55word@cdn.example.org/{path}", "has a user or password"),
        ("https://cdn.example.org/{path}\r\nSet-Cookie: x=1", "has a character"),
        ("https://cdn.example.org/#{path}", "has a fragment"),
        ("https://cdn.example.org/a/../{path}", "has a '.' or '..'"),
        ("https://cdn.example.org/{path}/%2e%2e", "has a '.' or '..'"),
    ],
)
def test_a_template_is_checked_at_construction(template: str, why: str) -> None:
    with pytest.raises(ValueError, match="cdn of backend 'docs'") as caught:
        ObstoreBackend("docs", "memory://", cdn=template)
    assert why in str(caught.value)
    assert "pa55word" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_answers_to_one_question_are_refused() -> None:
    with pytest.raises(ValueError, match="a cdn= template says what permanent URLs are, and so does public_url="):
        ObstoreBackend("docs", "memory://", public_url=BASE, cdn="https://cdn.example.org/{path}")
    for wrong, name in ((3, "int"), (object(), "object"), (Recorder, "Recorder")):
        with pytest.raises(TypeError, match=f"cdn of backend 'docs' is a template .* not {name}"):
            ObstoreBackend("docs", "memory://", cdn=wrong)  # type: ignore[arg-type]


# -- a CDN that signs ------------------------------------------------------------------------------------------------------


class Recorder:
    """A CDN of somebody's own."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, SignRequest]] = []

    def sign(self, path: str, request: SignRequest) -> str:
        self.asked.append((path, request))
        return f"https://cdn.example.org/{quote(path)}?token={len(self.asked)}"


SIGNING: dict[str, Callable[[Recorder], StorageBackend]] = {
    "obstore": lambda cdn: ObstoreBackend("docs", "memory://", cdn=cdn),
    "obstore-s3": lambda cdn: ObstoreBackend("docs", "s3://bucket/pre", cdn=cdn, **KEYS),
    "fsspec": lambda cdn: FSSpecBackend("docs", "memory://pre", cdn=cdn),
    "faulty": lambda cdn: FaultyBackend(ObstoreBackend("docs", "memory://", cdn=cdn)),
}


@pytest.mark.parametrize("kind", list(SIGNING))
@pytest.mark.parametrize("side", ["sync", "async"])
def test_reads_are_signed_by_the_cdn_and_uploads_by_the_store(kind: str, side: str) -> None:
    cdn = Recorder()
    backend = storages.register_backend(SIGNING[kind](cdn))
    assert backend.capabilities.sign_get
    file = FileObject("docs", "cat.png", "a/cat.png")

    def call(owner: Any, method: str, *args: Any, **options: Any) -> Any:
        if side == "sync":
            return getattr(owner, method)(*args, **options)

        async def awaited() -> Any:
            return await getattr(owner, f"{method}_async")(*args, **options)

        return asyncio.run(awaited())

    assert call(file, "sign", expires_in=60) == "https://cdn.example.org/a/cat.png?token=1"
    assert call(file, "sign", download_as="Katze.png").endswith("?token=2")
    assert call(storages, "sign_many", [file, file]) == [f"https://cdn.example.org/a/cat.png?token={n}" for n in (3, 4)]
    assert [request.method for _, request in cdn.asked] == ["GET"] * 4
    assert cdn.asked[0][1].expires_in == 60
    assert cdn.asked[1][1].content_disposition == 'attachment; filename="Katze.png"'
    reply = redirect(file)
    assert dict(reply.headers)["location"].endswith("?token=5")
    if kind == "obstore-s3":
        assert "/bucket/pre/a/cat.png?X-Amz-" in call(file, "sign", for_upload=True)
    with pytest.raises(UnsupportedOperationError, match="this backend is private"):
        file.url()
    assert len(cdn.asked) == 5


def test_permanent_and_signed_urls_may_both_be_of_a_cdn() -> None:
    backend = ObstoreBackend("docs", "memory://", public_url=BASE, cdn=Recorder())
    assert backend.url("a.png") == f"{BASE}/a.png"
    assert backend.sign("a.png", SignRequest("GET", 60)).startswith("https://cdn.example.org/")


def test_a_backend_in_memory_keeps_its_base_in_a_pickle(tmp_path: Path) -> None:
    backend = LocalBackend("docs", tmp_path, public_url=BASE, fsync=False)
    assert pickle.loads(pickle.dumps(backend)).url("a.png") == f"{BASE}/a.png"


def test_no_secret_of_a_template_is_in_a_repr() -> None:
    backend = ObstoreBackend("docs", "memory://", cdn="https://cdn.example.org/?key=pa55word&path={path}")
    assert "pa55word" not in f"{backend!r} {backend.public_urls!r}"


def test_a_path_never_names_another_host() -> None:
    for base in ("/", "/media", BASE):
        with pytest.raises(InvalidPathError, match="relative to its backend"):
            MemoryBackend("docs", public_url=base).url("/evil.example/x")
    assert MemoryBackend("docs", public_url="/").url("a.png") == "/a.png"
    assert MemoryBackend("docs", public_url="/").url("\\evil.example/x") == "/%5Cevil.example/x"


class UnescapedURLs:
    """One that puts the path into its URL as it is."""

    def sign(self, path: str, request: SignRequest) -> str:
        return f"https://cdn.example.org/{path}"


@pytest.mark.parametrize("path", ["a\r\nSet-Cookie: x=1", "a b.png", "ü.png"])
def test_a_cdn_that_does_not_encode_is_found_out(path: str) -> None:
    backend = ObstoreBackend("docs", "memory://", cdn=UnescapedURLs())
    with pytest.raises(StorageError, match=r"sign\(\) of UnescapedURLs returned no URL: encode the path") as caught:
        backend.sign(path, SignRequest("GET", 60))
    assert caught.value.backend == "docs"
    assert backend.sign("a.png", SignRequest("GET", 60)) == "https://cdn.example.org/a.png"


# -- what a reader of a public bucket gets ---------------------------------------------------------------------------------

HOSTILE = {
    "page.html": b"<!doctype html><script>document.title = 'ran'</script>",
    "logo.svg": b"<svg xmlns='http://www.w3.org/2000/svg'><script>document.title = 'ran'</script></svg>",
    "page.xhtml": b"<html xmlns='http://www.w3.org/1999/xhtml'><script>document.title = 'ran'</script></html>",
}


@pytest.fixture
def open_bucket(s3_server: S3Server) -> str:
    """A bucket that everybody may read."""
    bucket = s3_server.make_bucket()
    statement = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*"}
    s3_server.client.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    return bucket


@pytest.mark.servers
def test_what_is_public_is_as_safe_as_what_is_signed(s3_server: S3Server, open_bucket: str) -> None:
    """What a browser could run comes as a download, by the object's own headers, which nobody changes by a query."""
    with nginx.start(s3_server.endpoint, keeps_query=False) as proxy:
        options = s3_options(s3_server)
        base = f"{proxy.endpoint}/{open_bucket}/pre"
        storages.register_backend(f"s3://{open_bucket}/pre", key="docs", public_url=base, **options)
        for name, data in HOSTILE.items():
            file = FileObject("docs", name, content=data).save()
            for query in ("", "?response-content-disposition=inline&response-content-type=text/html"):
                answer = _get(f"{file.url()}{query}")
                assert answer.status == 200
                assert (answer.getheader("content-disposition") or "").startswith("attachment")
                assert "html" not in (answer.getheader("content-type") or "")


def _get(url: str) -> http.client.HTTPResponse:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}")
        answer = connection.getresponse()
        answer.read()
        return answer
    finally:
        connection.close()
