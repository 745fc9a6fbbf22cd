"""Knowledge points down: who may know whom among the packages of ``src/filerow``, and the rules that keep it in order."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "filerow"
FILES = sorted(SOURCE.rglob("*.py"))
DESIGN = SOURCE.parent.parent / "docs" / "design.md"

# From the ground up. A package imports packages of its own rank or of ranks above it in this list; "" is `filerow` itself.
RANKS: list[set[str]] = [
    {"exceptions"},
    {"_buffers", "_log", "_media_types", "_paths", "_pyinstaller", "_requirements", "_variant_plan"},
    {"_execution"},
    {"_content", "_document", "_presentation", "_recipes", "_tokens", "hooks"},
    {"backends"},
    {"_configuration", "_registry"},
    {"_validation"},
    {"_file"},
    {"_orm"},
    {""},
    {"direct", "http", "outbox", "variants"},
    {"maintenance"},
    {"cli", "ext", "testing"},
]

# What users import. Everything else is ours to move.
PUBLIC = {
    "",
    "backends", "backends.base", "backends.cloudfront", "backends.fsspec", "backends.local", "backends.memory",
    "backends.obstore",
    "cli",
    "direct",
    "exceptions",
    "ext", "ext.alembic", "ext.fastapi", "ext.flask", "ext.flask_admin", "ext.html", "ext.litestar",
    "ext.msgspec", "ext.opentelemetry", "ext.pydantic", "ext.sqladmin", "ext.sqlmodel", "ext.starlette",
    "ext.starlette_admin", "ext.zip",
    "hooks",
    "http", "http.route", "http.serving",
    "maintenance",
    "outbox",
    "testing", "testing.cases", "testing.faults", "testing.plugin",
    "variants",
}  # fmt: skip

# A package with a public face whose other files are its own business, though their names are plain.
BACKENDS = ("backends.fsspec", "backends.local", "backends.obstore")

# An import inside a function that climbs, with its reason. These are all there may be.
LATE = {
    ("_file.object", "direct._redeem"): "FileObject.from_claim: a claim is checked by its column's rules, which know the value",
    ("_file.object", "_file.pydantic"): "pydantic asks the class for its schema, which is made of the class",
    ("_file.list", "_file.pydantic"): "as FileObject",
}

# What a test imports of ours that users do not, with the reason. All others know public names only.
ALLOWED: dict[str, tuple[set[str], str]] = {
    "benchmarks/recognition.py": ({"_media_types", "_validation.types"}, "it measures what recognises types by itself"),
    "tests/backends/directories.py": (
        {"backends.local.directory"},
        "the way of Windows, and a page that is shorter than 100,000 names, cannot be had by a public name",
    ),
    "tests/backends/test_obstore.py": (
        {"backends._headers", "backends.obstore.store"},
        "the headers are pure; what the guard against forks costs is hidden in what a request costs",
    ),
    "tests/cli/test_commands.py": ({"cli._values"}, "pure: how the words of a command line are read and shown"),
    "tests/documents/test_commands.py": ({"cli._commands"}, "commands are parsed and not run: the program has no such option"),
    "tests/soak/fuzz/targets.py": (
        {
            "_document", "_media_types", "_paths", "_presentation", "_tokens", "_validation.images", "_validation.types",
            "backends._headers", "backends._paths", "backends._types", "direct._claims", "http._conditional", "http._ranges",
        },
        "it gives any bytes to what reads hostile input",
    ),
    "tests/http/test_rfc9110.py": ({"http._conditional", "http._ranges"}, "pure: the tables of RFC 9110"),
    "tests/maintenance/test_sweep_paths.py": ({"_paths", "backends._foreign"}, "pure: which path can be ours, and since when"),
    "tests/outbox/test_triggers_ddl.py": ({"outbox._triggers.spec"}, "a later release has another version"),
    "tests/security/test_bombs.py": ({"_validation.images", "_validation.types"}, "pure: hostile headers of images"),
    "tests/security/test_growth.py": (
        {"_media_types", "_paths", "_presentation", "_tokens", "ext._uploads", "http._conditional", "http._ranges"}
        | {"http._reply"},
        "pure: how long parsers take",
    ),
    "tests/security/test_header_injection.py": ({"_paths", "backends._headers"}, "pure: how a name becomes a header"),
    "tests/direct/test_large_rules.py": ({"backends._rewrite"}, "shortens the patience with a copy that never ends"),
    "tests/security/test_secrets.py": ({"_tokens", "backends._foreign"}, "pure: keys, and what is blanked in a store's words"),
    "tests/security/test_tokens.py": ({"_tokens", "direct._claims"}, "pure: forged tokens, field by field"),
    "tests/test_tokens.py": ({"_tokens"}, "pure: keys and tokens"),
    "tests/backends/signing/test_own_urls.py": ({"_tokens"}, "pure: what one key signs, another must not"),
    "tests/variants/test_installed.py": ({"variants._pillow"}, "which copy of Filerow a worker runs"),
    "tests/variants/test_workers.py": ({"variants._worker"}, "how a worker's process is called"),
    "tests/test_requirements.py": ({"_requirements"}, "the oldest versions stand in pyproject.toml, too"),
    "tests/orm/test_changes.py": ({"_orm.ownership"}, "pure: the decisions of a flush"),
    "tests/orm/test_ledger.py": ({"_file.object", "_orm.ledger", "_orm.ownership"}, "pure: frames of transactions"),
    "tests/orm/test_private_names.py": ({"_orm.sqlalchemy_private"}, "it fails where SQLAlchemy has changed them"),
    "tests/file/test_documents.py": ({"_document"}, "pure: documents"),
    "tests/validation/test_images.py": ({"_validation.images", "_validation.types"}, "pure: headers of images"),
    "tests/validation/test_media_types.py": ({"_media_types", "_validation.types"}, "pure: names, and hostile containers"),
    "tests/test_paths.py": ({"_media_types", "_paths", "_presentation", "backends._paths"}, "pure: paths and filenames"),
}  # fmt: skip

MOST_LINES_OF_A_FUNCTION = 40


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(SOURCE).with_suffix("").parts).removesuffix("__init__").removesuffix(".")


MODULES = {name_of(file): file for file in FILES}


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def rank_of(module: str) -> int:
    package = module.partition(".")[0]
    for rank, names in enumerate(RANKS):
        if package in names:
            return rank
    pytest.fail(f"{module} has no rank: say in RANKS what it may know")


@cache
def imports_of(file: Path) -> list[tuple[str, int]]:
    """Return the modules a file imports anywhere, be it inside a function or for a type checker only, with the line."""
    found: list[tuple[str, int]] = []
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name}:{node.lineno}: write imports out in full"
            assert node.module is not None
            # "from filerow.backends import _errors" imports a module, "from filerow._file.object import FileObject" does not
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.append((whole if own(whole) in MODULES else node.module, node.lineno))
    return found


def own(imported: str) -> str | None:
    if imported == "filerow":
        return ""
    return imported.removeprefix("filerow.") if imported.startswith("filerow.") else None


def known_to(module: str) -> Iterator[tuple[str, int]]:
    """Return the modules of ours that one imports, except those that LATE allows."""
    for imported, line in imports_of(MODULES[module]):
        known = own(imported)
        if known is not None and known != module and (module, known) not in LATE:
            yield known, line


def test_the_rules_are_about_files_that_exist() -> None:
    assert len(FILES) > 20
    assert {name.partition(".")[0] for name in MODULES} == set().union(*RANKS)
    assert set(MODULES) >= PUBLIC
    assert {module for pair in LATE for module in pair} <= set(MODULES)


def test_the_design_shows_the_same_direction() -> None:
    """``docs/design.md`` draws RANKS from above; what only programs that are frozen read is left out."""
    (drawn,) = re.findall(r"```text\n(cli,[^`]+)```", DESIGN.read_text())
    shown = [set(rank.replace(" ", "").split(",")) for rank in "".join(drawn.split("\n")).split("→")]
    assert shown == [rank - {"_pyinstaller"} for rank in reversed(RANKS) if rank != {""}]


def test_the_design_has_a_room_for_each_module() -> None:
    """Its table names every package, and the files of those whose files have plain names."""
    table = DESIGN.read_text().partition("| room |")[2].partition("\n\n")[0]
    rooms = {name.rstrip("/") for line in table.splitlines()[2:] for name in rooms_in(line)}
    plain = {module.replace(".", "/") for module in MODULES if re.fullmatch(r"_(execution|file|orm|validation)\.\w+", module)}
    packages = {name.partition("/")[0] for name in rooms}
    assert {package for rank in RANKS for package in rank if package} - packages == set()
    assert plain - rooms == set()
    assert rooms <= {module.replace(".", "/") for module in MODULES}


def rooms_in(line: str) -> Iterator[str]:
    """Yield what a row of the table is about: packages and files, and those that it names in a private package."""
    first, text = line.split("|")[1:3]
    names = re.findall(r"`([\w/]+)`", first)
    package, _, file = names[0].partition("/")
    within = f"{package}/" if file else ""  # the first name of a row says for all where they are
    yield from (within + name.removeprefix(within) for name in names)
    if names[0].startswith("_") and not file:
        yield from (name for one in re.findall(r"`([a-z_]+)`", text) if (name := f"{package}/{one}").replace("/", ".") in MODULES)


def test_imports_point_down() -> None:
    wrong = [
        f"{module or 'filerow'}, line {line}: must not know {known or 'filerow'}"
        for module in MODULES
        for known, line in known_to(module)
        if rank_of(known) > rank_of(module)
    ]
    assert not wrong


def test_late_imports_are_few_and_needed() -> None:
    assert len(LATE) <= 3
    for module, known in LATE:
        assert known in {own(imported) for imported, _ in imports_of(MODULES[module])}, f"{module} no longer needs {known}"


def test_there_are_no_import_cycles() -> None:
    """Imports inside functions and those for a type checker count, except those in LATE."""
    left = {module: {known for known, _ in known_to(module)} for module in MODULES}
    while ready := [module for module, known in left.items() if not known & left.keys()]:
        for module in ready:
            del left[module]
    assert not left


def test_no_import_is_hidden_in_a_string() -> None:
    """``import_module("filerow...")`` would be in none of these rules."""
    hidden = [
        f"{module}, line {node.lineno}"
        for module, file in MODULES.items()
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__"))
        if any(isinstance(part, ast.Constant) and str(part.value).startswith("filerow") for part in ast.walk(node))
    ]
    assert not hidden


def is_public(module: str) -> bool:
    inside = any(module.startswith(f"{backend}.") for backend in BACKENDS)
    return not inside and not any(part.startswith("_") for part in module.split("."))


def test_public_modules_are_listed() -> None:
    """A module without an underscore is public, one with an underscore anywhere in its name is not."""
    assert {module for module in MODULES if is_public(module) and not module.startswith("testing.cases.")} == PUBLIC


def test_public_names_are_listed() -> None:
    """A name that joins or leaves the public API shows in ``tests/public_names.txt``, and so in a review."""
    shown = [f"{module or 'filerow'}: {name}" for module in sorted(PUBLIC) for name in all_of(MODULES[module])]
    assert shown == (Path(__file__).parent / "public_names.txt").read_text().splitlines()


OURS = re.compile(r"\bfilerow((?:\.\w+)+)")
ROOT = Path(__file__).parent.parent


def private_in(file: Path) -> set[str]:
    """Return what a file knows of ours that users do not: from an import, as an attribute of a module, or in a string."""
    tree = tree_of(file)
    modules: dict[str, str] = {}  # by the name that a file calls them by
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
            modules |= {alias.asname or alias.name.partition(".")[0]: alias.name for alias in node.names if alias.asname}
            modules |= {"filerow": "filerow"}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
            modules |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):  # what monkeypatch, or a program of its own, imports
            found |= {f"filerow{name}" for name in OURS.findall(node.value)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            root: ast.expr = node
            while isinstance(root, ast.Attribute):
                root = root.value
            if isinstance(root, ast.Name) and own(modules.get(root.id, "")) in MODULES:
                found.add(f"{modules[root.id]}{ast.unparse(node).removeprefix(root.id)}")
    return {private for name in found if (private := private_part(name)) is not None}


def private_part(name: str) -> str | None:
    """Return the module that makes a dotted name private, or the whole name where its module is public."""
    whole = own(name)
    if not whole:
        return None
    parts = whole.split(".")
    module = next((".".join(parts[:size]) for size in range(len(parts), 0, -1) if ".".join(parts[:size]) in MODULES), "")
    if module and not is_public(module):
        return module
    return whole if any(part.startswith("_") and not part.startswith("__") for part in parts) else None


def test_tests_know_public_names_only() -> None:
    """A test of behaviour that holds on to a private name fails when that moves, and says nothing to a user."""
    files = [file for folder in ("tests", "demo", "benchmarks", "examples") for file in sorted((ROOT / folder).rglob("*.py"))]
    private = {file.relative_to(ROOT).as_posix(): private_in(file) for file in files if file != Path(__file__)}
    found = {name: known for name, known in private.items() if known}
    allowed = {name: known for name, (known, _) in ALLOWED.items()}
    assert found == allowed, "test by public names, or say in ALLOWED why that cannot be"


def all_of(file: Path) -> Sequence[str]:
    for node in tree_of(file).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return sorted(ast.literal_eval(node.value))
    return ()


def test_no_class_name_is_used_twice() -> None:
    """The modules for frameworks are an exception: what does the same in each is called the same."""
    names = Counter(
        node.name
        for module, file in MODULES.items()
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.ClassDef) and not (module.startswith("ext.") and is_public(module))
    )
    assert [name for name, times in names.items() if times > 1] == []


def test_a_backend_never_hears_of_files_or_of_an_orm() -> None:
    below = {"exceptions", "_buffers", "_execution", "_log", "_requirements", "_tokens", "backends"}
    backends = [module for module in MODULES if module.partition(".")[0] == "backends"]
    assert len(backends) > 20
    for module in backends:
        for imported, line in imports_of(MODULES[module]):
            known = own(imported)
            assert known is None or known.partition(".")[0] in below, f"{module}, line {line}: {imported}"
            assert not imported.startswith("sqlalchemy"), f"{module}, line {line}: {imported}"


def test_a_file_never_hears_of_a_session() -> None:
    known = {
        (module, imported)
        for module, file in MODULES.items()
        for imported, _ in imports_of(file)
        if imported.startswith("sqlalchemy") and rank_of(module) <= rank_of("_file") and not module.startswith("_execution")
    }
    assert known == {
        ("_file.list", "sqlalchemy.ext.mutable"),  # how a list reports its changes to its row
        ("_file.list", "sqlalchemy.util"),
        ("exceptions", "sqlalchemy.exc"),  # ours are theirs too, where a caller of SQLAlchemy would catch them
    }


def test_decisions_are_pure() -> None:
    allowed = {"_orm.ownership", "_file.object", "_document", "_recipes", "exceptions"}
    for module in ("_orm.ownership", "_orm.ledger"):
        for imported, line in imports_of(MODULES[module]):
            known = own(imported)
            assert known is None or known in allowed, f"{module}, line {line}: {imported}"
            assert not imported.startswith(("sqlalchemy", "asyncio", "threading")), f"{module}, line {line}: {imported}"


def test_only_the_batch_runner_knows_greenlets() -> None:
    knows = {
        module
        for module, file in MODULES.items()
        for imported, _ in imports_of(file)
        if "greenlet" in imported or imported.startswith(("sqlalchemy.util.concurrency", "sqlalchemy.util._concurrency"))
    }
    assert knows == {"_execution.batch"}


@cache
def calls_of(file: Path) -> list[str]:
    return [ast.unparse(node.func) for node in ast.walk(tree_of(file)) if isinstance(node, ast.Call)]


def test_only_events_listens_to_sqlalchemy() -> None:
    listens = {
        module
        for module, file in MODULES.items()
        for call in calls_of(file)
        if call.endswith(("event.listen", "event.listens_for", "listens_for"))
    }
    assert listens == {"_orm.events"}


def test_nothing_is_left_running_behind_a_hook_s_back() -> None:
    tasks = ("create_task", "run_until_complete")
    assert not [module for module, file in MODULES.items() for call in calls_of(file) if call.endswith(tasks)]


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for module, file in MODULES.items():
        for node in ast.walk(tree_of(file)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield module, node


def test_no_function_is_too_long() -> None:
    long = []
    for module, node in functions():
        body = node.body[1:] if ast.get_docstring(node) is not None else node.body
        lines = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
        if lines > MOST_LINES_OF_A_FUNCTION:
            long.append(f"{module}, line {node.lineno}: {node.name} has {lines} lines")
    assert not long


def docstrings_of(file: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield node.body[0].lineno, text


def test_docstrings_begin_with_one_short_line() -> None:
    """The first line is what editors and listings show: at most 79 characters, and a sentence for itself."""
    first_lines = [(m, line, text.splitlines()[0]) for m, file in MODULES.items() for line, text in docstrings_of(file)]
    wrong = [f"{m}, line {line}: {first}" for m, line, first in first_lines if len(first) > 79 or not first.endswith((".", "?"))]
    assert not wrong
