"""The faults: cosmic-ray's operators, and statements left out."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import unified_diff
from typing import Any

from cosmic_ray import plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator

__all__ = ("Mutant", "mutants_of")

Position = tuple[int, int]

NOT_USED = {
    "VariableInserter",  # these two need names
    "VariableReplacer",
    # None, sentinels and members of enums are all that this code compares by identity, and they equal nothing else.
    "ReplaceComparisonOperator_Is_Eq",
    "ReplaceComparisonOperator_IsNot_NotEq",
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault in one module.

    Attributes:
        operator: What was done.
        line: The first changed line, counted from 1.
        where: The function or class around it, empty for the module itself.
        before: The changed lines as they were, without indentation.
        after: What they are instead.
        source: The whole module with the fault.
    """

    operator: str
    line: int
    where: str
    before: str
    after: str
    source: str


class _Operator(Operator):  # type: ignore[misc]
    @classmethod
    def examples(cls) -> tuple[()]:
        """Return none: cosmic-ray uses them in its own tests."""
        return ()


class LeaveOut(_Operator):
    """Puts ``pass`` in the place of a statement."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Position, Position]]:
        """Yield where a simple statement is that does something."""
        if node.type == "simple_stmt":
            first = node.children[0]
            silent = first.type in {"string", "strings", "import_name", "import_from"}
            if not silent and not first.get_code(include_prefix=False).startswith(("pass", "__all__")):
                yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """Return the statement that does nothing."""
        nothing = get_ast("pass\n").children[0]
        nothing.get_first_leaf().prefix = node.get_first_leaf().prefix
        return nothing


class TurnMembership(_Operator):
    """Turns ``in`` and ``not in`` round."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Position, Position]]:
        """Yield where something is looked up in a container."""
        if node.type == "comparison" and node.children[1].get_code().split() in (["in"], ["not", "in"]):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """Return the comparison with the other word."""
        word = "not in" if node.children[1].get_code().strip() == "in" else "in"
        turned = get_ast(f"a {word} b").children[0].children[1]
        node.children[1] = turned
        turned.parent = node
        return node


def mutants_of(source: str) -> list[Mutant]:
    """Return every fault of a module, each text once, in the order of its lines."""
    unread = _never_run(source)
    names = _names(source)
    tree = get_ast(source)
    found: dict[str, Mutant] = {}
    for name, operator in _operators():
        places = [(place, node) for node in ast_nodes(tree) for place in operator.mutation_positions(node)]
        for number, ((start, _), node) in enumerate(places):
            # "*" among parameters is not an operator
            if node.parent is None or node.parent.type == "parameters" or any(first <= start < last for first, last in unread):
                continue
            mutated = mutate_code(source, operator, number)
            if mutated is not None and mutated != source:
                found.setdefault(mutated, _mutant(name, start[0], names.get(start[0], ""), source, mutated))
    return sorted(found.values(), key=lambda mutant: mutant.line)


def _operators() -> Iterator[tuple[str, Operator]]:
    for name in plugins.operator_names():
        short = name.rpartition("/")[2]
        if short not in NOT_USED:
            yield short, plugins.get_operator(name)()
    yield "LeaveOut", LeaveOut()
    yield "TurnMembership", TurnMembership()


def _mutant(operator: str, line: int, where: str, source: str, mutated: str) -> Mutant:
    changes = list(unified_diff(source.splitlines(), mutated.splitlines(), n=0))[2:]
    before = " ".join(entry[1:].strip() for entry in changes if entry.startswith("-"))
    after = " ".join(entry[1:].strip() for entry in changes if entry.startswith("+"))
    return Mutant(operator, line, where, before.strip(), after.strip(), mutated)


def _names(source: str) -> dict[int, str]:
    """Return the name of the innermost class or function around each line."""
    names: dict[int, str] = {}

    def visit(node: ast.AST, outer: str) -> None:
        for child in ast.iter_child_nodes(node):
            name = outer
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                name = f"{outer}.{child.name}".lstrip(".")
                first = min([child.lineno, *(decorator.lineno for decorator in child.decorator_list)])
                names.update(dict.fromkeys(range(first, (child.end_lineno or child.lineno) + 1), name))
            visit(child, name)

    visit(ast.parse(source), "")
    return names


def _never_run(source: str) -> list[tuple[Position, Position]]:
    """Return where only a type checker looks: annotations, which are never evaluated here, and what it alone imports."""
    ranges = []
    for node in ast.walk(ast.parse(source)):
        places: list[ast.expr | None] = []
        if isinstance(node, ast.arg | ast.AnnAssign):
            places.append(node.annotation)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            places.append(node.returns)
        elif isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            places.append(node.test)
        for place in places:
            if place is not None:
                end = (place.end_lineno or place.lineno, place.end_col_offset or 0)
                ranges.append(((place.lineno, place.col_offset), end))
    return ranges
