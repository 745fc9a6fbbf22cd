"""The reference of the command line, from the program itself."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def markdown() -> str:
    """Return every command with its arguments and options, in Markdown."""
    import typer

    from filerow.cli._commands import app

    program: Any = typer.main.get_command(app)
    lines: list[str] = []
    for name, command in program.commands.items():
        lines += [f"## filerow {name}", "", *_described(command), ""]
        lines += ["```text", _usage(name, command), "```", ""]
        rows = list(_rows(command))
        if rows:
            lines += ["| option | what it does |", "|---|---|", *rows, ""]
    return "\n".join(lines)


def _described(command: Any) -> Iterator[str]:
    text, _, example = (command.help or "").partition("Example:")
    yield _marked(" ".join(text.replace("\b", "").split()))
    if example.strip():
        yield from ("", "```console", *(f"$ {line.strip()}" for line in example.strip().splitlines() if line.strip()), "```")


def _usage(name: str, command: Any) -> str:
    arguments = [_metavar(parameter) for parameter in command.params if parameter.param_type_name == "argument"]
    return " ".join(["filerow", name, "[OPTIONS]", *arguments])


def _metavar(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    return f"{name}{'...' if parameter.nargs != 1 else ''}" if parameter.required else f"[{name}]"


def _rows(command: Any) -> Iterator[str]:
    for parameter in command.params:
        if getattr(parameter, "hidden", False):
            continue
        if parameter.param_type_name == "argument":
            names = f"`{_metavar(parameter)}`"
        else:
            value = "" if parameter.is_flag else f" {parameter.metavar or 'VALUE'}"
            names = ", ".join(f"`{option}{value}`" for option in [*parameter.opts, *parameter.secondary_opts])
        yield f"| {_cell(names)} | {_cell(_explained(parameter))} |"


def _explained(parameter: Any) -> str:
    text = _marked(" ".join((getattr(parameter, "help", None) or "").split()))
    default = parameter.default
    if getattr(parameter, "show_default", False) and isinstance(default, str | int | float) and not isinstance(default, bool):
        text += f" Default: `{default}`."
    variables = parameter.envvar
    if variables:
        text += f" Environment: `{variables if isinstance(variables, str) else ', '.join(variables)}`."
    return text


def _marked(text: str) -> str:
    """Return a text whose options are code."""
    return re.sub(r"(?<![\w`-])(--[a-z][a-z-]*)", r"`\1`", text)


def _cell(text: str) -> str:
    return re.sub(r"(?<!\\)\|", r"\\|", text)
