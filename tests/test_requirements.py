"""A missing or too old package is named in the error, with the version and the extra to install."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from filerow._requirements import EXTRAS
from tests.backends.signing.worlds import service_account
from tests.servers._process import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIREMENT = re.compile(r"([a-z0-9-]+)(?:\[[a-z,]+\])?>=([\d.]+)")

MEMORY = "import filerow; filerow.storages.register_backend('memory://', key='docs')"
SIGN = (
    "from filerow.backends.base import SignRequest; from filerow.backends.obstore import ObstoreBackend\n"
    "backend = ObstoreBackend('docs', '{url}', **{options})\n"
    "backend.sign('a.txt', SignRequest('GET', 60, content_disposition='attachment'))"
)
S3 = SIGN.format(url="s3://b", options={"aws_access_key_id": "a", "aws_secret_access_key": "b", "aws_region": "eu-west-1"})
AZURE = SIGN.format(url="az://c", options={"account_name": "a", "account_key": "a2V5"})
GOOGLE = SIGN.format(url="gs://b", options={"service_account_key": json.dumps(service_account()[1])})
FSSPEC = "from filerow.backends.fsspec import FSSpecBackend; FSSpecBackend('docs', '{}')"
# Of each extra: a package, a version that is too old, code that needs it, and how it names itself.
OLD = {
    "adlfs": ("adlfs", FSSPEC.format("az://c"), "FSSpecBackend on az://"),
    "alembic": ("alembic", "import filerow.ext.alembic", "filerow.ext.alembic"),
    "azure": ("azure-storage-blob", AZURE, "signing for Azure"),
    "cli": ("typer", "from filerow.cli import main; main()", "the command line"),
    "cloudfront": ("cryptography", "import filerow.backends.cloudfront", "filerow.backends.cloudfront"),
    "fastapi": ("fastapi", "import filerow.ext.fastapi", "filerow.ext.fastapi"),
    "flask": ("flask", "import filerow.ext.flask", "filerow.ext.flask"),
    "flask-admin": ("flask-admin", "import filerow.ext.flask_admin", "filerow.ext.flask_admin"),
    "fsspec": ("fsspec", "import filerow.backends.fsspec", "FSSpecBackend"),
    "gcs": ("google-auth", GOOGLE, "signing for Google Cloud Storage"),
    "gcsfs": ("gcsfs", FSSPEC.format("gs://b"), "FSSpecBackend on gs://"),
    "images": ("pillow", "import filerow.variants", "filerow.variants"),
    "litestar": ("litestar", "import filerow.ext.litestar", "filerow.ext.litestar"),
    "msgspec": ("msgspec", "import filerow.ext.msgspec", "filerow.ext.msgspec"),
    "opentelemetry": ("opentelemetry-api", "import filerow.ext.opentelemetry", "filerow.ext.opentelemetry"),
    "pydantic": ("pydantic", "import filerow.ext.pydantic", "a file in a model of pydantic"),
    "s3": ("botocore", S3, "signing for S3"),
    "s3fs": ("s3fs", FSSPEC.format("s3://b"), "FSSpecBackend on s3://"),
    "sqladmin": ("sqladmin", "import filerow.ext.sqladmin", "filerow.ext.sqladmin"),
    "sqlmodel": ("sqlmodel", "import filerow.ext.sqlmodel", "filerow.ext.sqlmodel"),
    "url": ("httpx", "import filerow; filerow.FileObject.from_url('http://127.0.0.1/')", "FileObject.from_url()"),
    "zip": ("zipstream-ng", "import filerow.ext.zip", "filerow.ext.zip"),
    "starlette": ("python-multipart", "import filerow.ext.starlette", "filerow.ext.starlette"),
    "starlette-admin": ("starlette-admin", "import filerow.ext.starlette_admin", "filerow.ext.starlette_admin"),
}


def run(code: str, *paths: Path) -> str:
    """Run a program and return the end of what it wrote to stderr."""
    search = os.pathsep.join([*map(str, paths), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": search, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False, timeout=120)
    return done.stderr


def test_oldest_versions_are_those_of_the_metadata() -> None:
    extras = {
        extra: {found[1]: found[2] for one in asked if (found := REQUIREMENT.fullmatch(one))}
        for extra, asked in PROJECT["optional-dependencies"].items()
        if extra not in {"all", "asyncio"}
    }
    assert {extra: dict(packages) for extra, packages in EXTRAS.items()} == extras


def test_all_is_all_extras() -> None:
    extras = set(PROJECT["optional-dependencies"]) - {"all"}
    [everything] = PROJECT["optional-dependencies"]["all"]
    assert set(everything.removeprefix("filerow[").removesuffix("]").split(",")) == extras
    assert set(OLD) == set(EXTRAS)


@pytest.mark.parametrize("extra", OLD)
def test_an_old_package_is_named_with_both_versions(extra: str, tmp_path: Path) -> None:
    package, code, user = OLD[extra]
    metadata = tmp_path / f"{package.replace('-', '_')}-0.0.1.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.0.1\n")
    wanted = f"{user} needs {package} {EXTRAS[extra][package]} or newer, but {package} 0.0.1 is installed: "
    assert f"{wanted}pip install --upgrade 'filerow[{extra}]'\n" in run(code, tmp_path)


@pytest.mark.parametrize("extra", ["adlfs", "gcsfs", "pydantic", "s3fs"])
def test_a_missing_package_is_named_with_its_extra(extra: str) -> None:
    module = "pydantic_core" if extra == "pydantic" else extra
    said = run(f"import sys; sys.modules[{module!r}] = None\n{OLD[extra][1]}")
    assert f"ImportError: {OLD[extra][2]} needs " in said
    assert f"pip install 'filerow[{extra}]' (" in said


def test_files_need_no_pydantic() -> None:
    code = (
        "import sys; sys.modules['pydantic'] = sys.modules['pydantic_core'] = None\n"
        "import filerow.ext.flask, filerow.ext.starlette, filerow.ext.msgspec, filerow.ext.litestar\n"
        f"{MEMORY}\nassert filerow.FileObject('docs', 'a.txt', content=b'a').save().get_content() == b'a'"
    )
    assert run(code) == ""
