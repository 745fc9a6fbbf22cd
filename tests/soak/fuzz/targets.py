"""What is fuzzed: each target takes any bytes and checks what must hold of them. Hypothesis and atheris feed the same ones.

A target lets out no exception but a failed assertion: the library's own errors, and the built-in ones that it documents, are what
hostile input is meant to meet.
"""

from __future__ import annotations

import contextlib
import json
import re
import struct
import time
from collections.abc import Callable, Iterator
from email.message import Message
from urllib.parse import parse_qsl, unquote

from pydantic import BaseModel, ConfigDict, ValidationError
from werkzeug.http import parse_options_header

from filerow import FileObject, FileObjectList, storages
from filerow._document import facts_from, located_in, to_document
from filerow._media_types import claimed_type
from filerow._paths import clean_filename, content_disposition, generate_path, generated_at
from filerow._presentation import present, safe_headers
from filerow._tokens import Keys, Purpose
from filerow._validation.images import dimensions
from filerow._validation.types import sniff
from filerow.backends._headers import encode_metadata
from filerow.backends._paths import check_known_path, check_path
from filerow.backends._types import SignRequest
from filerow.backends.memory import MemoryBackend
from filerow.direct._claims import Claim
from filerow.exceptions import DocumentError, FilerowError, InvalidPathError, InvalidTokenError
from filerow.http import answer, receive, serve
from filerow.http._conditional import ConditionOutcome, Validators, evaluate, if_range_holds
from filerow.http._ranges import UNSATISFIABLE, requested_range

Target = Callable[[bytes], None]

SECRET = "a secret that no fuzzer knows"
SLOWEST = 5.0
"""Seconds of processor time after which an input has taken too long."""

JAVASCRIPT = re.compile(r"(?:text|application)/(?:x-)?(?:java|ecma)script\Z|text/(?:javascript1\.[0-5]|jscript|livescript)\Z")
"""What browsers run as a script (WHATWG MIME Sniffing, 4.6). ``application/postscript`` is none, nor is ``image/script``."""

HALF = re.compile(r"[\ud800-\udfff]")
"""Half a character, of the two that UTF-16 makes of some."""

TARGETS: dict[str, Target] = {}


def target(function: Target) -> Target:
    def timed(data: bytes) -> None:
        begin = time.process_time()
        function(data)
        assert time.process_time() - begin < SLOWEST, "this input takes too long"

    TARGETS[function.__name__] = timed
    return function


@contextlib.contextmanager
def a_world() -> Iterator[MemoryBackend]:
    """Register the backend that the targets use; the registry is as it was afterwards."""
    before = dict(storages._backends)
    storages.clear_backends()
    backend = MemoryBackend("docs", base_url="/files", secret=SECRET)
    backend.put("a", b"0123456789")
    storages.register_backend(backend)
    try:
        yield backend
    finally:
        storages.clear_backends()
        for known in before.values():
            storages.register_backend(known)


def text_of(data: bytes) -> str:
    """Return text that may hold anything that text in Python can hold, lone surrogates among it."""
    return data.decode("utf-8", "surrogateescape")


@target
def document(data: bytes) -> None:
    """A document is read whole, or refused; what was read is written and read again the same."""
    for given in (data, text_of(data)):
        try:
            facts = facts_from(given)
        except DocumentError:
            continue
        assert located_in(given) == (facts.backend, facts.path)
        assert facts.backend
        assert facts.path
        if isinstance(given, str) and HALF.search(given):  # no driver gives such text: JSON joins the halves that Python does not
            facts = facts_from(json.dumps(to_document(facts)))
        again = facts_from(json.dumps(to_document(facts)))
        assert again._replace(filename="") == facts._replace(filename="")
        assert again.filename == clean_filename(facts.filename)
        file = FileObject.from_dict(json.loads(json.dumps(to_document(facts))))
        assert file.filename == again.filename
        with contextlib.suppress(FilerowError):
            reply = serve(file)
            assert all(value.isascii() and value.isprintable() for _, value in reply.headers)


@target
def ranges(data: bytes) -> None:
    """A range is a part of the file, the whole, or none."""
    text, size = data[1:].decode("latin-1"), data[0] if data else 0
    for value in (text, f"bytes={text}"):
        part = requested_range(value, size)
        assert part is None or part is UNSATISFIABLE or 0 <= part.start < part.end <= size


@target
def disposition(data: bytes) -> None:
    """Other parsers find the one name that was cleaned."""
    name = clean_filename(text_of(data))
    assert clean_filename(name) == name
    value = content_disposition(text_of(data), inline=bool(data[:1] > b"\x7f"))
    assert value.isascii()
    assert value.isprintable()
    kind, parameters = parse_options_header(value)
    assert kind in {"inline", "attachment"}
    assert parameters == {"filename": name}
    message = Message()
    message["content-disposition"] = value
    if "filename*" not in value and name[0] != "<":  # of two names the standard library takes the first, and strips "<>"
        assert message.get_filename() == name


@target
def claims(data: bytes) -> None:
    """Nothing that we did not seal is a claim; what we sealed comes back."""
    keys = Keys(SECRET)
    for token in (text_of(data), data.decode("latin-1")):
        with contextlib.suppress(InvalidTokenError):
            Claim.unseal(keys, token)
            raise AssertionError(token)
    text, number = text_of(data[:1000]).encode("utf-8", "replace").decode() or "x", len(data)  # longer ones are refused
    whole = Claim("docs", text, text, "a.b", text, number, text, None, {"max_size": number}, time.time() + 60)
    assert Claim.unseal(keys, whole.seal(keys)) == whole._replace(path=text, marker=text)
    for changed in _changed(whole.seal(keys), number):
        with contextlib.suppress(InvalidTokenError):
            keys.unseal(Purpose.CLAIM, changed)
            raise AssertionError(changed)


def _changed(token: str, number: int) -> Iterator[str]:
    """Yield a token with one character changed: somewhere, and in its signature."""
    for place in (number % len(token), -1 - number % 40):
        yield token[:place] + ("A" if token[place] != "A" else "B") + token[place:][1:]


@target
def references(data: bytes) -> None:
    """Nothing that we did not seal is a reference; what we sealed comes back, or is refused when it is made."""
    for token in (text_of(data), data.decode("latin-1")):
        with contextlib.suppress(InvalidTokenError):
            FileObject.from_reference(token, secret=SECRET)
            raise AssertionError(token)
    text = text_of(data[:1000]).encode("utf-8", "replace").decode() or "x"
    try:
        file = FileObject.from_dict({"v": 1, "backend": "docs", "path": text, "filename": text, "metadata": {text: text}})
        sealed = file.to_reference(secret=SECRET, audience=text)
    except (DocumentError, InvalidPathError):
        return
    assert FileObject.from_reference(sealed, secret=SECRET, audience=text).to_dict() == file.to_dict()
    for changed in _changed(sealed, len(data)):
        with contextlib.suppress(InvalidTokenError):
            FileObject.from_reference(changed, secret=SECRET, audience=text)
            raise AssertionError(changed)


KINDS = [
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "image/svg+xml",
    "image/tiff",
    "image/avif",
    "image/heic",
    "image/jp2",
]


@target
def images(data: bytes) -> None:
    """An image has a size or none, after a bounded look at it."""
    read = 0

    def read_at(offset: int, size: int) -> bytes:
        nonlocal read
        read += 1
        assert read < 100_000
        return data[offset : offset + size]

    for kind in {sniff(data[:8192], read_at, len(data)) or "image/bmp", KINDS[len(data) % len(KINDS)]}:
        for size in (len(data), None):
            try:
                found = dimensions(read_at, kind, size)
            except (ArithmeticError, EOFError, LookupError, OSError, TypeError, ValueError, struct.error):
                continue  # imagesize's own; the check of a column takes each of them for a size that was not found
            assert found is None or all(0 < side < 1 << 32 for side in found)


@target
def urls(data: bytes) -> None:
    """No query is good but the one we signed; the route answers whatever comes."""
    backend = storages.get_backend("docs")
    assert backend.own_urls is not None
    path, _, query = text_of(data).partition("?")
    with contextlib.suppress(InvalidTokenError):
        backend.own_urls.verify("GET", path, query)
        raise AssertionError(query)
    for key in ("docs", path):
        assert answer("GET", key, path, query).status in {403, 404}
        assert receive("PUT", key, path, query, [("content-length", "1")], iter([b"x"])).status in {403, 404}
        for variant in (f"v={query}", f"v={'0' * 32}&expires=99999999999&signature={'A' * 43}&{query}"):
            assert answer("GET", key, path, variant).status == 403
    with contextlib.suppress(InvalidPathError):
        check_path(path, "docs", "sign")
        url = backend.sign(path, SignRequest("GET", 60))
        signed = url.partition("?")[2]
        assert backend.own_urls.verify("GET", path, signed).method == "GET"
        if sorted(parse_qsl(query, keep_blank_values=True)):
            with contextlib.suppress(InvalidTokenError):
                backend.own_urls.verify("GET", path, f"{signed}&{query}")
                raise AssertionError(query)


class Form(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    file: FileObject | None = None
    pages: FileObjectList | None = None


@target
def pydantic_input(data: bytes) -> None:
    """No JSON makes a file."""
    try:
        form = Form.model_validate_json(data)
    except (ValidationError, FilerowError):
        pass
    else:
        assert form.file is None
        assert not form.pages
    for value in (text_of(data), data, [text_of(data)], {text_of(data): text_of(data)}):
        for field in ("file", "pages"):
            with contextlib.suppress(ValidationError, FilerowError):
                Form.model_validate({field: value})
                raise AssertionError(value)


@target
def content_types(data: bytes) -> None:
    """Any type is served as one that is safe."""
    text = text_of(data)
    for given in (text, data.decode("latin-1"), f"image/{text}", f"text/html;{text}"):
        kind, shown = present(given, text)
        headers = dict(safe_headers(given, text))
        assert kind.isascii()
        assert kind.count("/") == 1
        assert headers["content-type"] not in {"text/html", "text/css", "text/xml", "application/xml"}
        assert not headers["content-type"].endswith(("+xml", "html")) or kind == "image/svg+xml"
        assert not JAVASCRIPT.match(headers["content-type"])
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert all(value.isascii() and value.isprintable() for value in headers.values())
        assert shown.startswith(("inline;", "attachment;"))
        assert claimed_type(given, text)


@target
def conditions(data: bytes) -> None:
    """A condition holds or does not."""
    text = data.decode("latin-1")
    head, _, rest = text.partition("\n")
    names = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range")
    for known in (Validators('"abc"', 1_700_000_000, settled=True), Validators('W/"x"'), Validators()):
        for name in names:
            for method in ("GET", "PUT"):
                assert isinstance(evaluate(method, {name: head, "if-range": rest}, known), ConditionOutcome)
            assert if_range_holds({"if-range": head}, known) in {True, False}


@target
def markers(data: bytes) -> None:
    """A listing after any marker is what sorts after it; a path is safe wherever it came from."""
    backend = storages.get_backend("docs")
    marker = text_of(data)
    with contextlib.suppress(FilerowError):
        found = [info.path for info in backend.list("", marker)]
        assert found == [path for path in ["a"] if path > marker]
    with contextlib.suppress(InvalidPathError):
        check_known_path(marker, "docs", "read")
        assert not {"..", "."} & set(marker.replace("\\", "/").split("/"))
    with contextlib.suppress(InvalidPathError):
        assert check_path(marker, "docs", "put") == marker
        assert check_known_path(marker, "docs", "read") == marker
    made = generate_path(marker, marker, marker)
    assert check_path(made, "docs", "put") == made
    assert generated_at(made, marker, marker) is not None
    generated_at(marker, "a", "b")


@target
def metadata(data: bytes) -> None:
    """What is stored with an object is ASCII on one line, and gives the original back."""
    text = text_of(data)
    for given in ({"k": text}, {text: "v"}):
        with contextlib.suppress(FilerowError):
            encoded = encode_metadata(given, backend="docs", path="a")
            ((key, value),) = encoded.items()
            assert key.isascii()
            assert key.replace("-", "a").isalnum()
            assert value.isascii()
            assert not value or value.isprintable()
            assert unquote(value, errors="surrogatepass") == next(iter(given.values()))
