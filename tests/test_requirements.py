"""A missing or too old package is named in the error, with the version and the extra to install."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
import sqlalchemy

from filerow._requirements import EXTRAS
from tests.backends.signing.worlds import service_account
from tests.servers._process import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ON_SQLALCHEMY_2_0 = sqlalchemy.__version__.startswith("2.0.")
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
    "html": ("markupsafe", "import filerow.ext.html", "filerow.ext.html"),
    "images": ("pillow", "import filerow.variants", "filerow.variants"),
    "litestar": ("litestar", "import filerow.ext.litestar", "filerow.ext.litestar"),
    "msgspec": ("msgspec", "import filerow.ext.msgspec", "filerow.ext.msgspec"),
    "opentelemetry": ("opentelemetry-api", "import filerow.ext.opentelemetry", "filerow.ext.opentelemetry"),
    "pydantic": ("pydantic", "import filerow.ext.pydantic", "a file in a model of pydantic"),
    "s3": ("botocore", S3, "signing for S3"),
    "s3fs": ("s3fs", FSSPEC.format("s3://b"), "FSSpecBackend on s3://"),
    "sqladmin": ("sqladmin", "import filerow.ext.sqladmin", "filerow.ext.sqladmin"),
    "svg": ("pyvips", "from filerow.variants import configure; configure(svg=True)", "configure(svg=True)"),
    "sqlmodel": ("sqlmodel", "import filerow.ext.sqlmodel", "filerow.ext.sqlmodel"),
    "url": ("httpx", "import filerow; filerow.FileObject.from_url('http://127.0.0.1/')", "FileObject.from_url()"),
    "zip": ("zipstream-ng", "import filerow.ext.zip", "filerow.ext.zip"),
    "starlette": ("python-multipart", "import filerow.ext.starlette", "filerow.ext.starlette"),
    "starlette-admin": ("starlette-admin", "import filerow.ext.starlette_admin", "filerow.ext.starlette_admin"),
}

# Modules that are missing, each with an extra that needs it.
MISSING = [
    ("adlfs", "adlfs"),
    ("anyio", "fastapi"),
    ("anyio", "litestar"),
    ("anyio", "starlette"),
    ("botocore", "cloudfront"),
    ("cryptography", "cloudfront"),
    ("fsspec", "fsspec"),
    ("gcsfs", "gcsfs"),
    ("pydantic_core", "pydantic"),
    ("s3fs", "s3fs"),
]
NO_PYDANTIC = (
    "import sys; sys.modules['pydantic'] = sys.modules['pydantic_core'] = None\n"
    "import filerow.ext.flask, filerow.ext.starlette, filerow.ext.msgspec, filerow.ext.litestar\n"
    f"{MEMORY}\nassert filerow.FileObject('docs', 'a.txt', content=b'a').save().get_content() == b'a'"
)

PROGRAMS = """
import json, os, sys, traceback
import filerow
for folder, code in json.load(sys.stdin):
    if not os.fork():
        os.dup2(os.open(os.path.join(folder, "said"), os.O_CREAT | os.O_WRONLY), 2)
        sys.path.insert(0, folder)
        try:
            exec(code, {"__name__": "__main__"})
        except BaseException:
            traceback.print_exc()
        os._exit(0)
    os.wait()
"""


def run(programs: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Run programs, each in a process of its own and with packages of its own folder, and return what each wrote to stderr."""
    asked = json.dumps([(str(folder / name), code) for name, code in programs.items()])
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    subprocess.run([sys.executable, "-c", PROGRAMS], input=asked, text=True, env=environment, check=True, timeout=240)
    return {name: (folder / name / "said").read_text() for name in programs}


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


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What is said where a package is too old, by the extra's name; where a module is missing, by both names."""
    folder = tmp_path_factory.mktemp("programs")
    programs = {extra: code for extra, (_, code, _) in OLD.items()}
    for extra, (package, _, _) in OLD.items():
        metadata = folder / extra / f"{package.replace('-', '_')}-0.0.1.dist-info" / "METADATA"
        metadata.parent.mkdir(parents=True)
        metadata.write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.0.1\n")
    for module, extra in MISSING:
        (folder / f"{extra} without {module}").mkdir()
        programs[f"{extra} without {module}"] = f"import sys; sys.modules[{module!r}] = None\n{OLD[extra][1]}"
    (folder / "no pydantic at all").mkdir()
    return run({**programs, "no pydantic at all": NO_PYDANTIC}, folder)


@pytest.mark.parametrize("extra", OLD)
def test_an_old_package_is_named_with_both_versions(extra: str, said: dict[str, str]) -> None:
    package, _, user = OLD[extra]
    wanted = f"{user} needs {package} {EXTRAS[extra][package]} or newer, but {package} 0.0.1 is installed: "
    assert f"{wanted}pip install --upgrade 'filerow[{extra}]'\n" in said[extra]


@pytest.mark.parametrize(("module", "extra"), MISSING)
def test_a_missing_package_is_named_with_its_extra(module: str, extra: str, said: dict[str, str]) -> None:
    wanted = f"ImportError: {OLD[extra][2]} needs {' and '.join(EXTRAS[extra])}: pip install 'filerow[{extra}]' ("
    assert wanted in said[f"{extra} without {module}"]


def test_files_need_no_pydantic(said: dict[str, str]) -> None:
    assert said["no pydantic at all"] == ""


@pytest.mark.parametrize("extra", ["sqladmin", "starlette-admin"])
def test_admin_tools_bring_what_asyncio_of_sqlalchemy_needs(extra: str) -> None:
    """They import it for synchronous sessions, too, and SQLAlchemy 2.1 no longer installs greenlet by itself."""
    assert any(requirement.startswith("greenlet") for requirement in PROJECT["optional-dependencies"][extra])
    module = f"filerow.ext.{extra.replace('-', '_')}"
    code = f"import sys; sys.modules['greenlet'] = None; import {module}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    if ON_SQLALCHEMY_2_0:  # whose asyncio is imported without it, and says so where it is used
        assert done.returncode == 0, done.stderr
    else:
        assert f"{module} needs greenlet" in done.stderr
