"""The four frameworks' modules have the same names, and the same words where they mean the same."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from filerow.direct import DirectUploads
from filerow.ext import fastapi, flask, litestar, starlette
from tests.ext.world import SECRET, Document

MODULES = {"fastapi": fastapi, "flask": flask, "litestar": litestar, "starlette": starlette}
NAMES = {"StoredFileResponse", "Uploaded", "install", "routes"}
FILE = ["file", "download_as", "inline", "cache_control", "headers"]
REDIRECT = ["file", "expires_in", "round_expiry", "download_as", "inline", "cache_control", "headers"]
ACCELERATE = ["file", "header", "prefix", "download_as", "inline", "cache_control", "headers"]
ROUTES = ["base_url", "uploads", "uploads_url", "authorize", "include_in_schema"]

each = pytest.mark.parametrize("name", MODULES)


def names_of(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


@each
def test_modules_have_the_four_names(name: str) -> None:
    own = {"FileDTO"} if name == "litestar" else set()
    assert set(MODULES[name].__all__) == NAMES | own


@each
def test_responses_take_the_same_arguments(name: str) -> None:
    response: Any = MODULES[name].StoredFileResponse  # type: ignore[attr-defined]
    assert names_of(response)[: len(FILE)] == FILE
    assert names_of(response.redirect) == REDIRECT
    assert names_of(response.accelerate) == ACCELERATE


@each
def test_routes_take_the_same_arguments(name: str) -> None:
    module: Any = MODULES[name]
    assert names_of(module.routes) == (ROUTES[:-1] if name == "flask" else ROUTES)  # Flask has no schema to show them in
    defaults = {key: value.default for key, value in inspect.signature(module.routes).parameters.items()}
    assert (defaults["base_url"], defaults["uploads_url"]) == ("/files", "/uploads")


@each
def test_uploads_take_the_same_arguments(name: str) -> None:
    module: Any = MODULES[name]
    given = {
        "fastapi": ["column", "field", "optional"],
        "flask": ["column", "field", "optional"],
        "litestar": ["column"],  # a body's field has a name and a type of its own
        "starlette": ["request", "column", "field", "optional"],
    }
    assert names_of(module.Uploaded) == given[name]


@each
def test_install_takes_an_application(name: str) -> None:
    module: Any = MODULES[name]
    assert names_of(module.install) == ([] if name == "litestar" else ["app"])  # Litestar takes plugins when it is made


@each
def test_direct_uploads_need_authorize(name: str) -> None:
    module: Any = MODULES[name]
    uploads = {"documents": DirectUploads(Document.file, secret=SECRET)}
    with pytest.raises(ValueError, match="authorize=") as caught:
        module.routes(uploads=uploads)
    assert "decide who may" in str(caught.value)


def paths(name: str, mounted: Any) -> set[str]:
    """Return the paths of what ``routes`` returned, in an application."""
    if name == "flask":
        from flask import Flask

        app = Flask(__name__, static_folder=None)
        app.register_blueprint(mounted)
        return {rule.rule.replace("<", "{").replace("path:", "").replace(">", "}") for rule in app.url_map.iter_rules()}
    if name == "litestar":
        from litestar import Litestar

        found = {route.path for route in Litestar([mounted], openapi_config=None).routes}
        return {path.replace(":str", "").replace(":path", "") for path in found}
    if name == "fastapi":
        from fastapi import FastAPI

        api = FastAPI()
        api.include_router(mounted)
        return set(api.openapi()["paths"])
    return {route.path.replace(":path", "") for route in mounted}


@each
def test_routes_mount_files_and_direct_uploads(name: str) -> None:
    module: Any = MODULES[name]
    uploads = {"documents": DirectUploads(Document.file, secret=SECRET)}
    files, direct = {"/f/filerow.js", "/f/{key}/{path}"}, {"/u/{name}/{action}"}
    shown: dict[str, Any] = {} if name == "flask" else {"include_in_schema": True}
    assert paths(name, module.routes("/f", **shown)) == files
    given = {"uploads": uploads, "uploads_url": "/u", "authorize": lambda: None, **shown}
    assert paths(name, module.routes("/f", **given)) == files | direct
    assert paths(name, module.routes(None, **given)) == direct
    assert paths(name, module.routes(None)) == set()
