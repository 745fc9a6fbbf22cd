"""What every backend must do, as one table of cases.

A case is a function of a :class:`Driver`, which calls a backend directly or through its asynchronous side; so each case
is written once and holds for both. Cases use paths below ``driver.folder`` only, so they may share a bucket.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from filerow.backends.base import ObjectInfo, PutOptions, SignRequest, StorageBackend
from filerow.exceptions import (
    ContentError,
    InvalidPathError,
    ObjectExistsError,
    ObjectNotFoundError,
    StorageError,
    UnsupportedOperationError,
)

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)

SMALL = bytes(range(256)) * 40
LARGE = b"".join(n.to_bytes(8, "big") for n in range(6 << 17))  # 6 MiB, no two places alike: more than one S3 part
OVERWRITE = PutOptions(create_only=False)


class Driver:
    """A backend seen through its synchronous methods."""

    name = "sync"

    def __init__(self, backend: StorageBackend, folder: str) -> None:
        self.backend = backend
        self.folder = folder

    def close(self) -> None:
        """Give back what the driver has opened."""

    def at(self, name: str) -> str:
        return f"{self.folder}/{name}"

    def call(self, method: str, *args: Any) -> Any:
        return getattr(self.backend, method)(*args)

    def items(self, method: str, *args: Any) -> list[Any]:
        return list(getattr(self.backend, method)(*args))

    def first(self, method: str, *args: Any) -> Any:
        """Take one item and abandon the rest."""
        iterator = getattr(self.backend, method)(*args)
        item = next(iterator)
        iterator.close()
        return item

    def together(self, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Make all the calls at once; return results and errors in order."""
        start = threading.Barrier(len(calls))

        def one(method: str, *args: Any) -> Any:
            start.wait()
            try:
                return self.call(method, *args)
            except Exception as error:  # noqa: BLE001 - it is the result
                return error

        with ThreadPoolExecutor(len(calls)) as pool:
            return [future.result() for future in [pool.submit(one, *call) for call in calls]]

    def feeds(self, chunks: Callable[[], Iterator[bytes]]) -> list[Any]:
        """Return the kinds of iterables a put takes, each giving these chunks."""
        return [chunks(), Chunks(chunks)]

    def put(self, path: str, content: Any, options: PutOptions = PutOptions()) -> ObjectInfo:  # noqa: B008 - frozen
        return self.call("put", path, content, options)

    def read(self, path: str, *bounds: int | None) -> bytes:
        return self.call("read", path, *bounds)

    def paths(self, *args: str) -> list[str]:
        return [info.path for info in self.items("list", *args)]


class AsyncDriver(Driver):
    """The same backend seen through its asynchronous methods."""

    name = "async"

    def __init__(self, backend: StorageBackend, folder: str) -> None:
        super().__init__(backend, folder)
        self.runner = asyncio.Runner()

    def close(self) -> None:
        self.runner.close()

    def run(self, awaitable: Awaitable[T]) -> T:
        async def main() -> T:
            return await awaitable

        return self.runner.run(main())

    def call(self, method: str, *args: Any) -> Any:
        return self.run(getattr(self.backend, f"{method}_async")(*args))

    def items(self, method: str, *args: Any) -> list[Any]:
        async def collect() -> list[Any]:
            return [item async for item in getattr(self.backend, f"{method}_async")(*args)]

        return self.run(collect())

    def first(self, method: str, *args: Any) -> Any:
        async def take() -> Any:
            iterator = getattr(self.backend, f"{method}_async")(*args)
            item = await anext(iterator)
            await iterator.aclose()
            return item

        return self.run(take())

    def together(self, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        async def gather() -> list[Any]:
            awaitables = [getattr(self.backend, f"{method}_async")(*args) for method, *args in calls]
            return await asyncio.gather(*awaitables, return_exceptions=True)

        return self.run(gather())

    def feeds(self, chunks: Callable[[], Iterator[bytes]]) -> list[Any]:
        async def generate() -> AsyncIterator[bytes]:
            for chunk in chunks():
                await asyncio.sleep(0)
                yield chunk

        return [*super().feeds(chunks), generate()]


class Chunks:
    """An iterable that is no iterator."""

    def __init__(self, chunks: Callable[[], Iterator[bytes]]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks()


CASES: dict[str, Callable[[Driver], None]] = {}
ASYNC_CASES: dict[str, Callable[[AsyncDriver], None]] = {}


def case(function: Callable[[Driver], None]) -> Callable[[Driver], None]:
    CASES[function.__name__] = function
    return function


def async_case(function: Callable[[AsyncDriver], None]) -> Callable[[AsyncDriver], None]:
    ASYNC_CASES[function.__name__] = function
    return function


def raised(kind: type[E], call: Callable[..., Any], *args: Any) -> E:
    """Return the error of ``kind`` that the call raises."""
    try:
        result = call(*args)
    except kind as error:
        return error
    msg = f"{kind.__name__} was not raised; the result is {result!r}"
    raise AssertionError(msg)


def split(data: bytes, size: int) -> Iterator[bytes]:
    return (data[i : i + size] for i in range(0, len(data), size))


# -- bytes in, the same bytes out --------------------------------------------------------------------------------------


def _round_trip(d: Driver, data: bytes) -> None:
    path = d.at("object.bin")
    before = time.time()
    stored = d.put(path, data)
    assert stored.path == path
    assert stored.size in {None, len(data)}
    info = d.call("head", path)
    assert (info.path, info.size) == (path, len(data))
    assert abs(info.last_modified - before) < 60
    assert stored.etag is None or stored.etag == info.etag
    assert '"' not in (info.etag or "")
    assert d.call("exists", path) is True
    assert d.read(path) == data
    assert b"".join(d.items("stream", path)) == data
    (listed,) = d.items("list", d.folder)
    assert (listed.path, listed.size) == (path, len(data))
    assert abs(listed.last_modified - info.last_modified) < 2
    d.call("copy", path, d.at("copy.bin"))
    assert d.call("delete", path) == {}
    assert d.call("exists", path) is False
    assert d.paths(d.folder) == [d.at("copy.bin")]
    assert d.read(d.at("copy.bin")) == data


@case
def an_empty_object_goes_round(d: Driver) -> None:
    _round_trip(d, b"")


@case
def a_small_object_goes_round(d: Driver) -> None:
    _round_trip(d, SMALL)


@case
def a_large_object_goes_round(d: Driver) -> None:
    _round_trip(d, LARGE)


@case
def every_kind_of_bytes_is_content(d: Driver) -> None:
    mutable = bytearray(SMALL)
    contents: list[Any] = [SMALL, mutable, memoryview(SMALL), memoryview(mutable)[0:], [SMALL[:1], SMALL[1:]], (SMALL,)]
    contents += [[bytearray(SMALL)], [memoryview(SMALL)], [b"", SMALL, b""]]
    contents += d.feeds(lambda: split(SMALL, 1000))
    for number, content in enumerate(contents):
        d.put(d.at(f"{number}"), content)
    mutable[:] = bytes(len(mutable))
    for number in range(len(contents)):
        assert d.read(d.at(f"{number}")) == SMALL, number


@case
def an_iterator_without_bytes_makes_an_empty_object(d: Driver) -> None:
    for number, content in enumerate([[], [b""], *d.feeds(lambda: iter(()))]):
        d.put(d.at(f"{number}"), content)
        assert d.call("head", d.at(f"{number}")).size == 0


@case
def large_iterators_are_content(d: Driver) -> None:
    for number, content in enumerate(d.feeds(lambda: split(LARGE, 100_001))):
        d.put(d.at(f"{number}"), content)
        assert d.read(d.at(f"{number}")) == LARGE


@case
def an_iterator_may_fill_one_buffer_again_and_again(d: Driver) -> None:
    def refill() -> Iterator[Any]:
        buffer = bytearray(1000)
        for chunk in split(LARGE[:3_000_000], 1000):
            buffer[:] = chunk
            yield memoryview(buffer)

    for number, content in enumerate(d.feeds(refill)):
        d.put(d.at(f"{number}"), content)
        assert d.read(d.at(f"{number}")) == LARGE[:3_000_000]


@case
def text_is_no_content(d: Driver) -> None:
    for content in ("text", "/etc/hostname", ""):  # some stores would take it for the name of a file to upload
        assert isinstance(raised(ContentError, d.put, d.at("text"), content), TypeError)
    error = raised(Exception, d.put, d.at("text"), ["text"])
    assert isinstance(error, (StorageError, TypeError)), error
    assert d.paths(d.folder) == []


# -- ranges ------------------------------------------------------------------------------------------------------------


@case
def ranges_are_slices(d: Driver) -> None:
    path = d.at("digits")
    d.put(path, b"0123456789")
    for bounds in [(0,), (3,), (0, 4), (3, 7), (9, 10), (3, 3), (5, 2), (0, 0), (4, None)]:
        assert d.read(path, *bounds) == b"0123456789"[slice(*bounds if len(bounds) > 1 else (*bounds, None))], bounds
        assert b"".join(d.items("stream", path, *bounds)) == d.read(path, *bounds), bounds


@case
def a_range_past_the_end_is_cut_short(d: Driver) -> None:
    path = d.at("digits")
    d.put(path, b"0123456789")
    for bounds, expected in [((8, 20), b"89"), ((10, 20), b""), ((11,), b""), ((50, 60), b""), ((10,), b"")]:
        assert d.read(path, *bounds) == expected, bounds
        assert b"".join(d.items("stream", path, *bounds)) == expected, bounds
    d.put(d.at("empty"), b"")
    assert d.read(d.at("empty"), 0, 5) == b""
    assert d.read(d.at("empty"), 3) == b""


@case
def a_negative_range_is_refused(d: Driver) -> None:
    path = d.at("digits")
    d.put(path, b"0123456789")
    for bounds in [(-1,), (-3, -1), (0, -1)]:
        raised(ValueError, d.read, path, *bounds)
        raised(ValueError, d.items, "stream", path, *bounds)


@case
def a_range_of_a_large_object_is_streamed_in_chunks(d: Driver) -> None:
    path = d.at("large")
    d.put(path, LARGE)
    chunks = d.items("stream", path, 1000, 5_000_000, 1 << 16)
    assert b"".join(chunks) == LARGE[1000:5_000_000]
    assert max(map(len, chunks)) <= 1 << 20
    assert len(chunks) > 4
    assert LARGE.startswith(d.first("stream", path, 0, None, 1 << 16))


# -- create-only -------------------------------------------------------------------------------------------------------


@case
def a_taken_path_is_refused_and_keeps_its_bytes(d: Driver) -> None:
    path = d.at("taken")
    d.put(path, b"first")
    iterators = [*d.feeds(lambda: iter([b"second"])), *d.feeds(lambda: split(LARGE, 1 << 20))]
    for content in (b"second", b"", LARGE, *iterators):
        error = raised(ObjectExistsError, d.put, path, content)
        assert isinstance(error, FileExistsError)
        assert (error.operation, error.backend, error.path) == ("put", d.backend.key, path)
        assert d.read(path) == b"first"
    assert d.paths(d.folder) == [path]


@case
def a_path_can_be_overwritten_on_request(d: Driver) -> None:
    path = d.at("replaced")
    for content in (b"first", LARGE, b"", b"last"):
        d.put(path, content, OVERWRITE)
        assert d.read(path) == content
    assert d.paths(d.folder) == [path]


@case
def a_race_to_create_has_exactly_one_winner(d: Driver) -> None:
    for size in (10, 100_000):
        path = d.at(f"race/{size}/x")
        contents = [f"{number:02}".encode() * size for number in range(16)]
        results = d.together([("put", path, content) for content in contents])
        winners = [number for number, result in enumerate(results) if isinstance(result, ObjectInfo)]
        assert len(winners) == 1, results
        assert all(isinstance(result, (ObjectInfo, ObjectExistsError)) for result in results), results
        assert d.read(path) == contents[winners[0]]
    assert len(d.paths(d.folder)) == 2


@case
def many_puts_at_once_all_succeed(d: Driver) -> None:
    paths = [d.at(f"new/{number % 3}/{number}") for number in range(24)]
    results = d.together([("put", path, path.encode()) for path in paths])
    assert all(isinstance(result, ObjectInfo) for result in results), results
    assert sorted(d.paths(d.folder)) == sorted(paths)


# -- delete ------------------------------------------------------------------------------------------------------------


@case
def deleting_is_idempotent(d: Driver) -> None:
    paths = [d.at(f"{number}") for number in range(5)]
    for path in paths[:3]:
        d.put(path, b"x")
    d.put(d.at("other"), b"x")
    assert d.call("delete", []) == {}
    assert d.call("delete", [*paths, d.at("no/such/folder/x")]) == {}
    assert d.call("delete", paths) == {}
    assert d.call("delete", paths[0]) == {}
    assert d.paths(d.folder) == [d.at("other")]


@case
def deleting_a_folder_deletes_nothing(d: Driver) -> None:
    d.put(d.at("a/b/c"), b"x")
    for path in (d.at("a"), d.at("a/b"), d.folder):
        assert d.call("delete", path) == {}
    assert d.paths(d.folder) == [d.at("a/b/c")]


@case
def a_deleted_path_is_free_again(d: Driver) -> None:
    d.put(d.at("again"), b"one")
    d.call("delete", d.at("again"))
    d.put(d.at("again"), b"two")
    assert d.read(d.at("again")) == b"two"


# -- failing sources ---------------------------------------------------------------------------------------------------


class SourceError(Exception):
    """Raised by the caller's own iterator."""


@case
def the_callers_own_exception_comes_back_and_nothing_stays(d: Driver) -> None:
    for before in (0, 1, 7):
        for kind in (SourceError, FileNotFoundError, FileExistsError, OSError, KeyError, StorageError):
            own, cause = kind("mine"), LookupError("why")

            def chunks(before: int = before, own: Exception = own, cause: Exception = cause) -> Iterator[bytes]:
                for _ in range(before):
                    yield LARGE[: 1 << 20]
                raise own from cause

            for content in d.feeds(chunks):
                error = raised(BaseException, d.put, d.at("failed"), content)
                assert error is own, (before, error)
                assert error.__cause__ is cause
                assert d.call("exists", d.at("failed")) is False
    assert d.paths(d.folder) == []


@case
def a_failing_source_leaves_the_old_object(d: Driver) -> None:
    def chunks() -> Iterator[bytes]:
        yield LARGE
        raise SourceError

    d.put(d.at("old"), b"old")
    for content in d.feeds(chunks):
        raised(SourceError, d.put, d.at("old"), content, OVERWRITE)
        assert d.read(d.at("old")) == b"old"


# -- missing objects ---------------------------------------------------------------------------------------------------


@case
def a_missing_object_is_a_file_not_found(d: Driver) -> None:
    d.put(d.at("file"), b"x")
    d.put(d.at("folder/x"), b"x")
    for path in (d.at("missing"), d.at("no/such/x"), d.at("folder"), d.folder):
        for operation, call in [
            ("read", lambda: d.read(path)),  # noqa: B023 - called at once
            ("read", lambda: d.read(path, 0, 1)),  # noqa: B023
            ("read", lambda: d.items("stream", path)),  # noqa: B023
            ("head", lambda: d.call("head", path)),  # noqa: B023
            ("copy", lambda: d.call("copy", path, d.at("copied"))),  # noqa: B023
        ]:
            error = raised(ObjectNotFoundError, call)
            assert isinstance(error, FileNotFoundError)
            assert (error.operation, error.backend, error.path) == (operation, d.backend.key, path)
            assert repr(path) in str(error)
        assert d.call("exists", path) is False
    assert sorted(d.paths(d.folder)) == [d.at("file"), d.at("folder/x")]


# -- copy --------------------------------------------------------------------------------------------------------------


@case
def a_copy_is_an_object_of_its_own(d: Driver) -> None:
    d.put(d.at("source"), SMALL)
    info = d.call("copy", d.at("source"), d.at("deep/er/target"))
    assert info.path == d.at("deep/er/target")
    d.put(d.at("source"), b"changed", OVERWRITE)
    assert d.read(d.at("deep/er/target")) == SMALL
    d.call("delete", d.at("source"))
    assert d.read(d.at("deep/er/target")) == SMALL


@case
def a_copy_never_overwrites(d: Driver) -> None:
    d.put(d.at("source"), b"source")
    d.put(d.at("target"), b"target")
    error = raised(ObjectExistsError, d.call, "copy", d.at("source"), d.at("target"))
    assert (error.operation, error.path) == ("copy", d.at("target"))
    raised(ObjectExistsError, d.call, "copy", d.at("source"), d.at("source"))
    assert d.read(d.at("target")) == b"target"
    assert d.read(d.at("source")) == b"source"
    assert sorted(d.paths(d.folder)) == [d.at("source"), d.at("target")]


# -- list --------------------------------------------------------------------------------------------------------------

TREE = ["a-b", "a.b", "a/b", "a/b.x", "a/bc", "a/é", "a0", "b/a/x", "b/b/x", "b/c", "ab/c", "é/x", "z"]
TREE += ["\U0001f600", "\uffee"]  # the other way round in UTF-16


@case
def a_prefix_is_a_folder(d: Driver) -> None:
    for name in ("a/b/c", "a/b/d/e", "a/bc", "a/b.txt", "a/b-c/d", "x"):
        d.put(d.at(name), b"x")
    assert sorted(d.paths(d.at("a/b"))) == [d.at("a/b/c"), d.at("a/b/d/e")]
    assert d.paths(d.at("a/b/d")) == [d.at("a/b/d/e")]
    assert d.paths(d.at("x")) == []
    assert d.paths(d.at("a/b/c")) == []
    assert d.paths(d.at("a/nothing")) == []
    assert d.paths(d.at("nothing")) == []
    assert len(d.paths(d.folder)) == 6
    assert set(d.paths(d.folder)) <= set(d.paths())


@case
def a_listing_goes_on_after_any_path(d: Driver) -> None:
    everything = sorted(map(d.at, TREE), key=str.encode)
    for path in reversed(everything):
        d.put(path, b"x")
    listed = d.paths(d.folder)
    assert sorted(listed, key=str.encode) == everything
    if d.backend.capabilities.ordered_list:
        assert listed == everything
    between = [d.at(name) for name in ("a/", "a/b/", "b", "b/b", "zz", "0")]
    for after in [*everything, *between, d.folder, "", "\U0010ffff"]:
        expected = [path for path in everything if path.encode() > after.encode()]
        assert sorted(d.paths(d.folder, after), key=str.encode) == expected, after
    assert sorted(d.paths(d.at("b"), d.at("a0"))) == [d.at("b/a/x"), d.at("b/b/x"), d.at("b/c")]
    assert d.paths(d.at("a"), d.at("b")) == []


@case
def a_listing_can_be_abandoned(d: Driver) -> None:
    for number in range(5):
        d.put(d.at(f"deep/er/{number}"), b"x")
    assert d.first("list", d.folder).path.startswith(d.folder)


# -- paths -------------------------------------------------------------------------------------------------------------

WEIRD = [
    "with space.txt",
    " leading and trailing ",
    "grüße/日本語.txt",
    "e\u0301",
    "\u00e9",
    "\U0001f600.png",
    "%2e%2e/%2Fetc%2fpasswd",
    "%",
    "100%25",
    "quote'double\"back`tick",
    "plus+sign",
    "hash#x",
    "#",
    "question?x=1",
    "amp&ersand=1",
    "star*[a]{b}",
    "semi;colon:comma,at@dollar$",
    "tilde~",
    "~",
    "-rf",
    "...",
    "..a",
    ".hidden",
    "a." + "x" * 190,
    "UPPER",
    "upper",
]

HOSTILE = [
    "",
    "/etc/passwd",
    "//x",
    "..",
    ".",
    "../x",
    "a/../x",
    "a/..",
    "./x",
    "a/./x",
    "a//x",
    "a/",
    "nul\0x",
    "new\nline",
    "cr\rx",
    "tab\tx",
    "del\x7fx",
    "c1\x85x",
    "back\\slash",
    "..\\x",
    "x#1",
    "x#1/y",
    "#0",
    "s" * 201,
    "/".join(["s" * 99] * 10),
    "lone\ud800surrogate",
]


@case
def unusual_paths_are_kept_as_they_are(d: Driver) -> None:
    paths = [d.at(f"{number}/{name}") for number, name in enumerate(WEIRD)]
    for path in paths:
        d.put(path, path.encode())
    assert sorted(d.paths(d.folder)) == sorted(paths)
    for path in paths:
        assert d.read(path) == path.encode()
        assert d.call("head", path).path == path
    d.call("copy", paths[0], d.at("copied ü?#%20"))
    assert d.read(d.at("copied ü?#%20")) == paths[0].encode()
    assert d.call("delete", [*paths, d.at("copied ü?#%20")]) == {}
    assert d.paths(d.folder) == []


@case
def hostile_paths_are_refused(d: Driver) -> None:
    d.put(d.at("source"), b"x")
    for path in HOSTILE:
        for call in (("put", path, b"x"), ("copy", d.at("source"), path)):
            error = raised(InvalidPathError, d.call, *call)
            assert isinstance(error, ValueError)
            assert (error.operation, error.backend, error.path) == (call[0], d.backend.key, path)
        raised(InvalidPathError, d.put, path, iter([b"x"]), OVERWRITE)
        if path:
            raised(InvalidPathError, d.items, "list", path)
    assert d.paths(d.folder) == [d.at("source")]


@case
def hostile_paths_find_nothing_and_delete_nothing(d: Driver) -> None:
    d.put(d.at("victim"), b"x")
    for path in [*HOSTILE, f"{d.folder}/../{d.folder}/victim", f"{d.folder}/./victim"]:
        for method in ("read", "head"):
            error = raised(StorageError, d.call, method, path)
            assert isinstance(error, (InvalidPathError, ObjectNotFoundError)), (path, error)
        raised(StorageError, d.items, "stream", path)
        raised(StorageError, d.call, "copy", path, d.at("copied"))
        assert all(isinstance(error, InvalidPathError) for error in d.call("delete", [path, d.at("none")]).values())
    raised(InvalidPathError, d.call, "read", "a/../b")
    assert list(d.call("delete", [d.at("victim"), "../x"])) == ["../x"]
    assert d.paths(d.folder) == []


# -- headers -----------------------------------------------------------------------------------------------------------


@case
def the_content_type_is_kept_where_promised(d: Driver) -> None:
    options = PutOptions(
        content_type="image/png",
        content_disposition="attachment; filename*=UTF-8''gr%C3%BC%C3%9Fe.png",
        cache_control="private, max-age=60",
    )
    for name, content in (("small", SMALL), ("large", LARGE), ("chunks", iter([SMALL]))):
        d.put(d.at(name), content, options)
        if d.backend.capabilities.keeps_content_type:
            assert d.call("head", d.at(name)).content_type == "image/png"
    d.call("copy", d.at("small"), d.at("copied"))
    if d.backend.capabilities.keeps_content_type:
        assert d.call("head", d.at("copied")).content_type == "image/png"
    assert d.read(d.at("copied")) == SMALL


@case
def no_metadata_poisons_an_object(d: Driver) -> None:
    values = ["plain", "", " spaces ", "grüße", "日本語\U0001f600", "x" * 500, "100%25"]
    values += ["new\nline", "cr\r\nx-evil: 1", "nul\0"]
    for number, value in enumerate(values):
        path = d.at(f"{number}")
        options = PutOptions(metadata={"owner": value, "second-key": "b"}, content_type="text/plain")
        try:
            d.put(path, SMALL, options)
        except StorageError:
            assert d.call("exists", path) is False  # refused is fine, half stored is not
            continue
        except ValueError:
            continue
        assert d.call("head", path).size == len(SMALL)
        assert d.read(path) == SMALL
        d.call("copy", path, f"{path}-copy")
        assert d.read(f"{path}-copy") == SMALL


# -- capabilities ------------------------------------------------------------------------------------------------------


@case
def capabilities_are_honest_about_signing(d: Driver) -> None:
    path = d.at("signed")
    d.put(path, SMALL)
    for method, promised in (("GET", d.backend.capabilities.sign_get), ("PUT", d.backend.capabilities.sign_put)):
        request = SignRequest(method, 60)
        if promised:
            one = d.call("sign", path, request)
            assert one.startswith(("http://", "https://", "/files/"))
            assert len(d.call("sign_many", [path, d.at("other")], request)) == 2
        else:
            error = raised(UnsupportedOperationError, d.call, "sign", path, request)
            assert isinstance(error, NotImplementedError)
            assert error.operation == "sign"
            raised(UnsupportedOperationError, d.call, "sign_many", [path, path], request)


@case
def a_backend_says_what_it_is(d: Driver) -> None:
    assert d.backend.protocol
    assert d.backend.key in repr(d.backend)


# -- the event loop ----------------------------------------------------------------------------------------------------


@async_case
def a_cancelled_put_leaves_nothing(d: AsyncDriver) -> None:
    async def attempt(path: str, content: Any, delay: float) -> None:
        task = asyncio.ensure_future(d.backend.put_async(path, content))
        await asyncio.sleep(delay)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            for _ in range(20):  # a store may still be working on the request
                assert not await d.backend.exists_async(path), (path, delay)
                await asyncio.sleep(0.005)
        else:
            assert await d.backend.exists_async(path)  # it was faster than the cancellation

    for number, delay in enumerate((0, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.03)):
        d.run(attempt(d.at(f"bytes{number}"), LARGE, delay))
        d.run(attempt(d.at(f"small{number}"), SMALL, delay))
        d.run(attempt(d.at(f"chunks{number}"), d.feeds(lambda: split(LARGE, 1 << 16))[-1], delay))


@async_case
def a_put_waiting_for_its_source_can_be_cancelled(d: AsyncDriver) -> None:
    closed: list[BaseException] = []

    async def stalled(before: int, reached: asyncio.Event) -> AsyncIterator[bytes]:
        try:
            for _ in range(before):
                yield LARGE[: 1 << 20]
            reached.set()
            await asyncio.sleep(3600)
        except BaseException as error:
            closed.append(error)
            raise

    async def attempt(before: int) -> None:
        reached = asyncio.Event()
        task = asyncio.ensure_future(d.backend.put_async(d.at("stalled"), stalled(before, reached)))
        await reached.wait()
        task.cancel()
        result = await asyncio.wait_for(asyncio.gather(task, return_exceptions=True), 60)
        assert isinstance(result[0], asyncio.CancelledError)
        await asyncio.sleep(0.05)
        assert not await d.backend.exists_async(d.at("stalled"))

    for before in (0, 1, 7):
        d.run(attempt(before))
    assert [type(error) for error in closed] == [asyncio.CancelledError] * 3
    assert d.paths(d.folder) == []


@async_case
def uploads_fed_by_downloads_do_not_wait_for_each_other(d: AsyncDriver) -> None:
    data = LARGE[: 3 << 20]
    d.put(d.at("source"), data)

    async def main() -> None:
        await asyncio.gather(
            *(
                d.backend.put_async(d.at(f"{number}"), d.backend.stream_async(d.at("source"), 0, None, 1 << 20))
                for number in range(16)
            )
        )

    d.run(asyncio.wait_for(main(), 60))
    assert len(d.paths(d.folder)) == 17
    assert d.read(d.at("15")) == data


@async_case
def the_source_runs_in_the_callers_task(d: AsyncDriver) -> None:
    tasks: set[Any] = set()

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(8):
            tasks.add(asyncio.current_task())
            yield LARGE[: 1 << 20]

    async def main() -> None:
        await d.backend.put_async(d.at("x"), chunks())
        assert tasks == {asyncio.current_task()}  # so that its timeouts and context variables work

    d.run(main())


@async_case
def asynchronous_calls_do_not_block_the_event_loop(d: AsyncDriver) -> None:
    def slow() -> Iterator[bytes]:
        for _ in range(4):
            time.sleep(0.15)
            yield SMALL

    async def longest_gap(awaitable: Awaitable[Any]) -> float:
        task = asyncio.ensure_future(awaitable)
        longest, last = 0.0, time.perf_counter()
        while not task.done():
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now
        await task
        return longest

    assert d.run(longest_gap(d.backend.put_async(d.at("slow"), slow()))) < 0.14
    gaps = [d.run(longest_gap(d.backend.put_async(d.at(f"{number}"), LARGE))) for number in range(5)]
    gaps += [d.run(longest_gap(d.backend.read_async(d.at(f"{number}")))) for number in range(5)]
    assert sorted(gaps)[5] < 0.1, gaps  # half of them, for the machine may be busy
