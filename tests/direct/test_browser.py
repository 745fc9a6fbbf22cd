"""``filerow.js`` in a real browser: progress, retries, resumption, aborting, and the claim in a form."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from filerow import storages
from filerow.backends.memory import MemoryBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.direct import DirectUploads
from tests.corpus import FILES
from tests.direct.conftest import JPEG, PNG, SECRET, Document, Store, kept, make_store, s3_backend
from tests.direct.site import Site
from tests.servers._relay import CHUNK, Relay

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from tests.servers._s3 import S3Server
    from tests.servers.azurite import AzuriteServer
    from tests.servers.chromium import Chromium, Page

CORS = {
    "CORSRules": [
        {"AllowedOrigins": ["*"], "AllowedMethods": ["PUT", "POST"], "AllowedHeaders": ["*"], "MaxAgeSeconds": 600},
    ]
}
LARGE = 12 * (1 << 20) + 7
MAKE_LARGE = f"new File([new Uint8Array({LARGE}).fill(7)], 'large.bin')"


@pytest.fixture(scope="module")
def open_bucket(s3_server: S3Server) -> str:
    """A bucket that pages of other origins may upload to."""
    bucket = s3_server.make_bucket()
    s3_server.client.put_bucket_cors(Bucket=bucket, CORSConfiguration=CORS)
    return bucket


def allow_every_origin(server: AzuriteServer) -> None:
    from azure.storage.blob import CorsRule

    rule = CorsRule(["*"], ["PUT"], allowed_headers=["content-type", "x-ms-blob-type"], max_age_in_seconds=600)
    with server.client() as client:
        client.set_service_properties(cors=[rule])


@pytest.fixture(params=["local", "s3-post", "s3-put", "azure"])
def browsed(request: pytest.FixtureRequest, site: Site, tmp_path: Path) -> Iterator[Store]:
    """A store, and direct upload to it mounted at ``/uploads/image`` and ``/uploads/anything``."""
    if request.param in {"local", "azure"}:
        made = make_store(request, site, tmp_path, request.param)
        if request.param == "azure":
            allow_every_origin(request.getfixturevalue("azurite_server"))
    else:
        backend = s3_backend(request.getfixturevalue("s3_server"), request.getfixturevalue("open_bucket"))
        made = Store(request.param, backend, site, s3_method=request.param.removeprefix("s3-").upper())
    storages.register_backend(made.backend)
    site.uploads = {"image": made.uploads(), "anything": made.uploads(Document.anything)}
    yield made
    storages.clear_backends()


@pytest.fixture
def page(chromium: Chromium, site: Site) -> Iterator[Page]:
    with chromium.page() as opened:
        visit(opened, site.url)
        yield opened


def visit(page: Page, url: str) -> None:
    page.open(f"{url}/")
    page.evaluate("new Promise(done => { const look = () => window.upload ? done() : setTimeout(look, 10); look(); })")


def file_of(data: bytes, name: str, kind: str) -> str:
    bytes_of = f"Uint8Array.from(atob('{base64.b64encode(data).decode()}'), c => c.charCodeAt(0))"
    return f"new File([{bytes_of}], '{name}', {{type: '{kind}'}})"


def upload(page: Page, file: str, options: str) -> Any:
    """Return the outcome of an upload: the claim, the error and the reported progress."""
    script = f"""(async () => {{
        const seen = [];
        const options = {{ delay: 20, onProgress: (progress) => seen.push(progress), ...{options} }};
        const job = upload({file}, options);
        window.job = job;
        try {{ return {{ claim: await job, seen, form: document.getElementById("claim").value }}; }}
        catch (error) {{ return {{ error: error.name, status: error.status ?? null, message: error.message, seen }}; }}
    }})()"""
    return page.evaluate(script)


@pytest.mark.one_in(2)
def test_a_browser_uploads_and_its_form_has_the_claim(page: Page, browsed: Store, session: Session) -> None:
    answer = upload(
        page, file_of(PNG, "cat.png", "image/png"), "{url: '/uploads/image', input: document.getElementById('claim')}"
    )
    assert answer.get("claim"), answer
    assert answer["form"] == answer["claim"]
    assert answer["seen"][-1] == {"loaded": len(PNG), "total": len(PNG)}
    file = kept(session, browsed.uploads().claim(answer["claim"]))
    assert (file.filename, file.content_type, file.get_content()) == ("cat.png", "image/png", PNG)
    assert browsed.paths() == {file.path}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("browsed", ["local", "s3-post", "s3-put"], indirect=True)
def test_progress_is_reported_while_bytes_are_sent(page: Page, browsed: Store) -> None:
    page.call("Network.enable")
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": LARGE}  # bytes in a second
    page.call("Network.emulateNetworkConditions", **slow)
    answer = upload(page, MAKE_LARGE, "{url: '/uploads/anything'}")
    assert answer.get("claim"), answer
    loaded = [progress["loaded"] for progress in answer["seen"]]
    assert loaded == sorted(loaded)
    assert loaded[-1] == LARGE
    assert {progress["total"] for progress in answer["seen"]} == {LARGE}
    assert any(0 < step < LARGE for step in loaded), loaded
    assert browsed.uploads(Document.anything).claim(answer["claim"]).size == LARGE


@pytest.mark.parametrize("browsed", ["local"], indirect=True)
def test_bytes_decide_the_type_and_not_the_extension(page: Page, browsed: Store, session: Session) -> None:
    answer = upload(page, file_of(JPEG, "saved-as.png", "image/png"), "{url: '/uploads/image'}")
    assert kept(session, browsed.uploads().claim(answer["claim"])).content_type == "image/jpeg"


@pytest.mark.parametrize("browsed", ["local"], indirect=True)
def test_a_phone_s_picture_with_another_extension_is_taken(page: Page, browsed: Store, session: Session) -> None:
    for name in ("picture.webp", "picture.heic", "picture.avif", "picture.gif"):
        file = file_of((FILES / name).read_bytes(), "photo.jpg", "image/jpeg")
        answer = upload(page, file, "{url: '/uploads/anything'}")
        assert answer.get("claim"), answer
        claimed = browsed.uploads(Document.anything).claim(answer["claim"])
        assert claimed.content_type == f"image/{name.partition('.')[2]}"
    for name, kind in (("sound.wav", "audio/wav"), ("film.mp4", "video/mp4")):  # signatures that begin alike
        answer = upload(page, file_of((FILES / name).read_bytes(), name, kind), "{url: '/uploads/anything'}")
        assert browsed.uploads(Document.anything).claim(answer["claim"]).content_type == kind


@pytest.mark.parametrize("browsed", ["local"], indirect=True)
def test_refusal_of_the_application_is_shown_and_not_retried(page: Page, browsed: Store) -> None:
    answer = upload(page, file_of(b"<p>", "page.html", "text/html"), "{url: '/uploads/image'}")
    assert (answer["error"], answer["status"]) == ("UploadError", 415)
    assert "only image/png and image/jpeg are allowed" in answer["message"]
    assert browsed.site.actions == ["begin"]
    assert browsed.paths() == set()


class SlowRelay(Relay):
    """Passes on what clients send so slowly that they can give up in the middle."""

    async def to_server(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
            await asyncio.sleep(0.01)
        writer.write_eof()


@pytest.fixture(params=["local", "s3"])
def slow(request: pytest.FixtureRequest, site: Site, tmp_path: Path) -> Iterator[Store]:
    """A store whose last byte comes long after the browser's first progress."""
    if request.param == "local":
        store = make_store(request, site, tmp_path, "local")
        site.pause = 0.01
        storages.register_backend(store.backend)
        site.uploads = {"anything": store.uploads(Document.anything)}
        yield store
    else:
        server, bucket = request.getfixturevalue("s3_server"), request.getfixturevalue("open_bucket")
        with SlowRelay(server.endpoint) as relay:
            store = Store("s3", s3_backend(server, bucket, relay.endpoint), site)
            storages.register_backend(store.backend)
            site.uploads = {"anything": store.uploads(Document.anything)}
            yield store
    storages.clear_backends()


@pytest.mark.one_in(4)
@pytest.mark.parametrize("how", ["job.abort()", "controller.abort()"])
def test_an_aborted_upload_leaves_nothing(page: Page, slow: Store, how: str) -> None:
    page.evaluate("window.controller = new AbortController(), 0")
    options = f"{{url: '/uploads/anything', signal: controller.signal, onProgress: () => {how}}}"
    answer = upload(page, MAKE_LARGE, options)
    assert answer.get("error") == "AbortError", answer
    assert slow.site.actions == ["begin", "abort"]
    assert not slow.paths()
    assert (
        upload(page, MAKE_LARGE, options if "controller" in how else "{url: '/nowhere', signal: AbortSignal.abort()}")["error"]
        == "AbortError"
    )
    assert slow.site.actions == ["begin", "abort"]


# -- over a connection that is lost ----------------------------------------------------------------------------------------


class LossyRelay(Relay):
    """Cuts connections after a number of bytes from clients, a given number of times.

    A browser repeats by itself, once, what was cut on a connection that it had used before.

    Attributes:
        cuts: How many connections are still to be cut.
        passed: How many bytes clients have sent.
    """

    def __init__(self, target: str, *, after: int) -> None:
        self.after = after
        self.cuts = 0
        self.passed = 0
        super().__init__(target)

    async def to_server(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(CHUNK):
            self.passed += len(chunk)
            if self.passed > self.after and self.cuts > 0:
                self.cuts -= 1
                raise ConnectionResetError("cut")
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()


@pytest.fixture
def parts(site: Site, s3_server: S3Server, open_bucket: str) -> Iterator[tuple[LossyRelay, Store]]:
    """Uploads in parts of 5 MiB, through a relay."""
    with LossyRelay(s3_server.endpoint, after=7 << 20) as relay:
        store = Store("s3", s3_backend(s3_server, open_bucket, relay.endpoint), site)
        storages.register_backend(store.backend)
        site.uploads = {"large": store.uploads(Document.anything, multipart_from="6 MB", part_size="5 MiB")}
        yield relay, store
        storages.clear_backends()


def test_a_connection_lost_in_the_middle_costs_one_part(page: Page, parts: tuple[LossyRelay, Store], session: Session) -> None:
    relay, store = parts
    relay.cuts = 2
    answer = upload(page, MAKE_LARGE, "{url: '/uploads/large'}")
    assert answer.get("claim"), answer
    assert relay.cuts == 0
    assert relay.passed < LARGE + (6 << 20)
    assert store.site.actions == ["begin"]
    file = kept(session, store.uploads(Document.anything).claim(answer["claim"]), Document.anything)
    assert file.get_content() == b"\x07" * LARGE
    assert store.paths() == {file.path}


def test_an_upload_that_was_given_up_is_resumed_by_its_claim(page: Page, parts: tuple[LossyRelay, Store]) -> None:
    relay, store = parts
    relay.cuts = 1000
    answer = upload(page, MAKE_LARGE, "{url: '/uploads/large', retries: 0, onBegin: (claim) => { window.begun = claim; }}")
    assert (answer["error"], answer["status"]) == ("UploadError", 0), answer
    before = page.evaluate("begun")
    relay.cuts = 0
    visit(page, store.site.url)  # as if the browser had been closed
    answer = upload(page, MAKE_LARGE, f"{{url: '/uploads/large', claim: {json.dumps(before)}}}")
    assert answer.get("claim") == before, answer
    assert store.site.actions == ["begin", "resume"]
    assert min(progress["loaded"] for progress in answer["seen"]) >= 5 << 20  # the first part was there
    assert store.uploads(Document.anything).claim(before).get_content() == b"\x07" * LARGE


class DeafRelay(Relay):
    """Loses the first good news.

    Attributes:
        sign: What an answer has that it may lose.
        lost: How many answers were lost.
    """

    sign = b""
    lost = 0

    async def to_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(CHUNK):
            if chunk.startswith(b"HTTP/1.1 201") and self.sign in chunk and not self.lost:
                self.lost += 1
                raise ConnectionResetError("lost")
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()


@pytest.mark.thorough
def test_lost_answer_is_not_a_failure(page: Page, site: Site) -> None:
    with DeafRelay(site.url) as relay:
        storages.register_backend(MemoryBackend("direct", base_url=f"{relay.endpoint}/files", secret=SECRET))
        site.uploads = {"image": DirectUploads(Document.image, secret=SECRET)}
        visit(page, relay.endpoint)
        answer = upload(page, file_of(PNG, "cat.png", "image/png"), "{url: '/uploads/image'}")
        assert answer.get("claim"), answer
        assert relay.lost == 1
        assert site.refused == [409]  # the second attempt found the first one's file
        assert DirectUploads(Document.image, secret=SECRET).claim(answer["claim"]).get_content() == PNG
    storages.clear_backends()


def test_lost_answer_of_azure_is_not_a_failure(page: Page, site: Site, azurite_server: AzuriteServer) -> None:
    allow_every_origin(azurite_server)
    account: dict[str, Any] = {"account_name": azurite_server.account_name, "account_key": azurite_server.account_key}
    with DeafRelay(azurite_server.endpoint) as relay:
        relay.sign = b"Access-Control-Allow-Origin"  # to the browser, and not to the backend
        endpoint = f"{relay.endpoint}{urlsplit(azurite_server.endpoint).path}"
        place = f"az://{azurite_server.make_container()}/{uuid.uuid4().hex}"
        storages.register_backend(ObstoreBackend("direct", place, endpoint=endpoint, **account))
        site.uploads = {"image": DirectUploads(Document.image, secret=SECRET)}
        answer = upload(page, file_of(PNG, "cat.png", "image/png"), "{url: '/uploads/image'}")
        assert answer.get("claim"), answer
        assert relay.lost == 1
        assert DirectUploads(Document.image, secret=SECRET).claim(answer["claim"]).get_content() == PNG
    storages.clear_backends()
