"""The reference of the public names, from their docstrings."""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import inspect
import re
import warnings
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.errors import PycodeError
from sphinx.ext.intersphinx import InventoryAdapter
from sphinx.ext.napoleon import Config
from sphinx.ext.napoleon.docstring import GoogleDocstring
from sphinx.pycode import ModuleAnalyzer

from tools.site._root import ROOT

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

_STYLE: Any = Config(napoleon_use_ivar=True, napoleon_use_rtype=False)

DOCUMENTED = ("filerow.", "sqlalchemy.", "collections.abc.", "datetime.", "pathlib.", "os.", "typing.")
"""Names that must have a page, here or elsewhere, wherever an annotation or a role names them."""

LATER = ("filerow.backends.base", "filerow.http.route", "filerow.http.serving", "filerow.testing.cases")
"""Modules that show names of their parents: there stands a link."""


@functools.cache
def public() -> dict[str, list[str]]:
    """Return the public names of each public module, as tests/public_names.txt lists them."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / "tests" / "public_names.txt").read_text().splitlines():
        module, _, name = line.partition(": ")
        found.setdefault(module if module == "filerow" else f"filerow.{module}", []).append(name)
    return found


@functools.cache
def load(module: str) -> Any:
    """Import a module, whatever a framework warns of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(module)


@functools.cache
def homes() -> dict[str, str]:
    """Return the one place in the reference of each name: where it is defined, and where it is public."""
    found: dict[str, str] = {}
    modules = sorted(public(), key=lambda module: (module != "filerow.exceptions", module in LATER, module))
    for module in modules:
        for name in public()[module]:
            value = getattr(load(module), name)
            found.setdefault(identity(value) or f"{module}.{name}", f"{module}.{name}")
    return found


def identity(value: Any) -> str | None:
    """Return where a class or function is defined, or ``None`` for a value."""
    if inspect.isclass(value) or inspect.isroutine(value):
        return f"{value.__module__}.{value.__qualname__}"
    return None


def markdown(module: str) -> str:
    """Return the directives that document a module."""
    lines = ["```{eval-rst}", f".. py:module:: {module}", "", *(inspect.getdoc(load(module)) or "").splitlines(), ""]
    for name in public()[module]:
        value = getattr(load(module), name)
        home = homes()[identity(value) or f"{module}.{name}"]
        if home != f"{module}.{name}":
            lines += [f"``{name}``", f"   See :py:obj:`{home}`.", ""]
        else:
            lines += [*_directive(home, value), ""]
    return "\n".join([*lines, "```"])


def _directive(home: str, value: Any) -> list[str]:
    if inspect.isroutine(value):
        return [f".. autofunction:: {home}"]
    if not inspect.isclass(value):
        module, _, name = home.rpartition(".")
        return [f".. py:data:: {name}", "", *(f"   {line}" for line in value_docs(module, name)), ""]
    inherits = ["   :show-inheritance:"] if any(_is_shown_base(base) for base in value.__bases__) else []
    lines = [f".. auto{'exception' if issubclass(value, BaseException) else 'class'}:: {home}", *inherits, ""]
    for name, member in public_members(value).items():
        lines += [f"   .. auto{_kind(member)}:: {home}.{name}", ""]
    return lines


def _kind(member: object) -> str:
    if isinstance(member, property):
        return "property"
    return "method" if isinstance(member, classmethod | staticmethod) or inspect.isroutine(member) else "attribute"


def public_members(value: type) -> dict[str, object]:
    """Return the public members that a class defines, or has from a class that is not public itself."""
    found: dict[str, object] = {}
    for owner in value.__mro__:
        if owner is value or _only_shown_here(owner, value):
            for name, member in owner.__dict__.items():
                if not name.startswith("_") and not inspect.isclass(member) and _explained(owner, name, member):
                    found.setdefault(name, member)
    return found


def value_docs(module: str, name: str) -> list[str]:
    """Return the docstring of a value, which stands behind it where it is defined."""
    found = ModuleAnalyzer.for_module(module).find_attr_docs().get(("", name))
    if found:
        return found
    for node in ast.walk(ast.parse(inspect.getsource(load(module)))):
        if isinstance(node, ast.ImportFrom) and node.module and any(alias.name == name for alias in node.names):
            return value_docs(node.module, name)
    return []


def _only_shown_here(owner: type, value: type) -> bool:
    """Return True if a class is ours and private, and no public class between shows its members."""
    ours = owner.__module__.startswith("filerow") and identity(owner) not in homes()
    return ours and not any(
        other is not value and identity(other) in homes() and issubclass(other, owner) for other in value.__mro__
    )


def _explained(owner: type, name: str, member: object) -> bool:
    """Return True if a member has a docstring, which for an attribute stands behind it."""
    if isinstance(member, property | classmethod | staticmethod) or inspect.isroutine(member):
        return bool(inspect.getdoc(member))
    with contextlib.suppress(PycodeError):
        return (owner.__qualname__, name) in ModuleAnalyzer.for_module(owner.__module__).find_attr_docs()
    return False


def public_bases(_app: Sphinx, _name: str, _value: object, _options: object, bases: list[Any]) -> None:
    """Show only bases that users know."""
    bases[:] = [base for base in bases if _is_shown_base(base)]


def _is_shown_base(base: object) -> bool:
    ours = inspect.isclass(base) and base.__module__.startswith("filerow")
    return base is not object and (not ours or identity(base) in homes())


def docstring(app: Sphinx, what: Any, name: str, value: object, options: Any, lines: list[str]) -> None:
    """Read a docstring of Google's style; that of an attribute is plain text, in which a colon has no meaning."""
    if what not in {"attribute", "data"}:
        lines[:] = GoogleDocstring(lines, _STYLE, app, what.replace("property", "method"), name, value, options).lines()


def signature(
    _app: Sphinx, _what: str, _name: str, _value: object, _options: object, arguments: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Show a default that is not Python, as ``<factory>``, in a way that can be read as Python."""
    return (re.sub(r"= ?<[^<>]*>", "= ...", arguments) if arguments else arguments), returned


def public_reference(app: Sphinx, env: BuildEnvironment, node: Any, contnode: nodes.Element) -> nodes.Element | None:
    """Resolve names that Sphinx cannot: private addresses of public names, short names, and what nobody documents."""
    target = str(node.get("reftarget", "")).removeprefix("t.")
    if node.get("refdomain") != "py":
        return None
    home = homes().get(target) or _by_member(target) or _by_short_name(target)
    if home is not None and home != target:
        shown = nodes.literal(home, contnode.astext()) if isinstance(contnode, nodes.literal) else contnode
        found = env.domains.python_domain.resolve_xref(env, node["refdoc"], app.builder, "obj", home, node, shown)
        if found is not None:
            return found
    external = _external(env, target)
    if external is not None:
        return nodes.reference("", "", contnode, internal=False, refuri=external)
    return None if _must_resolve(node, target) else contnode


def _by_member(target: str) -> str | None:
    owner, _, member = target.rpartition(".")
    home = homes().get(owner)
    return f"{home}.{member}" if home else None


def _by_short_name(target: str) -> str | None:
    found = {home for home in homes().values() if home.endswith(f".{target}")}
    return found.pop() if len(found) == 1 else None


def _external(env: BuildEnvironment, target: str) -> str | None:
    """Return the address of a name of another project, also by the last part of its name."""
    inventory = InventoryAdapter(env).main_inventory
    matches = {
        item.uri
        for kind, items in inventory.items()
        if kind.startswith("py:")
        for name, item in items.items()
        if name == target or name.endswith(f".{target.rpartition('.')[2]}")
    }
    return matches.pop() if len(matches) == 1 else None


def _must_resolve(node: Any, target: str) -> bool:
    """Return True if a name without a page is a fault: one that prose names with a role, or of the libraries that matter."""
    if node.get("reftype") == "obj":  # the text between single backticks may be anything
        return False
    if "._" in target or (target.startswith("filerow.") and target.rpartition(".")[2].isupper()):  # private, or a type variable
        return False
    return target.startswith(DOCUMENTED) or ("refwarn" in node and "." not in target)
