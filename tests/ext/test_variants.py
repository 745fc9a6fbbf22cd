"""Variants through every framework: the URLs of ``routes()``, and responses of handlers."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from PIL import Image

from filerow import FileObject, storages
from filerow.backends.memory import MemoryBackend
from filerow.variants import Resize, Thumbnail, Variant, configure_urls
from tests.ext.conftest import FRAMEWORKS, serving
from tests.frameworks import fastapi, flask, litestar, starlette

KEY, SECRET = "variant photos", "a secret for as long as a test runs"
THUMB = Thumbnail(20, 10)
LARGE = Resize(width=900, format="png")
REFUSED = "application/problem+json"


def _starlette() -> Any:
    from filerow.ext.starlette import StoredFileResponse, install, routes

    async def show(request: starlette.requests.Request) -> Any:
        return StoredFileResponse(shown(request.path_params["name"]))

    async def lead(request: starlette.requests.Request) -> Any:
        return StoredFileResponse.redirect(shown(request.path_params["name"]))

    route = starlette.routing.Route
    app = starlette.applications.Starlette(routes=[route("/show/{name}", show), route("/lead/{name}", lead), *routes("/files")])
    install(app)
    return app


def _fastapi() -> Any:
    from filerow.ext.fastapi import StoredFileResponse, install, routes

    app = fastapi.FastAPI()

    @app.get("/show/{name}", response_class=StoredFileResponse)
    async def show(name: str) -> Any:
        return StoredFileResponse(shown(name))

    @app.get("/lead/{name}", response_class=StoredFileResponse)
    def lead(name: str) -> Any:
        return StoredFileResponse.redirect(shown(name))

    app.include_router(routes("/files"))
    install(app)
    return app


def _litestar() -> Any:
    from filerow.ext.litestar import StoredFileResponse, install, routes

    async def show(request: Any) -> Any:
        return StoredFileResponse(shown(request.path_params["name"]))

    async def lead(request: Any) -> Any:
        return StoredFileResponse.redirect(shown(request.path_params["name"]))

    for handler in (show, lead):
        handler.__annotations__ = {"request": litestar.Request, "return": StoredFileResponse}
    handlers = [litestar.get("/show/{name:str}")(show), litestar.get("/lead/{name:str}")(lead)]
    return litestar.Litestar([*handlers, routes("/files")], plugins=[install()])


def _flask() -> Any:
    from filerow.ext.flask import StoredFileResponse, install, routes

    app = flask.Flask(__name__)

    @app.get("/show/<name>")
    def show(name: str) -> Any:
        return StoredFileResponse(shown(name))

    @app.get("/lead/<name>")
    def lead(name: str) -> Any:
        return StoredFileResponse.redirect(shown(name))

    app.register_blueprint(routes("/files"))
    install(app)
    return app


APPS = {"starlette": _starlette, "fastapi": _fastapi, "litestar": _litestar, "flask": _flask}
photos: dict[str, FileObject] = {}


def shown(name: str) -> Variant:
    return photos[name].variant(LARGE if name == "large" else THUMB)


@pytest.fixture(scope="module", params=FRAMEWORKS)
def client(request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    with serving(request.param, APPS[request.param]()) as url, httpx.Client(base_url=url, timeout=60, trust_env=False) as found:
        yield found


@pytest.fixture(autouse=True)
def stored() -> Iterator[MemoryBackend]:
    storages.clear_backends()
    backend = MemoryBackend(KEY)
    storages.register_backend(backend)
    configure_urls(secret=SECRET)
    target = io.BytesIO()
    Image.new("RGB", (80, 60), "red").save(target, "PNG")
    photos["good"] = FileObject(KEY, "a b é.png", content=target.getvalue()).save()
    photos["odd"] = FileObject(KEY, "x.png", to_filename="a b/50% é+&v=1;x.png", content=target.getvalue()).save()
    noise = io.BytesIO()
    Image.effect_noise((900, 900), 90).save(noise, "PNG")
    photos["large"] = FileObject(KEY, "noise.png", content=noise.getvalue()).save()
    photos["bad"] = FileObject(KEY, "a.txt", content=b"no image").save()
    yield backend
    configure_urls()
    storages.clear_backends()


@pytest.mark.parametrize("name", ["good", "odd"])
def test_a_url_shows_the_variant(client: httpx.Client, name: str) -> None:
    variant = photos[name].variant(THUMB)
    url = variant.sign()
    assert quote(KEY) in url
    answer = client.get(url)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp"), answer.text
    assert Image.open(io.BytesIO(answer.content)).size == (20, 10)
    assert answer.content == variant.get_content()
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"]
    assert "immutable" in answer.headers["cache-control"]
    head = client.head(url)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(answer.content)))
    again = client.get(url, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get(url, headers={"Range": "bytes=0-3"}).content == answer.content
    assert client.get(url.replace("type=image%2Fwebp", "type=text%2Fhtml")).status_code == 403
    assert client.put(url, content=b"x").status_code == 403


def test_a_large_variant_is_streamed(client: httpx.Client) -> None:
    variant = photos["large"].variant(LARGE)
    content = variant.get_content()
    assert len(content) > 600_000
    for url in (variant.sign(), "/show/large"):
        answer = client.get(url)
        assert (answer.status_code, answer.content == content) == (200, True)
        assert answer.headers["content-length"] == str(len(content))
        with client.stream("GET", url) as left:  # a reader who leaves harms nobody
            next(left.iter_raw())
        assert client.get(url, headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
    head = client.head(variant.sign())  # FastAPI and Litestar route HEAD to no handler for GET
    assert (head.content, head.headers["content-length"]) == (b"", str(len(content)))


@pytest.mark.parametrize("query", ["v=", "v=%00", "v=1&v=2", "&v=&", "v=" + "a" * 5000, "x=%ff&v=1", "v=;;", "v=1#"])
def test_a_hostile_query_is_refused(client: httpx.Client, query: str) -> None:
    answer = client.get(f"/files/{quote(KEY)}/a.png?{query}")
    assert (answer.status_code, answer.headers["content-type"]) == (403, REFUSED)


def test_what_cannot_be_shown_is_a_problem(client: httpx.Client, stored: MemoryBackend) -> None:
    for answer in (client.get(photos["bad"].variant(THUMB).sign()), client.get("/show/bad")):
        assert (answer.status_code, answer.json()["code"]) == (422, "variant-not-an-image")
        assert answer.headers["content-type"] == REFUSED
        assert answer.headers["cache-control"] == "no-store"
    url = photos["good"].variant(THUMB).sign()
    stored.delete([photos["good"].path])
    for answer in (client.get(url), client.get("/show/good")):
        assert (answer.status_code, answer.json()["code"]) == (404, "file-not-found")


def test_a_handler_responds_with_a_variant(client: httpx.Client) -> None:
    variant = photos["good"].variant(THUMB)
    answer = client.get("/show/good")
    assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, "image/webp", variant.get_content())
    assert answer.headers["cache-control"] == "private, no-cache"
    assert client.get("/show/good", headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
    leading = client.get("/lead/good")
    assert leading.status_code == 302
    assert client.get(leading.headers["location"]).content == answer.content
