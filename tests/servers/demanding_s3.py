"""Play a bucket whose policy, or object lock, refuses each write that comes without what it demands."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.servers._http import Ends, HTTPRelay, Message
from tests.servers._s3 import S3Server
from tests.servers.limited_s3 import Answer

SSE = "x-amz-server-side-encryption"
CHECKSUM = "x-amz-checksum-sha256"
ANY_CHECKSUM = ("content-md5", "x-amz-checksum-")
"""What a bucket with object lock demands: one of these, whatever the rest of its name."""


@dataclass(frozen=True)
class Write:
    """A request that writes.

    Attributes:
        kind: ``put``, ``copy``, ``start`` (of a multipart upload), ``part``, ``complete`` or ``post``.
        path: As it stood on the wire.
        given: What came as headers, or as the fields of a form, by lower-case names.
        missing: What was demanded and did not come.
    """

    kind: str
    path: str
    given: dict[str, str]
    missing: tuple[str, ...]


class DemandingS3(HTTPRelay):
    """A server that demands headers of writes.

    Args:
        server: The server that does the work.
        encryption: Value that each write of an object must have for its encryption; parts and their completion need none.
        checksum: Each write that has bytes must come with their SHA-256.
        lock: The bucket has object lock: each write that has bytes must come with a checksum, of whatever kind.

    Attributes:
        writes: The writes so far.
    """

    def __init__(self, server: S3Server, *, encryption: str = "", checksum: bool = False, lock: bool = False) -> None:
        self._server = server
        self._encryption = encryption
        self._checksum = checksum
        self._lock = lock
        self.writes: list[Write] = []
        super().__init__(server.endpoint)

    @property
    def server(self) -> S3Server:
        """The same server under this one's endpoint."""
        real = self._server
        return S3Server(self.endpoint, real.access_key, real.secret_key, real.region, shared_bucket=real.shared_bucket)

    def refused(self) -> list[Write]:
        """Return the writes that were refused."""
        return [write for write in self.writes if write.missing]

    def kinds(self) -> set[str]:
        """Return the kinds of writes that passed."""
        return {write.kind for write in self.writes if not write.missing}

    async def handle(self, request: Message, ends: Ends) -> None:
        """Pass a request on, whole, or refuse it."""
        body = await ends.read_body(request)
        write = self._understand(request, body)
        if write is not None:
            self.writes.append(write)
        if write is None or not write.missing:
            await ends.pass_answer(request, await ends.send(request, body))
            return
        refusal = Answer.error(403, "AccessDenied", f"the bucket demands {' and '.join(write.missing)}")
        if ANY_CHECKSUM[0] in write.missing:
            refusal = Answer.error(400, "InvalidRequest", _LOCKED)
        ends.writer.write(refusal.encode(request, body))

    def _understand(self, request: Message, body: bytes) -> Write | None:
        method, path, query = request.target
        kind = _kind_of(method, {part.partition("=")[0] for part in query.split("&")}, request.headers, path)
        if not kind:
            return None
        given = _fields(body) if kind == "post" else request.headers
        missing = []
        if self._encryption and kind in {"put", "copy", "start", "post"} and given.get(SSE) != self._encryption:
            missing.append(SSE)
        if self._checksum and kind in {"put", "part", "post"} and not given.get(CHECKSUM):
            missing.append(CHECKSUM)
        if self._lock and kind in {"put", "part", "post"} and not any(name.startswith(ANY_CHECKSUM) for name in given):
            missing.append(ANY_CHECKSUM[0])
        return Write(kind, path, given, tuple(missing))


_LOCKED = "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters"


def _kind_of(method: str, names: set[str], headers: dict[str, str], path: str) -> str:
    if method == "PUT":
        return "copy" if "x-amz-copy-source" in headers else "part" if "uploadId" in names else "put"
    if method != "POST" or "delete" in names:
        return ""
    if "uploads" in names:
        return "start"
    return "complete" if "uploadId" in names else "post"


def _fields(body: bytes) -> dict[str, str]:
    found = re.findall(rb'name="([^"]+)"\r\n(?:[^\r\n]+\r\n)*\r\n([^\r]*)\r\n', body)
    return {name.decode().lower(): value.decode("utf-8", "replace") for name, value in found}
