"""Flask: the file route, responses with stored files, uploads as files, and our errors as problem documents.

::

    app = Flask(__name__)
    Filerow(app, base_url="/files")


    @app.post("/documents")
    def create():
        with Session(engine) as session:
            document = Document(name=request.form["name"], file=uploaded("file", Document.file))
            session.add(document)
            session.commit()
            return {"id": document.id, "file": document.file}, 201


    @app.get("/documents/<int:id>/file")
    def download(id):
        with Session(engine) as session:
            return send(session.get_one(Document, id).file)

Files in a view's result show their public view, like any value that Flask's JSON provider knows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from filerow._file.list import FileObjectList
from filerow._file.object import FileObject
from filerow._file.view import view_of
from filerow._requirements import needs
from filerow.exceptions import StorageError
from filerow.ext._static import SCRIPT, script
from filerow.ext._uploads import (
    LONGEST_PAYLOAD,
    TOO_SLOW,
    BadPayloadError,
    SlowRequestError,
    carries_files,
    checked,
    is_upload,
    payload_of,
    refuse_texts,
    required,
    target_of,
    uploads_called,
)
from filerow.http import route, serving
from filerow.http._capacity import too_slow, upload_capacity
from filerow.http._patience import Patience
from filerow.http._problem import ANSWERED, gate_refusal
from filerow.http._reply import Body, Reply, merged, own_headers
from filerow.http._upload import DISCARD_BYTES, DISCARD_SECONDS, UploadRefusedError

with needs("flask", "filerow.ext.flask"):
    from flask import Blueprint, Flask, Response, current_app, jsonify, request
    from werkzeug.exceptions import HTTPException

if TYPE_CHECKING:
    from filerow.direct import DirectUploads

__all__ = ("Filerow", "accelerate", "redirect", "send", "uploaded", "uploaded_many")

_WRAPPER = "wsgi.file_wrapper"

_SOCKETS = ("gunicorn.socket", "werkzeug.socket")
"""Where servers show the client's socket."""

_CHUNK = 1 << 16
"""Bytes taken at a time of what is dropped, or sent."""


class Filerow:
    """Everything Filerow does for a Flask application.

    Args:
        app: The application; or call :meth:`init_app` later.
        base_url: Where the file route is mounted; the same as the backends' ``base_url``. ``None`` mounts none.
        uploads: Direct uploads by name, each mounted under ``{uploads_url}/{name}``. Default: none.
        uploads_url: Where direct uploads are mounted.
        authorize: Called before each direct upload, and awaited if needed. It aborts if the user may not upload, or returns the
            response to send; any other result than ``None`` gives 403. Required with ``uploads``.

    Raises:
        ValueError: ``uploads`` was given without ``authorize``.
    """

    def __init__(
        self,
        app: Flask | None = None,
        base_url: str | None = "/files",
        *,
        uploads: Mapping[str, DirectUploads] | None = None,
        uploads_url: str = "/uploads",
        authorize: Callable[[], Any] | None = None,
    ) -> None:
        if uploads and authorize is None:
            raise ValueError(
                "whoever may call direct uploads can store files: decide who may with authorize=... (a function that aborts)"
            )
        self._base_url = base_url
        self._uploads = dict(uploads or {})
        self._uploads_url = uploads_url
        self._authorize = authorize
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Mount the routes, turn our errors into problem documents (RFC 9457), and let JSON show files.

        The application's own error handlers, also later ones, take precedence.
        """
        known = app.error_handler_spec[None][None]
        for kind in ANSWERED:
            if kind not in known:
                app.register_error_handler(kind, _answer_error)
        _show_files(app)
        if self._base_url is not None:
            app.register_blueprint(_files(), url_prefix=self._base_url)
        if self._uploads:
            app.register_blueprint(self._direct(), url_prefix=self._uploads_url)
        app.extensions["filerow"] = self

    def _direct(self) -> Blueprint:
        blueprint = Blueprint("filerow_uploads", __name__)
        if self._authorize is not None:
            blueprint.before_request(_refusing(self._authorize))

        @blueprint.post("/<name>/<action>")
        def upload(name: str, action: str) -> Response:
            found = uploads_called(name, self._uploads)
            payload = payload_of(request.content_type, _Incoming().begun(LONGEST_PAYLOAD + 1))
            return jsonify(found.handle(action, payload))

        return blueprint


def _refusing(authorize: Callable[[], Any]) -> Callable[[], Any]:
    """Return a function for Flask to call before a request: it refuses unless ``authorize`` returns ``None`` or a response."""

    def refuse() -> Any:
        found = current_app.ensure_sync(authorize)()
        return found if found is None or isinstance(found, current_app.response_class) else response_of(gate_refusal())

    return refuse


def _files() -> Blueprint:
    blueprint = Blueprint("filerow", __name__)

    @blueprint.get(f"/{SCRIPT}")
    def send_script() -> Response:
        return response_of(script(request.method, list(request.headers)))

    @blueprint.route("/<key>/<path:path>", methods=["GET", "PUT"])
    def signed(key: str, path: str) -> Response:
        query, headers = request.query_string.decode("latin-1"), list(request.headers)
        if request.method == "PUT":
            body = _Incoming()
            reply = route.receive("PUT", key, path, query, headers, body.chunks())
            if reply.status >= 400:  # noqa: PLR2004 - refused
                body.discard()
            return response_of(reply)
        reply = route.answer(request.method, key, path, query, headers)
        try:
            return response_of(reply)
        except StorageError as error:
            return response_of(route.problem(error))

    return blueprint


class _Incoming:
    """The body of the request under way, as long as it comes fast enough."""

    def __init__(self) -> None:
        shown = (request.environ.get(name) for name in _SOCKETS)
        self._patience = Patience(next((connection for connection in shown if connection is not None), None))
        self._is_broken = False

    def chunks(self) -> Iterator[bytes]:
        """Yield it.

        Raises:
            UploadRefusedError: It cannot be read, or comes too slowly.
        """
        size = upload_capacity.block
        while chunk := self._read(size, time.monotonic() + upload_capacity.idle):
            yield chunk

    def begun(self, size: int) -> bytes:
        """Return its first bytes, without more of it than that in memory.

        Raises:
            BadPayloadError: They cannot be read.
            SlowRequestError: They come too slowly.
        """
        body, ends = bytearray(), time.monotonic() + upload_capacity.idle
        try:
            while len(body) < size and (chunk := self._read(size - len(body), ends)):
                body += chunk
        except UploadRefusedError as error:
            if self._patience.is_over:
                raise SlowRequestError(TOO_SLOW) from error
            raise BadPayloadError("the request cannot be read") from error
        return bytes(body)

    def discard(self) -> None:
        """Take what is left of a refused upload, within bounds: its sender may not come to read the answer before.

        One that waits to be asked (``Expect: 100-continue``) is not an exception: gunicorn has asked before it calls us.
        """
        size, ends = 0, time.monotonic() + DISCARD_SECONDS
        with suppress(UploadRefusedError, HTTPException), upload_capacity.discarding() as allowed:
            while allowed and size < DISCARD_BYTES and time.monotonic() < ends and (chunk := self._read(_CHUNK, ends)):
                size += len(chunk)

    def _read(self, size: int, deadline: float) -> bytes:
        if self._is_broken:
            return b""
        try:
            with self._patience.until(deadline):
                chunk: bytes = request.stream.read(size)
        except Exception as error:  # each server has its own for chunks that are none, and for a client that has left
            self._is_broken = True
            if self._patience.is_over:
                raise too_slow() from error
            if isinstance(error, HTTPException):  # too many bytes for the application's MAX_CONTENT_LENGTH, say
                raise
            raise UploadRefusedError(400, "The upload cannot be read.") from error
        if self._patience.is_over:
            self._is_broken = True
            raise too_slow()
        return chunk


def response_of(reply: Reply, headers: Mapping[str, str] | None = None) -> Response:
    """Return a reply as a response; its first chunk is read now, and the server closes the rest.

    Where the server offers ``wsgi.file_wrapper`` (PEP 3333), it sends a whole file of a directory by itself.

    Args:
        reply: The reply.
        headers: The application's own headers.
    """
    whole = reply.body.open_file() if isinstance(reply.body, Body) and _WRAPPER in request.environ else None
    if whole is not None:
        body: Any = request.environ[_WRAPPER](whole, _CHUNK)
    else:  # bytes alone would set a length of their own
        body = reply.body.begin() if isinstance(reply.body, Body) else [reply.body]
    pairs = list(merged(reply.headers, own_headers(headers)))
    response = Response(body, status=reply.status, headers=pairs, direct_passthrough=whole is not None)
    if reply.header("content-type") is None:
        with suppress(KeyError):
            del response.headers["content-type"]
    return response


def send(
    file: FileObject,
    *,
    download_as: str | None = None,
    inline: bool | None = None,
    cache_control: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Respond to the current request with a stored file; see :func:`filerow.http.serving.serve`.

    ``headers=`` adds the application's own headers, which replace ours except those that describe the bytes.
    """
    options = {"download_as": download_as, "inline": inline, "cache_control": cache_control}
    reply = serving.serve(file, request.method, list(request.headers), **options)  # type: ignore[arg-type]
    return response_of(reply, headers)


def redirect(
    file: FileObject,
    *,
    expires_in: float = 3600,
    round_expiry: float | None = None,
    download_as: str | None = None,
    inline: bool = False,
    cache_control: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Redirect to a signed URL of the store; see :func:`filerow.http.serving.redirect`."""
    return response_of(
        serving.redirect(
            file,
            request.method,
            expires_in=expires_in,
            round_expiry=round_expiry,
            download_as=download_as,
            inline=inline,
            cache_control=cache_control,
        ),
        headers,
    )


def accelerate(
    file: FileObject,
    *,
    header: Literal["X-Accel-Redirect", "X-Sendfile"] = "X-Accel-Redirect",
    prefix: str = "/protected/",
    download_as: str | None = None,
    inline: bool | None = None,
    cache_control: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Let the web server in front send a local file; see :func:`filerow.http.serving.accelerate`."""
    return response_of(
        serving.accelerate(
            file,
            request.method,
            header=header,
            prefix=prefix,
            download_as=download_as,
            inline=inline,
            cache_control=cache_control,
        ),
        headers,
    )


def uploaded(field: str, column: object = None) -> FileObject:
    """Return a pending file from an upload in the current request, checked by its column's rules.

    Args:
        field: The form field's name.
        column: The column, such as ``Document.file``. Without it, the file is checked only by the flush.

    Raises:
        FileValidationError: The field has no file, or a rule refuses it.
    """
    files = uploaded_many(field, column)
    if not files:
        raise required(field, None if carries_files(request.mimetype) else "")
    return files[0]


def uploaded_many(field: str, column: object = None) -> FileObjectList:
    """Return all files of a field, as a list to assign to a list column; empty if there are none. See :func:`uploaded`."""
    uploads = [upload for upload in request.files.getlist(field) if is_upload(upload)]
    if not uploads:
        refuse_texts(field, request.form.getlist(field))
    if column is None:
        return FileObjectList(map(FileObject.from_upload, uploads))
    target = target_of(column)
    return FileObjectList(checked(upload, target, field) for upload in uploads)


def _answer_error(error: Exception) -> Response:
    return response_of(route.problem(error))


def _show_files(app: Flask) -> None:
    """Let the application's JSON provider write a file's public view, besides what it already knows."""
    known: Callable[[Any], Any] = app.json.default  # type: ignore[attr-defined]  # of the default provider

    def default(value: object) -> object:
        return view_of(value) if isinstance(value, FileObject) else known(value)

    app.json.default = default  # type: ignore[attr-defined]
