"""Shared by the ASGI frameworks: send a reply, stream a body in.

A reply is sent with backpressure, until the client leaves.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar

import anyio

from filerow._execution.threads import in_thread
from filerow._file.object import FileObject
from filerow._file.variant import Variant
from filerow.exceptions import FilerowError
from filerow.ext._responses import OtherAnswers
from filerow.http import route
from filerow.http._reply import AsyncChunks, Body, Headers, Reply, merged, own_headers
from filerow.http._upload import DISCARD_BYTES, DISCARD_SECONDS
from filerow.http.serving import accelerate, redirect_async, serve_async

Scope: TypeAlias = Any  # each framework has its own names for ASGI's types
Receive: TypeAlias = Callable[[], Awaitable[Any]]
Send: TypeAlias = Callable[[Any], Awaitable[None]]
Pairs: TypeAlias = list[tuple[str, str]]

PATHSEND = "http.response.pathsend"
"""The ASGI extension by which a server sends a whole local file; Granian has it."""

_NO_FILE = FileObject()
_REFUSED = 400

_ASKED_SECONDS = 1
"""Seconds that a client with ``Expect: 100-continue`` has to begin its upload, if the server has already sent the 100."""

Answer: TypeAlias = Callable[[str, Pairs], Awaitable[Reply]]
"""A function that makes a reply from a request's method and headers when the response is sent."""


def streamed(file: FileObject | Variant, **options: Any) -> Answer:
    """Respond with a file's bytes; see :func:`filerow.http.serving.serve`."""

    def answer(method: str, headers: Pairs) -> Awaitable[Reply]:
        return serve_async(file, method, headers, **options)

    return answer


def redirected(file: FileObject | Variant, **options: Any) -> Answer:
    """Respond with a redirect; see :func:`filerow.http.serving.redirect`."""

    def answer(method: str, _: Pairs) -> Awaitable[Reply]:
        return redirect_async(file, method, **options)

    return answer


def accelerated(file: FileObject | Variant, **options: Any) -> Answer:
    """Leave the file to the web server; see :func:`filerow.http.serving.accelerate`."""

    async def answer(method: str, _: Pairs) -> Reply:
        return await in_thread(accelerate, file, method, **options)  # it reads the disk

    return answer


class ASGIAnswers(OtherAnswers):
    """Makes the reply when the framework sends the response.

    Attributes:
        answer: A function that makes the reply when the response is sent.
        problems: Turn an error of the store into its problem document instead of raising it.
        unread: The request's body, which may not be fully read when the reply is sent.
        added: The application's own headers.
    """

    answer: Answer
    problems: bool
    unread: Incoming | None = None
    added: Headers = ()

    if TYPE_CHECKING:

        def __init__(self, file: FileObject | Variant) -> None: ...

    @classmethod
    def _redirected(cls, file: FileObject | Variant, options: Mapping[str, Any], headers: Mapping[str, str] | None) -> Self:
        return response_of(cls, redirected(file, **options), headers=headers)

    @classmethod
    def _accelerated(cls, file: FileObject | Variant, options: Mapping[str, Any], headers: Mapping[str, str] | None) -> Self:
        return response_of(cls, accelerated(file, **options), headers=headers)


_Response = TypeVar("_Response", bound=ASGIAnswers)


def response_of(
    kind: type[_Response],
    answer: Answer,
    *,
    problems: bool = False,
    unread: Incoming | None = None,
    headers: Mapping[str, str] | None = None,
) -> _Response:
    """Return a framework's response for any reply.

    Args:
        kind: The framework's class.
        answer: A function that makes the reply.
        problems: Turn an error of the store into its problem document instead of raising it.
        unread: The request's body, which may not be fully read.
        headers: The application's own headers.
    """
    response = kind(_NO_FILE)
    response.answer, response.problems, response.unread = answer, problems, unread
    response.added = own_headers(headers)
    return response


def fixed(reply: Reply) -> Answer:
    """Respond with an existing reply."""

    async def answer(_: str, __: Pairs) -> Reply:
        return reply

    return answer


def headers_of(scope: Scope) -> Pairs:
    """Return a request's headers as text."""
    return decoded(scope["headers"])


def decoded(headers: Iterable[tuple[bytes, bytes]]) -> Pairs:
    """Return headers as text."""
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]


async def send_reply(
    reply: Reply,
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    extra: Iterable[tuple[str, str]] = (),
    problems: bool = False,
    unread: Incoming | None = None,
) -> None:
    """Send a reply as fast as the client takes it, and stop when it has left.

    The first chunk is read before the status is sent, so that a missing object still gets its own status.

    Args:
        reply: What to send.
        scope: ASGI's, whose extensions may let the server itself send a local file (``http.response.pathsend``).
        receive: ASGI's, to notice that the client has left.
        send: ASGI's, which waits while the client is slow.
        extra: Headers that the framework adds, such as cookies.
        problems: Turn an error of the store into its problem document instead of raising it.
        unread: The request's body; the rest of it is read before the reply ends.
    """
    chunks: AsyncChunks | None = None
    place: str | None = None
    if isinstance(reply.body, Body):
        try:
            place = await reply.body.place_async() if PATHSEND in (scope.get("extensions") or {}) else None
            chunks = await reply.body.begin_async() if place is None else None
        except FilerowError as error:
            if not problems:
                raise
            reply = route.problem(error)
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in merged(reply.headers, extra)]
    try:
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        if place is not None:
            await send({"type": PATHSEND, "path": place})
            return
        if chunks is not None and not await _send_chunks(chunks, receive, send):
            return
        body = reply.body if isinstance(reply.body, bytes) else b""
        if unread is not None and reply.status >= _REFUSED:
            if unread.waits:  # Granian would ask for the upload until part of the response's body is sent
                await send({"type": "http.response.body", "body": body, "more_body": True})
                body = b""
            await unread.discard()  # the status is sent; servers take a complete response for the end
        await send({"type": "http.response.body", "body": body})
    finally:
        if chunks is not None:
            with anyio.CancelScope(shield=True):  # release the backend's file or connection, whatever ended this
                await chunks.aclose()


async def _send_chunks(chunks: AsyncChunks, receive: Receive, send: Send) -> bool:
    """Send the chunks; return True if all were sent.

    If the client leaves, this ends between two chunks: a read that has begun finishes and leaves nothing half open.
    """
    gone = anyio.Event()
    failure: Exception | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(_watch, receive, gone)
        try:
            async for chunk in chunks:
                await _send_chunk(chunk, send, gone)
                if gone.is_set():
                    break
        except Exception as error:  # noqa: BLE001 - raised below as it is, rather than inside the task group's own
            failure = error
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return not gone.is_set()


async def _send_chunk(chunk: bytes, send: Send, gone: anyio.Event) -> None:
    try:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    except OSError:  # a server may report that the client has left (ASGI, HTTP protocol 2.4)
        gone.set()


async def _watch(receive: Receive, gone: anyio.Event) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    gone.set()


class Incoming:
    """The body of a request, as it arrives.

    Args:
        receive: ASGI's.
        waits: True if the client waits to be asked for it (``Expect: 100-continue``).

    Attributes:
        waits: True if it has not been read yet, so that the client may not have been asked for it.
    """

    def __init__(self, receive: Receive, *, waits: bool) -> None:
        self._receive = receive
        self.waits: bool = waits
        self._is_over = False

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body's chunks.

        Raises:
            ConnectionAbortedError: The client left before the end.
        """
        self.waits = False
        while not self._is_over:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._is_over = True
                raise ConnectionAbortedError("the client left before its upload was complete")
            self._is_over = not message.get("more_body", False)
            if chunk := message.get("body", b""):
                yield chunk

    async def discard(self) -> None:
        """Read and drop the rest of the body, within limits.

        A server closes a connection that brings more than it asked for, and the client, or nginx in front, may then see a broken
        connection (502) instead of the response. No server reports whether it has asked a waiting client to send: Hypercorn asks
        at once; uvicorn and Granian ask when the body is read, unless the response has begun.
        """
        size, seconds = 0, _ASKED_SECONDS if self.waits else DISCARD_SECONDS
        with suppress(ConnectionAbortedError), anyio.move_on_after(seconds) as limit:
            async for chunk in self.chunks():
                if not size:
                    limit.deadline = anyio.current_time() + DISCARD_SECONDS
                size += len(chunk)
                if size > DISCARD_BYTES:
                    return


async def reply_of_route(scope: Scope, receive: Receive, key: str, path: str) -> tuple[Reply, Incoming]:
    """Serve a signed URL of our own: send a file, or store one.

    Args:
        scope: The request's.
        receive: The request's, for the body of a ``PUT``.
        key: The backend's key, from the URL.
        path: The path inside the backend, from the URL, decoded.

    Returns:
        The reply, and the request's body, which may not be fully read.
    """
    headers = headers_of(scope)
    body = Incoming(receive, waits=any(name.lower() == "expect" for name, _ in headers))
    query = scope.get("query_string", b"").decode("latin-1")
    try:
        if scope["method"] == "PUT":
            return await route.receive_async("PUT", key, path, query, headers, body.chunks()), body
        return await route.answer_async(scope["method"], key, path, query, headers), body
    except ConnectionAbortedError:
        return Reply(400, ()), body  # the client has left
