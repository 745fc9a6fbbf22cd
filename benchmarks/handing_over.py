"""``python -m benchmarks.handing_over``: signing URLs beside obstore, and serving a file of a directory beside nginx.

Granian serves it, by us and by Starlette's ``FileResponse``. All are asked in turn in one run, by one client that keeps its
connection, so that the ratios say something on a busy machine.
"""

from __future__ import annotations

import asyncio
import getpass
import http.client
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import obstore

from filerow import FileObject, storages
from filerow.backends.obstore import ObstoreBackend
from tests.execution.running import serving
from tests.servers._process import HOST, accepts_connections, free_ports

SITE = "tests.execution.handing_over"
SIZES = {"10 KB": (10 << 10, 200), "64 MB": (64 << 20, 3)}
ROUNDS = 21
SIGNED = 1000
"""URLs of each round."""


def seconds(connection: http.client.HTTPConnection, path: str, times: int, size: int) -> float:
    """Return how long one answer takes, on average."""
    buffer = bytearray(1 << 20)
    start = time.perf_counter()
    for _ in range(times):
        connection.request("GET", path)
        answer = connection.getresponse()
        read = 0
        while count := answer.readinto(buffer):
            read += count
        assert (answer.status, read) == (200, size)
    return (time.perf_counter() - start) / times


@contextmanager
def nginx(root: Path) -> Iterator[int]:
    """Serve a directory; yields the port."""
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    port = free_ports()
    with tempfile.TemporaryDirectory(prefix="filerow-nginx-") as name:
        conf = Path(name) / "nginx.conf"
        temporary = " ".join(f"{kind}_temp_path {name}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
        server = f"server {{ listen {HOST}:{port}; location / {{ root {root}; }} }}"
        http_part = f"http {{ access_log off; sendfile on; keepalive_requests 100000; {temporary} {server} }}"
        conf.write_text(f"daemon off; {user} worker_processes 1; pid {name}/pid; error_log stderr; events {{}} {http_part}")
        process = subprocess.Popen([program, "-c", str(conf), "-p", name], stderr=subprocess.DEVNULL)
        try:
            while not accepts_connections(port):
                assert process.poll() is None, "nginx has ended"
                time.sleep(0.05)
            yield port
        finally:
            process.terminate()
            process.wait(10)


def signing() -> None:
    """Print what a URL of S3 costs, by key and secret at hand."""
    keys = {"aws_access_key_id": "AKID", "aws_secret_access_key": "the secret of a benchmark"}
    backend = ObstoreBackend("docs", "s3://static-files/docs", aws_endpoint=f"http://{HOST}:9", **keys)  # type: ignore[arg-type]
    storages.register_backend(backend)
    document = {"v": 1, "backend": "docs", "path": "paper/file/01a22c1686.png", "filename": "a.png"}
    file, hour = FileObject.from_dict(document), timedelta(hours=1)
    assert file is not None
    store, path = backend.store, file.path

    async def floor_async() -> None:
        for _ in range(SIGNED):
            await obstore.sign_async(store, "GET", path, hour)

    async def ours_async() -> None:
        for _ in range(SIGNED):
            await file.sign_async(expires_in=3600)

    ways: dict[str, Callable[[], object]] = {
        "obstore, sign": lambda: [obstore.sign(store, "GET", path, hour) for _ in range(SIGNED)],
        "filerow, sign": lambda: [file.sign(expires_in=3600) for _ in range(SIGNED)],
        "filerow, sign_many": lambda: storages.sign_many([file] * SIGNED, expires_in=3600),
        "filerow, sign with a filename (botocore)": lambda: [file.sign(download_as="a.png") for _ in range(SIGNED)],
        "obstore, sign_async": lambda: asyncio.run(floor_async()),
        "filerow, sign_async": lambda: asyncio.run(ours_async()),
    }
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(ROUNDS + 1):
        for way, sign in ways.items():
            start = time.perf_counter()
            sign()
            if number:  # the first has imported what it needs
                taken[way].append((time.perf_counter() - start) / SIGNED)
    print("| URL | µs | of obstore, sign |\n|---|--:|--:|")
    for way, found in taken.items():
        ratio = statistics.median(a / b for a, b in zip(found, taken["obstore, sign"], strict=True))
        print(f"| {way} | {statistics.median(found) * 1e6:.1f} | {ratio:.2f} |")
    storages.clear_backends()


def main() -> None:
    """Print both tables."""
    signing()
    print()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="filerow-bench-")))
        names = {f"{size}.bin": size for size, _ in SIZES.values()}
        for name, size in names.items():
            (folder / name).write_bytes(os.urandom(size))
        settings = {
            "FILEROW_TEST_ROOT": str(folder),
            "FILEROW_TEST_FILES": json.dumps([(name, "application/x-unknown", size) for name, size in names.items()]),
        }

        def argv(port: int) -> list[str]:
            return ["-m", "granian", "--interface=asgi", f"--port={port}", "--log-level=warning", f"{SITE}:compared"]

        log = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        service = stack.enter_context(serving(argv, log, settings))
        service.wait_until(lambda: accepts_connections(service.port))
        plain = stack.enter_context(nginx(folder))
        granian = http.client.HTTPConnection(HOST, service.port, timeout=60)
        static = http.client.HTTPConnection(HOST, plain, timeout=60)
        ways = {
            "filerow, pathsend": (granian, "/handed/"),
            "filerow, streamed": (granian, "/streamed/"),
            "Starlette FileResponse, pathsend": (granian, "/theirs/"),
            "Starlette FileResponse, streamed": (granian, "/theirs-streamed/"),
            "nginx": (static, "/"),
        }
        print("| file | way | ms | of FileResponse, pathsend |\n|---|---|--:|--:|")
        for label, (size, times) in SIZES.items():
            taken: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(ROUNDS):
                for way, (connection, prefix) in ways.items():
                    taken[way].append(seconds(connection, f"{prefix}{size}.bin", times, size))
            base = taken["Starlette FileResponse, pathsend"]
            for way, found in taken.items():
                ratio = statistics.median(a / b for a, b in zip(found, base, strict=True))
                print(f"| {label} | {way} | {statistics.median(found) * 1e3:.2f} | {ratio:.2f} |")
        granian.close()
        static.close()


if __name__ == "__main__":
    main()
