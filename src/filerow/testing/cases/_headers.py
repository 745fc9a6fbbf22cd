"""Media type, headers and metadata that are stored with an object."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from filerow.backends.base import PutOptions, SignRequest
from filerow.exceptions import StorageError
from filerow.testing._case import case, ensure, equal
from filerow.testing._driver import LARGE, SMALL, SyncDriver

_DISPOSITION = "attachment; filename*=UTF-8''gr%C3%BC%C3%9Fe.png"
_OPTIONS = PutOptions(content_type="image/png", content_disposition=_DISPOSITION, cache_control="private, max-age=60")
_OK = 200


@case()
def the_content_type_is_kept_where_promised(d: SyncDriver) -> None:
    """For every way to store and for copies; elsewhere the option does no harm."""
    for name, content in (("small", SMALL), ("large", LARGE), ("chunks", iter([SMALL]))):
        d.put(d.at(name), content, _OPTIONS)
    d.copy(d.at("small"), d.at("copied"))
    equal(d.read(d.at("copied")), SMALL, "what the copy holds")
    d.needs("keeps_content_type")
    for name in ("small", "large", "chunks", "copied"):
        equal(d.call("head", d.at(name)).content_type, "image/png", f"the type of the object {name}")


@case()
def headers_and_metadata_are_answered_by_a_signed_url(d: SyncDriver) -> None:
    """Disposition, caching and metadata of any script are kept, also by copies."""
    d.needs("keeps_metadata", "sign_get")
    options = _OPTIONS._replace(metadata={"owner": "grüße 日本語 100%", "second-key": "b"})
    d.put(d.at("small"), SMALL, options)
    d.put(d.at("chunks"), iter([LARGE]), options)
    d.copy(d.at("small"), d.at("copied"))
    for name, content in (("small", SMALL), ("chunks", LARGE), ("copied", SMALL)):
        url = d.call("sign", d.at(name), SignRequest("GET", 300))
        got = d.harness.send(d.backend, "GET", url, None, {})
        equal((got.status, got.body), (_OK, content), f"what the signed URL of {name} answers")
        for header, value in (
            ("content-type", "image/png"),
            ("content-disposition", _DISPOSITION),
            ("cache-control", "private, max-age=60"),
        ):
            equal(got.headers.get(header), value, f"{header} of {name}")
        # each store has a prefix of its own, and Azure writes '_' for '-'
        found: dict[str, Any] = {
            key.rpartition("-meta-")[2].replace("_", "-"): unquote(value) for key, value in got.headers.items() if "-meta-" in key
        }
        equal({key: found.get(key) for key in options.metadata}, dict(options.metadata), f"the metadata of {name}")


@case()
def no_metadata_poisons_an_object(d: SyncDriver) -> None:
    """Any value is refused, or the object can be read, examined and copied."""
    values = ["plain", "", " spaces ", "grüße", "日本語\U0001f600", "x" * 500, "100%25"]
    values += ["new\nline", "cr\r\nx-evil: 1", "nul\0"]
    for number, value in enumerate(values):
        path = d.at(f"{number}")
        options = PutOptions(metadata={"owner": value, "second-key": "b"}, content_type="text/plain")
        try:
            d.put(path, SMALL, options)
        except (StorageError, ValueError):
            ensure(d.call("exists", path) is False, f"metadata {value!r} was refused, and the object stored")
            continue
        equal(d.call("head", path).size, len(SMALL), f"the size of an object with metadata {value!r}")
        equal(d.read(path), SMALL, f"what an object with metadata {value!r} holds")
        d.copy(path, f"{path}-copy")
        equal(d.read(f"{path}-copy"), SMALL, f"what the copy of an object with metadata {value!r} holds")
