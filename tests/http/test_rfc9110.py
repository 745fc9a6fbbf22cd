"""Ranges and preconditions, case by case: RFC 9110, sections 13 and 14. And any header at all against a plain slice."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from filerow import FileObject, storages
from filerow.backends.memory import MemoryBackend
from filerow.http import Reply, serve
from filerow.http._conditional import ConditionOutcome, Validators, entity_tag, evaluate, if_range_holds
from filerow.http._ranges import UNSATISFIABLE, ByteRange, requested_range
from tests.http.conftest import read

DATA = bytes(range(100))
CHECKSUM = "ab" * 32
TAG = f'"{CHECKSUM}"'
STORED = 1_700_000_000  # Tue, 14 Nov 2023 22:13:20 GMT
DATE, EARLIER, LATER = "Tue, 14 Nov 2023 22:13:20 GMT", "Tue, 14 Nov 2023 22:13:19 GMT", "Tue, 14 Nov 2023 22:13:21 GMT"


def file_of(data: bytes = DATA) -> FileObject:
    backend = storages.get_default_backend()
    if not backend.exists("a/file.bin"):
        backend.put("a/file.bin", data)
    document = {
        "v": 1, "backend": backend.key, "path": "a/file.bin", "filename": "file.bin", "content_type": "image/png",
        "size": len(data), "checksum": f"sha256:{CHECKSUM}", "etag": "store", "last_modified": STORED + 0.7,
    }  # fmt: skip
    return FileObject.from_dict(document)


# -- section 14: ranges ----------------------------------------------------------------------------------------------------

RANGES = {  # of 100 bytes; None is the whole file by status 200
    # 14.1.2: one range, its ends counted from 0 and both inside it
    "bytes=0-0": (0, 1), "bytes=0-9": (0, 10), "bytes=10-19": (10, 20), "bytes=99-99": (99, 100), "bytes=0-99": (0, 100),
    "bytes=50-": (50, 100), "bytes=0-": (0, 100), "bytes=99-": (99, 100), "bytes=00-007": (0, 8),
    # a last position past the end is the end
    "bytes=90-200": (90, 100), "bytes=0-99999999999999999999999": (0, 100),
    # a suffix; one longer than the file is the file
    "bytes=-1": (99, 100), "bytes=-100": (0, 100), "bytes=-101": (0, 100), "bytes=-99999999999999999999999": (0, 100),
    # 14.1: a unit's name has no case; 5.6.1: a list may have empty members and spaces
    "BYTES=1-2": (1, 3), "bytes=,1-2": (1, 3), "bytes=1-2 , ": (1, 3), "bytes= 1-2": (1, 3), "bytes=\t1-2\t": (1, 3),
    # nothing of it is there: 416
    "bytes=100-": UNSATISFIABLE, "bytes=100-200": UNSATISFIABLE, "bytes=-0": UNSATISFIABLE, "bytes=200-,-0": UNSATISFIABLE,
    "bytes=99999999999999999999999-": UNSATISFIABLE, "bytes=100-,200-300": UNSATISFIABLE,
    "bytes=" + "200-," * 15 + "200-": UNSATISFIABLE,  # sixteen are looked at
    # 14.2: malformed, or another unit: as if it were not there
    "": None, "bytes": None, "bytes=": None, "bytes=,": None, "bytes=-": None, "bytes=a-b": None, "bytes=5-4": None,
    "bytes=1": None, "bytes=1-2-3": None, "bytes=--1": None, "bytes=+1-2": None, "bytes=1-0x9": None, "bytes=1 - 2": None,
    "bytes=1.0-2": None, "bytes=0-1;": None, "0-1": None, "=0-1": None, "lines=0-1": None, "bytes 0-1": None,
    "bytes=0-1,5-4": None, "bytes=200-,x": None, "bytes=\u0660-\u0661": None, "bytes=0-1\r\n": None,
    "bytes=" + "9" * 5000 + "-": None,
    # several: answered by the whole
    "bytes=0-1,5-6": None, "bytes=0-,0-,0-,0-": None, "bytes=0-1,200-": None, "bytes=-1,-2": None,
    "bytes=" + "0-0," * 200_000: None, "bytes=" + "200-," * 16 + "200-": None,
}  # fmt: skip


@pytest.mark.parametrize("header", RANGES, ids=lambda header: ascii(header)[:40])
def test_a_range_gives_exactly_its_bytes(header: str) -> None:
    reply = serve(file_of(), "GET", {"Range": header})
    expected = RANGES[header]
    if expected is None:
        assert (reply.status, reply.header("content-range"), reply.header("content-length")) == (200, None, "100")
        assert read(reply) == DATA
    elif expected is UNSATISFIABLE:
        assert (reply.status, reply.header("content-range"), reply.header("content-length")) == (416, "bytes */100", "0")
        assert read(reply) == b""
    else:
        start, end = expected
        assert (reply.status, reply.header("content-range")) == (206, f"bytes {start}-{end - 1}/100")
        assert (reply.header("content-length"), read(reply)) == (str(end - start), DATA[start:end])
    assert reply.header("accept-ranges") == "bytes"


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("bytes=0-", 416),
        ("bytes=0-0", 416),
        ("bytes=-0", 416),
        ("bytes=5-9", 416),
        ("bytes=-1", 200),
        ("bytes=x", 200),
        (None, 200),
    ],
)
def test_an_empty_file_has_no_ranges(header: str | None, status: int) -> None:
    reply = serve(file_of(b""), "GET", {"Range": header} if header else {})
    assert (reply.status, reply.header("content-length"), read(reply)) == (status, "0", b"")
    assert reply.header("content-range") == ("bytes */0" if status == 416 else None)


def test_a_range_is_for_get_only() -> None:
    head = serve(file_of(), "HEAD", {"Range": "bytes=0-1"})
    assert (head.status, head.header("content-length"), head.body) == (200, "100", b"")
    assert head.headers == serve(file_of(), "GET").headers


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "QUERY"])
def test_a_handler_of_any_method_may_answer_with_a_file(method: str) -> None:
    """What it asked for is done by now, so no precondition and no range counts."""
    reply = serve(file_of(), method, {"If-Match": '"other"', "If-None-Match": "*", "Range": "bytes=0-1"})
    assert (reply.status, read(reply)) == (200, DATA)


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "CONNECT", "get", "", "GET\r\n"])
def test_any_other_method_is_not_allowed(method: str) -> None:
    reply = serve(file_of(), method, {"If-Match": '"other"'})
    assert (reply.status, reply.header("allow"), reply.body) == (405, "GET, HEAD", b"")


_numbers = st.one_of(st.integers(0, 120).map(str), st.integers(0).map(str), st.sampled_from(["", "-1", "007", "9" * 50, "x"]))
_specs = st.tuples(_numbers, st.sampled_from(["-", "-", "-", "", "--"]), _numbers).map("".join)
_headers = st.one_of(st.text(), st.lists(_specs, max_size=4).map(lambda specs: "bytes=" + ", ".join(specs)))


def sliced(header: str, data: bytes) -> bytes | None:
    """Return what a header that is one plain range asks for, as Python slices it; ``None`` for any other header."""
    start, dash, end = header.removeprefix("bytes=").partition("-")
    digits = [part == "" or (part.isascii() and part.isdigit()) for part in (start, end)]
    if not header.startswith("bytes=") or not dash or not all(digits) or start == end == "" or max(len(start), len(end)) > 40:
        return None
    if not start:
        return data[-int(end) :] if int(end) else b""
    return data[int(start) : int(end) + 1 if end else None] if not end or int(end) >= int(start) else None


@given(_headers, st.integers(0, 100))
@example("bytes=0-0", 0)
@example("bytes=-5", 3)
@example("bytes=2-1", 5)
def test_any_range_header_is_a_slice_or_the_whole(header: str, size: int) -> None:
    data = DATA[:size]
    part = requested_range(header, size)
    if part is None:
        expected = sliced(header, data)
        assert expected is None or expected == data  # the suffix of an empty file
    elif part is UNSATISFIABLE:
        assert not sliced(header, data)
    else:
        assert 0 <= part.start < part.end <= size
        expected = sliced(header, data)
        assert expected is None or data[part.start : part.end] == expected


def test_unsatisfiable_range_differs_from_no_range() -> None:
    assert requested_range("bytes=0-0", 1) == ByteRange(0, 1)
    for size in (5, 5000):
        assert requested_range(f"bytes={size}-", size) is UNSATISFIABLE
    assert UNSATISFIABLE.start == UNSATISFIABLE.end, "whoever counts its bytes finds none"
    assert requested_range(None, 5) is None


# -- section 13: preconditions ---------------------------------------------------------------------------------------------

WEAK = f"W/{TAG}"
OTHER = '"other"'
BEFORE = '"0"'  # it sorts before ours, and the other after
CONDITIONS: list[tuple[dict[str, str], int]] = [
    ({}, 200),
    # 13.1.1 If-Match: strong comparison, any of a list, * for anything
    ({"If-Match": TAG}, 200),
    ({"If-Match": "*"}, 200),
    ({"If-Match": f'"x", {TAG}'}, 200),
    ({"If-Match": f",,{TAG},"}, 200),
    ({"If-Match": OTHER}, 412),
    ({"If-Match": BEFORE}, 412),
    ({"If-Match": WEAK}, 412),
    ({"If-Match": ""}, 412),
    ({"If-Match": CHECKSUM}, 412),
    ({"If-Match": f"{TAG} {OTHER}"}, 412),
    # 13.1.2 If-None-Match: weak comparison; 304 for a reader
    ({"If-None-Match": TAG}, 304),
    ({"If-None-Match": WEAK}, 304),
    ({"If-None-Match": "*"}, 304),
    ({"If-None-Match": f'"a,b", W/"c" ,{WEAK}'}, 304),
    ({"If-None-Match": OTHER}, 200),
    ({"If-None-Match": BEFORE}, 200),
    ({"If-None-Match": CHECKSUM}, 200),
    ({"If-None-Match": f"{TAG}, unquoted"}, 200),
    ({"If-None-Match": '"'}, 200),
    # 13.1.3 If-Modified-Since
    ({"If-Modified-Since": DATE}, 304),
    ({"If-Modified-Since": LATER}, 304),
    ({"If-Modified-Since": EARLIER}, 200),
    ({"If-Modified-Since": "Tuesday, 14-Nov-23 22:13:20 GMT"}, 304),  # 5.6.7: RFC 850's form
    ({"If-Modified-Since": "Tue Nov 14 22:13:20 2023"}, 304),  # and asctime's
    ({"If-Modified-Since": "yesterday"}, 200),
    ({"If-Modified-Since": f"{DATE}, {DATE}"}, 200),
    ({"If-Modified-Since": "Tue, 99 Nov 2023 22:13:20 GMT"}, 200),
    ({"If-Modified-Since": ""}, 200),
    # 13.1.4 If-Unmodified-Since
    ({"If-Unmodified-Since": DATE}, 200),
    ({"If-Unmodified-Since": LATER}, 200),
    ({"If-Unmodified-Since": EARLIER}, 412),
    ({"If-Unmodified-Since": "never"}, 200),
    # 13.2.2: the order, and what makes what be ignored
    ({"If-Match": TAG, "If-Unmodified-Since": EARLIER}, 200),
    ({"If-Match": OTHER, "If-None-Match": TAG}, 412),
    ({"If-Match": TAG, "If-None-Match": TAG}, 304),
    ({"If-Unmodified-Since": EARLIER, "If-None-Match": TAG}, 412),
    ({"If-Unmodified-Since": DATE, "If-Modified-Since": DATE}, 304),
    ({"If-None-Match": OTHER, "If-Modified-Since": DATE}, 200),
    ({"If-None-Match": TAG, "If-Modified-Since": EARLIER}, 304),
    # before the range is looked at
    ({"If-None-Match": TAG, "Range": "bytes=0-1"}, 304),
    ({"If-Match": OTHER, "Range": "bytes=500-"}, 412),
    ({"If-Match": TAG, "Range": "bytes=500-"}, 416),
    ({"If-Match": TAG, "Range": "bytes=0-1"}, 206),
    # 13.1.5 If-Range: strong comparison of one tag; a date is strong only where no other version can have it
    ({"If-Range": TAG, "Range": "bytes=0-1"}, 206),
    ({"If-Range": f" {TAG}\t", "Range": "bytes=0-1"}, 206),
    ({"If-Range": OTHER, "Range": "bytes=0-1"}, 200),
    ({"If-Range": BEFORE, "Range": "bytes=0-1"}, 200),
    ({"If-Range": WEAK, "Range": "bytes=0-1"}, 200),
    ({"If-Range": f"{TAG}, {OTHER}", "Range": "bytes=0-1"}, 200),
    ({"If-Range": "*", "Range": "bytes=0-1"}, 200),
    ({"If-Range": DATE, "Range": "bytes=0-1"}, 200),
    ({"If-Range": OTHER, "Range": "bytes=500-"}, 200),
    ({"If-Range": TAG, "Range": "bytes=500-"}, 416),
    ({"If-Range": OTHER}, 200),
]


def expect(reply: Reply, status: int) -> None:
    assert reply.status == status
    assert reply.header("etag") == TAG
    assert reply.header("last-modified") == DATE
    assert reply.header("cache-control") == "private, no-cache"
    assert read(reply) == {200: DATA, 206: DATA[:2]}.get(status, b"")
    assert (reply.header("content-length") is None) == (status == 304)
    assert (reply.header("content-type") is None) == (status in {304, 412, 416})


@pytest.mark.parametrize(("headers", "status"), CONDITIONS, ids=str)
def test_preconditions_decide(headers: dict[str, str], status: int) -> None:
    expect(serve(file_of(), "GET", headers), status)
    expect(serve(file_of(), "GET", [(name.lower(), value) for name, value in headers.items()]), status)
    head = serve(file_of(), "HEAD", headers)
    assert (head.status, head.body) == ({206: 200, 416: 200}.get(status, status), b"")


def test_fields_that_came_twice_are_one_list() -> None:
    expect(serve(file_of(), "GET", [("If-None-Match", OTHER), ("if-none-match", TAG)]), 304)
    expect(serve(file_of(), "GET", [("Range", "bytes=0-1"), ("Range", "bytes=2-3")]), 200)


def test_a_date_is_strong_where_a_path_is_never_written_twice() -> None:
    settled, other = Validators(None, STORED, settled=True), Validators(None, STORED)
    assert if_range_holds({"if-range": DATE}, settled)
    assert not if_range_holds({"if-range": LATER}, settled)  # exactly this one, not one since then
    assert not if_range_holds({"if-range": "soon"}, settled)
    assert not if_range_holds({"if-range": DATE}, other)
    assert if_range_holds({}, other)


def test_if_none_match_fails_a_put_instead_of_not_modified() -> None:
    assert evaluate("PUT", {"if-none-match": "*"}, Validators(TAG, STORED)) is ConditionOutcome.FAILED
    assert evaluate("PUT", {"if-modified-since": DATE}, Validators(TAG, STORED)) is ConditionOutcome.PROCEED


def test_weak_tag_of_ours_does_not_match_strongly() -> None:
    ours = Validators('W/"1"')
    assert evaluate("GET", {"if-none-match": '"1"'}, ours) is ConditionOutcome.NOT_MODIFIED
    assert evaluate("GET", {"if-match": 'W/"1"'}, ours) is ConditionOutcome.FAILED
    assert evaluate("GET", {"if-match": '"1"'}, ours) is ConditionOutcome.FAILED
    assert evaluate("GET", {"if-match": "*"}, ours) is ConditionOutcome.PROCEED
    assert not if_range_holds({"if-range": 'W/"1"'}, ours)


def test_what_is_not_known_is_not_compared() -> None:
    nothing = Validators()
    for headers in ({"if-none-match": TAG}, {"if-modified-since": DATE}, {"if-unmodified-since": EARLIER}):
        assert evaluate("GET", headers, nothing) is ConditionOutcome.PROCEED
    assert evaluate("GET", {"if-match": TAG}, nothing) is ConditionOutcome.FAILED
    assert not if_range_holds({"if-range": TAG}, nothing)
    assert not if_range_holds({"if-range": DATE}, nothing)


@pytest.mark.parametrize(
    ("checksum", "etag", "expected"),
    [
        (f"sha256:{CHECKSUM}", "store", TAG),
        (None, "store-1", '"store-1"'),
        (None, '"quoted"', '"quoted"'),
        (None, 'W/"weak"', 'W/"weak"'),
        ("sha256:short", "store", '"store"'),
        ("md5:" + "0" * 32, None, None),
        (None, "", None),
        (None, 'a"b', None),
        (None, "a\r\nb", None),
        (None, "grün", None),
    ],
)
def test_the_tag_is_the_checksum_or_the_store_s(checksum: str | None, etag: str | None, expected: str | None) -> None:
    assert entity_tag(checksum, etag) == expected


_NAMES = ["range", "if-range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since"]
_values = st.one_of(
    st.text(),
    st.sampled_from(
        [TAG, WEAK, DATE, "*", "bytes=0-1", "a\r\nb: c", "\0", "\udcff", "W/", '"', "9" * 6000, "Mon, 1 Jan 99999 0:0:0 GMT"]
    ),
    st.binary().map(lambda raw: raw.decode("latin-1")),
    st.datetimes().map(lambda date: date.strftime("%a, %d %b %Y %H:%M:%S GMT")),
)


@given(st.dictionaries(st.sampled_from(_NAMES), _values), st.sampled_from(["GET", "HEAD"]))
@example({"if-modified-since": "Mon, 1 Jan 0 0:0:0 GMT"}, "GET")
@example({"if-range": "Mon, 1 Jan 2024 0:0:0 +9999"}, "GET")
def test_no_header_breaks_the_answer(headers: dict[str, str], method: str) -> None:
    storages.clear_backends()
    storages.register_backend(MemoryBackend("docs"))
    reply = serve(file_of(), method, headers)
    assert reply.status in {200, 206, 304, 412, 416}
    for name, value in reply.headers:
        assert name.isascii()
        assert name == name.lower()
        assert value.isascii()
        assert value.isprintable()
    length = reply.header("content-length")
    assert length is None or method == "HEAD" or int(length) == len(read(reply))


def test_an_endless_list_of_tags_is_read_in_no_time() -> None:
    many = ", ".join(f'"{number}"' for number in range(5000))
    expect(serve(file_of(), "GET", {"If-None-Match": f"{many}, {TAG}"}), 304)
    hostile = ['"' * 20_000, "W/" * 20_000, ", " * 20_000, '"a' + " " * 20_000 + "x"]
    for header, value in itertools.product(_NAMES, hostile):
        assert serve(file_of(), "GET", {header: value}).status in {200, 412}
