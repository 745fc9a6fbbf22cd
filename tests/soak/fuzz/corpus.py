"""Inputs that have found a fault once, or that lead far into a parser. Each target is tried with all of them, in every run.

What an input has found is said beside it.
"""

from __future__ import annotations

import json

from tests.security.hostile import STRINGS
from tests.security.test_bombs import BOMBS, UNKNOWN
from tests.security.test_header_injection import INJECTIONS

_WHOLE = {"v": 1, "backend": "docs", "path": "a", "filename": "a", "size": 10, "content_type": "text/plain", "metadata": {}}


def _document(**changed: object) -> bytes:
    return json.dumps({**_WHOLE, **changed}).encode()


DOCUMENTS = [
    b'{"v": 1, "backend": "docs", "path": "\\ud800\xff", "filename": "a"}',  # as text: half a character, and another half
    _document(),
    b"[" * 100_000,  # RecursionError
    b'{"a":' * 100_000,  # RecursionError
    _document(last_modified=float("nan")),  # ValueError, when it was served
    _document(last_modified=float("inf")),
    _document(last_modified=-1e300),  # OverflowError, when it was served
    _document(last_modified=1e30),
    _document(last_modified=-62_135_596_800),
    _document(size=-5),  # a Content-Length of -5
    _document(size=True),
    _document(size=10**30),
    _document(path="../../etc/passwd"),
    _document(metadata={"a": [1, {"b": None}]}),
    _document(metadata=[]),
    _document(filename="\ud800"),
    _document(v=2),
    b'{"v":1,"backend":"docs","path":"a","path":"b"}',  # the place was the first path, the file the last
    b'{"v":1,"backend":"docs","path":"a","\\u0070ath":"b"}',
    b'{"v":1,"backend":"docs","path":"a","backend":"other"}',
    b'{"v":1,"backend":"docs","path":"a","v":2}',
    b'{"backend":"docs","filename":"a"}',
    b'{"upload_storage":"docs","file_id":"a","uploaded_at":"0001-01-01T00:00:00+23:59"}',
    b'{"upload_storage":"docs","file_id":"a","uploaded_at":"9999-12-31T23:59:59-23:59"}',
    b'{"path":"docs/a","upload_storage":null,"file_id":0}',
    b'{"v":1,"backend":"docs","path":"a","size":1' + b"0" * 5000 + b"}",
    b"\xff\xfe",
    b"\xef\xbb\xbf{}",
    b"null",
    b"",
]
RANGES = [
    b"\x0abytes=0-",
    b"\x0abytes=-1",
    b"\x00bytes=-1",
    b"\x0abytes=5-2",
    b"\x0abytes=0-0,-1",
    b"\x0abytes=" + b"9" * 5000 + b"-",
    b"\x0a" + b"0-1," * 20_000,
    b"\x0a\xb2-\xb9",
    b"\x0abytes=0-\xb2",
]
CONDITIONS = [
    b'"abc"',
    b'W/"abc", "x"',
    b"*",
    b'"' + b"," * 100_000,
    b'"a" ' * 20_000,
    b"Mon, 30 Feb 2026 10:00:00 GMT",
    b"Sunday, 06-Nov-94 08:49:37 GMT",
    b"Sun Nov  6 08:49:37 1994",
    b"Mon, 01 Jan 0000 00:00:00 GMT",
    b"Sat, 31 Dec 9999 23:59:60 GMT",
]
URLS = [
    b"\xff?expires=1&signature=x",  # UnicodeEncodeError
    b"a?expires=9999999999&signature=" + b"A" * 43,
    b"a?expires=" + b"9" * 5000,
    b"a?expires=1&expires=1",
    b"a?" + b"&" * 10_000,
    b"a?expires=%FF&signature=%00",
    b"a?expires=\xb2&signature=A",
]
CLAIMS = [b".", b"e30." + b"A" * 43, b"eyJleHAiOjF9." + b"A" * 43, b"." * 10_000, b"\xff." + b"A" * 43]
TYPES = [
    b"text/html",
    b"image/svg+xml",
    b"IMAGE/PNG; charset=x",
    b"a/b" * 10_000,
    b"text/\xc4\xb0html",
    b"image/png\nx",
    b"text/xml\x0b",
    b"script",  # as a subtype of image: no type that browsers run
    b"css",
]

CORPUS: list[bytes] = [
    *DOCUMENTS,
    *RANGES,
    *CONDITIONS,
    *URLS,
    *CLAIMS,
    *TYPES,
    *(one.encode("utf-8", "surrogateescape") for one in STRINGS.values()),
    *(one.encode("utf-8", "replace") for one in INJECTIONS.values()),
    *(data for _, data in BOMBS.values()),
    *(data for _, data in UNKNOWN.values()),
]
