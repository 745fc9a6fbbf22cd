"""Variants made at first use: where they are kept, what fails meanwhile, and what was noted."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from filerow import FileObject, StorageBackend, StorageRegistry, storages
from filerow.backends.local import LocalBackend
from filerow.backends.memory import MemoryBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.exceptions import IntegrityError, ObjectNotFoundError, UndecodableError, VariantTooLargeError
from filerow.testing import Fault, FaultyBackend
from filerow.variants import Thumbnail, Variant, configure, make_variant
from tests.servers._s3 import S3Server
from tests.servers.limited_s3 import ANSWERS_400, ANSWERS_501, IGNORES_CONDITIONS, NO_LISTING, LimitedS3, Limits
from tests.variants.pictures import alike, colour, four_colours, png_of_zeros, saved, seen

pytestmark = pytest.mark.usefixtures("variant_workers")

PICTURE = saved(four_colours())
BROKEN = PICTURE[: len(PICTURE) // 2]
THUMB = Thumbnail(20, 20)
GENERATED = "photo/file/0190aaaaaaaa7000800000000000abcd.png"

Read = Callable[[Variant], bytes]


@pytest.fixture
def store() -> Iterator[FaultyBackend]:
    backend = FaultyBackend(MemoryBackend("photos"))
    storages.register_backend(backend)
    yield backend
    storages.clear_backends()


@pytest.fixture(params=["sync", "async"])
def read(request: pytest.FixtureRequest) -> Read:
    """Returns the bytes of a variant."""
    if request.param == "sync":
        return Variant.get_content
    return lambda variant: asyncio.run(variant.get_content_async())


def stored(content: bytes = PICTURE, path: str = "", key: str = "photos") -> FileObject:
    file = FileObject(backend=key, filename="a.png", content=content, to_filename=path or None)
    file.save()
    return file


def paths(store: StorageBackend, prefix: str = "_filerow") -> set[str]:
    return {info.path for info in store.list(prefix)}


def is_variant(path: str) -> bool:
    return path.startswith("_filerow/")


def note_of(variant: Variant) -> str:
    return variant.path.rpartition(".")[0] + ".failed"


def test_first_use_stores_a_variant_and_looks_for_its_original(store: FaultyBackend, read: Read) -> None:
    variant = stored().variant(THUMB)
    assert seen(read(variant)).size == (20, 20)
    asked = [call.operation for call in store.log[1:]]
    assert asked == ["read", "read", "read", "put", "head"]  # the variant, a note, the original
    before = len(store.log)
    assert read(variant) == store.read(variant.path)
    assert [call.operation for call in store.log[before:]] == ["read", "read"]  # once by this test


@pytest.mark.parametrize("kind", ["memory", "local", "s3"])
def test_original_at_a_chosen_path_has_variants(kind: str, read: Read, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    backend: StorageBackend = MemoryBackend("photos")
    if kind == "local":
        backend = LocalBackend("photos", tmp_path)
    elif kind == "s3":
        backend = on_s3(request.getfixturevalue("s3_server"))
    storages.register_backend(backend)
    try:
        assert seen(read(stored(path="me.png").variant(THUMB))).size == (20, 20)
    finally:
        storages.clear_backends()


def on_s3(server: S3Server, prefix: str = "") -> ObstoreBackend:
    prefix = prefix or server.make_prefix()
    return ObstoreBackend(
        key="photos",
        fs=f"s3://{server.shared_bucket}/{prefix}",
        aws_endpoint=server.endpoint,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        aws_region=server.region,
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )


def test_quoted_etag_of_another_library_is_the_same(store: FaultyBackend, read: Read) -> None:
    info = store.put("me.png", PICTURE)
    document = {"backend": "photos", "filename": "me.png", "size": len(PICTURE), "etag": f'"{info.etag}"'}
    assert seen(read(FileObject.from_dict(document).variant(THUMB))).size == (20, 20)


@pytest.mark.parametrize("after", ["read", "put"])
def test_variant_of_an_original_replaced_meanwhile_is_deleted(store: FaultyBackend, read: Read, after: str) -> None:
    file = stored(path="me.png")
    replaced = False

    def replace(path: str) -> bool:
        nonlocal replaced
        if not replaced and is_variant(path) is (after == "put"):
            replaced = True
            store.backend.delete(["me.png"])
            store.backend.put("me.png", saved(four_colours(40, 80)))
        return False

    with store.inject(Fault("put" if after == "put" else "read", error=OSError, paths=replace)):
        with pytest.raises((ObjectNotFoundError, IntegrityError)):
            read(file.variant(THUMB))
    assert paths(store) == set()


@pytest.mark.parametrize("content", [PICTURE, BROKEN], ids=["whole", "broken"])
def test_what_was_stored_for_a_deleted_original_is_deleted(store: FaultyBackend, read: Read, content: bytes) -> None:
    file = stored(content)

    def delete(path: str) -> bool:
        if is_variant(path):
            store.backend.delete([file.path])
        return False

    with store.inject(Fault("put", error=OSError, paths=delete)), pytest.raises(ObjectNotFoundError):
        read(file.variant(THUMB))
    assert paths(store) == set()


def test_head_that_lags_costs_one_view(store: FaultyBackend, read: Read) -> None:
    variant = stored().variant(THUMB)
    with store.inject(Fault("head", error=FileNotFoundError, times=1)):
        with pytest.raises(ObjectNotFoundError):
            read(variant)
        assert paths(store) == set()
        assert seen(read(variant)).size == (20, 20)
    assert paths(store) == {variant.path}


def test_guest_deletes_what_it_has_just_stored_itself(read: Read) -> None:
    backend = FaultyBackend(MemoryBackend("photos"))
    storages.register_backend(backend, deletes=False)
    try:
        file = stored()
        assert seen(read(file.variant(THUMB))).size == (20, 20)
        other = stored()
        gone = Fault("put", error=OSError, paths=lambda path: is_variant(path) and not backend.backend.delete([other.path]))
        with backend.inject(gone), pytest.raises(ObjectNotFoundError):
            read(other.variant(THUMB))
        assert paths(backend) == {file.variant(THUMB).path}
    finally:
        storages.clear_backends()


def test_variant_stays_if_nobody_knows_of_its_original(
    store: FaultyBackend, read: Read, caplog: pytest.LogCaptureFixture
) -> None:
    variant = stored().variant(THUMB)
    with store.inject(Fault("head", error=TimeoutError)):
        assert seen(read(variant)).size == (20, 20)
    assert paths(store) == {variant.path}
    assert "nobody knows whether the original" in caplog.text


def test_view_is_served_though_nothing_can_be_stored(store: FaultyBackend, read: Read, caplog: pytest.LogCaptureFixture) -> None:
    variant = stored().variant(THUMB)
    with store.inject(Fault("put", error=PermissionError)):
        assert [seen(read(variant)).size for _ in range(3)] == [(20, 20)] * 3
    assert paths(store) == set()
    (record,) = caplog.records
    assert "made for each view" in record.getMessage()
    read(variant)
    assert paths(store) == {variant.path}


def test_refusal_is_served_though_it_cannot_be_noted(store: FaultyBackend, read: Read) -> None:
    variant = stored(BROKEN).variant(THUMB)
    with store.inject(Fault("put", error=PermissionError)), pytest.raises(UndecodableError):
        read(variant)
    assert paths(store) == set()


def test_view_is_served_though_the_store_fails(store: FaultyBackend, read: Read, caplog: pytest.LogCaptureFixture) -> None:
    variant = stored().variant(THUMB)
    with store.inject(Fault("put", error=TimeoutError)):
        assert seen(read(variant)).size == (20, 20)
    assert "made and not stored" in caplog.text


def test_lost_answer_leaves_no_variant_of_a_deleted_original(store: FaultyBackend, read: Read) -> None:
    file = stored()
    gone = Fault("head", delay=0.01, paths=lambda path: not store.backend.delete([path]) and False)
    with store.inject(Fault("put", error=TimeoutError, after=True), gone), pytest.raises(ObjectNotFoundError):
        read(file.variant(THUMB))
    assert paths(store) == set()


@pytest.mark.parametrize(
    "limits",
    [IGNORES_CONDITIONS, ANSWERS_501, ANSWERS_400, NO_LISTING],
    ids=["ignores-conditions", "answers-501", "answers-400", "no-listing"],
)
def test_stores_that_can_do_less_have_variants(s3_server: S3Server, read: Read, limits: Limits) -> None:
    with LimitedS3(s3_server, limits) as limited:
        backend = on_s3(limited.server, s3_server.make_prefix())
        storages.register_backend(backend)
        try:
            variant = stored().variant(THUMB)
            first = read(variant)
            assert seen(first).size == (20, 20)
            assert backend.read(variant.path) == first == read(variant)
        finally:
            storages.clear_backends()


def test_credentials_that_may_not_write_show_variants(s3_server: S3Server, read: Read) -> None:
    prefix = s3_server.make_prefix()
    storages.register_backend(on_s3(s3_server, prefix))
    file = stored()
    storages.clear_backends()
    with LimitedS3(s3_server, Limits(denied=frozenset({"s3:PutObject"}))) as limited:
        storages.register_backend(on_s3(limited.server, prefix))
        try:
            assert seen(read(file.variant(THUMB))).size == (20, 20)
        finally:
            storages.clear_backends()


# -- notes -----------------------------------------------------------------------------------------------------------------


def test_noted_failure_is_not_tried_again(store: FaultyBackend, read: Read) -> None:
    variant = stored(BROKEN).variant(THUMB)
    with pytest.raises(UndecodableError) as first:
        read(variant)
    assert paths(store) == {note_of(variant)}
    before = len(store.log)
    with pytest.raises(UndecodableError) as second:
        read(variant)
    assert (second.value.code, str(second.value)) == (first.value.code, str(first.value))
    assert [call.paths[0] for call in store.log[before:]] == [variant.path, note_of(variant)]


def test_other_limits_are_tried_at_once(store: FaultyBackend, read: Read) -> None:
    """The error names configure(), which is of no use if a note keeps its effect away."""
    variant = stored(png_of_zeros(400, 400)).variant(THUMB)
    try:
        configure(workers=2, max_pixels=100_000)
        with pytest.raises(VariantTooLargeError):
            read(variant)
        configure(workers=2, max_pixels=200_000)
        assert seen(read(variant)).size == (20, 20)
    finally:
        configure(workers=2, queue_seconds=60)


def edited(**changed: Any) -> Callable[[dict[str, Any]], bytes]:
    return lambda note: json.dumps({**note, **changed}).encode()


WORTHLESS: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "nothing": lambda _: b"",
    "not-json": lambda _: b"\xff\xfe",
    "deep": lambda _: b"[" * 4000,
    "a-list": lambda _: b"[]",
    "long": edited(message="a" * 5000),
    "of-tomorrow": edited(time=time.time() + 3600),
    "of-yesterday": edited(time=time.time() - 24 * 3600 - 1),
    "slow-an-hour-ago": edited(error="VariantTimeoutError", code="timeout", time=time.time() - 3601),
    "killed-an-hour-ago": edited(error="VariantTooLargeError", code="killed", time=time.time() - 3601),
    "never": edited(time=float("nan")),
    "forever": edited(time=float("inf")),
    "huge": edited(time=10**4000 // 10**1000),
    "no-time": edited(time="now"),
    "other-versions": edited(by={"pillow": "1.0"}),
    "odd-versions": edited(by=[{}]),
    "another-error": edited(error="SystemExit"),
    "no-error": edited(error=["UndecodableError"]),
    "odd-code": edited(code={"a": 1}),
    "header": edited(code="a\r\nSet-Cookie: b"),
    "no-text": edited(message=["a"]),
}


@pytest.mark.parametrize("kind", WORTHLESS)
def test_worthless_note_is_ignored(store: FaultyBackend, kind: str) -> None:
    broken, variant = stored(BROKEN).variant(THUMB), stored().variant(THUMB)
    with pytest.raises(UndecodableError):
        broken.get_content()
    note = json.loads(store.read(note_of(broken)))
    store.put(note_of(variant), json.dumps(note).encode())
    with pytest.raises(UndecodableError):  # otherwise it would be honoured
        variant.get_content()
    store.delete([note_of(variant)])
    store.put(note_of(variant), WORTHLESS[kind](note))
    assert seen(variant.get_content()).size == (20, 20)


# -- several at once -------------------------------------------------------------------------------------------------------


def test_registries_with_one_key_share_nothing() -> None:
    """Two tenants may have the same path, where one is a copy of the other."""
    tenants = []
    for content in (PICTURE, saved(four_colours().rotate(180))):
        registry = StorageRegistry()
        backend = FaultyBackend(MemoryBackend("photos"), Fault("read", delay=0.3))
        registry.register_backend(backend)
        backend.put(GENERATED, content)
        with registry.active():
            tenants.append(FileObject.from_dict({"v": 1, "backend": "photos", "path": GENERATED, "size": len(content)}))
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda file: seen(file.variant(THUMB).get_content()).convert("RGB"), tenants)
        assert not alike(colour(one, 5, 5), colour(other, 5, 5))
        one, other = pool.map(lambda file: seen(make_variant(file, THUMB)).convert("RGB"), tenants)
        assert not alike(colour(one, 5, 5), colour(other, 5, 5))


def test_many_readers_store_one_variant(store: FaultyBackend) -> None:
    variant = stored().variant(THUMB)
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: variant.get_content(), range(16)))) == 1

    async def together() -> set[bytes]:
        return set(await asyncio.gather(*(variant.get_content_async() for _ in range(16))))

    assert len(asyncio.run(together())) == 1
    assert store.calls["put"] == 2


def test_cancelled_maker_leaves_the_work_to_another(store: FaultyBackend) -> None:
    variant = stored().variant(THUMB)

    async def both() -> bytes:
        first = asyncio.ensure_future(variant.get_content_async())
        await asyncio.sleep(0.05)
        second = asyncio.ensure_future(variant.get_content_async())
        await asyncio.sleep(0.05)
        first.cancel()
        return await second

    with store.inject(Fault("read", delay=0.2)):
        assert seen(asyncio.run(both())).size == (20, 20)
    assert paths(store) == {variant.path}


def test_cancelled_reader_of_what_fails_leaves_no_log(store: FaultyBackend, caplog: pytest.LogCaptureFixture) -> None:
    """A browser that goes away is nothing to report, nor is it reported by asyncio."""
    variant = stored(BROKEN).variant(THUMB)

    async def both() -> None:
        first = asyncio.ensure_future(variant.get_content_async())
        await asyncio.sleep(0.05)
        second = asyncio.ensure_future(variant.get_content_async())
        await asyncio.sleep(0.05)
        second.cancel()
        with pytest.raises(UndecodableError):
            await first
        await asyncio.wait([second])

    with store.inject(Fault("read", delay=0.2)):
        asyncio.run(both())
    gc.collect()
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


def test_loser_serves_what_the_winner_stored(store: FaultyBackend, read: Read) -> None:
    variant = stored().variant(THUMB)
    theirs = make_variant(saved(four_colours().rotate(180)), THUMB).content

    def win(path: str) -> bool:
        if is_variant(path) and not paths(store.backend):
            store.backend.put(path, theirs)
        return False

    with store.inject(Fault("put", error=OSError, paths=win)):
        assert read(variant) == theirs
