"""What the package shows: sorted, complete, explained, and light to import."""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

import filerow
import filerow.backends.base
import filerow.backends.memory
import filerow.exceptions
from tests.test_layers import is_public

MODULES = sorted(module.name for module in pkgutil.walk_packages(filerow.__path__, "filerow."))
PUBLIC_MODULES = [filerow, filerow.exceptions, filerow.backends.base, filerow.backends.memory]

OPTIONAL = [
    "fsspec", "obstore", "pydantic", "pydantic_core", "msgspec", "litestar", "fastapi", "starlette", "flask", "werkzeug",
    "alembic", "sqlmodel", "s3fs", "gcsfs", "adlfs", "botocore", "boto3", "aiobotocore", "aiohttp", "httpx", "greenlet",
    "google", "azure", "opentelemetry", "filetype", "advanced_alchemy", "numpy",
    "sqladmin", "starlette_admin", "flask_admin", "wtforms",
]  # fmt: skip
PROMISED = ["FileObject", "FileObjectList", "StorageBackend", "StoredObject", "storages"]


def load(name: str) -> Any:
    """Import a module; what a framework finds wrong with its own parts when it is imported is not our business."""
    with warnings.catch_warnings():
        if name.startswith("filerow.ext."):
            warnings.simplefilter("ignore")
        return importlib.import_module(name)


def in_a_fresh_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_all_is_sorted_and_true() -> None:
    for name in ("filerow", *MODULES):
        module = load(name)
        names = getattr(module, "__all__", None)
        if names is None and is_public(name.removeprefix("filerow.")):
            shown = [key for key in vars(module) if not key.startswith("_") and key not in _submodules(module)]
            assert not shown, f"{name} has no __all__"
        assert list(names or ()) == sorted(set(names or ())), name
        assert not [public for public in names or () if not hasattr(module, public)], name


def _submodules(module: Any) -> set[str]:
    prefix = f"{module.__name__}."
    return {name.removeprefix(prefix).split(".")[0] for name in MODULES if name.startswith(prefix)} | {"annotations"}


def test_all_is_complete() -> None:
    shown = {name for name in vars(filerow) if not name.startswith("_")} - _submodules(filerow)
    assert shown == set(filerow.__all__)
    assert set(PROMISED) <= set(filerow.__all__)
    errors = {name for name, value in vars(filerow.exceptions).items() if inspect.isclass(value) and name.endswith("Error")}
    assert errors == set(filerow.exceptions.__all__)


def test_every_error_is_in_the_tree_that_the_docstring_draws() -> None:
    for name in filerow.exceptions.__all__:
        error = getattr(filerow.exceptions, name)
        assert issubclass(error, filerow.FilerowError)
        assert name in (filerow.exceptions.__doc__ or "")


def _documented(owner: Any, name: str) -> bool:
    value = inspect.getattr_static(owner, name)
    value = getattr(value, "__func__", getattr(value, "fget", value))
    if not callable(value):
        return True  # attributes are explained in the class's docstring
    return bool(inspect.getdoc(value))


@pytest.mark.parametrize("module", PUBLIC_MODULES, ids=lambda module: module.__name__)
def test_every_public_name_has_a_docstring(module: Any) -> None:
    missing = []
    for name in module.__all__:
        value = getattr(module, name)
        if not inspect.getdoc(value):
            missing.append(name)
        if inspect.isclass(value) and value.__module__.startswith("filerow"):
            missing += [
                f"{name}.{member}"
                for kind in value.__mro__
                if kind.__module__.startswith("filerow")
                for member in vars(kind)
                if not member.startswith("_") and not _documented(kind, member)
            ]
    assert not missing


def test_every_module_has_a_docstring() -> None:
    modules = [load(name) for name in ("filerow", *MODULES)]
    assert not [one.__name__ for one in modules if not one.__doc__ and Path(one.__file__ or "").read_text()]


def test_importing_filerow_imports_nothing_optional() -> None:
    code = (  # SQLAlchemy 2.0 imports greenlet itself
        "import sys, sqlalchemy.orm; before = set(sys.modules); import filerow; "
        f"print([name for name in {OPTIONAL!r} if name in set(sys.modules) - before])"
    )
    assert in_a_fresh_process(code) == "[]"


def test_a_memory_backend_needs_nothing_optional_either() -> None:
    code = f"""
import sys, filerow
filerow.storages.register_backend("memory://", key="docs")
file = filerow.FileObject("docs", "a.txt", content=b"abc").save()
assert file.get_content() == b"abc"
print([name for name in {OPTIONAL!r} if name in sys.modules and name != "greenlet"])
"""
    assert in_a_fresh_process(code) == "[]"


HEAVY = [
    "alembic.autogenerate", "alembic.operations", "anyio", "asyncio", "concurrent.futures", "fastapi", "flask", "fsspec.core",
    "litestar.openapi.datastructures", "litestar.plugins", "obstore.store", "pydantic", "sqlalchemy.ext.asyncio", "typer",
]  # fmt: skip


@pytest.mark.thorough
@pytest.mark.skipif(not hasattr(os, "fork"), reason="one process per module is cheap only where processes fork")
def test_every_module_can_be_imported_first() -> None:
    code = f"""
import importlib, os, sys, traceback, warnings
import sqlalchemy.orm
with warnings.catch_warnings():  # what others have written is loaded once, our modules in a child each
    warnings.simplefilter("ignore")
    for name in {HEAVY!r}:
        importlib.import_module(name)
failed = []
for name in {MODULES!r}:
    child = os.fork()
    if not child:
        if name.startswith("filerow.ext."):
            warnings.simplefilter("ignore")
        try:
            importlib.import_module(name)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        failed.append(name)
assert not failed, failed
print("ok")
"""
    assert in_a_fresh_process(code) == "ok"
