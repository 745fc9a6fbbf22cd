"""A stand-in for Google Cloud Storage's XML API, which obstore speaks: moto's S3 behind a translation of headers.

It is ours and no proof that the real service agrees. It knows generations (a new one for every write), create-only and
conditional writes and copies, and it answers 404 where Google does on deleting what is not there; it checks no
signature. Of the JSON API it knows an object's metadata, its deletion, and a rewrite with metadata, which takes two requests.

It runs as a child process, for the reasons given in `tests.servers.moto`; this module is also what that process runs::

    python -m tests.servers.gcs_facade PORT
"""

from __future__ import annotations

import importlib.util
import io
import itertools
import json
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
_JSON_API = re.compile(r"/storage/v1(?P<source>/b/[^/]+/o/.+?)(?:/rewriteTo(?P<target>/b/[^/]+/o/.+))?\Z")
_FIELDS = {
    "contentType": "content-type",
    "contentDisposition": "content-disposition",
    "cacheControl": "cache-control",
    "contentEncoding": "content-encoding",
    "contentLanguage": "content-language",
    "storageClass": "x-amz-storage-class",
}


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
        if asked := _JSON_API.match(environ["PATH_INFO"]):
            with self._writing:
                status, answer = self._json(environ, *(_path_of(name) for name in asked.group("source", "target")))
            body = json.dumps(answer).encode()
            start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
            return [body]
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
        whole = method == "PUT" and not {"partNumber", "uploadId"} & query.keys()
        if whole or (method == "POST" and "uploadId" in query):
            self._generations[path] = next(self._next_generation)
        return self._pass_on(environ, start_response)

    def _json(self, environ: Environ, source: str, target: str) -> tuple[str, dict[str, Any]]:
        """Answer one request of the JSON API."""
        found = self._resource(environ, source)
        if found is None:
            return "404 Not Found", {"error": {"code": 404, "message": "No such object"}}
        if environ["REQUEST_METHOD"] == "DELETE":
            self._ask(environ, "DELETE", source)
            self._generations.pop(source, None)
            return "200 OK", {}
        if environ["REQUEST_METHOD"] == "GET":
            return "200 OK", found
        query = dict(urllib.parse.parse_qsl(environ["QUERY_STRING"]))
        if query.get("ifSourceGenerationMatch", found["generation"]) != found["generation"]:
            return "412 Precondition Failed", {"error": {"code": 412, "message": "conditionNotMet"}}
        if query.get("rewriteToken") != f"{source} {target}":
            return "200 OK", {"done": False, "rewriteToken": f"{source} {target}"}
        wanted = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        metadata = {
            f"HTTP_X_AMZ_META_{name.upper().replace('-', '_')}": value for name, value in wanted.get("metadata", {}).items()
        }
        named = {"HTTP_CACHE_CONTROL": wanted.get("cacheControl"), "HTTP_X_AMZ_STORAGE_CLASS": wanted.get("storageClass")}
        self._ask(environ, "PUT", target, {
            **metadata,
            **{name: value for name, value in named.items() if value},
            "CONTENT_TYPE": wanted["contentType"],
            "HTTP_CONTENT_DISPOSITION": wanted["contentDisposition"],
            "HTTP_X_AMZ_COPY_SOURCE": urllib.parse.quote(source.encode("latin-1")),
            "HTTP_X_AMZ_METADATA_DIRECTIVE": "REPLACE",
        })  # fmt: skip
        self._generations[target] = next(self._next_generation)
        return "200 OK", {"done": True, "resource": self._resource(environ, target)}

    def _resource(self, environ: Environ, path: str) -> dict[str, Any] | None:
        status, headers = self._ask(environ, "HEAD", path)
        if not status.startswith("200"):
            return None
        generation = self._generations.setdefault(path, next(self._next_generation))
        meta = "x-amz-meta-"
        metadata = {name.removeprefix(meta): value for name, value in headers.items() if name.startswith(meta)}
        fields = {field: headers[name] for field, name in _FIELDS.items() if name in headers}
        named = {"generation": str(generation), "etag": f"json {generation}"}
        return {**fields, **named, **({"metadata": metadata} if metadata else {})}

    def _ask(self, environ: Environ, method: str, path: str, added: Environ | None = None) -> tuple[str, dict[str, str]]:
        """Ask the application behind of an object; return the status and the headers."""
        kept = ("wsgi.", "SERVER_", "HTTP_HOST", "HTTP_AUTHORIZATION")
        question = {name: value for name, value in environ.items() if name.startswith(kept)}
        where = urllib.parse.quote(path.encode("latin-1"))  # as WSGI has it
        question |= {"REQUEST_METHOD": method, "QUERY_STRING": "", "SCRIPT_NAME": "", "wsgi.input": io.BytesIO()}
        question |= {"PATH_INFO": path, "RAW_URI": where, "REQUEST_URI": where, "CONTENT_LENGTH": "0", **(added or {})}
        started: list[tuple[str, Headers]] = []
        list(self._s3(question, lambda status, headers, _exc_info=None: started.append((status, headers))))
        status, headers = started[0]
        return status, {name.lower(): value for name, value in headers}

    def _current(self, environ: Environ) -> int | None:
        """Return the generation of the object that a request names, None if there is none."""
        path = environ["PATH_INFO"]
        if not self._ask(environ, "HEAD", path)[0].startswith("200"):
            return None
        return self._generations.setdefault(path, next(self._next_generation))

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


def _path_of(name: str | None) -> str:
    """Return where the XML API has what the JSON API calls ``/b/bucket/o/name``."""
    return "" if name is None else "/" + name.removeprefix("/b/").replace("/o/", "/", 1)


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
