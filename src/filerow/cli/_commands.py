"""The commands: their options, and what each calls in ``filerow.maintenance``."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from filerow.cli._values import duration, named_value, shard
from filerow.cli._work import Common, Task

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from filerow.cli._application import Application

app = typer.Typer(
    name="filerow",
    help="Keep files and rows equal: maintain what Filerow has stored.\n\n"
    "The application is set by options, the environment (FILEROW_APP, FILEROW_URL, FILEROW_SETUP) or [tool.filerow] in "
    "pyproject.toml, in this order.\n\n"
    "Exit codes: 0 clean, 1 found something, 2 could not run, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # rich takes longer to load than everything else that help needs
    pretty_exceptions_enable=False,
)


class Repair(StrEnum):
    """What to do with a row whose object is missing."""

    REPORT = "report"
    NULL = "null"


def _show_version(value: bool) -> None:  # noqa: FBT001 - typer's callback
    if value:
        from importlib.metadata import version

        typer.echo(f"filerow {version('filerow')}")
        raise typer.Exit


# -- options ---------------------------------------------------------------------------------------------------------------


def _or_bad(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    @functools.wraps(parse)
    def parsed(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error

    return parsed


def _checked(rows: list[str] | None) -> list[str] | None:
    for row in rows or ():
        _or_bad(named_value)(row)
    return rows


def _option(help_: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, help=help_, show_default=more.pop("show_default", False), **more)


Concurrency = Annotated[int, _option("Transfers at a time.", min=1, show_default=True, metavar="N")]
Batch = Annotated[int, _option("Rows or objects per step.", min=1, show_default=True, metavar="N")]
Columns = Annotated[list[str] | None, _option("Only this column (table.column); repeat for more.", "--column", metavar="COLUMN")]
Column = Annotated[str, typer.Argument(help="The column: table.column.", metavar="COLUMN", show_default=False)]
Missing = Annotated[Repair, _option("What to do with a row whose object is missing.", show_default=True, metavar="report|null")]
Resume = Annotated[str | None, _option("Continue where an interrupted run stopped.", metavar="CURSOR")]
TakeOver = Annotated[bool, _option("Make this database the owner of these places from now on.", "--take-over")]
DryRun = Annotated[bool, _option("Change nothing; show what would be done.", "--dry-run")]


def _common(
    *,
    app: Annotated[
        str | None,
        _option("The models: package.module:Base (or a MetaData, a registry, a function).", envvar="FILEROW_APP", metavar="NAME"),
    ] = None,
    url: Annotated[
        str | None,
        _option(
            "The database: a URL for SQLAlchemy, or package.module:engine.",
            envvar="FILEROW_URL",
            show_envvar=True,
            metavar="URL",
        ),
    ] = None,
    setup: Annotated[
        str | None,
        _option("Call or import this first: package.module:function, package.module.", envvar="FILEROW_SETUP", metavar="NAME"),
    ] = None,
    registered: Annotated[
        list[str] | None,
        _option("Register a backend: docs=s3://bucket/prefix; repeat for more.", "--backend", metavar="KEY=URL"),
    ] = None,
    shared_with: Annotated[
        list[str] | None,
        _option(
            "Others with rows that have files in these backends: package.module:engine (or a MetaData), or a URL; repeatable.",
            metavar="NAME|URL",
        ),
    ] = None,
    json: Annotated[bool, _option("Write one JSON object per line.", "--json")] = False,
    quiet: Annotated[bool, _option("Write only findings and errors.", "--quiet", "-q")] = False,
) -> Common:
    return Common(app, url, setup, tuple(registered or ()), json, quiet, tuple(shared_with or ()))


def _command(example: str) -> Callable[[Callable[..., Task | None]], Callable[..., Task | None]]:
    """Make a command from a function with the options of a maintenance function.

    The common options are added. A function that returns a task decides itself what is run.
    """

    def decorate(function: Callable[..., Task | None]) -> Callable[..., Task | None]:
        own = inspect.signature(function, eval_str=True).parameters
        shared = inspect.signature(_common, eval_str=True).parameters

        @functools.wraps(function)
        def command(**given: Any) -> None:
            from filerow.cli._run import run  # not needed for help

            common = _common(**{name: given.pop(name) for name in shared})
            raise typer.Exit(run(function(**given) or _task(function.__name__, **given), common))

        parameters = [*own.values(), *shared.values()]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        text = inspect.getdoc(function) or ""
        app.command(function.__name__, help=f"{text}\n\n\b\nExample:\n  {example}")(command)
        return function

    return decorate


def _task(name: str, **options: Any) -> Task:
    """Return the call of a maintenance function with the given options."""
    from filerow import maintenance

    function: Callable[..., Iterator[Any]] = getattr(maintenance, name)
    given = {name: value for name, value in options.items() if value is not None}

    def steps(application: Application, engine: Engine) -> Iterator[Any]:
        found = {"also": application.also, "is_own": application.has_own_engine}
        known = inspect.signature(function).parameters
        return function(application.metadata, engine, **given, **{name: found[name] for name in found if name in known})

    return Task(name, steps, is_dry_run=options.get("dry_run", options.get("delete") is False))


@app.callback()
def _about(
    *,
    version: Annotated[bool, _option("Show the version and exit.", "--version", is_eager=True, callback=_show_version)] = False,
) -> None:
    """Handle the options before a command."""


# -- commands --------------------------------------------------------------------------------------------------------------


@_command("filerow check --app shop.models:Base --url postgresql+psycopg://shop@localhost/shop")
def check(
    *,
    deep: Annotated[bool, _option("Read every object and compare its checksum.", "--deep")] = False,
    repair: Missing = Repair.REPORT,
    columns: Columns = None,
    concurrency: Concurrency = 16,
    batch: Batch = 500,
    allow_many: Annotated[bool, _option("Repair even when more than half of the objects are missing.", "--allow-many")] = False,
    variants: Annotated[bool, _option("Look also for the variants that rows list.", "--variants")] = False,
    resume: Resume = None,
) -> None:
    """Compare every row with its object."""


@_command("filerow sweep --app shop.models:Base --url postgresql+psycopg://shop@localhost/shop --delete")
def sweep(
    *,
    delete: Annotated[bool, _option("Delete what is found; without this, nothing is changed.", "--delete")] = False,
    grace: Annotated[
        timedelta, _option("Skip what is younger.", parser=_or_bad(duration), metavar="TIME", show_default=True)
    ] = "24h",  # type: ignore[assignment] # typer parses it
    full: Annotated[bool, _option("List everything, not only what is new since the last sweep.", "--full")] = False,
    columns: Columns = None,
    shards: Annotated[str | None, _option("Do this share of the work.", "--shard", metavar="3/8", parser=_or_bad(shard))] = None,
    state: Annotated[
        Path | None, _option("Remember progress in this file instead of the outbox.", dir_okay=False, metavar="FILE")
    ] = None,
    batch: Batch = 1000,
    backends: Annotated[
        list[str] | None, _option("Also look into this backend, used in the past.", "--also", metavar="KEY")
    ] = None,
    former: Annotated[
        list[str] | None,
        _option("Also look into the folder of a column that was renamed or dropped; repeat for more.", metavar="TABLE/COLUMN"),
    ] = None,
    allow_many: Annotated[bool, _option("Delete even when most objects have no row.", "--allow-many")] = False,
    take_over: TakeOver = False,
) -> None:
    """Find objects that no row owns, and delete them with --delete."""


@_command("filerow drain --watch --app shop.models:Base --url postgresql+psycopg://shop@localhost/shop")
def drain(
    *,
    watch: Annotated[bool, _option("Run forever.", "--watch")] = False,
    every: Annotated[
        timedelta,
        _option("With --watch: time to wait when nothing is due.", parser=_or_bad(duration), metavar="TIME", show_default=True),
    ] = "10s",  # type: ignore[assignment] # typer parses it
    batch: Batch = 1000,
    limit: Annotated[int | None, _option("Handle at most N objects.", min=1, metavar="N")] = None,
    take_over: TakeOver = False,
) -> Task:
    """Delete what the outbox recorded, after its retention."""
    if watch and take_over:
        raise typer.BadParameter("--take-over is for a single run; use --watch afterwards")
    task = _task("drain", batch=batch, limit=limit, take_over=take_over)
    return replace(task, every=every.total_seconds() if watch else None)


@_command("filerow migrate document.file --to archive --dry-run --app shop.models:Base")
def migrate(
    column: Column,
    *,
    to: Annotated[str | None, _option("Key of the backend to move to. Default: the column's.", metavar="KEY")] = None,
    dry_run: DryRun = False,
    concurrency: Concurrency = 16,
    batch: Batch = 100,
    resume: Resume = None,
) -> None:
    """Move a column's files to another backend."""


@_command("filerow adopt document.file --source document.old_path --strip uploads/ --app shop.models:Base")
def adopt(
    column: Annotated[
        list[str], typer.Argument(help="The column, or several: table.column.", metavar="COLUMN", show_default=False)
    ],
    *,
    source: Annotated[
        list[str] | None,
        _option(
            "The column (table.column) with paths, URLs or documents; repeat it for each column, in their order.",
            metavar="COLUMN",
        ),
    ] = None,
    backend: Annotated[
        str | None, _option("Key of the backend that has the objects. Default: the column's.", "--in", metavar="KEY")
    ] = None,
    strip: Annotated[
        list[str] | None,
        _option("Strip this prefix: https://cdn.example/, or uploads/=docs to name the backend; repeat.", metavar="PREFIX"),
    ] = None,
    suffix: Annotated[
        str, _option("What the other library's store appends to its names: /file for filedepot's local depots.", metavar="TEXT")
    ] = "",
    read: Annotated[bool, _option("Read every object for its checksum, or get only its size.", "--read/--no-read")] = True,
    missing: Missing = Repair.REPORT,
    dry_run: DryRun = False,
    concurrency: Concurrency = 16,
    batch: Batch = 100,
    resume: Resume = None,
) -> None:
    """Take over files that another library has stored.

    Rewrites the documents of Advanced Alchemy, sqlalchemy-file and filedepot, and makes files from another column of theirs, or
    of paths or URLs.
    """


@_command("filerow variants user.photo thumb --app shop.models:Base")
def variants(
    column: Column,
    names: Annotated[
        list[str] | None, typer.Argument(help="Only these of its variants.", metavar="[NAME]", show_default=False)
    ] = None,
    *,
    prune: Annotated[
        bool, _option("Make nothing; delete variants of recipes that the column does not declare.", "--prune")
    ] = False,
    older_than: Annotated[
        timedelta,
        _option("With --prune: only what was stored this long ago.", parser=_or_bad(duration), metavar="TIME", show_default=True),
    ] = "30d",  # type: ignore[assignment] # typer parses it
    dry_run: DryRun = False,
    concurrency: Concurrency = 16,
    batch: Batch = 100,
    resume: Resume = None,
) -> Task:
    """Make a column's missing variants, or delete old ones."""
    options = {"older_than": older_than, "dry_run": dry_run, "concurrency": concurrency, "batch": batch, "resume": resume}
    task = _task("variants", column=column, names=names, prune=prune, **options)
    return replace(task, words="prune" if prune else "")


@_command("filerow doctor --app shop.models:Base --direct docs=https://app.example")
def doctor(
    *,
    direct: Annotated[
        list[str] | None,
        _option(
            "Clients upload straight to this backend; with your pages' origin (docs=https://app.example), its bucket is asked "
            "whether it allows them. Repeat for more.",
            metavar="KEY[=ORIGIN]",
        ),
    ] = None,
    notes: Annotated[bool, _option("Show notes too: what is only good to know.", "--notes")] = False,
) -> Task:
    """Report what would go wrong: database, outbox, backends."""
    return replace(_task("doctor", direct=direct), hides_notes=not notes)


@_command("filerow stats --app shop.models:Base --url sqlite:///shop.db")
def stats(*, variants: Annotated[bool, _option("Count the stored variants too.", "--variants")] = False) -> None:
    """Count rows, files and bytes, and what is in the outbox."""


@_command("filerow ls document.file --limit 20 --app shop.models:Base")
def ls(
    column: Column,
    *,
    prefix: Annotated[str, _option("Only paths with this prefix.", metavar="PATH")] = "",
    limit: Annotated[int | None, _option("At most N files.", min=0, metavar="N")] = None,
    removed: Annotated[bool, _option("Removed files that undelete can restore.", "--removed")] = False,
    variants: Annotated[bool, _option("Each file's stored variants after it, with their names.", "--variants")] = False,
) -> None:
    """List a column's files: row, path, size, type and filename."""


@_command("filerow undelete docs document/file/0199f0c2a1b27c3d8e4f5a6b7c8d9e0f.pdf --app shop.models:Base")
def undelete(
    backend: Annotated[str, typer.Argument(help="Key of the backend.", metavar="BACKEND", show_default=False)],
    paths: Annotated[
        list[str], typer.Argument(help="The path, or several: see ls --removed.", metavar="PATH", show_default=False)
    ],
    *,
    into: Annotated[
        str | None, _option("The column (table.column), if it was renamed since, or for another row.", metavar="COLUMN")
    ] = None,
    row: Annotated[
        list[str] | None,
        _option(
            "Give it to the row with this primary key (id=3); repeat for each column of the key.",
            callback=_checked,
            metavar="NAME=VALUE",
        ),
    ] = None,
) -> Task:
    """Restore removed files while the outbox keeps them.

    A file goes back into its row, or into another one that --row names; that row must not have a file in this column.
    """
    return _task("undelete", backend=backend, paths=paths, into=into, row=dict(map(named_value, row)) if row else None)


@app.command(
    "conformance",
    help="Test a backend with the conformance kit.\n\n"
    "It works in a scratch folder of a live bucket, and removes everything that it made.\n\n"
    "Exit codes: 0 every case passed, 1 some failed, 2 could not run, 130 interrupted.\n\n"
    "\b\nExample:\n  filerow conformance --backend s3://my-bucket/tests --option aws_region=eu-west-1",
)
def conformance(
    *,
    backend: Annotated[
        str,
        _option("The backend: a URL, or the key of one of --setup or of FILEROW_BACKENDS__….", metavar="URL|KEY"),
    ],
    option: Annotated[
        list[str] | None, _option("An option of the backend: aws_endpoint=http://localhost:9000; repeat.", metavar="NAME=VALUE")
    ] = None,
    setup: Annotated[
        str | None, _option("Call this first: package.module:function.", envvar="FILEROW_SETUP", metavar="NAME")
    ] = None,
    large: Annotated[bool, _option("Also test objects of 100 MB and deletes of 1,200.", "--large")] = False,
    sync_only: Annotated[bool, _option("Only the synchronous side.", "--sync-only")] = False,
    async_only: Annotated[bool, _option("Only the asynchronous side.", "--async-only")] = False,
    case: Annotated[list[str] | None, _option("Only this case; repeat for more.", metavar="NAME")] = None,
    json: Annotated[bool, _option("Write one JSON object per line.", "--json")] = False,
) -> None:
    """Test a backend with the conformance kit."""
    from filerow.cli._conformance import Options, conform

    if sync_only and async_only:
        raise typer.BadParameter("--sync-only and --async-only leave nothing to test")
    sides = ("sync",) if sync_only else ("async",) if async_only else ("sync", "async")
    raise typer.Exit(conform(Options(backend, tuple(option or ()), setup, large, sides, tuple(case or ()), json)))
