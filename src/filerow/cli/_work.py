"""What a command is told and what it does; loads nothing, so that help comes quickly."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

    from filerow.cli._application import Application
    from filerow.cli._output import Item

__all__ = ("Common", "Task")


@dataclass(frozen=True, slots=True)
class Common:
    """What every command is told.

    Attributes:
        app: See :class:`filerow.cli._application.Settings`, as the next three.
        url: The database.
        setup: What to call first.
        backends: ``KEY=URL``, each.
        json: Show JSON lines.
        quiet: Show findings only.
        shared_with: Who else stores files in the same places.
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
        blocking: Does it, given an application with a synchronous engine.
        awaited: Does it, given one with an asynchronous engine.
        every: Seconds to wait until it is done once more, forever; once when left out.
        is_dry_run: It changes nothing, and says what it would change.
    """

    command: str
    blocking: Callable[[Application, Engine], Iterator[Item]]
    awaited: Callable[[Application, AsyncEngine], AsyncIterator[Item]]
    every: float | None = None
    is_dry_run: bool = False
