"""The common options and the work of a command; imports nothing slow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from filerow.cli._application import Application
    from filerow.cli._output import Item


@dataclass(frozen=True, slots=True)
class Common:
    """The options that all commands have.

    Attributes:
        app: See :class:`filerow.cli._application.Settings`, as the next three.
        url: The database.
        setup: The function to call first.
        backends: Backends to register, each as ``KEY=URL``.
        json: Write one JSON object per line.
        quiet: Write only findings and errors.
        shared_with: Others that store files in the same places.
    """

    app: str | None = None
    url: str | None = None
    setup: str | None = None
    backends: tuple[str, ...] = ()
    json: bool = False
    quiet: bool = False
    shared_with: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """What a command does.

    Attributes:
        command: Its name.
        steps: Does it, given the application and an engine; run inside SQLAlchemy's greenlet if the engine's driver is awaited.
        every: Seconds between two runs, forever; ``None`` to run once.
        is_dry_run: It changes nothing, and reports what it would change.
        hides_notes: Findings that are only good to know are counted, not shown.
        words: Whose words to use, if not the command's: see :func:`filerow.cli._words.words_of`.
    """

    command: str
    steps: Callable[[Application, Engine], Iterator[Item]]
    every: float | None = None
    is_dry_run: bool = False
    hides_notes: bool = False
    words: str = ""
