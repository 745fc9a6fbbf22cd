"""What the pages let readers install: the extras exist, and the packages are those that the tests run with."""

from __future__ import annotations

import re
import shlex
import tomllib
from importlib.metadata import PackageNotFoundError, version

import pytest
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from tests.documents.blocks import pages
from tests.servers._process import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
INSTALL = re.compile(r"(?:`|^\$ |&& )(?:\.venv/bin/|python -m )?pip install ([^`\n]*)", re.MULTILINE)
OTHER = {"httpx2"}
"""Of these the tests have another release or another name."""


def installs() -> dict[str, list[str]]:
    """Return what each ``pip install`` asks for, by page."""
    found: dict[str, list[str]] = {}
    for page in pages():
        for words in INSTALL.findall(page.read_text()):
            wanted = [word for word in shlex.split(words.replace("\\`", "`"), comments=True) if not word.startswith("-")]
            found.setdefault(str(page.relative_to(ROOT)), []).extend(wanted)
    return found


INSTALLS = installs()


def complaint(word: str) -> str | None:
    if word.endswith(".txt"):
        return None if (ROOT / "examples" / word).exists() else "no such file"
    try:
        wanted = Requirement(word)
    except InvalidRequirement:
        return None if "…" in word else "not a requirement"
    if canonicalize_name(wanted.name) == "filerow":
        unknown = wanted.extras - set(PROJECT["optional-dependencies"])
        return f"no such extras: {sorted(unknown)}" if unknown else None
    try:
        return None if wanted.specifier.contains(version(wanted.name), prereleases=True) else "another version is tested"
    except PackageNotFoundError:
        return None if wanted.name in OTHER else "the tests do not have this package, so nothing shows that it exists"


@pytest.mark.parametrize("page", INSTALLS)
def test_its_packages_exist(page: str) -> None:
    complaints = {word: problem for word in INSTALLS[page] if (problem := complaint(word))}
    assert not complaints


def test_many_pages_install_something() -> None:
    assert len(INSTALLS) > 20
    assert {"docs/start.md", "docs/index.md", "docs/tutorial.md", "docs/queues/rq.md"} <= set(INSTALLS)


def test_what_does_not_exist_is_found() -> None:
    assert complaint("filerow[fastapi]") is None
    assert complaint("filerow[fastapy]") == "no such extras: ['fastapy']"
    assert complaint("no-such-package-anywhere") is not None
    assert complaint("pytest") is None
