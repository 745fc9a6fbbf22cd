"""Backends: no path that anybody can think of leads out of the root, whatever is done with it."""

from __future__ import annotations

import asyncio
import inspect
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from filerow.backends.base import SignRequest, StorageBackend, Unfinished
from filerow.exceptions import FilerowError, UnsupportedOperationError
from filerow.http import answer
from tests.http.conftest import parts, read
from tests.security.hostile import INSIDE, STORES, STRINGS, Store

# Each as the two forms of a method are called: by name, with what stands for the hostile path.
OPERATIONS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "put": ("put", (..., b"hostile")),
    "read": ("read", (...,)),
    "stream": ("stream", (...,)),
    "head": ("head", (...,)),
    "exists": ("exists", (...,)),
    "copy_from": ("copy", (..., "copied/from")),
    "copy_to": ("copy", ("inside/object", ...)),
    "delete": ("delete", (...,)),
    "delete_among_others": ("delete", (["nothing", ...],)),
    "list": ("list", (...,)),
    "list_after": ("list", ("", ...)),
    "unfinished": ("unfinished", (...,)),
    "abort": ("abort", (Unfinished("", ".canary.txt", 0.0, temporary=True),)),
}


def filled(argument: Any, path: str) -> Any:
    if isinstance(argument, list):
        return [filled(one, path) for one in argument]
    if isinstance(argument, Unfinished):
        return argument._replace(path=path)
    return path if argument is ... else argument


def outcome(backend: StorageBackend, name: str, arguments: tuple[Any, ...]) -> object:
    """Return what a method gives, or its error, which must be one of ours."""
    try:
        found = getattr(backend, name)(*arguments)
        return list(found) if isinstance(found, Iterator) else found
    except FilerowError as error:
        return error


async def outcome_async(backend: StorageBackend, name: str, arguments: tuple[Any, ...]) -> object:
    try:
        found = getattr(backend, f"{name}_async")(*arguments)
        return [one async for one in found] if inspect.isasyncgen(found) else await found
    except FilerowError as error:
        return error


PUT_OFF = {"obstore-s3", "fsspec-s3", "fsspec-memory"}
EVERY_STORE = [pytest.param(one, marks=pytest.mark.thorough if one in PUT_OFF else ()) for one in STORES]


@pytest.mark.one_in(4)
@pytest.mark.parametrize("store", EVERY_STORE, indirect=True)
@pytest.mark.parametrize("name", OPERATIONS)
def test_no_path_leads_out_of_the_root(store: Store, name: str) -> None:
    store.backend.put("inside/object", INSIDE)
    method, arguments = OPERATIONS[name]

    async def everything() -> list[object]:
        return [await outcome_async(store.backend, method, call) for call in calls]

    calls = [tuple(filled(one, store.string(string)) for one in arguments) for string in STRINGS]
    results = [outcome(store.backend, method, call) for call in calls]
    results += asyncio.run(everything())
    store.check(*results)
    assert store.backend.read("inside/object") == INSIDE
    if name.startswith(("list", "unfinished")):
        assert "canary" not in repr([result for result in results if not isinstance(result, FilerowError)])


CLIMBING = [name for name, string in STRINGS.items() if {"..", "."} & set(string.replace("\\", "/").split("/")) or "\0" in string]


@pytest.mark.parametrize("store", [*EVERY_STORE[:-2], "obstore-s3"], indirect=True)
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_no_store_signs_a_path_that_climbs(store: Store, method: Any) -> None:
    for name in CLIMBING:
        for bound in ({}, {"content_type": "image/png"}):
            with pytest.raises((FilerowError, ValueError)) as refused:
                store.backend.sign(store.string(name), SignRequest(method, 60, **bound))
            assert isinstance(refused.value, ValueError | UnsupportedOperationError), (name, refused.value)


SIGNING = ["local", "obstore-s3", pytest.param("fsspec-s3", marks=pytest.mark.thorough)]


@pytest.mark.parametrize("store", SIGNING, indirect=True)
def test_signed_url_of_a_store_gives_nothing_beside_its_object(store: Store) -> None:
    bodies: list[bytes] = []
    for name in STRINGS:
        try:
            url = store.backend.sign(store.string(name), SignRequest("GET", 60, content_disposition="attachment"))
        except FilerowError:
            continue
        bodies.append(read(answer("GET", *parts(url))) if url.startswith("/") else fetched(url))
    assert len(bodies) > 5
    store.check(*bodies)


def fetched(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url) as response:
            return bytes(response.read())
    except urllib.error.HTTPError as error:
        return error.read()
