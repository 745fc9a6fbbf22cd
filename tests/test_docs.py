"""What the documents say is true: their Python code runs, and their links lead somewhere.

The Python blocks of one document run one after the other in one namespace, as a reader would type them, in an empty
folder. ``await`` is allowed at the top level. A block that cannot run here says so in its first line, as in
```` ```python no-run ````, and is listed by ``test_few_blocks_do_not_run``.
"""

from __future__ import annotations

import ast
import asyncio
import configparser
import gc
import inspect
import json
import os
import re
import tomllib
import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pytest

import tests.frameworks  # noqa: F401 - the documents import them too, and what they say of each other is not our business
from filerow import storages
from tests.documents.blocks import FENCE
from tests.servers._process import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("frozen_heap")

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("docker/**/*.md")])
CODE = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
ELSEWHERE = [
    ROOT / "docs" / "tutorial.md",
    *sorted(ROOT.glob("docs/queues/*.md")),
    *(ROOT / "docs" / "backends" / f"{name}.md" for name in ("azure", "compatible", "gcs", "s3")),
]
"""Their code is files and commands, or needs a store: tests/test_tutorial.py, tests/documents/."""
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*<?([^\s)>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
REFERENCE = re.compile(r"^ {0,3}\[[^\]^]+\]:\s*<?(\S+?)>?(?:\s+\"[^\"]*\")?\s*$", re.MULTILINE)
IMAGE = re.compile(r"<img [^<>]*src=\"([^\"]+)\"")
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*\s*$", re.MULTILINE)
NAMED = re.compile(r"<(?:a|h[1-6]|p|div|span)\s[^>]*?(?:id|name)=\"([^\"]+)\"")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@dataclass(frozen=True)
class Block:
    line: int
    code: str
    runs: bool


def python_blocks(text: str) -> list[Block]:
    blocks = []
    for fence in FENCE.finditer(text):
        language, *options = fence[3].split() or [""]
        if language in {"python", "py"}:
            line = text.count("\n", 0, fence.start(4))
            blocks.append(Block(line, inspect.cleandoc("\n" + fence[4]), "no-run" not in options))
    return blocks


async def run(document: Path, blocks: list[Block]) -> None:
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in blocks:
        # Shifted to where it stands, so that a traceback names the line of the document.
        source = "\n" * block.line + block.code
        code = compile(source, str(document), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        result = eval(code, namespace)  # noqa: S307, RUF100 - our own documents
        if inspect.isawaitable(result):
            await result


def shared_tasks() -> set[object]:
    """Return what Celery gives to each application that is made in this process: the tasks of all others, too."""
    import celery.app.builtins  # noqa: F401 - its own are among them
    from celery import _state

    found: set[object] = _state._on_app_finalizers
    return found


@pytest.fixture
def collected() -> Iterator[None]:
    """Collect here, where the warning is expected, the connections that a document leaves to the end of the program."""
    yield
    gc.collect()


@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")
@pytest.mark.filterwarnings("ignore:Unclosed file <tempfile:ResourceWarning")  # sqlalchemy-file leaves them
@pytest.mark.usefixtures("collected")
@pytest.mark.parametrize("document", [page for page in CODE if page not in ELSEWHERE], ids=named)
def test_its_code_runs(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [block for block in python_blocks(document.read_text()) if block.runs]
    monkeypatch.chdir(tmp_path)
    environment = dict(os.environ)
    tasks = shared_tasks() if "from celery" in document.read_text() else set()
    before = set(tasks)
    try:
        asyncio.run(run(document, blocks))
    finally:
        storages.clear_backends()
        tasks.intersection_update(before)
        os.environ.clear()
        os.environ.update(environment)


def test_the_readme_shows_code_that_runs() -> None:
    blocks = python_blocks((ROOT / "README.md").read_text())
    assert [block for block in blocks if block.runs], "README.md shows no Python that a test could run"


def test_few_blocks_do_not_run() -> None:
    left_out = [f"{named(path)}:{block.line}" for path in CODE for block in python_blocks(path.read_text()) if not block.runs]
    assert len(left_out) <= 5, f"too much of the documents is not tested: {left_out}"


def imports_in(document: Path) -> Iterator[ast.ImportFrom]:
    for block in python_blocks(document.read_text()):
        for node in ast.walk(compile(block.code, str(document), "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "filerow":
                yield node


def test_their_code_imports_public_modules() -> None:
    public = {line.partition(":")[0] for line in (ROOT / "tests" / "public_names.txt").read_text().splitlines()}
    found = [(named(document), node) for document in CODE for node in imports_in(document)]
    assert len(found) > 100
    for document, node in found:
        module = str(node.module).partition(".")[2] or "filerow"
        assert module in public or {f"{module}.{alias.name}" for alias in node.names} <= public, f"{document}: {node.module}"


COMMAND = re.compile(r"(?:`|^\s*\$ |&& |'|=)(filerow [a-z][^`&|'\n]*|make [a-z][^`&|'\n#]*)", re.MULTILINE)


@cache
def commands() -> dict[str, set[str]]:
    """Return the options of each command of ``filerow``."""
    pytest.importorskip("sphinx", reason="not covered: Sphinx is not installed; to install it: make site")
    from tools.site.commands import markdown

    sections = re.split(r"^## filerow (\S+)$", markdown(), flags=re.MULTILINE)[1:]
    return {
        name: {"--help", *re.findall(r"`(-\S+?)[` ]", text)} for name, text in zip(sections[::2], sections[1::2], strict=True)
    }


def unknown_to_the_program(command: str) -> list[str]:
    """Return the words of a ``filerow`` or ``make`` command that mean nothing to it."""
    program, name, *words = command.split()
    if program == "make":
        return [] if re.search(rf"^{re.escape(name)}:", (ROOT / "Makefile").read_text(), re.MULTILINE) else [name]
    known = commands().get(name.rstrip(".,"))
    if known is None:
        return [name]
    return [word for word in words if word.startswith("--") and re.split("[=,]", word)[0] not in known]


def test_their_commands_exist() -> None:
    found = {(named(page), command) for page in CODE for command in COMMAND.findall(page.read_text()) if len(command.split()) > 1}
    assert len(found) > 100
    assert {one: words for one in found if (words := unknown_to_the_program(one[1]))} == {}


def test_their_extras_exist() -> None:
    known = set(re.findall(r"^([a-z0-9-]+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE))
    groups = {(named(page), group) for page in CODE for group in re.findall(r"filerow\[([a-z0-9, -]+)\]", page.read_text())}
    assert len(groups) > 20
    assert [one for one in groups if not {name.strip() for name in one[1].split(",")} <= known] == []


def test_checker_of_commands_finds_what_does_not_exist() -> None:
    assert COMMAND.findall("$ filerow swep\n`make tset`, `filerow sweep --grace 1h`") == [
        "filerow swep",
        "make tset",
        "filerow sweep --grace 1h",
    ]
    assert unknown_to_the_program("filerow swep") == ["swep"]
    assert unknown_to_the_program("filerow sweep --grcae 1h --delete") == ["--grcae"]
    assert unknown_to_the_program("make tset") == ["tset"]
    assert unknown_to_the_program("make test ARGS=x") == []


def without_code(text: str) -> str:
    return re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", "", FENCE.sub("", text))


@cache
def anchors(document: Path) -> set[str]:
    return slugs(document.read_text())


def slugs(text: str) -> set[str]:
    """Name the anchors of a document as GitHub does: a repeated heading gets a number."""
    found: set[str] = set()
    for heading in HEADING.finditer(FENCE.sub("", text)):
        plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading[1])
        plain = re.sub(r"[*`]|(?<!\w)_|_(?!\w)", "", plain).lower()
        kept = [letter for letter in plain if letter in "-_ " or unicodedata.category(letter)[0] in "LN"]
        slug = base = "".join(kept).replace(" ", "-")
        number = 0
        while slug in found:
            number += 1
            slug = f"{base}-{number}"
        found.add(slug)
    return found | set(NAMED.findall(text))


def complaint(document: Path, link: str) -> str | None:
    parts = urlsplit(link)
    if parts.scheme:
        return None if parts.scheme in {"https", "mailto"} or parts.hostname in {"localhost", "127.0.0.1"} else "not https"
    target = document if not parts.path else (document.parent / unquote(parts.path)).resolve()
    if not target.exists():
        return "no such file"
    if not target.is_relative_to(ROOT):
        return "leads out of the repository"
    if parts.fragment and target.suffix == ".md" and unquote(parts.fragment) not in anchors(target):
        return "no such heading"
    return None


def links_in(document: Path) -> set[str]:
    text = without_code(document.read_text())
    return {match[1] for pattern in (LINK, REFERENCE, IMAGE) for match in pattern.finditer(text)}


def test_their_links_lead_somewhere() -> None:
    links = [(document, link) for document in DOCUMENTS for link in links_in(document)]
    assert len(links) > 500
    complaints = [(named(document), link, problem) for document, link in links if (problem := complaint(document, link))]
    assert not complaints


def test_the_checker_finds_what_is_broken(tmp_path: Path) -> None:
    document = ROOT / "CONTRIBUTING.md"
    assert complaint(document, "nowhere.md") == "no such file"
    assert complaint(document, "#no-such-heading") == "no such heading"
    assert complaint(document, "../elsewhere") in {"no such file", "leads out of the repository"}
    assert complaint(document, "http://example.com") == "not https"
    assert complaint(document, "README.md") is None
    assert slugs("# `Code` and *more*: a_b\n\n## Twice\n\n## Twice\n") == {"code-and-more-a_b", "twice", "twice-1"}
    assert IMAGE.findall('<img align="right" src="a.svg" alt="">') == ["a.svg"]
    assert [match[1] for match in LINK.finditer('[a](b.md "t") ![i](c.png) [x `[y]`](<d.md>)')] == [
        "b.md",
        "c.png",
        "d.md",
    ]
    [first, second] = python_blocks("text\n```python\nx = 1\n```\n\n~~~py no-run\ny\n~~~\n```sh\nls\n```\n")
    assert (first, second) == (Block(2, "x = 1", runs=True), Block(6, "y", runs=False))


def test_yaml_documents_parse() -> None:
    yaml = pytest.importorskip("yaml", reason="not covered: PyYAML is not installed; to install it: pip install pyyaml")
    files = sorted(ROOT.glob("docker/**/*.y*ml"))
    assert files
    for file in files:
        assert yaml.safe_load(file.read_text()), file


def test_their_settings_can_be_parsed() -> None:
    yaml = pytest.importorskip("yaml", reason="not covered: PyYAML is not installed; to install it: pip install pyyaml")

    def ini(text: str) -> None:
        parser = configparser.ConfigParser(strict=False, interpolation=None)
        parser.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's names have capitals
        parser.read_string(text)

    parsers = {"json": json.loads, "toml": tomllib.loads, "yaml": yaml.safe_load, "ini": ini}
    settings = [
        (named(document), language, inspect.cleandoc("\n" + fence[4]))
        for document in CODE
        for fence in FENCE.finditer(document.read_text())
        for language, *options in [fence[3].split() or [""]]
        if language in parsers and "no-run" not in options
    ]
    assert len(settings) > 10
    for document, language, text in settings:
        try:
            parsers[language](text)
        except (ValueError, yaml.YAMLError, configparser.Error) as error:
            pytest.fail(f"{document}: {language}: {error}")


def test_map_of_the_tests_names_what_exists() -> None:
    """A path may be in ``tests``, in the package, or at the root."""
    named = set(re.findall(r"`([\w/]+(?:\.py|/))`", (ROOT / "tests/README.md").read_text()))
    assert len(named) > 20
    assert not [name for name in named if not any((ROOT / top / name).exists() for top in ("tests", "src/filerow", ""))]
