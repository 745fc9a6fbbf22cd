"""Every fenced block of the pages, and which test runs it.

`RUN_BY` names a test module for each block that is not Python (`tests/test_docs.py` runs those), `NOT_RUN` a reason for
each that nothing here can run. `tests/documents/test_all_blocks.py` fails when a block is in neither. ``python -m
tests.documents`` lists all blocks.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.servers._process import ROOT

FENCE = re.compile(r"^( *)(`{3,}|~{3,})([^\n`]*)\n(.*?)^\1\2`* *$", re.MULTILINE | re.DOTALL)
INCLUDED = re.compile(r"^<!-- include: (\S+) -->$", re.MULTILINE)
PYTHON = "tests/test_docs.py"
HERE = "tests/documents"


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Args:
        page: The file it stands in, from the root of the repository.
        line: Where it begins.
        language: The first word after the fence.
        text: What is in it.
        runs: False if its fence says ``no-run``.
    """

    page: str
    line: int
    language: str
    text: str
    runs: bool = True

    def __str__(self) -> str:
        """Return where it is."""
        return f"{self.page}:{self.line}"

    @property
    def key(self) -> str:
        """Its key in `RUN_BY` or `NOT_RUN`."""
        [key] = [key for key in (*RUN_BY, *NOT_RUN) if matches(key, self)]
        return key


def matches(key: str, block: Block) -> bool:
    """Return True if a key means a block: its page, its language, and words that are in it."""
    page, language, *words = key.split(maxsplit=2)
    return (page, language) == (block.page, block.language) and all(word in block.text for word in words)


def pages() -> list[Path]:
    """Return the files that the site's pages are made of, and README."""
    found = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
    included = [(page.parent / name).resolve() for page in found for name in INCLUDED.findall(page.read_text())]
    return [*found, *sorted({*included, ROOT / "docker" / "minio" / "README.md"})]


def blocks_of(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page."""
    text, name = page.read_text(), str(page.relative_to(ROOT))
    for fence in FENCE.finditer(text):
        language, *options = fence[3].split() or [""]
        code = inspect.cleandoc("\n" + fence[4])
        yield Block(name, text.count("\n", 0, fence.start(4)), language, code, "no-run" not in options)


def all_blocks() -> list[Block]:
    """Return the blocks of all pages."""
    return [block for page in pages() for block in blocks_of(page)]


def is_run_as_python(block: Block) -> bool:
    """Return True if tests/test_docs.py runs the block, or tests/test_tutorial.py writes it into a file."""
    return block.language in {"python", "py"} and block.runs


def of(module: str) -> list[Block]:
    """Return the blocks that a test module runs, from its ``__file__``."""
    name = str(Path(module).resolve().relative_to(ROOT))
    return [block for block in all_blocks() if not is_run_as_python(block) and RUN_BY.get(block.key) == name]


def find(module: str, key: str) -> Block:
    """Return the one block of a test module that a key means."""
    [found] = [block for block in of(module) if matches(key, block)]
    return found


RUN_BY = {
    "README.md console": f"{HERE}/test_make.py",
    "docs/admin/flask-admin.md console": f"{HERE}/test_programs.py",
    "docs/admin/sqladmin.md console": f"{HERE}/test_programs.py",
    "docs/admin/starlette-admin.md console": f"{HERE}/test_programs.py",
    "docs/cli.md console": "tests/cli/test_documents.py",
    "docs/cli.md text": "tests/cli/test_documents.py",
    "docs/cli.md toml": "tests/cli/test_documents.py",
    "docs/cdn.md python": f"{HERE}/test_fragments.py",
    "docs/conformance.md console": f"{HERE}/test_stores.py",
    "docs/databases.md sh": f"{HERE}/test_make.py",
    "docs/design.md text": f"{HERE}/test_drawings.py",
    "docs/direct-upload.md html": "tests/direct/test_documented_page.py",
    "docs/direct-upload.md json": f"{HERE}/test_stores.py",
    "docs/direct-upload.md sh az storage cors": f"{HERE}/test_stores.py",
    "docs/direct-upload.md sh curl": f"{HERE}/test_stores.py",
    "docs/direct-upload.md text": f"{HERE}/test_drawings.py",
    "docs/frameworks/fastapi.md console": f"{HERE}/test_programs.py",
    "docs/frameworks/flask.md console": f"{HERE}/test_programs.py",
    "docs/frameworks/litestar.md console": f"{HERE}/test_programs.py",
    "docs/frameworks/starlette.md console": f"{HERE}/test_programs.py",
    "docs/leaving.md sql": f"{HERE}/test_sql.py",
    "docs/production.md ini": f"{HERE}/test_production.py",
    "docs/production.md yaml": f"{HERE}/test_production.py",
    "docs/queues/celery.md console": f"{HERE}/test_programs.py",
    "docs/queues/dramatiq.md console": f"{HERE}/test_programs.py",
    "docs/queues/rq.md console": f"{HERE}/test_programs.py",
    "docs/queues/taskiq.md console": f"{HERE}/test_programs.py",
    "docs/permissions.md json": f"{HERE}/test_stores.py",
    "docs/recipes.md python": f"{HERE}/test_fragments.py",
    "docs/scale.md sql": f"{HERE}/test_sql.py",
    "docs/serving.md apache": f"{HERE}/test_web_servers.py",
    "docs/serving.md nginx": f"{HERE}/test_web_servers.py",
    "docs/start.md console app.py": f"{HERE}/test_programs.py",
    "docs/start.md console uvicorn": f"{HERE}/test_programs.py",
    "docs/stores.md json": f"{HERE}/test_stores.py",
    "docs/testing.md python": f"{HERE}/test_fragments.py",
    "docs/tutorial.md console": "tests/test_tutorial.py",
    "docs/tutorial.md html+jinja": "tests/test_tutorial.py",
    "examples/fastapi_documents/README.md console": f"{HERE}/test_examples.py",
    "examples/flask_documents/README.md console": f"{HERE}/test_examples.py",
    "examples/litestar_guide/README.md console": f"{HERE}/test_examples.py",
    "docker/minio/README.md sh STORAGE_URL": f"{HERE}/test_examples.py",
    "docker/minio/README.md sh make test": f"{HERE}/test_make.py",
}
"""Page, language and, where a page has several of one language, words of the block; and the module that runs it."""

COMMANDS_NOT_RUN = {
    "pip install ": "the tests' own environment has what it would install; test_installs.py judges what it asks for",
    ".venv/bin/pip install ": "the same",
    "python -m venv ": "the tests' own environment stands for it",
    "python3 -m venv ": "the same",
    ". .venv/bin/activate": "the same",
    "uv run --no-project --with-requirements ": "the same; the program behind it is started",
}
"""How commands begin that are left out of blocks that are run, and why."""

NOT_RUN = {
    "docs/index.md console": "pip would ask PyPI, where Filerow is not published yet; test_installs.py judges what it asks for",
    "docs/start.md console python -m venv": "as above; test_programs.py makes that environment from the tests' own",
    "docker/minio/README.md sh up --detach": "needs Docker's daemon and images; tests/examples/test_docker.py lets compose "
    "judge the file and runs what its containers run",
    "docker/minio/README.md sh run --rm try": "as above; tests/examples/test_docker.py runs the script",
    "tools/sqlalchemy_suite/README.md sh": "downloads SQLAlchemy's source and runs for hours (make soak); test_make.py parses "
    "the arguments, and tests/tools runs the program on a small suite",
}
"""What no test can run, and why; what can be said of it without running it, the test says that is named."""
