"""A variant served by our route, beside an original of the same bytes.

Of a directory the original is served by our route too, by its signed URL. On S3, whose signed URLs lead to the store, a handler
streams it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from PIL import Image

from benchmarks._harness import Row, at_most
from benchmarks._world import World
from filerow import FileObject, storages
from filerow.backends.local import LocalBackend
from filerow.http import Body, Reply, answer, answer_async, serve, serve_async
from filerow.variants import Resize, configure_urls

COUNT = 200
WIDTH = 400
SECRET = "x9Kq2-pLw8_Rt5vZ-benchmarks"


def serving(world: World) -> Iterator[Row]:
    """Measure a stored variant of 400 pixels beside an original with the same bytes."""
    configure_urls(secret=SECRET)
    backend = world.backend
    if not world.remote:
        backend = LocalBackend("signing", world.folder / "signing", fsync=False, base_url="/files", secret=SECRET)
        storages.register_backend(backend)
    photo = FileObject(backend, "photo.jpg", content=_photo()).save()
    variant = photo.variant(Resize(width=WIDTH))
    original = FileObject(backend, "original.webp", content=variant.get_content()).save()
    parts, signed = _parts(variant.sign()), None if world.remote else _parts(original.sign(inline=True))

    def floor() -> None:
        for _ in range(COUNT):
            _read(answer("GET", *signed) if signed else serve(original))

    def ours() -> None:
        for _ in range(COUNT):
            _read(answer("GET", *parts))

    async def floor_async() -> None:
        for _ in range(COUNT):
            await _read_async(await (answer_async("GET", *signed) if signed else serve_async(original)))

    async def ours_async() -> None:
        for _ in range(COUNT):
            await _read_async(await answer_async("GET", *parts))

    what = f"serve {COUNT} variants of {original.size or 0:,} bytes, beside originals"
    yield at_most(what, f"{world.name}, sync", floor, ours, 1.10, rounds=21)
    yield at_most(what, f"{world.name}, async", world.awaited(floor_async), world.awaited(ours_async), 1.10, rounds=21)


def _photo() -> bytes:
    noise = Image.effect_noise((1200, 900), 80).convert("RGB")
    target = io.BytesIO()
    noise.save(target, "JPEG", quality=85)
    return target.getvalue()


def _parts(signed: str) -> tuple[str, str, str]:
    url = urlsplit(signed)
    _, _, key, path = url.path.split("/", 3)
    return key, unquote(path), url.query


def _read(reply: Reply) -> None:
    assert reply.status == 200
    body = reply.body
    size = sum(map(len, body.stream())) if isinstance(body, Body) else len(body)
    assert size == int(reply.header("content-length") or 0)


async def _read_async(reply: Reply) -> None:
    assert reply.status == 200
    body = reply.body
    size = len(body) if isinstance(body, bytes) else 0
    if isinstance(body, Body):
        async for chunk in body.stream_async():
            size += len(chunk)
    assert size == int(reply.header("content-length") or 0)
