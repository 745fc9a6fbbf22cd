"""From a variant to its reader: what a URL of our route allows, and nothing else."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sqlalchemy import MetaData
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from filerow import FileObject, StoredObject, StoredWith, storages
from filerow.backends.base import SignRequest
from filerow.backends.cloudfront import CloudFront
from filerow.backends.local import LocalBackend
from filerow.backends.memory import MemoryBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.direct import DirectUploads
from filerow.exceptions import (
    FileStateError,
    ObjectNotFoundError,
    RecipeError,
    SecretError,
    UndecodableError,
    UnsupportedOperationError,
    VariantTimeoutError,
)
from filerow.ext.html import img
from filerow.http import Reply, accelerate, answer, answer_async, receive, redirect, redirect_async, serve, serve_async
from filerow.variants import Custom, Recipe, Resize, Thumbnail, configure, configure_urls, make_variant
from tests.backends.stores import s3_options
from tests.servers.counting import CountingProxy
from tests.variants.pictures import saved, seen
from tests.variants.shop import KEY, PLACES, SECRET, THUMB, Item, Place, a_photo, objects, parts, read, register, stored

EXPLAINED = (Path(__file__).parents[2] / "docs" / "problems.md").read_text()


@pytest.fixture(autouse=True)
def urls(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """URLs of the application's own."""
    monkeypatch.delenv("FILEROW_SECRET", raising=False)
    configure_urls(secret=SECRET)
    yield
    configure_urls()
    storages.clear_backends()


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Every kind of backend."""
    return PLACES[request.param](request, tmp_path)


@pytest.fixture
def backend(place: Place) -> Any:
    return register(place.make(place.endpoint))


@pytest.fixture
def docs() -> MemoryBackend:
    found = MemoryBackend(KEY, base_url="/files", secret=SECRET)
    register(found)
    return found


async def both(method: str, url: str, headers: Any = ()) -> Reply:
    reply, again = answer(method, *parts(url), headers), await answer_async(method, *parts(url), headers)
    assert (again.status, read(again)) == (reply.status, read(reply))
    return reply


def changed(url: str, **values: str | None) -> str:
    """Return a URL with other values in its query; ``None`` leaves one out."""
    split = urlsplit(url)
    query = dict(parse_qsl(split.query, keep_blank_values=True)) | values
    return split._replace(query=urlencode({name: value for name, value in query.items() if value is not None})).geturl()


# -- what a URL shows --------------------------------------------------------------------------------------------------


async def test_url_is_on_our_route_for_every_backend(backend: Any) -> None:
    photo = stored()
    url = photo.variant("thumb").sign()
    assert url == await photo.variant("thumb").sign_async()
    assert url.startswith(f"/files/{KEY}/{photo.path}?v={photo.variant('thumb').id}&")
    assert objects(backend) == [photo.path]
    reply = await both("GET", url)
    assert (reply.status, reply.header("content-type")) == (200, "image/webp")
    assert seen(read(reply)).size == (20, 20)
    assert objects(backend) == sorted([photo.path, photo.variant("thumb").path])


async def test_headers_are_those_of_our_route(docs: MemoryBackend) -> None:
    photo = stored()
    reply = await both("GET", photo.variant("thumb").sign())
    other = await both("GET", photo.sign(inline=True))
    for name in ("x-content-type-options", "content-security-policy", "cross-origin-resource-policy", "referrer-policy"):
        assert reply.header(name)
        assert reply.header(name) == other.header(name)
    assert reply.header("content-disposition") == 'inline; filename="me.webp"'
    kind, age, fixed = str(reply.header("cache-control")).split(", ")
    assert (kind, fixed) == ("private", "immutable")
    assert 3590 <= int(age.removeprefix("max-age=")) <= 7200
    saved = await both("GET", photo.variant("thumb").sign(download_as='an "image".webp'))
    assert str(saved.header("content-disposition")).startswith("attachment; filename=")


async def test_head_responds_like_get_without_body(docs: MemoryBackend) -> None:
    url = stored().variant("thumb").sign()
    head, whole = await both("HEAD", url), await both("GET", url)
    assert (head.status, head.headers, head.body) == (whole.status, whole.headers, b"")
    assert head.header("content-length") == str(len(read(whole)))


async def test_a_known_variant_is_not_read_again(docs: MemoryBackend) -> None:
    photo = stored()
    url = photo.variant("thumb").sign()
    tag = str((await both("GET", url)).header("etag"))
    assert tag == f'W/"{photo.variant("thumb").id}"'
    docs.delete([photo.variant("thumb").path])
    reply = await both("GET", url, {"If-None-Match": tag})
    assert (reply.status, read(reply), reply.header("etag")) == (304, b"", tag)
    assert (await both("GET", url, {"If-Match": '"another"'})).status == 412
    assert objects(docs) == [photo.path]


async def test_slow_readers_of_a_large_variant_hold_none_of_it(backend: Any) -> None:
    noise = saved(Image.effect_noise((900, 900), 90), "PNG")
    photo, recipe = stored(noise), Resize(width=900, format="png")
    url = photo.variant(recipe).sign()
    first = await both("GET", url)
    content = read(first)
    assert len(content) > 600_000
    assert photo.variant(recipe).get_content() == content
    tracemalloc.start()
    try:
        held = [await answer_async("GET", *parts(url)) for _ in range(20)]
        held += [answer("GET", *parts(url)) for _ in range(20)]
        held += [serve(photo.variant(recipe)), await serve_async(photo.variant(recipe))]
        assert tracemalloc.get_traced_memory()[0] < 2_000_000
    finally:
        tracemalloc.stop()
    for reply in (held[0], *held[-3:]):
        assert (reply.status, read(reply)) == (200, content)
        assert reply.header("content-length") == str(len(content))
    head = await both("HEAD", url)
    assert (head.header("content-length"), head.body) == (str(len(content)), b"")


async def test_large_variant_that_goes_while_it_is_asked_for_is_made_again(docs: MemoryBackend) -> None:
    photo, recipe = stored(saved(Image.effect_noise((900, 900), 90), "PNG")), Resize(width=900, format="png")
    url, gone = photo.variant(recipe).sign(), photo.variant(recipe).path
    content = read(await both("GET", url))

    class Going(MemoryBackend):
        def _head(self, path: str) -> Any:
            if path == gone:
                docs.delete([path])
            return docs._head(path)

        def _read(self, path: str, start: int, end: int | None) -> bytes:
            return docs._read(path, start, end)

        def _put(self, path: str, content: Any, options: Any) -> Any:
            return docs._put(path, content, options)

    register(Going(KEY, base_url="/files", secret=SECRET))
    reply = answer("GET", *parts(url))
    assert (reply.status, read(reply)) == (200, content)


@pytest.mark.parametrize("asked", ["bytes=0-3", "bytes=5-", "bytes=-4", "bytes=999999-", "bytes=0-1,3-4", "furlongs=1-2"])
async def test_a_range_gets_the_whole_variant(docs: MemoryBackend, asked: str) -> None:
    url = stored().variant("thumb").sign()
    whole = await both("GET", url)
    for more in ({}, {"If-Range": str(whole.header("etag"))}):
        reply = await both("GET", url, {"Range": asked, **more})
        assert (reply.status, read(reply)) == (200, read(whole))


async def test_a_query_that_a_proxy_has_sorted_works(docs: MemoryBackend) -> None:
    url = stored().variant("thumb").sign(download_as="a.webp")
    split = urlsplit(url)
    in_order = split._replace(query="&".join(sorted(split.query.split("&")))).geturl()
    assert in_order != url
    assert (await both("GET", in_order)).status == 200


@pytest.mark.parametrize("kind", ["s3-obstore", "s3-s3fs"])
async def test_steady_state_is_one_read_of_the_store(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    place = PLACES[kind](request, tmp_path)
    with CountingProxy(place.endpoint) as proxy:
        register(place.make(proxy.endpoint))
        variant = stored().variant("thumb")
        url = variant.sign()
        assert answer("GET", *parts(url)).status == 200
        with proxy.record() as blocking:
            assert answer("GET", *parts(url)).status == 200
        with proxy.record() as awaited:
            assert (await answer_async("GET", *parts(url))).status == 200
        with proxy.record() as none:
            assert answer("GET", *parts(url), {"If-None-Match": f'W/"{variant.id}"'}).status == 304
            assert variant.sign() == await variant.sign_async()
        assert [one.method for one in blocking] == [one.method for one in awaited] == ["GET"]
        assert none == []


async def test_undeclared_recipe_is_in_the_url_without_defaults(docs: MemoryBackend) -> None:
    recipes: dict[Recipe, str] = {
        Thumbnail(30, 10): '{"height":10,"kind":"thumbnail","width":30}',
        Thumbnail(30, 10, fit="contain", format="jpeg"): (
            '{"fit":"contain","format":"jpeg","height":10,"kind":"thumbnail","width":30}'
        ),
        Resize(width=30, quality=50): '{"kind":"resize","quality":50,"width":30}',
        Resize(width=31, quality=80): '{"kind":"resize","width":31}',
        Custom("grey", "PIL.ImageOps:grayscale", version=1): (
            '{"function":"PIL.ImageOps:grayscale","kind":"custom","name":"grey","version":1}'
        ),
        Custom("poster", "PIL.ImageOps:posterize", version=2, arguments={"bits": 2}, width=9): (
            '{"arguments":{"bits":2},"function":"PIL.ImageOps:posterize","kind":"custom","name":"poster","version":2,"width":9}'
        ),
    }
    photo = stored()
    for recipe, text in recipes.items():
        url = photo.variant(recipe).sign()
        assert dict(parse_qsl(urlsplit(url).query))["recipe"] == text
        reply = await both("GET", url)
        assert (reply.status, reply.header("content-type")) == (200, recipe.content_type), read(reply)
        assert docs.exists(photo.variant(recipe).path)


@given(
    st.sampled_from([Thumbnail, Resize]), st.integers(1, 16383), st.integers(1, 16383), st.sampled_from(["jpeg", "webp", "png"]),
    st.integers(1, 100) | st.none(),
)  # fmt: skip
def test_a_recipe_comes_back_from_its_text(kind: Any, width: int, height: int, format_: Any, quality: int | None) -> None:
    recipe = kind(width=width, height=height, format=format_, quality=None if format_ == "png" else quality)
    register(MemoryBackend(KEY, base_url="/files", secret=SECRET))
    photo = FileObject.from_dict({"v": 1, "backend": KEY, "path": "a/" + "0190aaaaaaaa7000800000000000abcd.jpg", "filename": "a"})
    url = photo.variant(recipe).sign()
    assert len(url) < 400
    given_ = json.loads(dict(parse_qsl(urlsplit(url).query))["recipe"])
    assert {"thumbnail": Thumbnail, "resize": Resize}[given_.pop("kind")](**given_) == recipe


# -- what a URL does not allow -----------------------------------------------------------------------------------------


async def test_no_part_of_a_url_can_be_changed(backend: Any) -> None:
    photo, other = stored(), stored(a_photo(60, 60))
    url = photo.variant("thumb").sign()
    for wrong in (
        changed(url, v=photo.variant("w40").id), changed(url, name="item.photo:w40"), changed(url, name=None),
        changed(url, type="image/jpeg"), changed(url, type="text/html"), changed(url, disposition="attachment"),
        changed(url, disposition=None), changed(url, recipe='{"kind":"resize","width":9999}'), changed(url, cache="public"),
        changed(url, original='{"size":1}'), changed(url, expires="99999999999"), changed(url, signature="A" * 43),
        changed(url, x="1"), url + "&v=" + photo.variant("thumb").id, url.replace(photo.path, other.path),
        url.replace(f"/{KEY}/", "/nobody/"), changed(url, signature=None), changed(url, v="0" * 31), changed(url, expires="-1"),
    ):  # fmt: skip
        reply = await both("GET", wrong)
        assert (reply.status, json.loads(read(reply))["code"]) == (403, "token-invalid"), wrong
    assert objects(backend) == sorted([photo.path, other.path])


async def test_other_purposes_are_refused_both_ways(docs: MemoryBackend) -> None:
    photo = stored()
    url = photo.variant("thumb").sign()
    mine = dict(parse_qsl(urlsplit(url).query))
    reading, writing = photo.sign(), docs.sign("new.png", SignRequest("PUT", 60))
    claims = DirectUploads(Item.photo, secret=SECRET)
    token = claims.begin(filename="a.jpg", content_type="image/jpeg", size=5).claim
    reference = photo.to_reference(secret=SECRET)
    assert (await both("GET", reading)).status == 200
    for signature in (
        dict(parse_qsl(urlsplit(reading).query))["signature"],
        dict(parse_qsl(urlsplit(writing).query))["signature"],
        token.rpartition(".")[2],
        reference.rpartition(".")[2],
    ):
        assert (await both("GET", changed(url, signature=signature))).status == 403
    for other in (reading, writing):
        assert (await both("GET", changed(other, signature=mine["signature"]))).status == 403
        assert (await both("GET", changed(other, v=mine["v"]))).status == 403
    key, path, query = parts(url)
    assert receive("PUT", key, path, query, {"content-length": "1"}, [b"x"]).status == 403
    without = urlencode({name: mine[name] for name in ("expires", "type", "disposition", "signature")})
    assert answer("GET", key, path, without).status == 403
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert answer(method, key, path, query).status == 405


async def test_a_url_expires(docs: MemoryBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    url = stored().variant("thumb").sign(expires_in=60, round_expiry=None)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 59)
    assert (await both("GET", url)).status == 200
    monkeypatch.setattr(time, "time", lambda: now + 62)
    reply = await both("GET", url)
    assert (reply.status, json.loads(read(reply))["code"]) == (403, "token-expired")
    assert reply.header("cache-control") == "no-store"


def test_urls_of_a_window_are_equal(docs: MemoryBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    variant = stored().variant("thumb")
    begin = 1_900_000_800.0  # a whole hour
    found = []
    for now in (begin, begin + 1800, begin + 3599, begin + 3600):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        url = variant.sign()
        assert 3600 <= int(dict(parse_qsl(urlsplit(url).query))["expires"]) - now <= 7200
        found.append(url)
    assert found[0] == found[1] == found[2] != found[3]
    assert variant.sign(round_expiry=None) != variant.sign()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"expires_in": 0}, ValueError),
        ({"expires_in": float("nan")}, ValueError),
        ({"expires_in": "60"}, TypeError),
        ({"expires_in": 10**12}, ValueError),
        ({"round_expiry": 0}, ValueError),
        ({"round_expiry": float("inf")}, ValueError),
        ({"round_expiry": "60"}, TypeError),
    ],
)
def test_a_wrong_lifetime_is_refused(docs: MemoryBackend, options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(options))):
        stored().variant("thumb").sign(**options)


async def test_keys_rotate(tmp_path: Path) -> None:
    register(LocalBackend(KEY, tmp_path, fsync=False))
    photo = stored()
    old = photo.variant("thumb").sign()
    configure_urls(secret=["8mV0_zqPb-another-XkT3", SECRET])
    new = photo.variant("thumb").sign()
    assert old != new
    assert [(await both("GET", url)).status for url in (old, new)] == [200, 200]
    configure_urls(secret="8mV0_zqPb-another-XkT3")
    assert [(await both("GET", url)).status for url in (old, new)] == [403, 200]


def test_a_key_with_a_slash_is_refused_when_signing(tmp_path: Path) -> None:
    register(LocalBackend("a/b", tmp_path, fsync=False))
    photo = FileObject("a/b", "a.jpg", content=a_photo()).save()
    with pytest.raises(UnsupportedOperationError, match="has no '/' in its key"):
        photo.variant(THUMB).sign()


async def test_hostile_paths_and_names_are_kept(docs: MemoryBackend) -> None:
    photo = FileObject(KEY, 'a"b\r\n<é>.jpg', to_filename="a b/%2e é+&v=1;x.jpg", content=a_photo()).save()
    url = photo.variant(THUMB).sign()
    assert url.isascii()
    reply = await both("GET", url)
    assert reply.status == 200
    assert "\r" not in str(reply.header("content-disposition"))


@given(st.text(), st.text(), st.text(), st.sampled_from(["GET", "HEAD", "PUT"]))
def test_no_query_breaks_the_route(key: str, path: str, query: str, method: str) -> None:
    register(MemoryBackend(KEY, base_url="/files", secret=SECRET))
    expected = 405 if method == "PUT" else 403
    for name in (key, KEY):
        for asked in (f"v={query}", f"v={'0' * 32}&expires=1&{query}", f"{query}&v={'0' * 32}&expires=1&signature={'A' * 43}"):
            assert answer(method, name, path, asked).status == expected
            assert receive("PUT", name, path, asked, {}, []).status == 403


# -- secrets and routes ------------------------------------------------------------------------------------------------


async def test_without_a_secret_nothing_is_signed(docs: MemoryBackend, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    photo = stored()
    url = photo.variant("thumb").sign()
    register(LocalBackend(KEY, tmp_path, fsync=False))
    configure_urls()
    with pytest.raises(SecretError, match="signing URLs of variants needs a secret"):
        photo.variant("thumb").sign()
    assert (await both("GET", url)).status == 403
    assert "there is no secret to check it with" in caplog.text


def test_a_weak_secret_is_refused_when_it_is_set() -> None:
    with pytest.raises(SecretError, match="at least 16 characters"):
        configure_urls(secret="short")


@pytest.mark.parametrize("url", ["/files?x=1", "files", "localhost/files"])
def test_variants_lead_only_to_where_a_route_can_be_mounted(url: str) -> None:
    with pytest.raises(ValueError, match="url of variants"):
        configure_urls(url=url, secret=SECRET)


async def test_a_backend_without_base_url_uses_that_of_the_application(tmp_path: Path) -> None:
    own = "a secret that is this backend's own one"
    register(LocalBackend(KEY, tmp_path, fsync=False, secret=own))
    photo = stored()
    configure_urls(url="https://app.example/media/", secret=SECRET)
    url = photo.variant("thumb").sign()
    assert url.startswith(f"https://app.example/media/{KEY}/{photo.path}?v=")
    assert (await both("GET", url)).status == 200
    register(LocalBackend(KEY, tmp_path, fsync=False))  # another secret: that of the application
    assert (await both("GET", url)).status == 403
    assert (await both("GET", photo.variant("thumb").sign())).status == 200
    register(LocalBackend(KEY, tmp_path, fsync=False, base_url="/own"))  # a route of its own, and no secret
    url = photo.variant("thumb").sign()
    assert url.startswith(f"/own/{KEY}/")
    assert (await both("GET", url)).status == 200


async def test_a_developer_s_secret_signs(tmp_path: Path) -> None:
    configure_urls()
    register(LocalBackend(KEY, tmp_path, fsync=False, base_url="/files", development=True))
    photo = stored()
    assert (await both("GET", photo.variant("thumb").sign())).status == 200
    register(LocalBackend(KEY, tmp_path, fsync=False))
    with pytest.raises(SecretError):
        photo.variant("thumb").sign()
    configure_urls(development=True)
    assert (await both("GET", photo.variant("thumb").sign())).status == 200


async def test_the_environment_s_secret_signs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "QmVzdC1vZi1hbGwtc2VjcmV0cw-4711"
    monkeypatch.setenv("FILEROW_SECRET", secret)
    configure_urls()
    register(LocalBackend(KEY, tmp_path, fsync=False))
    url = stored().variant("thumb").sign()
    assert (await both("GET", url)).status == 200
    configure_urls(secret=secret)
    assert (await both("GET", url)).status == 200


async def test_a_column_s_cache_control_is_bound_into_the_url(docs: MemoryBackend) -> None:
    class Cached(DeclarativeBase):
        pass

    class Item2(Cached):
        __tablename__ = "cached"
        id: Mapped[int] = mapped_column(primary_key=True)
        photo: Mapped[FileObject] = mapped_column(
            StoredObject(KEY, stored_with=StoredWith(cache_control="public, max-age=600"), variants={"thumb": THUMB})
        )

    photo = stored(kind=Item2)
    reply = await both("GET", photo.variant("thumb").sign())
    assert reply.header("cache-control") == "public, max-age=600"
    assert serve(photo.variant("thumb")).header("cache-control") == "public, max-age=600"
    assert answer("GET", *parts(photo.variant("thumb").sign()), cache_control="no-cache").header("cache-control") == "no-cache"


# -- deployments side by side ------------------------------------------------------------------------------------------


def another(recipe: Recipe | None) -> type[DeclarativeBase]:
    """Return a table of the same name, as another release of the application has it."""

    class Other(DeclarativeBase):
        metadata = MetaData()

    class Item(Other):
        __tablename__ = "other_item"
        id: Mapped[int] = mapped_column(primary_key=True)
        photo: Mapped[FileObject] = mapped_column(StoredObject(KEY, variants=None if recipe is None else {"thumb": recipe}))

    return Item


async def test_a_process_with_another_recipe_shows_its_own_uncached(docs: MemoryBackend) -> None:
    mine = another(Thumbnail(10, 10))
    photo = stored(kind=mine)
    theirs = photo.variant(Thumbnail(12, 12))
    url = FileObject.from_dict(photo.to_dict()).variant(Thumbnail(12, 12)).sign()
    assert "recipe=" in url
    newer = _named(theirs, "other_item.photo:thumb")
    reply = await both("GET", newer)
    assert (reply.status, reply.header("cache-control"), reply.header("etag")) == (200, "no-store", None)
    assert seen(read(reply)).size == (10, 10)
    assert photo.variant("thumb").path in objects(docs)
    theirs.get_content()  # the other release has made it
    reply = await both("GET", newer)
    assert (reply.status, seen(read(reply)).size) == (200, (12, 12))
    assert "immutable" in str(reply.header("cache-control"))


def _named(variant: Any, name: str) -> str:
    """Return the URL that another release signs for a variant that it declares by name."""
    from filerow.variants import Variant

    column, _, short = name.partition(":")
    url: str = Variant(variant._facts, variant._registry, variant.recipe, short, column).sign()
    assert "recipe=" not in url
    return url


async def test_a_process_without_the_recipe_shows_what_is_stored(docs: MemoryBackend) -> None:
    photo = stored()
    variant = photo.variant(Thumbnail(14, 14))
    url = _named(variant, "table_of.another_release:thumb")
    reply = await both("GET", url)
    assert (reply.status, json.loads(read(reply))["code"]) == (404, "file-not-found")
    variant.get_content()
    assert (await both("GET", url)).status == 200


async def test_two_tables_of_one_name_find_their_own_recipe(docs: MemoryBackend) -> None:
    kinds = [another(Thumbnail(size, size)) for size in (8, 9, 10)]
    for kind, size in zip(kinds, (8, 9, 10), strict=True):
        variant = stored(kind=kind).variant("thumb")
        assert "recipe=" not in variant.sign()
        reply = await both("GET", variant.sign())
        assert seen(read(reply)).size == (size, size)
        assert "immutable" in str(reply.header("cache-control"))


async def test_a_recipe_of_another_release_shows_what_is_stored(docs: MemoryBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    variant = stored().variant(Thumbnail(15, 15))
    with monkeypatch.context() as newer:
        newer.setattr(Thumbnail, "kind", "hologram")
        url = variant.sign()
    assert "hologram" in url
    assert (await both("GET", url)).status == 404
    with monkeypatch.context() as newer:
        newer.setattr(Thumbnail, "kind", "hologram")
        variant.get_content()
    assert (await both("GET", url)).status == 200


async def test_an_unknown_format_is_not_found(docs: MemoryBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = stored()
    monkeypatch.setattr(Thumbnail, "content_type", "image/jxl")
    url = _named(photo.variant(Thumbnail(16, 16)), "table_of.another_release:thumb")
    assert (await both("GET", url)).status == 404


# -- what cannot be shown ----------------------------------------------------------------------------------------------


async def test_a_variant_of_a_deleted_original_is_not_found(backend: Any) -> None:
    photo = stored()
    url = photo.variant("thumb").sign()
    backend.delete([photo.path])
    reply = await both("GET", url)
    assert (reply.status, json.loads(read(reply))["code"]) == (404, "file-not-found")
    assert objects(backend) == []


async def test_what_cannot_be_decoded_is_422_for_a_day(docs: MemoryBackend) -> None:
    photo = stored(b"\x89PNG\r\n\x1a\n" + bytes(50), "broken.png")
    url = photo.variant("thumb").sign()
    for _ in range(2):
        reply = await both("GET", url)
        document = json.loads(read(reply))
        assert (reply.status, document["code"]) == (422, "variant-not-an-image")
        assert reply.header("content-type") == "application/problem+json"
        assert reply.header("cache-control") == "no-store"
        assert photo.path not in read(reply).decode()
    assert [path for path in objects(docs) if path.endswith(".failed")]


def test_busy_workers_are_503_with_retry_after(docs: MemoryBackend) -> None:
    url = stored().variant("thumb").sign()
    with configure(workers=1, queue_seconds=0.05, seconds=1) as busy:
        make_variant(a_photo(), THUMB)
        spinning = threading.Thread(target=_spin)
        spinning.start()
        time.sleep(0.3)
        reply = answer("GET", *parts(url))
        spinning.join()
        assert (reply.status, reply.header("retry-after")) == (503, "5")
        assert json.loads(read(reply))["code"] == "variant-busy"
        assert answer("GET", *parts(url)).status == 200
        assert busy.workers == 1
    configure()


def _spin() -> None:
    with pytest.raises(VariantTimeoutError):
        make_variant(a_photo(), Custom("spin", "tests.variants.attacks:spin", version=1))


async def test_a_failing_function_is_500_and_logged(docs: MemoryBackend, caplog: pytest.LogCaptureFixture) -> None:
    recipe = Custom("bad", "PIL.ImageOps:posterize", version=1, arguments={"nothing": 2})
    reply = await both("GET", stored().variant(recipe).sign())
    assert (reply.status, json.loads(read(reply))["code"]) == (500, "variant-function")
    assert "posterize" in caplog.text
    assert "posterize" not in read(reply).decode()


def test_without_pillow_the_log_names_the_extra() -> None:
    """A process that has no Pillow refuses the URLs of variants, and stays up."""
    program = """
import logging, sys
sys.modules["PIL"] = None
logging.basicConfig(stream=sys.stdout, level=logging.INFO)
from filerow import storages
from filerow.backends.memory import MemoryBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.http import answer
storages.register_backend(MemoryBackend("photos", base_url="/files", secret="a secret that only these tests know"))
print(answer("GET", "photos", "a.jpg", "v=00000000000000000000000000000000&expires=99999999999&signature=x").status)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert "filerow[images]" in done.stdout
    assert done.stdout.splitlines()[-1] == "403"


# -- through a handler of the application ------------------------------------------------------------------------------


async def test_serve_streams_a_variant_and_makes_it(backend: Any) -> None:
    variant = stored().variant("thumb")
    reply = serve(variant)
    again = await serve_async(variant)
    assert (reply.status, reply.headers, read(reply)) == (again.status, again.headers, read(again))
    assert seen(read(reply)).size == (20, 20)
    assert reply.header("content-type") == "image/webp"
    assert reply.header("content-disposition") == 'inline; filename="me.webp"'
    assert reply.header("cache-control") == "private, no-cache"
    assert reply.header("x-content-type-options") == "nosniff"
    assert serve(variant, download_as="b.webp").header("content-disposition") == 'attachment; filename="b.webp"'
    assert str(serve(variant, inline=False).header("content-disposition")).startswith("attachment")
    assert serve(variant, cache_control="public").header("cache-control") == "public"
    assert serve(variant, "HEAD").body == b""
    assert read(serve(variant, "POST", {"If-None-Match": "*"})) == read(reply)
    assert serve(variant, "TRACE").status == 405
    backend.delete([variant.path])
    assert serve(variant, "GET", {"If-None-Match": str(reply.header("etag"))}).status == 304
    assert (await serve_async(variant, "GET", {"If-None-Match": str(reply.header("etag"))})).status == 304
    assert not backend.exists(variant.path)


async def test_redirect_leads_to_the_url_of_the_variant(backend: Any) -> None:
    variant = stored().variant("thumb")
    for reply in (redirect(variant), await redirect_async(variant)):
        assert reply.status == 302
        assert (await both("GET", str(reply.header("location")))).status == 200
    assert redirect(variant, round_expiry=3600).header("location") == variant.sign()
    named = redirect(variant, download_as="b.webp")
    assert "attachment" in str(named.header("location"))


def test_accelerate_names_what_to_do_instead(docs: MemoryBackend) -> None:
    with pytest.raises(UnsupportedOperationError, match=r"use redirect\(variant\) or serve\(variant\)"):
        accelerate(stored().variant("thumb"))


def test_serve_raises_what_cannot_be_made(docs: MemoryBackend) -> None:
    photo = stored(b"not an image", "a.txt")
    with pytest.raises(UndecodableError):
        serve(photo.variant("thumb"))
    docs.delete([photo.path])
    with pytest.raises(ObjectNotFoundError):
        serve(photo.variant("w40"))


def test_codes_are_documented() -> None:
    codes = ["not-an-image", "broken", "mode", "format", "crashed", "too-large", "too-many-pixels", "too-many-frames", "memory"]
    codes += ["svg", "text", "size", "embedded", "too-complex"]
    for code in [*codes, "output", "killed", "timeout", "busy", "function", "worker"]:
        assert f"### variant-{code}\n" in EXPLAINED


def test_permanent_url_is_of_variants_stored_with_their_row(docs: MemoryBackend) -> None:
    photo = stored()
    with pytest.raises(FileStateError, match='make_variants="commit"'):
        photo.variant("thumb").url()
    known = FileObject.from_dict({**photo.to_dict(), "variants": [photo.variant("thumb").id]})
    with pytest.raises(UnsupportedOperationError, match="this backend is private"):
        known.variant(THUMB).url()


def test_a_name_that_is_not_declared_is_refused(docs: MemoryBackend) -> None:
    with pytest.raises(RecipeError, match=r"'large'; the column item\.photo declares thumb, w40, w60"):
        stored().variant("large")


@pytest.mark.parametrize("way", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))], ids=["copy", "pickle"])
def test_a_variant_can_be_sent_to_another_process(docs: MemoryBackend, way: Callable[[Any], Any]) -> None:
    variant = stored().variant("thumb")
    sent = way(variant)
    assert (sent, sent.sign()) == (variant, variant.sign())
    assert sent.get_content() == variant.get_content()


async def test_variant_stored_with_its_row_on_a_route_of_ours(docs: MemoryBackend) -> None:
    """The URL is of the variant all the same: one read, and it is made again if somebody has deleted it."""
    photo = stored()
    known = FileObject.from_dict({**photo.to_dict(), "variants": [photo.variant("thumb").id]})
    url = known.variant(THUMB).sign()
    assert "?v=" in url
    assert (await both("GET", url)).status == 200


@pytest.mark.servers
def test_listed_variants_follow_public_host_and_cdn(s3_server: Any) -> None:
    where, options = f"s3://{s3_server.shared_bucket}/{s3_server.make_prefix().strip('/')}", s3_options(s3_server)
    register(ObstoreBackend(KEY, where, public_endpoint="https://files.example", **options))
    photo = stored()
    known = FileObject.from_dict({**photo.to_dict(), "variants": [photo.variant("thumb").id]})
    path = quote(photo.variant("thumb").path)
    for url in (known.variant(THUMB).sign(), known.variant(THUMB).sign(download_as="a.webp"), img(known, THUMB).unescape()):
        assert f"https://files.example/{s3_server.shared_bucket}/" in url
        assert path in url
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    cdn = CloudFront("https://cdn.example", key_id="K1", private_key=pem)
    register(ObstoreBackend(KEY, where, cdn=cdn, **options))
    assert known.variant(THUMB).sign(expires_in=30 * 86400).startswith(f"https://cdn.example/{path}?")  # which signs for longer
    secret, ends = options.pop("aws_secret_access_key"), datetime.now(UTC) + timedelta(minutes=20)
    provided = {"access_key_id": options.pop("aws_access_key_id"), "secret_access_key": secret, "token": "t", "expires_at": ends}
    register(ObstoreBackend(KEY, where, credential_provider=lambda: provided, **options))
    url = known.variant(THUMB).sign(round_expiry=None)
    assert int(dict(parse_qsl(urlsplit(url).query))["X-Amz-Expires"]) <= 1200  # ends with the keys that sign it


@pytest.mark.servers
def test_permanent_url_is_of_the_public_store(s3_server: Any) -> None:
    where = f"s3://{s3_server.shared_bucket}/{s3_server.make_prefix().strip('/')}"
    register(ObstoreBackend(KEY, where, public_url="https://cdn.example/p", **s3_options(s3_server)))
    photo = stored()
    known = FileObject.from_dict({**photo.to_dict(), "variants": [photo.variant("thumb").id]})
    assert known.variant(THUMB).url() == f"https://cdn.example/p/{photo.variant('thumb').path}"
    with pytest.raises(FileStateError, match="was not stored with its row"):
        known.variant(Resize(width=40)).url()
