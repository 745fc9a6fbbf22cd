"""Fetches a web address into a temporary file, and connects to public hosts only.

The host's addresses are looked up, judged and connected to in one place, below HTTP, so a name that changes its address between
two look-ups gains nothing, and each redirect is judged like the first request. httpcore reads no environment, so there is no
proxy and no ``.netrc``.
"""

from __future__ import annotations

import asyncio
import socket
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from email.message import Message
from email.utils import collapse_rfc2231_value
from functools import cache
from ssl import SSLContext
from typing import IO, Any, NamedTuple

from filerow._execution.steps import Call, Steps, threaded
from filerow._execution.threads import following
from filerow._file.addresses import Network, is_public, networks, parsed
from filerow._requirements import needs
from filerow.exceptions import FetchError, FileTooLargeError

with needs("url", "FileObject.from_url()"):
    import httpcore
    import httpx

_PORTS = {"http": 80, "https": 443}
_MOVED = frozenset({301, 302, 303, 307, 308})
_OK = 200
_DIGITS = 20
_LONGEST_HEADER = 2_000
_IN_MEMORY = 1 << 20
_LONGEST = 86_400
_HEADERS = [("Accept", "*/*"), ("Accept-Encoding", "identity"), ("User-Agent", "filerow"), ("Connection", "close")]


class FetchLimits(NamedTuple):
    """What a fetch may do.

    Attributes:
        max_size: Maximum size in bytes.
        timeout: Total deadline in seconds.
        max_redirects: Maximum number of redirects.
        allow: Networks that are allowed besides the public internet, on any port.
        tls: Trusted certificates; ``None`` for those of certifi.
    """

    max_size: int
    timeout: float
    max_redirects: int
    allow: Sequence[Network]
    tls: SSLContext | None = None


class Fetched(NamedTuple):
    """What a web address returned.

    Attributes:
        content: An open temporary file, at its beginning.
        content_type: The type that the server says.
        name: The last part of the address's path, after all redirects.
    """

    content: IO[bytes]
    content_type: str
    name: str


# -- the deadline ----------------------------------------------------------------------------------------------------------


class _Deadline:
    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self, error: type[Exception] = httpcore.ReadTimeout) -> float:
        left = self._end - time.monotonic()
        if left <= 0:
            raise error("the time for the whole fetch is over")
        return left


class _Stream(httpcore.NetworkStream):
    """A connection whose every call ends at the deadline."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: _Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.left(httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = self._deadline.left(httpcore.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, left), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _AsyncStream(httpcore.AsyncNetworkStream):
    """As :class:`_Stream`, awaited."""

    def __init__(self, stream: httpcore.AsyncNetworkStream, deadline: _Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._stream.read(max_bytes, self._deadline.left())

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, self._deadline.left(httpcore.WriteTimeout))

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        left = self._deadline.left(httpcore.ConnectTimeout)
        return _AsyncStream(await self._stream.start_tls(ssl_context, server_hostname, left), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


# -- the addresses ---------------------------------------------------------------------------------------------------------


class _AddressError(Exception):
    """An address must not be connected to; the message says why."""


def _look_up(host: str, port: int) -> list[str]:
    """Return a host's addresses; the one place where names are looked up."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _in_time(host: str, port: int, seconds: float) -> list[str]:
    """Look up a host, and give up after a time, which the resolver itself does not."""
    answer: list[list[str] | OSError] = []

    def ask() -> None:
        try:
            answer.append(_look_up(host, port))
        except OSError as error:
            answer.append(error)
        except UnicodeError as error:  # a label of the name is too long, or none
            answer.append(OSError(f"the name of its host is not valid: {error}"))

    asker = threading.Thread(target=ask, name="filerow-resolver", daemon=True)
    asker.start()
    asker.join(seconds)
    if not answer:
        raise httpcore.ConnectTimeout("the time for the whole fetch is over")
    if isinstance(answer[0], OSError):
        raise httpcore.ConnectError(str(answer[0])) from answer[0]
    return answer[0]


def _judged(addresses: Sequence[str], port: int, allow: Sequence[Network]) -> list[str]:
    """Return the addresses to connect to, after all of them were judged."""
    for address in addresses:
        if _is_in(address, allow):
            continue
        if not is_public(address):
            raise _AddressError(f"its host has the address {address}, which is not of the public internet; see allow=")
        if port not in _PORTS.values():
            raise _AddressError(f"port {port} is neither 80 nor 443")
    return list(addresses)


def _is_in(address: str, allow: Sequence[Network]) -> bool:
    try:
        found = parsed(address)
    except ValueError:
        return False
    return any(found.version == network.version and found in network for network in allow)


class _Guarded(httpcore.NetworkBackend):
    """Connects to judged addresses only."""

    def __init__(self, allow: Sequence[Network], deadline: _Deadline) -> None:
        self._allow = allow
        self._deadline = deadline
        self._network = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = _judged(_in_time(host, port, self._deadline.left(httpcore.ConnectTimeout)), port, self._allow)
        for number, address in enumerate(addresses, 1):
            try:
                left = self._deadline.left(httpcore.ConnectTimeout)
                stream = self._network.connect_tcp(address, port, left, local_address, socket_options)
                return _Stream(stream, self._deadline)
            except httpcore.ConnectError:
                if number == len(addresses):
                    raise
        raise httpcore.ConnectError("the host has no address")


class _AsyncGuarded(httpcore.AsyncNetworkBackend):
    """As :class:`_Guarded`, awaited."""

    def __init__(self, allow: Sequence[Network], deadline: _Deadline) -> None:
        self._allow = allow
        self._deadline = deadline
        self._network: Any = httpcore.AnyIOBackend()  # a stand-in where anyio is missing

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        left = self._deadline.left(httpcore.ConnectTimeout)
        found = await asyncio.to_thread(_in_time, host, port, left)
        addresses = _judged(found, port, self._allow)
        for number, address in enumerate(addresses, 1):
            try:
                left = self._deadline.left(httpcore.ConnectTimeout)
                stream = await self._network.connect_tcp(address, port, left, local_address, socket_options)
                return _AsyncStream(stream, self._deadline)
            except httpcore.ConnectError:
                if number == len(addresses):
                    raise
        raise httpcore.ConnectError("the host has no address")


# -- one fetch -------------------------------------------------------------------------------------------------------------


def fetch(url: str, limits: FetchLimits) -> Steps[Fetched]:
    """Yield the calls of a fetch.

    Raises:
        FetchError: The address is refused, or did not return a file.
        FileTooLargeError: The file has too many bytes.
    """
    deadline = _Deadline(limits.timeout)
    pools = _pools(limits, deadline)
    place = _place(url, None, limits)
    try:
        for _ in range(limits.max_redirects + 1):
            answer = yield from _ask(pools, place)
            if answer.status not in _MOVED:
                return (yield from _take(answer, place, limits))
            yield Call(answer.close, answer.aclose)
            place = _place(_header(answer, b"location"), place, limits)
    except _AddressError as error:
        raise FetchError(f"{_shown(place)} is not fetched: {error}") from None
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
        why = f"not within {limits.timeout:g} s" if isinstance(error, httpcore.TimeoutException) else str(error)
        raise FetchError(f"{_shown(place)} could not be fetched: {why or type(error).__name__}") from error
    finally:
        yield Call(pools[0].close, pools[1].aclose)
    raise FetchError(f"{_shown(place)} is not fetched: it was redirected to more than {limits.max_redirects} times")


def _pools(limits: FetchLimits, deadline: _Deadline) -> tuple[httpcore.ConnectionPool, httpcore.AsyncConnectionPool]:
    guarded, awaited = _Guarded(limits.allow, deadline), _AsyncGuarded(limits.allow, deadline)
    tls = limits.tls or _trusted()
    return (
        httpcore.ConnectionPool(ssl_context=tls, network_backend=guarded),
        httpcore.AsyncConnectionPool(ssl_context=tls, network_backend=awaited),
    )


@cache
def _trusted() -> SSLContext:
    """Return the certificates that are trusted, which take a while to load."""
    return httpcore.default_ssl_context()


def _ask(pools: tuple[httpcore.ConnectionPool, httpcore.AsyncConnectionPool], place: httpx.URL) -> Steps[httpcore.Response]:
    target = httpcore.URL(scheme=place.raw_scheme, host=place.raw_host, port=place.port, target=place.raw_path)
    headers = [("Host", place.netloc.decode("ascii")), *_HEADERS]
    request = httpcore.Request("GET", target, headers=headers)
    return (yield Call(pools[0].handle_request, pools[1].handle_async_request, (request,)))  # type: ignore[no-any-return]


def _take(answer: httpcore.Response, place: httpx.URL, limits: FetchLimits) -> Steps[Fetched]:
    """Read the body into a temporary file."""
    if answer.status != _OK:
        raise FetchError(f"{_shown(place)} could not be fetched: it answered with status {answer.status}")
    coding = _header(answer, b"content-encoding").strip().lower()
    if coding not in {"", "identity"}:
        raise FetchError(f"{_shown(place)} is not fetched: it is encoded as {coding[:40]!r}, though we asked for no encoding")
    length = _header(answer, b"content-length")
    _check_size(place, int(length) if length.isdecimal() and len(length) < _DIGITS else 0, limits)
    spool = _Spool(_IN_MEMORY, prefix="filerow-")
    try:
        body, size = _Body(answer), 0
        while chunk := (yield Call(body.next, body.anext)):
            size += len(chunk)
            _check_size(place, size, limits)
            if size > _IN_MEMORY:
                yield threaded(spool.write, chunk)
            else:
                spool.write(chunk)
    except BaseException:
        spool.close()
        raise
    spool.seek(0)
    name = _name_in(_header(answer, b"content-disposition")) or place.path.rpartition("/")[2]
    return Fetched(spool, _header(answer, b"content-type").partition(";")[0].strip(), name)


class _Spool(tempfile.SpooledTemporaryFile[bytes]):
    """A temporary file that is closed with the last file that has it as its content."""

    def __del__(self) -> None:
        self.close()


class _Body:
    """The chunks of a response, one at a time, and an empty one in the end."""

    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer
        self._chunks: Any = None

    def next(self) -> bytes:
        if self._chunks is None:
            self._chunks = self._answer.iter_stream()
        return following(self._chunks)

    async def anext(self) -> bytes:
        if self._chunks is None:
            self._chunks = self._answer.aiter_stream()
        while (chunk := await anext(self._chunks, None)) == b"":
            pass
        return chunk or b""


def _place(text: str, before: httpx.URL | None, limits: FetchLimits) -> httpx.URL:
    """Return where to go: the first address, or the one that a redirect names."""
    try:
        place = httpx.URL(text) if before is None else before.join(text)
        str(place.host)  # which is decoded only now
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise FetchError(f"not a web address: {error}") from None
    if place.scheme not in _PORTS or not place.host or (before is not None and not text):
        raise FetchError(f"{_shown(place)} is not fetched: only http:// and https:// addresses with a host are")
    if place.userinfo:
        raise FetchError(f"{_shown(place)} is not fetched: it has a user name or password")
    if before is not None and (before.scheme, place.scheme) == ("https", "http"):
        raise FetchError(f"{_shown(place)} is not fetched: an https:// address was redirected to it")
    if not limits.allow and place.port not in {None, *_PORTS.values()}:
        raise FetchError(f"{_shown(place)} is not fetched: port {place.port} is neither 80 nor 443")
    return place.copy_with(fragment=None)


def _header(answer: httpcore.Response, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in answer.headers if key.lower() == name), "")


def _name_in(disposition: str) -> str:
    """Return the filename in a ``Content-Disposition`` (RFC 6266), or nothing.

    ``filename*`` goes before ``filename``, and many servers send that in UTF-8 without saying so.
    """
    message = Message()
    with suppress(UnicodeError):
        disposition = disposition.encode("latin-1").decode()
    message["content-disposition"] = disposition[:_LONGEST_HEADER]
    try:
        given: Any = message.get_params([], header="content-disposition")
        names = [value for name, value in given if name.lower() == "filename"]
        return collapse_rfc2231_value(next((name for name in names if isinstance(name, tuple)), names[0] if names else ""))
    except (ValueError, LookupError, TypeError):
        return ""


def _check_size(place: httpx.URL, size: int, limits: FetchLimits) -> None:
    if size > limits.max_size:
        message = f"{_shown(place)} has {size:,} bytes or more; max_size is {limits.max_size:,}"
        raise FileTooLargeError(message, limit=limits.max_size, actual=size)


def _shown(place: httpx.URL) -> str:
    """Return an address for messages: a query or user information may be secret."""
    return f"{place.scheme}://{place.host}{place.path}"[:200]


def limits_of(
    max_size: int, timeout: float, max_redirects: int, allow: Iterable[str], tls: SSLContext | None = None
) -> FetchLimits:
    """Return checked limits.

    Raises:
        ValueError: One of them makes no sense.
    """
    if not 0 < timeout <= _LONGEST or max_redirects < 0:  # nor not-a-number, which no comparison finds
        limits = f"more than 0 and at most {_LONGEST} seconds, and max_redirects 0 or more"
        raise ValueError(f"timeout must be {limits}, not {timeout} and {max_redirects}")
    return FetchLimits(max_size, timeout, max_redirects, networks(allow), tls)
