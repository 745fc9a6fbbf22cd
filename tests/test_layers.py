"""Knowledge points one way (design, section 5), and files and functions stay short enough to be read in one go."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "filerow"
FILES = sorted(SOURCE.rglob("*.py"))

# From those that know nothing to the one that knows everything. A module imports modules of its own rank or of ranks before.
RANKS: list[set[str]] = [
    {"exceptions"},
    {
        "backends._types", "backends._errors", "backends._streams", "backends._paths", "backends._headers",
        "backends._sign_request", "_signing",
    },
    {"backends._driver", "backends._own_urls"},
    {"backends.base"},
    {"backends.*"},
    {"_registry"},
    {
        "_paths", "_safety", "_rules", "_images", "_validators", "_document", "_content", "_intake", "_checks", "_reader",
        "_bridge", "_transfer", "_deletes", "_file_io", "_file_urls", "_file", "_lengths", "_pydantic",
    },
    {"_list", "_column", "_claims", "_redeem"},
    {"_changes", "_ledger"},
    {"_tracking", "_collect", "_apply", "_references"},
    {"_session", "_outer", "_bulk", "_inline", "_refused"},
    {"_unit_of_work"},
    {""},
    {"outbox.*", "http.*"},
    {"maintenance.*"},
    {"ext.*", "testing.*", "cli.*"},
]  # fmt: skip

# These know the registry, which makes backends from URLs, and the registry knows them only when it is asked to.
LOADED_WHEN_NEEDED = {
    ("_registry", "backends.local"), ("_registry", "backends.memory"), ("_registry", "backends.obstore"),
    ("_registry", "backends.fsspec"),
    # a file can be made of a claim, and what is claimed is checked by its column's rules
    ("_file_io", "_redeem"),
    # pydantic calls a hook of the value, which looks into the module that is made for it
    ("_list", "_pydantic"),
}  # fmt: skip

MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 40


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(SOURCE).with_suffix("").parts).removesuffix("__init__").removesuffix(".")


def rank_of(module: str) -> int:
    for exact in (True, False):
        for rank, names in enumerate(RANKS):
            if module in names if exact else f"{module.partition('.')[0]}.*" in names:
                return rank
    pytest.fail(f"{module} has no rank: say in RANKS what it may know")


def imports_of(file: Path) -> list[tuple[str, int, bool]]:
    """Return the modules a file imports anywhere, with line and whether only a type checker does it."""
    tree = ast.parse(file.read_text())
    only_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found: list[tuple[str, int, bool]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno, id(node) in only_types) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name}:{node.lineno}: write imports out in full"
            assert node.module is not None
            # "from filerow import _outer" imports a module, "from filerow._file import FileObject" does not
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                is_module = (SOURCE.parent / Path(*whole.split("."))).with_suffix(".py").exists()
                found.append((whole if is_module else node.module, node.lineno, id(node) in only_types))
    return found


def own(imported: str) -> str | None:
    if imported == "filerow":
        return ""
    return imported.removeprefix("filerow.") if imported.startswith("filerow.") else None


def test_the_rules_are_about_files_that_exist() -> None:
    assert len(FILES) > 20
    names = {name_of(file) for file in FILES}
    assert {"exceptions", "backends.base", "_file", "_unit_of_work", ""} <= names


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_imports_point_one_way(file: Path) -> None:
    module = name_of(file)
    wrong = []
    for imported, line, only_types in imports_of(file):
        known = own(imported)
        if known is None or known == "backends" or (module, known) in LOADED_WHEN_NEEDED:
            continue
        if rank_of(known) > rank_of(module) and not (only_types and {module, known} == {"_pydantic", "_list"}):
            wrong.append(f"line {line}: {module or 'filerow'} must not know {imported}")
    assert not wrong


@pytest.mark.parametrize("file", [file for file in FILES if name_of(file).startswith("backends")], ids=name_of)
def test_a_backend_never_hears_of_files_or_of_an_orm(file: Path) -> None:
    for imported, line, _ in imports_of(file):
        known = own(imported)
        if known is not None:
            assert known in {"exceptions", "_signing"} or known.startswith("backends"), f"line {line}: {imported}"
        assert not imported.startswith("sqlalchemy"), f"line {line}: {imported}"


@pytest.mark.parametrize(
    "name", ["_file", "_file_io", "_content", "_document", "_reader", "_registry", "_paths", "_rules", "_images", "_checks"]
)
def test_a_file_never_hears_of_a_session(name: str) -> None:
    for imported, line, _ in imports_of(SOURCE / f"{name}.py"):
        assert not imported.startswith("sqlalchemy"), f"line {line}: {imported}"


@pytest.mark.parametrize("name", ["_changes", "_ledger"])
def test_decisions_are_pure(name: str) -> None:
    allowed = {"_changes", "_file", "_document", "_column", "_list", "exceptions"}
    for imported, line, _ in imports_of(SOURCE / f"{name}.py"):
        known = own(imported)
        assert known is None or known in allowed, f"line {line}: {imported}"
        assert not imported.startswith(("sqlalchemy", "asyncio", "threading")), f"line {line}: {imported}"


def test_only_the_bridge_knows_greenlets() -> None:
    knows = {
        name_of(file)
        for file in FILES
        for imported, _, _ in imports_of(file)
        if "greenlet" in imported or imported.startswith(("sqlalchemy.util.concurrency", "sqlalchemy.util._concurrency"))
    }
    assert knows == {"_bridge"}


def calls_of(file: Path) -> list[str]:
    return [ast.unparse(node.func) for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]


def test_only_the_unit_of_work_listens_to_events() -> None:
    listens = {
        name_of(file)
        for file in FILES
        for call in calls_of(file)
        if call.endswith(("event.listen", "event.listens_for", "listens_for"))
    }
    assert listens == {"_unit_of_work"}


def test_nothing_is_left_running_behind_a_hook_s_back() -> None:
    tasks = ("create_task", "run_until_complete")
    assert not [name_of(file) for file in FILES for call in calls_of(file) if call.endswith(tasks)]


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_no_file_is_too_long(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= MOST_LINES


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_no_function_is_too_long(file: Path) -> None:
    long = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            lines = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
            if lines > MOST_LINES_OF_A_FUNCTION:
                long.append(f"line {node.lineno}: {node.name} has {lines} lines")
    assert not long
