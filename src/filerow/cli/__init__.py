"""The command line, ``filerow`` (extra ``filerow[cli]``): check, sweep, drain, ….

A thin shell: it finds the application, calls the function of ``filerow.maintenance`` with the command's name, shows what it
yields, and sets the exit code: 0 clean, 1 found something, 2 could not run, 130 interrupted.
"""

from __future__ import annotations

import sys

from filerow._requirements import needs

__all__ = ("main",)


def main() -> None:
    """Run the command from the process's arguments, and exit."""
    try:
        with needs("cli", "the command line"):
            import rich
            import typer
    except ImportError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None
    del rich, typer
    from filerow.cli._commands import app

    try:
        app(prog_name="filerow")
    except KeyboardInterrupt:
        raise SystemExit(130) from None
