"""A server process of one framework that takes and gives big files, and a client that watches its memory and its event loop.

Run as a module it is the server: its arguments are the framework, a folder, and where files go instead of it, as JSON; it writes
its address, and then one line of measurements for each line it reads.
"""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tests.servers._process import ROOT

MIB = 1 << 20
BOUNDARY = "a-boundary-that-is-nowhere-else"


class Measured(NamedTuple):
    """What one transfer took.

    Attributes:
        seconds: Its time.
        peak: The server's peak memory above what it had before, in bytes.
        lag: How late the 99th of 100 timers came on the server's event loop, in seconds; 0 without a loop.
    """

    seconds: float
    peak: int
    lag: float


class Server:
    """The server process, as a client sees it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.address = urlsplit(self._line())

    def _line(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "the server has ended"
        return line.strip()

    def _measure(self) -> dict[str, float]:
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        found: dict[str, float] = json.loads(self._line())
        return found

    def measured(self, work: Callable[[HTTPConnection], object]) -> Measured:
        """Do something and say what it took of the server."""
        assert self.address.hostname
        connection = HTTPConnection(self.address.hostname, self.address.port or 0, timeout=300)
        before = self._measure()["now"]
        began = time.perf_counter()
        work(connection)
        seconds = time.perf_counter() - began
        connection.close()
        after = self._measure()
        return Measured(seconds, int(after["peak"] - before), after["lag"])

    def upload(self, size: int) -> Measured:
        """Send a file of a size in bytes in a multipart form."""

        def work(connection: HTTPConnection) -> None:
            head = (
                f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="big.bin"\r\n'
                "Content-Type: application/octet-stream\r\n\r\n"
            ).encode()
            tail = f"\r\n--{BOUNDARY}--\r\n".encode()
            headers = {
                "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
                "Content-Length": str(len(head) + size + len(tail)),
            }

            def body() -> Iterator[bytes]:
                chunk = bytes(range(256)) * 256
                yield head
                for start in range(0, size, len(chunk)):
                    yield chunk[: size - start]
                yield tail

            connection.request("POST", "/", body(), headers)
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status in {200, 201}, text

        return self.measured(work)

    def download(self, number: int, size: int) -> Measured:
        """Get the file of a row."""

        def work(connection: HTTPConnection) -> None:
            connection.request("GET", f"/{number}")
            answer = connection.getresponse()
            assert answer.status == 200
            left, buffer = size, memoryview(bytearray(MIB))
            while read := answer.readinto(buffer):
                left -= read
            assert left == 0

        return self.measured(work)


@contextmanager
def server(framework: str, folder: Path, store: tuple[str, dict[str, Any]] | None = None) -> Iterator[Server]:
    """Run the server of a framework in a process of its own.

    Args:
        framework: Which.
        folder: For its rows, and for its files.
        store: Where else to keep the files: a backend's URL and options.
    """
    command = [sys.executable, "-m", "tests.ext.big", framework, str(folder), json.dumps(store)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        yield Server(process)
    finally:
        process.kill()
        process.communicate()


# -- the server's side -----------------------------------------------------------------------------------------------------


def measurements(lags: list[float]) -> None:
    """Answer each line of the standard input; the peak and the lags count from the line before."""
    for _ in sys.stdin:
        late, peak = sorted(lags), _peak()
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what there is now
        lags.clear()
        found = {"peak": peak, "now": _peak(), "lag": late[len(late) * 99 // 100] if late else 0}
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


def _peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))


async def serve_asgi(app: Any, lags: list[float]) -> None:
    """Serve an ASGI application forever, and note how late a timer of one millisecond comes."""
    import uvicorn

    running = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off", ws="none"))
    serving = asyncio.ensure_future(running.serve())
    while not running.started:
        await asyncio.sleep(0.01)
    announce(running.servers[0].sockets[0].getsockname()[1])
    while not serving.done():
        began = time.perf_counter()
        await asyncio.sleep(0.001)
        lags.append(time.perf_counter() - began - 0.001)


def announce(port: int) -> None:
    """Write the address."""
    sys.stdout.write(f"http://127.0.0.1:{port}\n")
    sys.stdout.flush()


def main(framework: str, folder: Path, store: tuple[str, dict[str, Any]] | None) -> None:
    """Serve."""
    warnings.simplefilter("ignore")
    from filerow import storages
    from tests.ext import big_apps
    from tests.ext.world import World

    lags: list[float] = []
    app = getattr(big_apps, f"{framework}_app")(World.make(folder))
    if store is not None:
        storages.clear_backends()
        storages.register_backend(store[0], "docs", **store[1])
    threading.Thread(target=measurements, args=[lags], daemon=True).start()
    if framework == "flask":
        from werkzeug.serving import make_server

        wsgi = make_server("127.0.0.1", 0, app, threaded=True)
        announce(wsgi.server_port)
        wsgi.serve_forever()
    asyncio.run(serve_asgi(app, lags))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3]))
