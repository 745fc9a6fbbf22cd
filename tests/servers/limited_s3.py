"""Play the S3-compatible stores that can do less than Amazon's, in front of one that does it all.

What the store ignores is taken out of the request, which is then signed again; what it does not know is answered here; what
the credentials may not do is a 403. Everything else goes through as it came.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import unquote

from tests.servers._http import Ends, HTTPRelay, Message, has_body, read_body
from tests.servers._s3 import S3Server

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_CONDITIONS = ("if-none-match", "if-match")


@dataclass(frozen=True)
class Limits:
    """What a store cannot do.

    Attributes:
        ignored: What takes conditions and does not honour them: ``put``, ``copy``, ``complete`` (of a multipart upload).
        refused: What answers conditions with an error instead, and its status.
        bulk_delete: The status of the answer to ``DeleteObjects``; 0 where the store knows it.
        denied: What the credentials may not do, as IAM calls it: ``s3:ListBucket``.
        missing_is_404: A delete of what is not there is an error, where Amazon calls it done.
        keeps_headers: A copy that is to replace headers and metadata keeps those of its source.
        tags: The status of the answer to a copy that is to replace tags, as Cloudflare's R2 gives; 0 where the store has tags.
    """

    ignored: frozenset[str] = frozenset()
    refused: Mapping[str, int] = field(default_factory=dict)
    bulk_delete: int = 0
    denied: frozenset[str] = frozenset()
    missing_is_404: bool = False
    keeps_headers: bool = False
    tags: int = 0


_REPLACING = ("x-amz-metadata-directive", "x-amz-tagging-directive", "content-type", "content-disposition")
_WRITES = ("put", "copy", "complete")
IGNORES_CONDITIONS = Limits(ignored=frozenset(_WRITES))
"""Takes ``If-None-Match`` and overwrites, as many gateways do."""
IGNORES_ON_COPIES = Limits(ignored=frozenset({"copy"}))
"""Honours it with uploads only, as moto does."""
IGNORES_ON_UPLOADS = Limits(ignored=frozenset({"put", "complete"}))
"""Honours it with copies only."""
ANSWERS_501 = Limits(refused=dict.fromkeys(_WRITES, 501))
ANSWERS_400 = Limits(refused=dict.fromkeys(_WRITES, 400))
NO_BULK_DELETE = Limits(bulk_delete=400)
"""Wants a header that clients do not send any more, as Alibaba's OSS does."""
NO_BULK_DELETE_501 = Limits(bulk_delete=501, missing_is_404=True)
"""As Google's interoperability with S3."""
NO_LISTING = Limits(denied=frozenset({"s3:ListBucket"}))
"""What is missing is forbidden, too."""

LIMITED: Mapping[str, Limits] = {
    "ignores-conditions": IGNORES_CONDITIONS,
    "ignores-on-copies": IGNORES_ON_COPIES,
    "ignores-on-uploads": IGNORES_ON_UPLOADS,
    "answers-501": ANSWERS_501,
    "answers-400": ANSWERS_400,
    "no-bulk-delete": NO_BULK_DELETE,
    "no-bulk-delete-501": NO_BULK_DELETE_501,
    "no-listing": NO_LISTING,
    "least": replace(IGNORES_CONDITIONS, bulk_delete=501, denied=NO_LISTING.denied),
}


@dataclass
class Asked:
    """One request, as S3 understands it.

    Attributes:
        method: Its HTTP method.
        path: As it stood on the wire.
        query: Likewise.
        kind: ``put``, ``copy``, ``complete``, ``bulk-delete`` or something else.
        action: The permission that it needs, as IAM calls it.
        conditional: It has a condition.
        tagging: It says what becomes of tags.
    """

    method: str
    path: str
    query: str
    kind: str
    action: str
    conditional: bool
    tagging: bool

    def __str__(self) -> str:
        """Show it in a few words."""
        return f"{self.kind or self.action}{'?' if self.conditional else ''} {self.path}"


@dataclass(frozen=True)
class Answer:
    """An answer that the store itself would not give.

    Attributes:
        status: Its HTTP status.
        body: What is in it; or a function that makes it from the body of the request.
        headers: Its headers beyond type and length.
    """

    status: int
    body: str | Callable[[bytes], str] = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def error(cls, status: int, code: str, message: str = "no", **headers: str) -> Answer:
        """Return an error as S3 words it."""
        return cls(status, f"<Error><Code>{code}</Code><Message>{message}</Message></Error>", headers)

    def encode(self, request: Message, asked_with: bytes) -> bytes:
        """Return what goes over the wire."""
        content = (self.body if isinstance(self.body, str) else self.body(asked_with)).encode()
        lines = {"Content-Type": "application/xml", **self.headers}
        if self.status not in {204, 304}:
            lines["Content-Length"] = str(len(content))
        head = Message(f"HTTP/1.1 {self.status} As scripted", list(lines.items())).encode()
        return head + content if has_body(request, self.status) else head


class LimitedS3(HTTPRelay):
    """A store with limits.

    Args:
        server: The server that does the work.
        limits: What it shall not do.

    Attributes:
        limits: May be changed at any time.
        script: Returns the answer to a request that shall not come from the store; ``None`` for the store's own.
        asked: The requests so far, in order.
        refuses_at_most: How many conditions it still refuses; ``None`` for all.
        most_at_once: How many requests were under way at the same time, at most.
    """

    def __init__(self, server: S3Server, limits: Limits) -> None:
        self._server = server
        self.limits = limits
        self.script: Callable[[Asked], Answer | None] = lambda _: None
        self.asked: list[Asked] = []
        self.refuses_at_most: int | None = None
        self.most_at_once = 0
        self._under_way = 0
        super().__init__(server.endpoint)

    @property
    def server(self) -> S3Server:
        """The same server under this one's endpoint; its ``shared_bucket`` is the same."""
        real = self._server
        return S3Server(self.endpoint, real.access_key, real.secret_key, real.region, shared_bucket=real.shared_bucket)

    def count(self, kind: str) -> int:
        """Return how many requests of a kind there were, or for an action."""
        return sum(kind in {one.kind, one.action} for one in self.asked)

    async def handle(self, request: Message, ends: Ends) -> None:
        """Answer a request, or have the server answer it."""
        asked = _understand(request)
        self.asked.append(asked)
        self._under_way += 1
        self.most_at_once = max(self.most_at_once, self._under_way)
        try:
            await self._handle(request, asked, ends)
            await ends.writer.drain()
        finally:
            self._under_way -= 1

    async def _handle(self, request: Message, asked: Asked, ends: Ends) -> None:
        scripted, refusal = self.script(asked), self._refusal(asked)
        if scripted is not None:
            ends.writer.write(scripted.encode(request, await ends.read_body(request)))
        elif refusal is not None:
            ends.writer.write(self._answer(request, asked, refusal, await ends.read_body(request)))
        else:
            if asked.kind == "copy" and self.limits.keeps_headers:
                request.drop(_REPLACING)
                _sign_again(request, self._server)
            if asked.conditional and asked.kind in self.limits.ignored:
                request.drop(_CONDITIONS)
                _sign_again(request, self._server)
            await self._pass_answer(request, asked, await ends.pass_request(request), ends)

    def _refusal(self, asked: Asked) -> tuple[int, str] | None:
        limits = self.limits
        if asked.action in limits.denied and asked.kind != "bulk-delete":
            return 403, "AccessDenied"
        if asked.kind == "bulk-delete" and asked.action in limits.denied:
            return 200, "AccessDenied"
        if asked.kind == "bulk-delete" and limits.bulk_delete:
            return limits.bulk_delete, {400: "MissingArgument", 501: "NotImplemented"}.get(limits.bulk_delete, "MethodNotAllowed")
        if limits.missing_is_404 and asked.action == "s3:DeleteObject" and not self._is_there(asked):
            return 404, "NoSuchKey"
        if asked.tagging and limits.tags:
            return limits.tags, {501: "NotImplemented", 403: "AccessDenied"}.get(limits.tags, "InvalidArgument")
        if asked.conditional and asked.kind in limits.refused and self.refuses_at_most != 0:
            self.refuses_at_most = None if self.refuses_at_most is None else self.refuses_at_most - 1
            status = limits.refused[asked.kind]
            return status, {400: "InvalidArgument", 501: "NotImplemented"}.get(status, "SlowDown")
        return None

    def _is_there(self, asked: Asked) -> bool:
        bucket, _, key = unquote(asked.path).strip("/").partition("/")
        return key in self._server.keys(bucket, key)

    @staticmethod
    def _answer(request: Message, asked: Asked, refusal: tuple[int, str], body: bytes) -> bytes:
        status, code = refusal
        if status == 200:
            keys = re.findall(rb"<Key>([^<]*)</Key>", body)
            errors = [f"<Error><Key>{key.decode()}</Key><Code>{code}</Code><Message>no</Message></Error>" for key in keys]
            text = f"<DeleteResult>{''.join(errors)}</DeleteResult>"
        else:
            text = f"<Error><Code>{code}</Code><Message>this store does not do {asked.kind or asked.action}</Message></Error>"
        content = f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()
        head = f"HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\nContent-Length: {len(content)}\r\n\r\n"
        return head.encode() + (b"" if request.first.startswith("HEAD ") else content)

    async def _pass_answer(self, request: Message, asked: Asked, answer: Message, ends: Ends) -> None:
        reads = asked.action == "s3:GetObject" or asked.kind == "copy"
        if not reads or answer.status != 404 or "s3:ListBucket" not in self.limits.denied:
            await ends.pass_answer(request, answer)
            return
        body = await read_body(ends.server_reader, answer) if has_body(request, 404) else b""
        if b"NoSuchBucket" not in body:
            ends.writer.write(self._answer(request, asked, (403, "AccessDenied"), b""))
            return
        ends.writer.write(answer.encode() + body)


# -- what was asked ----------------------------------------------------------------------------------------------------


def _understand(request: Message) -> Asked:
    method, path, query = request.target
    names = {part.partition("=")[0] for part in query.split("&") if part}
    is_object = bool(path.strip("/").partition("/")[2])
    kind, action = _meaning(method, names, request.headers, is_object=is_object)
    has = request.headers.keys()
    return Asked(method, path, query, kind, action, not has.isdisjoint(_CONDITIONS), "x-amz-tagging-directive" in has)


def _meaning(method: str, names: set[str], headers: Mapping[str, str], *, is_object: bool) -> tuple[str, str]:
    if not is_object:
        if method == "POST" and "delete" in names:
            return "bulk-delete", "s3:DeleteObject"
        if "uploads" in names:
            return "", "s3:ListBucketMultipartUploads"
        return ("", "s3:ListBucket") if method in {"GET", "HEAD"} else ("", "s3:PutObject")
    if "uploadId" in names:
        multipart = {"GET": "s3:ListMultipartUploadParts", "DELETE": "s3:AbortMultipartUpload"}
        return ("complete" if method == "POST" else ""), multipart.get(method, "s3:PutObject")
    if method == "PUT":
        return ("copy" if "x-amz-copy-source" in headers else "put"), "s3:PutObject"
    if method == "DELETE":
        return "", "s3:DeleteObjectVersion" if "versionId" in names else "s3:DeleteObject"
    return "", "s3:PutObject" if method == "POST" else "s3:GetObject"


# -- signatures --------------------------------------------------------------------------------------------------------


def _sign_again(request: Message, server: S3Server) -> None:
    """Sign what is left of a request (Signature Version 4)."""
    given = request.headers["authorization"]
    scope = re.search(r"Credential=[^/]+/([^,]+)", given)
    signed = re.search(r"SignedHeaders=([^,]+)", given)
    assert scope is not None
    assert signed is not None
    names = [name for name in signed[1].split(";") if name in request.headers]
    method, path, query = request.target
    parts = [part if "=" in part else f"{part}=" for part in query.split("&") if part]
    canonical = [method, path, "&".join(sorted(parts))]
    canonical += [f"{name}:{' '.join(request.headers[name].split())}" for name in names]
    canonical += ["", ";".join(names), request.headers["x-amz-content-sha256"]]
    digest = hashlib.sha256("\n".join(canonical).encode("latin-1")).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", request.headers["x-amz-date"], scope[1], digest])
    key = f"AWS4{server.secret_key}".encode()
    for part in scope[1].split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    again = f"AWS4-HMAC-SHA256 Credential={server.access_key}/{scope[1]}, SignedHeaders={';'.join(names)}, Signature={signature}"
    request.lines = [(name, again if name.lower() == "authorization" else value) for name, value in request.lines]
