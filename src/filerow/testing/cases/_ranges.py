"""Parts of objects."""

from __future__ import annotations

from filerow.testing._case import case, ensure, equal, raised
from filerow.testing._driver import LARGE, SyncDriver

_DIGITS = b"0123456789"
_CHUNK = 1 << 16
_LONGEST_CHUNK = 1 << 20
_FEWEST_CHUNKS = 4


@case()
def ranges_are_slices(d: SyncDriver) -> None:
    """``[start, end)`` as in Python, read and streamed."""
    path = d.at("digits")
    d.put(path, _DIGITS)
    for bounds in [(0,), (3,), (0, 4), (3, 7), (9, 10), (3, 3), (5, 2), (0, 0), (4, None)]:
        expected = _DIGITS[slice(*bounds if len(bounds) > 1 else (*bounds, None))]
        equal(d.read(path, *bounds), expected, f"read() of the range {bounds}")
        equal(b"".join(d.items("stream", path, *bounds)), expected, f"stream() of the range {bounds}")


@case()
def a_range_past_the_end_is_cut_short(d: SyncDriver) -> None:
    """As a slice is; one that begins past the end is empty."""
    path = d.at("digits")
    d.put(path, _DIGITS)
    for bounds, expected in [((8, 20), b"89"), ((10, 20), b""), ((11,), b""), ((50, 60), b""), ((10,), b"")]:
        equal(d.read(path, *bounds), expected, f"read() of the range {bounds} of 10 bytes")
        equal(b"".join(d.items("stream", path, *bounds)), expected, f"stream() of the range {bounds} of 10 bytes")
    d.put(d.at("empty"), b"")
    equal(d.read(d.at("empty"), 0, 5), b"", "read() of the range (0, 5) of no bytes")
    equal(d.read(d.at("empty"), 3), b"", "read() of the range (3,) of no bytes")


@case()
def a_negative_range_is_refused(d: SyncDriver) -> None:
    """Nothing counts from the end."""
    path = d.at("digits")
    d.put(path, _DIGITS)
    for bounds in [(-1,), (-3, -1), (0, -1)]:
        raised(ValueError, d.read, path, *bounds)
        raised(ValueError, d.items, "stream", path, *bounds)


@case()
def a_range_of_a_large_object_is_streamed_in_chunks(d: SyncDriver) -> None:
    """In bounded memory; a reader may stop early."""
    path = d.at("large")
    d.put(path, LARGE)
    chunks = d.items("stream", path, 1000, 5_000_000, _CHUNK)
    equal(b"".join(chunks), LARGE[1000:5_000_000], "what stream() yielded")
    ensure(max(map(len, chunks)) <= _LONGEST_CHUNK, f"a chunk of {max(map(len, chunks)):,} bytes, when {_CHUNK:,} were asked for")
    ensure(len(chunks) > _FEWEST_CHUNKS, f"5 MB came in {len(chunks)} chunks")
    ensure(LARGE.startswith(d.first("stream", path, 0, None, _CHUNK)), "the first chunk is not the object's beginning")
