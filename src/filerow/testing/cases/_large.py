"""Objects of 100 MB, in bounded memory; they run only when asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256

from filerow.testing._case import case, ensure, equal
from filerow.testing._driver import LARGE, SyncDriver, split

_TIMES = 16  # of 6 MiB, and a bit: 100 MB
_TAIL = b"the end"
_CHUNK = 1 << 20
_LONGEST_CHUNK = 8 << 20


def _chunks() -> Iterator[bytes]:
    for number in range(_TIMES):
        yield number.to_bytes(8, "big")
        yield from split(LARGE, _CHUNK)
    yield _TAIL


def _sum(chunks: Iterable[bytes]) -> tuple[int, str]:
    size, digest = 0, sha256()
    for chunk in chunks:
        size += len(chunk)
        digest.update(chunk)
    return size, digest.hexdigest()


def _is_whole(d: SyncDriver, path: str, expected: tuple[int, str]) -> None:
    equal(d.call("head", path).size, expected[0], "the size of 100 MB")
    chunks = d.items("stream", path, 0, None, _CHUNK)
    equal(_sum(chunks), expected, "size and SHA-256 of 100 MB")
    ensure(max(map(len, chunks)) <= _LONGEST_CHUNK, f"a chunk of {max(map(len, chunks)):,} bytes")
    equal(d.read(path, expected[0] - len(_TAIL)), _TAIL, "the end of 100 MB")
    equal(d.read(path, _CHUNK, _CHUNK + 10), LARGE[_CHUNK - 8 : _CHUNK + 2], "a range of 100 MB")  # after a number of 8 bytes


@case(large=True)
def bytes_of_100_mb_go_round(d: SyncDriver) -> None:
    """Written at once, read in chunks and in ranges, copied, deleted."""
    expected = _sum(_chunks())
    d.put(d.at("bytes"), b"".join(_chunks()))
    _is_whole(d, d.at("bytes"), expected)
    d.copy(d.at("bytes"), d.at("copied"))
    _is_whole(d, d.at("copied"), expected)
    equal(d.call("delete", [d.at("bytes"), d.at("copied")]), {}, "the failures of deleting 100 MB")
    equal(d.paths(d.folder), [], "what is left")


@case(large=True)
def an_iterator_of_100_mb_goes_round(d: SyncDriver) -> None:
    """Written in chunks, as no memory holds it."""
    expected = _sum(_chunks())
    for number, content in enumerate(d.feeds(_chunks)):
        d.put(d.at(f"{number}"), content)
        _is_whole(d, d.at(f"{number}"), expected)
        d.call("delete", d.at(f"{number}"))
    equal(d.paths(d.folder), [], "what is left")
