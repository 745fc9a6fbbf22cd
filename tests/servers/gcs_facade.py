"""A stand-in for Google Cloud Storage's XML API, which obstore speaks: moto's S3 behind a translation of headers.

It is ours and no proof that the real service agrees. It knows generations (a new one for every write), create-only and
conditional writes and copies, and it answers 404 where Google does on deleting what is not there; it checks no
signature.

It runs as a child process, for the reasons given in `tests.servers.moto`; this module is also what that process runs::

    python -m tests.servers.gcs_facade PORT
"""

from __future__ import annotations

import importlib.util
import itertools
import re
import sys
import threading
import urllib.parse
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

from tests.servers import _gcs
from tests.servers._process import HOST, ROOT, ServerMissingError, ServerProcess, free_ports, start_with_retries
from tests.servers.moto import answers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Headers = list[tuple[str, str]]
    Environ = dict[str, Any]
    App = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

# moto wants to see whose request it is, and looks no further.
_AUTHORIZATION = "AWS4-HMAC-SHA256 Credential=any/20250101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
_CONDITION = "HTTP_X_GOOG_IF_GENERATION_MATCH"


def start() -> _gcs.GCSServer:
    """Start the stand-in.

    Raises:
        ServerMissingError: moto, or its server extra, is not installed.
    """
    if not (importlib.util.find_spec("moto") and importlib.util.find_spec("flask_cors")):
        raise ServerMissingError("gcs-facade", "pip install 'moto[s3,server]'")
    process = ServerProcess("gcs-facade")
    port = 0

    def attempt() -> bool:
        nonlocal port
        port = free_ports()
        process.spawn(
            [sys.executable, "-W", "ignore", "-m", "tests.servers.gcs_facade", str(port)],
            environment={"PYTHONPATH": str(ROOT)},
        )
        return process.wait_until(lambda: answers(port, "/"))

    start_with_retries(process, attempt)
    return _gcs.GCSServer(process, port, _make_bucket, _keys)


def _make_bucket(endpoint: str, name: str) -> None:
    _gcs.request("PUT", f"{endpoint}/{name}")


def _keys(endpoint: str, bucket: str) -> set[str]:
    found: set[str] = set()
    token = ""
    while True:
        page = ET.fromstring(_gcs.request("GET", f"{endpoint}/{bucket}?list-type=2{token}"))
        found.update(key.text or "" for key in page.iterfind("{*}Contents/{*}Key"))
        following = page.findtext("{*}NextContinuationToken")
        if not following:
            return found
        token = "&continuation-token=" + urllib.parse.quote(following, safe="")


class Facade:
    """A WSGI application that takes Google's XML API and hands on S3.

    Args:
        s3: The application behind it.
    """

    def __init__(self, s3: App) -> None:
        self._s3 = s3
        self._generations: dict[str, int] = {}
        self._next_generation = itertools.count(1_700_000_000_000_000)
        self._writing = threading.Lock()

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        environ["HTTP_AUTHORIZATION"] = _AUTHORIZATION
        for name in ("RAW_URI", "REQUEST_URI"):  # obstore escapes even the "-" of a bucket's name
            environ[name] = re.sub("^/[^/?]*", lambda bucket: urllib.parse.unquote(bucket[0]), environ[name])
        if environ["REQUEST_METHOD"] in {"GET", "HEAD"}:
            return self._read(environ, start_response)
        with self._writing:  # so that a condition holds until the write that it is for
            return self._write(environ, start_response)

    def _read(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        query = dict(urllib.parse.parse_qsl(environ["QUERY_STRING"], keep_blank_values=True))
        wanted = query.pop("generation", None)
        if wanted is not None:
            environ["QUERY_STRING"] = urllib.parse.urlencode(query)
            if wanted != str(self._generations.get(path)):
                return _refuse(start_response, "404 Not Found", "NoSuchKey")
        return self._pass_on(environ, start_response)

    def _write(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        query = dict(urllib.parse.parse_qsl(environ["QUERY_STRING"], keep_blank_values=True))
        condition = environ.pop(_CONDITION, None)
        if condition is not None and condition != str(self._current(environ) or 0):
            return _refuse(start_response, "412 Precondition Failed", "PreconditionFailed")
        if method == "DELETE" and not query and self._current(environ) is None:
            return _refuse(start_response, "404 Not Found", "NoSuchKey")
        if method == "DELETE" and not query:
            self._generations.pop(path, None)
        if (method == "PUT" and not query) or (method == "POST" and "uploadId" in query):
            self._generations[path] = next(self._next_generation)
        return self._pass_on(environ, start_response)

    def _current(self, environ: Environ) -> int | None:
        """Return the generation of the object that a request names, None if there is none."""
        kept = ("wsgi.", "SERVER_", "HTTP_HOST", "HTTP_AUTHORIZATION", "PATH_INFO", "RAW_URI", "REQUEST_URI")
        question = {name: value for name, value in environ.items() if name.startswith(kept)}
        question |= {"REQUEST_METHOD": "HEAD", "QUERY_STRING": "", "SCRIPT_NAME": ""}
        statuses: list[str] = []
        list(self._s3(question, lambda status, _headers, _exc_info=None: statuses.append(status)))
        if not statuses[0].startswith("200"):
            return None
        return self._generations.setdefault(environ["PATH_INFO"], next(self._next_generation))

    def _pass_on(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        for name in [name for name in environ if name.startswith("HTTP_X_GOOG_")]:
            environ["HTTP_X_AMZ_" + name.removeprefix("HTTP_X_GOOG_")] = environ.pop(name)

        def answer(status: str, headers: Headers, exc_info: Any = None) -> Any:
            translated = [(_google_name(name), value) for name, value in headers]
            if status.startswith("2") and path in self._generations:
                translated.append(("x-goog-generation", str(self._generations[path])))
            return start_response(status, translated, exc_info)

        return self._s3(environ, answer)


def _google_name(header: str) -> str:
    lower = header.lower()
    return "x-goog-" + lower.removeprefix("x-amz-") if lower.startswith("x-amz-") else header


def _refuse(start_response: Callable[..., Any], status: str, code: str) -> Iterable[bytes]:
    body = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>{code}</Message></Error>"
    start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [body.encode()]


def _serve(port: int) -> None:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class KeepAlive(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Log nothing."""

    app = Facade(DomainDispatcherApplication(create_backend_app))
    make_server(HOST, port, app, threaded=True, request_handler=KeepAlive).serve_forever()


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
