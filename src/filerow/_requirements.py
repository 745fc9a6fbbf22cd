"""Packages of extras: oldest working versions, and errors that name them.

Installers read the same versions in the package's metadata, but only where the extra is asked for: ``pip install filerow flask``
keeps the Flask that is installed. ``tests/test_requirements.py`` compares the two.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version

EXTRAS: Mapping[str, Mapping[str, str]] = {
    "adlfs": {"adlfs": "2024.12", "fsspec": "2025.12"},
    "alembic": {"alembic": "1.13"},
    "azure": {"azure-storage-blob": "12.20"},
    "cli": {"rich": "13", "typer": "0.20"},
    "cloudfront": {"botocore": "1.34", "cryptography": "43"},
    "fastapi": {"fastapi": "0.115.2", "pydantic": "2.7", "python-multipart": "0.0.18", "starlette": "0.40"},
    "flask": {"flask": "3"},
    "flask-admin": {"flask": "3", "flask-admin": "2.2", "flask-sqlalchemy": "3.1"},
    "fsspec": {"fsspec": "2024.12"},
    "gcs": {"google-auth": "2.23"},
    "gcsfs": {"fsspec": "2024.12", "gcsfs": "2024.12"},
    "html": {"markupsafe": "2.1"},
    "images": {"pillow": "11.3"},
    "litestar": {"litestar": "2.17"},
    "msgspec": {"msgspec": "0.18.6"},
    "opentelemetry": {"opentelemetry-api": "1.30"},
    "pydantic": {"pydantic": "2.7"},
    "s3": {"botocore": "1.34"},
    "s3fs": {"fsspec": "2024.12", "s3fs": "2024.12"},
    "sqladmin": {"greenlet": "3", "sqladmin": "0.32"},
    "sqlmodel": {"sqlmodel": "0.0.24"},
    "starlette": {"python-multipart": "0.0.18", "starlette": "0.40"},
    "starlette-admin": {"greenlet": "3", "starlette-admin": "1"},
    "svg": {"pillow": "11.3", "pyvips": "3", "pyvips-binary": "8.16"},
    "url": {"httpcore": "1.0", "httpx": "0.27"},
    "zip": {"zipstream-ng": "1.7.1"},
}
"""Of each extra, the oldest version of each package that we import."""

_RELEASE = re.compile(r"\d+(?:\.\d+)*")


@contextmanager
def needs(extra: str, user: str) -> Generator[None]:
    """Import the packages of an extra in this block.

    Args:
        extra: The extra's name.
        user: What needs it, such as ``filerow.ext.flask``; begins the error.

    Raises:
        ImportError: One of them cannot be imported, or is older than what works.
    """
    ours = f"filerow[{extra}]"
    quoted = f"'{ours}'"
    for package, oldest in EXTRAS[extra].items():
        found = _version_of(package)
        if found is not None and _numbers(found) < _numbers(oldest):
            msg = f"{user} needs {package} {oldest} or newer, but {package} {found} is installed: pip install --upgrade {quoted}"
            raise ImportError(msg, name=ours)
    try:
        yield
    except ImportError as error:
        if error.name is not None and error.name.startswith("filerow["):
            raise  # a block inside this one has said what is missing
        names = " and ".join([name for name in EXTRAS[extra] if _version_of(name) is None] or EXTRAS[extra])
        raise ImportError(f"{user} needs {names}: pip install {quoted} ({error})", name=ours) from error


@cache
def _version_of(package: str) -> str | None:
    """Return the installed version; ``None`` if unknown, as in a frozen program."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _numbers(text: str) -> tuple[int, ...]:
    """Return a release's numbers without zeros at the end: 3 and 3.0.0 are equal."""
    found = _RELEASE.match(text)
    numbers = [int(number) for number in found[0].split(".")] if found else []
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)
