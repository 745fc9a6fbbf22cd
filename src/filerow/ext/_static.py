"""The browser's side of direct upload, as a response."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from importlib.resources import files

from filerow.http._conditional import ConditionOutcome, Validators, evaluate
from filerow.http._reply import Reply, RequestHeaders, lowered

SCRIPT = "filerow.js"
"""The module's name, below the file route's URL."""


@cache
def _module() -> tuple[bytes, str]:
    code = files("filerow").joinpath("static", SCRIPT).read_bytes()
    return code, f'"{sha256(code).hexdigest()[:16]}"'


def script(method: str = "GET", headers: RequestHeaders = ()) -> Reply:
    """Return the ES module; a browser revalidates it each time.

    Args:
        method: The request's, ``GET`` or ``HEAD``.
        headers: The request's.
    """
    code, etag = _module()
    known = (("etag", etag), ("cache-control", "no-cache"))
    if evaluate(method, lowered(headers), Validators(etag, None, settled=True)) is ConditionOutcome.NOT_MODIFIED:
        return Reply(304, known)
    kind = (("content-type", "text/javascript; charset=utf-8"), ("x-content-type-options", "nosniff"))
    return Reply(200, (*kind, *known, ("content-length", str(len(code)))), code if method == "GET" else b"")
