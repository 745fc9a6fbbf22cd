"""Flask: files in routes, responses and uploads, and problem documents.

::

    app = Flask(__name__)
    app.register_blueprint(routes("/files"))
    install(app)


    @app.post("/documents")
    def create():
        with Session(engine) as session:
            document = Document(name=request.form["name"], file=Uploaded(Document.file))
            session.add(document)
            session.commit()
            return {"id": document.id, "file": document.file}, 201


    @app.get("/documents/<int:id>/file")
    def download(id):
        with Session(engine) as session:
            document = session.get(Document, id) or abort(404)
            return StoredFileResponse(document.file)

Files in a view's result show their public view, like any value that Flask's JSON provider knows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self, TypeVar

from filerow._file.list import FileObjectList
from filerow._file.object import FileObject
from filerow._file.variant import Variant
from filerow._requirements import needs
from filerow.exceptions import StorageError
from filerow.ext._responses import OtherAnswers
from filerow.ext._static import SCRIPT, script
from filerow.ext._uploads import (
    LONGEST_PAYLOAD,
    TOO_SLOW,
    BadPayloadError,
    SlowRequestError,
    checked,
    payload_of,
    target_of,
    uploads_called,
    uploads_in,
    uploads_to_mount,
)
from filerow.http import route, serving
from filerow.http._capacity import block_size, too_slow, upload_capacity, uploads
from filerow.http._patience import Patience
from filerow.http._problem import ANSWERED, gate_refusal
from filerow.http._reply import Body, Reply, merged, own_headers
from filerow.http._upload import DISCARD_BYTES, DISCARD_SECONDS, UploadRefusedError

with needs("flask", "filerow.ext.flask"):
    from flask import Blueprint, Flask, Response, current_app, jsonify, request
    from werkzeug.exceptions import HTTPException

if TYPE_CHECKING:
    from filerow.direct import DirectUploads

__all__ = ("StoredFileResponse", "Uploaded", "install", "routes")

_WRAPPER = "wsgi.file_wrapper"

_SOCKETS = ("gunicorn.socket", "werkzeug.socket")
"""Where servers show the client's socket."""

_CHUNK = 1 << 16
"""Bytes taken at a time of what is dropped, or sent."""


def install(app: Flask) -> None:
    """Turn our errors into problem documents (RFC 9457), and let JSON show files.

    The application's own error handlers, also later ones, take precedence. Set a JSON provider of your own before.
    """
    known = app.error_handler_spec[None][None]
    for kind in ANSWERED:
        if kind not in known:
            app.register_error_handler(kind, _answer_error)
    _show_files(app)


def routes(
    base_url: str | None = "/files",
    *,
    uploads: Mapping[str, DirectUploads] | None = None,
    uploads_url: str = "/uploads",
    authorize: Callable[[], Any] | None = None,
) -> Blueprint:
    """Return the blueprint of signed URLs, ``filerow.js`` and direct uploads.

    The signed URLs are those of local and memory backends, and of the variants of all backends.

    Args:
        base_url: The same as the backends' ``base_url``, and as the ``url`` of ``filerow.variants.configure_urls()``, without
            scheme and host. ``None`` leaves these routes out.
        uploads: Direct uploads by name, each at ``{uploads_url}/{name}``. Default: none.
        uploads_url: Where direct uploads are mounted.
        authorize: Called before each direct upload, and awaited if needed. It aborts if the user may not upload, or returns the
            response to send; any other result than ``None`` gives 403. Required with ``uploads``.

    Raises:
        ValueError: ``uploads`` was given without ``authorize``.
    """
    mounted = uploads_to_mount(uploads, authorize)
    blueprint = Blueprint("filerow", __name__)
    if base_url is not None:
        blueprint.register_blueprint(_files(), url_prefix=base_url)
    if mounted and authorize is not None:
        blueprint.register_blueprint(_direct(mounted, authorize), url_prefix=uploads_url)
    return blueprint


def _direct(uploads: Mapping[str, DirectUploads], authorize: Callable[[], Any]) -> Blueprint:
    blueprint = Blueprint("uploads", __name__)
    blueprint.before_request(_refusing(authorize))

    @blueprint.post("/<name>/<action>")
    def upload(name: str, action: str) -> Response:
        try:
            found = uploads_called(name, uploads)
            payload = payload_of(request.content_type, _Incoming().begun(LONGEST_PAYLOAD + 1))
            return jsonify(found.handle(action, payload))
        except ANSWERED as error:
            return _answer_error(error)

    return blueprint


def _refusing(authorize: Callable[[], Any]) -> Callable[[], Any]:
    """Return a function that refuses a request unless ``authorize`` lets it pass.

    Flask calls it before the request. ``authorize`` returns ``None``, or the response to send.
    """

    def refuse() -> Any:
        found = current_app.ensure_sync(authorize)()
        return found if found is None or isinstance(found, current_app.response_class) else response_of(gate_refusal())

    return refuse


def _files() -> Blueprint:
    blueprint = Blueprint("files", __name__)

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
        size = block_size()
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
        """Take what is left of a refused upload, within bounds.

        Its sender may not come to read the answer before.

        One that waits to be asked (``Expect: 100-continue``) is not an exception: gunicorn has asked before it calls us.
        """
        size, ends = 0, time.monotonic() + DISCARD_SECONDS
        with suppress(UploadRefusedError, HTTPException), uploads.discarding() as allowed:
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


class StoredFileResponse(OtherAnswers, Response):
    """A streamed file, with ranges, conditional requests and safe headers.

    It answers the current request. See :func:`filerow.http.serving.serve` for the arguments; :meth:`redirect` and
    :meth:`accelerate` are the other ways. ``headers=`` adds the application's own headers, which replace ours except those that
    describe the bytes.
    """

    def __init__(
        self,
        file: FileObject | Variant,
        *,
        download_as: str | None = None,
        inline: bool | None = None,
        cache_control: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        options = {"download_as": download_as, "inline": inline, "cache_control": cache_control}
        reply = serving.serve(file, request.method, list(request.headers), **options)  # type: ignore[arg-type]
        _begin(self, reply, headers)

    @classmethod
    def _redirected(cls, file: FileObject | Variant, options: Mapping[str, Any], headers: Mapping[str, str] | None) -> Self:
        return _begin(cls.__new__(cls), serving.redirect(file, request.method, **options), headers)

    @classmethod
    def _accelerated(cls, file: FileObject | Variant, options: Mapping[str, Any], headers: Mapping[str, str] | None) -> Self:
        return _begin(cls.__new__(cls), serving.accelerate(file, request.method, **options), headers)


_Response = TypeVar("_Response", bound=Response)


def _begin(response: _Response, reply: Reply, headers: Mapping[str, str] | None = None) -> _Response:
    """Make a response of a reply; its first chunk is read now.

    The server closes the rest.

    Where the server offers ``wsgi.file_wrapper`` (PEP 3333), it sends a whole file of a directory by itself.

    Args:
        response: The response, which nothing has initialised yet.
        reply: The reply.
        headers: The application's own headers.
    """
    whole = reply.body.open_file() if isinstance(reply.body, Body) and _WRAPPER in request.environ else None
    if whole is not None:
        body: Any = request.environ[_WRAPPER](whole, _CHUNK)
    else:  # bytes alone would set a length of their own
        body = reply.body.begin() if isinstance(reply.body, Body) else [reply.body]
    pairs = list(merged(reply.headers, own_headers(headers)))
    Response.__init__(response, body, status=reply.status, headers=pairs, direct_passthrough=whole is not None)
    if reply.header("content-type") is None:
        with suppress(KeyError):
            del response.headers["content-type"]
    return response


def response_of(reply: Reply) -> Response:
    """Return a reply as a response to the current request."""
    return _begin(Response.__new__(Response), reply)


def Uploaded(column: object, *, field: str | None = None, optional: bool = False) -> Any:  # noqa: N802 - as elsewhere
    """Return a file of this request, pending, checked by its column's rules.

    For a list column it is a ``FileObjectList``. The upload is read when a session stores the file; Flask closes it after the
    response.

    Args:
        column: The column, such as ``Document.file``.
        field: The form field's name. Default: the column's.
        optional: Allow the field to be missing or empty; the result is then ``None``, or an empty list.

    Raises:
        FileValidationError: The field has no file, or a rule refuses it.
    """
    target = target_of(column)
    name = field or target.field
    values: list[object] = [*request.files.getlist(name), *request.form.getlist(name)]
    uploads = uploads_in(name, values, request.mimetype, optional=optional)
    if target.type.multiple:
        return FileObjectList(checked(upload, target, name) for upload in uploads)
    return checked(uploads[0], target, name) if uploads else None


def _answer_error(error: Exception) -> Response:
    return response_of(route.problem(error))


def _show_files(app: Flask) -> None:
    """Let the application's JSON provider write a file's public view, too."""
    known: Callable[[Any], Any] | None = getattr(app.json, "default", None)
    if known is None:  # a provider that is not made of the default one has no such place; there is file.public_view()
        return

    def default(value: object) -> object:
        return value.public_view() if isinstance(value, FileObject) else known(value)

    app.json.default = default  # type: ignore[attr-defined]  # of the default provider
