"""Difficult clients: some drip their upload, some hardly read, some send malformed requests."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tests.ext.world import TOKEN
from tests.servers._process import HOST
from tests.soak.load.app import LAG

UNANSWERED = "-"
BOUNDARY = "a-boundary"
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")


class Process(NamedTuple):
    """What a process holds.

    Attributes:
        peak: The most memory it has had since it was last reset, in bytes.
        threads: Its threads.
        descriptors: Its open descriptors.
    """

    peak: int
    threads: int
    descriptors: int

    @classmethod
    def of(cls, pid: int) -> Process:
        """Look at a process."""
        status = Path(f"/proc/{pid}/status").read_text()
        [peak] = re.findall(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
        return cls(int(peak) << 10, len(os.listdir(f"/proc/{pid}/task")), len(os.listdir(f"/proc/{pid}/fd")))


@dataclass
class Seen:
    """What was seen while clients were at work.

    Attributes:
        before: The process before.
        threads: The most threads.
        descriptors: The most descriptors.
        grown: How much more memory it had at most, in bytes.
        lag: How late the event loop ran at worst, in seconds.
        latency: How long a plain route took at worst, in seconds.
        answers: How often each status was answered.
        seconds: How long it took.
    """

    before: Process
    threads: int = 0
    descriptors: int = 0
    grown: int = 0
    lag: float = 0.0
    latency: float = 0.0
    answers: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


async def plain(port: int) -> dict[str, Any]:
    """Ask the plain route."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(f"GET {LAG} HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
    finally:
        writer.close()
    found: dict[str, Any] = json.loads(answer[answer.index(b"{") : answer.rindex(b"}") + 1])
    return found


@asynccontextmanager
async def observed(port: int, pid: int) -> AsyncIterator[Seen]:
    """Watch the server while the block runs."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # noqa: ASYNC240 - it is not a file of a disk; the peak starts again from what there is now
    await plain(port)
    seen = Seen(Process.of(pid))
    over = asyncio.Event()

    async def resources() -> None:
        while not over.is_set():
            now = Process.of(pid)
            seen.threads, seen.descriptors = max(seen.threads, now.threads), max(seen.descriptors, now.descriptors)
            seen.grown = now.peak - seen.before.peak
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), 0.1)

    async def times() -> None:
        while not over.is_set():
            began = time.perf_counter()
            seen.lag = max(seen.lag, (await plain(port))["lag"])
            seen.latency = max(seen.latency, time.perf_counter() - began)
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), 0.1)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        group.create_task(resources())
        group.create_task(times())
        try:
            yield seen
        finally:
            over.set()
    seen.seconds = time.perf_counter() - began


# -- slow clients ----------------------------------------------------------------------------------------------------------


async def _connected(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # so that it is the server who keeps what is not read
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (HOST, port))
    return sock


async def drip(port: int, head: bytes, seconds: float) -> str:
    """Send one byte of a body a second until the server closes; return the status that it answered."""
    ends, loop = time.monotonic() + seconds, asyncio.get_running_loop()
    got = bytearray()
    with await _connected(port) as sock:
        with suppress(OSError):
            await loop.sock_sendall(sock, head)
        while time.monotonic() < ends:
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    if not (some := await _received(sock)):
                        break
                    got += some
            with suppress(OSError):
                await loop.sock_sendall(sock, b"x")
    return _status(bytes(got))


async def sip(port: int, head: bytes, seconds: float) -> str:
    """Read one KiB of an answer a second; return its status."""
    ends, loop = time.monotonic() + seconds, asyncio.get_running_loop()
    got = b""
    with await _connected(port) as sock:
        await loop.sock_sendall(sock, head)
        while (left := ends - time.monotonic()) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    some = await _received(sock, 1024)
                    if not some:
                        break
                    got = got or some
            await asyncio.sleep(1)
    return _status(got)


async def _received(sock: socket.socket, size: int = 65536) -> bytes:
    try:
        return await asyncio.get_running_loop().sock_recv(sock, size)
    except OSError:
        return b""


def _status(answer: bytes) -> str:
    found = _STATUS.match(answer)
    return found[1].decode() if found else UNANSWERED


async def all_at_once(works: Iterator[Awaitable[str]]) -> Counter[str]:
    """Begin some every moment, so that what is measured is not the client, and count what each returned."""
    tasks = []
    for number, work in enumerate(works):
        tasks.append(asyncio.ensure_future(work))
        if number % 10 == 9:
            await asyncio.sleep(0.02)
    return Counter(await asyncio.gather(*tasks))


# -- requests that nobody would send ---------------------------------------------------------------------------------------

_METHODS = ["GET", "GET", "HEAD", "PUT", "PUT", "POST", "POST", "OPTIONS", "DELETE", "PATCH", "TRACE", "get", "G\u00cbT"]
_NAMES = [
    "Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "Content-Type", "Content-Range",
    "Content-Encoding", "Content-Disposition", "Accept", "Accept-Encoding", "Authorization", "Cookie", "Origin", "X-Sendfile",
    "Expect", "Content-Length", "Transfer-Encoding", "Connection",
]  # fmt: skip
_VALUES = [
    "", " ", "*", "0", "-1", "bytes=0-0", "bytes=-5", "bytes=5-2", "bytes=0-0,-1", "bytes=" + "0-1," * 500, "bytes=9" + "9" * 400,
    '"', '""', 'W/"a"', '"a", "b"', "Sun, 06 Nov 1994 08:49:37 GMT", "Thu, 99 Foo 9999 99:99:99 GMT",
    "text/plain", "application/json",
    "application/json; charset=\u00ff",
    f"multipart/form-data; boundary={BOUNDARY}", "multipart/form-data",
    "multipart/form-data; boundary=",
    "application/x-www-form-urlencoded", "gzip", "identity", "bytes 0-1/2", "chunked", "gzip, chunked", "100-continue", "close",
    "keep-alive", 'attachment; filename="a', "7", "1000", "99999999999999999999", "1_0", "+1", TOKEN, "\x80\xff", "a" * 4000,
]  # fmt: skip
_PIECES = [
    "files", "docs", "other", "filerow.js", "uploads", "documents", "begin", "resume", "abort",
    "1", "2", "file", "saved", "redirect",
    "accelerate", "..", ".", "", "%2e%2e", "%2f", "%00", "%ff", "%", "a.txt", "\u00e9", "%ed%a0%80",
    "a" * 300, "..%5c", ";", "//", "%0d%0a",
]  # fmt: skip
_PARAMETERS = ["expires", "signature", "method", "content_type", "max_length", "content_length", "content_disposition", "v", "x"]
_TEXTS = [
    "a.txt", "", "\u0301" * 3000, "\ud800", "..", "a" * 5000, "text/plain", "sha256:" + "0" * 64, 0, -1, 7, 10**30,
    1.5, True, None,
    [], {}, "v1.a.b", [[[[]]]],
]  # fmt: skip


class Fuzz:
    """Requests at random, the same for the same seed.

    Args:
        seed: Chooses them.
        links: Signed URLs that work, to read and to upload, some of which are spoilt.
        claims: Claims that work, some of which are spoilt.
    """

    def __init__(self, seed: int, links: list[str], claims: list[str]) -> None:
        self._random = random.Random(seed)
        self._links = links
        self._claims = claims

    def request(self) -> bytes:
        """Return the next one, as it goes over the wire."""
        pick = self._random
        method, target, body, headers = pick.choice([self._route, self._route, self._link, self._link, self._json, self._form])()
        if pick.random() < 0.15:
            method = pick.choice(_METHODS)
        if pick.random() < 0.15 and not target.startswith("/documents/"):  # the applications answer for rows and ways there are
            target = self._spoilt(target)
        for _ in range(pick.choice([0, 0, 1, 1, 2, 4])):
            headers.append((pick.choice(_NAMES), pick.choice(_VALUES)))
        names = {name.lower() for name, _ in headers}
        if pick.random() < 0.1:
            headers.append(("Transfer-Encoding", "chunked"))
            body = self._chunked(body)
        elif body and "content-length" not in names and "transfer-encoding" not in names:
            headers.append(("Content-Length", str(len(body))))
        lines = "".join(f"{name}: {value}\r\n" for name, value in [("Host", "app"), *headers])
        return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1", "replace") + body

    def _route(self) -> tuple[str, str, bytes, list[tuple[str, str]]]:
        pick = self._random
        target = pick.choice(
            [
                "/files/filerow.js",
                "/documents/1/file",
                "/documents/1/saved",
                "/documents/1/redirect",
                "/documents/1/accelerate",
                "/documents/2/file",
                "/documents/1",
                "/files/docs/a.txt",
                "/" + "/".join(pick.choices(_PIECES, k=pick.randint(1, 5))),
            ]
        )
        if target.startswith("/documents/") and re.fullmatch(r"/documents/\d+/[^/]+", target):
            target = f"/documents/{pick.choice('12')}/" + pick.choice(["file", "saved", "redirect", "accelerate", "stable"])
        if pick.random() < 0.3:
            target += "?" + "&".join(f"{pick.choice(_PARAMETERS)}={pick.choice(_PIECES)}" for _ in range(pick.randint(1, 6)))
        return pick.choice(["GET", "GET", "HEAD"]), target, b"", []

    def _link(self) -> tuple[str, str, bytes, list[tuple[str, str]]]:
        pick = self._random
        return pick.choice(["GET", "HEAD", "PUT"]), pick.choice(self._links), pick.choice([b"", b"content", bytes(2000)]), []

    def _json(self) -> tuple[str, str, bytes, list[tuple[str, str]]]:
        pick = self._random
        action = pick.choice(["begin", "begin", "resume", "abort", "claim"])
        given: Any = {"filename": "a.txt", "size": 7, "content_type": "text/plain", "claim": pick.choice(self._claims)}
        for name in pick.sample(["filename", "size", "content_type", "checksum", "claim"], pick.randint(0, 3)):
            given[name] = pick.choice(_TEXTS)
        if pick.random() < 0.2:
            given["claim"] = self._spoilt(pick.choice(self._claims))
        body = json.dumps(pick.choice([given] * 6 + _TEXTS)).encode()
        if pick.random() < 0.15:
            body = pick.choice(
                [b"[" * 50_000, b"{" * 10, b"\xff\xfe", b"1" * 5000, b" " * 70_000, b"NaN", body[: len(body) // 2]]
            )
        headers = [("Authorization", TOKEN), ("Content-Type", "application/json")]
        return "POST", f"/uploads/{pick.choice(['documents'] * 5 + _PIECES[:5])}/{action}", body, headers

    def _form(self) -> tuple[str, str, bytes, list[tuple[str, str]]]:
        pick = self._random
        name = pick.choice(["a.txt", "", "a.png", "\u0301" * 2000, "..\\a", "a%00.txt", 'a"b'])
        kind = pick.choice(["text/plain", "image/png", "x", ""])
        content = pick.choice([b"content", b"", bytes(2000), b"\x89PNG\r\n\x1a\n", b"<svg onload=1>"])
        parts = [
            b'Content-Disposition: form-data; name="name"\r\n\r\nname',
            f'Content-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: {kind}\r\n\r\n'.encode() + content,
        ]
        for _ in range(pick.choice([0, 0, 1, 3])):
            parts.append(f'Content-Disposition: form-data; name="pages"; filename="{name}"\r\n\r\n'.encode() + content)
        body = b"".join(b"--%s\r\n%s\r\n" % (BOUNDARY.encode(), part) for part in parts) + b"--%s--\r\n" % BOUNDARY.encode()
        if pick.random() < 0.2:
            cut = pick.randrange(len(body))
            body = pick.choice([body[:cut], body[:cut] + pick.randbytes(20) + body[cut:], body[cut:]])
        return "POST", "/documents", body, [("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")]

    def _spoilt(self, text: str) -> str:
        pick = self._random
        at = pick.randrange(1, len(text)) if len(text) > 1 else 0
        return pick.choice([text[:at], text[:at] + pick.choice("%&=/.~\u00e9?") + text[at + 1 :], text + "&" + text[at:]])

    def _chunked(self, body: bytes) -> bytes:
        whole = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
        return self._random.choice([whole, whole, whole[:-3], b"zz\r\n" + body, b"-1\r\n\r\n", b"ffffffffffffffff\r\nabc"])


async def send_all(port: int, requests: list[bytes], at_once: int, failed: Callable[[bytes, bytes], None]) -> Counter[str]:
    """Send each request on a connection of its own and count the statuses; report the answers above 499."""
    answers: Counter[str] = Counter()
    left = iter(requests)

    async def client() -> None:
        for request in left:
            answer = await _asked(port, request)
            status = _status(answer)
            answers[status] += 1
            if status >= "500":
                failed(request, answer)

    await asyncio.gather(*(client() for _ in range(at_once)))
    return answers


async def _asked(port: int, request: bytes) -> bytes:
    """Return how an answer begins; what waits for more of a request than there is gets none."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(request)
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(0.5):
                return await reader.read(1000)
        return b""
    finally:
        writer.transport.abort()
