"""What the admin tools share: how pages show files, and what forms say.

No tool is imported here.

The form of a column has, besides the input for uploads, these fields:

- ``{name}-clear``: clear the column.
- ``{name}-file``: the files of a list, each by its mark, in their order. A file of the row that is not among them was added
  since the page was shown, and stays.
- ``{name}-position``: where each of these is to stand, counted from 1.
- ``{name}-remove``: the marks of those to remove.

None of them needs a script, so they work under any Content-Security-Policy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from html import escape
from typing import Any, NamedTuple

from filerow._execution.steps import Call, Steps, run, run_async
from filerow._file.list import FileObjectList, edit_of
from filerow._file.object import FileObject, place_of, smallest_variant
from filerow._log import logger
from filerow._orm.column import StoredObject
from filerow.exceptions import FileValidationError, RegistryError, SecretError, StorageError, VariantError
from filerow.ext._uploads import is_upload

REQUIRED = "This field is required."

MOST_IN_LIST = 5
"""Files of one row that a page with many rows shows."""

_WINDOW = 3600
"""Seconds in which a file's URL stays the same, so that browsers keep its picture."""

_PICTURES = frozenset({"image/avif", "image/bmp", "image/gif", "image/jpeg", "image/png", "image/webp"})
"""Types that every browser shows as a picture and none executes: not SVG, TIFF or HEIC."""

_DIGITS = 9
"""Longer numbers are no positions."""

_NO_URL = (StorageError, RegistryError, SecretError)

_PICTURE = "height:{height};width:auto;max-width:12rem;object-fit:cover;border-radius:4px"

_NAME = "display:inline-block;max-width:20rem;overflow:hidden;text-overflow:ellipsis;white-space:nowrap;vertical-align:bottom"


class Link(NamedTuple):
    """A stored file as a page shows it.

    Attributes:
        mark: Stands for the file in forms; says nothing of where it is stored.
        name: The filename.
        content_type: The media type.
        size: Bytes.
        url: A signed URL; empty if the backend cannot sign.
        picture: The URL of the smallest variant that its column declares; empty if there is none.
    """

    mark: str
    name: str
    content_type: str
    size: int | None
    url: str
    picture: str = ""


class Answers(NamedTuple):
    """What a form says of a column.

    Attributes:
        uploads: The new files.
        clear: The column is to be cleared.
        order: The marks of a list's files.
        removed: The marks of those to remove.
    """

    uploads: Sequence[object]
    clear: bool
    order: Sequence[str]
    removed: frozenset[str]


# -- pages -----------------------------------------------------------------------------------------------------------------


def files_in(value: object) -> list[FileObject]:
    """Return the stored files of a column's value; others cannot be shown."""
    files = value if isinstance(value, list | tuple) else [value]
    return [file for file in files if isinstance(file, FileObject) and not file.has_pending_data]


def names_of(value: object) -> str | list[str]:
    """Return a column's value for an export: a filename, or several."""
    names = [file.filename for file in files_in(value)]
    return names if isinstance(value, list | tuple) else "".join(names)


def links_of(value: object) -> list[Link]:
    """Return the links to the files of a column's value."""
    return run(_links(value))


async def links_of_async(value: object) -> list[Link]:
    """Return the links to the files of a column's value; see :func:`links_of`."""
    return await run_async(_links(value))


def _links(value: object) -> Steps[list[Link]]:
    found = []
    for file in files_in(value):
        try:
            url = yield Call(file.sign, file.sign_async, (), {"inline": True, "round_expiry": _WINDOW})
        except _NO_URL as error:
            logger.warning("an admin page shows %r without a link: %s", file.filename, error)
            url = ""
        picture = yield from _picture(file)
        found.append(Link(_mark(file), file.filename, file.content_type, file.size, url, picture))
    return found


def _picture(file: FileObject) -> Steps[str]:
    variant = smallest_variant(file)
    if variant is None:
        return ""
    try:
        url: str = yield Call(variant.sign, variant.sign_async, (), {"round_expiry": _WINDOW})
    except (*_NO_URL, VariantError) as error:
        logger.warning("an admin page shows %r without its variant: %s", file.filename, error)
        return ""
    return url


def _mark(file: FileObject) -> str:
    backend, path = place_of(file)
    return sha256(f"{backend}\n{path}".encode()).hexdigest()[:24]


def links_html(links: Sequence[Link], *, height: str = "2.5rem", most: int | None = None) -> str:
    """Return HTML with a thumbnail or a link for each file.

    Args:
        links: The files.
        height: The height of thumbnails.
        most: How many to show; the others are counted.
    """
    parts = [_link_html(link, height) for link in links[:most]]
    if len(links) > len(parts):
        parts.append(f'<span class="text-muted">+{len(links) - len(parts)}</span>')
    if len(parts) < 2:  # noqa: PLR2004 - one needs no list
        return "".join(parts)
    return f'<span style="display:inline-flex;flex-wrap:wrap;gap:.25rem .75rem;align-items:center">{"".join(parts)}</span>'


def _link_html(link: Link, height: str) -> str:
    name, url = escape(link.name), escape(link.url)
    shown = f'<span title="{name}" style="{_NAME}">{name}</span>'
    if not url:
        return shown
    if link.picture or link.content_type in _PICTURES:
        style = _PICTURE.format(height=height)
        shown = f'<img src="{escape(link.picture) or url}" alt="{name}" title="{name}" loading="lazy" style="{style}">'
    return f'<a href="{url}" target="_blank" rel="noopener">{shown}</a>'


# -- forms -----------------------------------------------------------------------------------------------------------------


def accepted(column: StoredObject) -> str:
    """Return the ``accept`` of a column's input: the types that it allows."""
    return ",".join(column.content_types)


def current_html(name: str, links: Sequence[Link], *, multiple: bool, clearable: bool) -> str:
    """Return HTML with a column's files, and the inputs that change them.

    Args:
        name: The column's name in the form.
        links: Its files.
        multiple: It is a list.
        clearable: It may be empty.
    """
    if not links:
        return ""
    if multiple:
        items = "".join(_item_html(name, link, number, len(links)) for number, link in enumerate(links))
        return f'<ol class="list-group mb-2" data-filerow="{escape(name)}" style="padding-left:0">{items}</ol>'
    clear = _check_html(f"{name}-clear", "on", f"{name}-clear", "Clear") if clearable else ""
    return (
        f'<div class="mb-2" data-filerow="{escape(name)}" style="display:flex;flex-wrap:wrap;gap:.5rem 1rem;align-items:center">'
        f"{_shown_html(links[0])}{clear}</div>"
    )


def _shown_html(link: Link) -> str:
    size = "" if link.size is None else f'<small class="text-muted">{_size(link.size)}</small>'
    caption = f"<span>{escape(link.name)}</span>" if link.url and (link.picture or link.content_type in _PICTURES) else ""
    return f"{_link_html(link, '4rem')}{caption}{size}"


def _item_html(name: str, link: Link, number: int, count: int) -> str:
    check = _check_html(f"{name}-remove", link.mark, f"{name}-remove-{number}", "Remove")
    style = "display:flex;flex-wrap:wrap;gap:.5rem 1rem;align-items:center"
    return (
        f'<li class="list-group-item" style="{style}">'
        f'<input type="hidden" name="{escape(name)}-file" value="{link.mark}">{_shown_html(link)}'
        '<span style="margin-left:auto;display:flex;gap:.5rem 1rem;align-items:center">'
        f"{_position_html(name, link, number, count) if count > 1 else ''}{check}</span></li>"
    )


def _position_html(name: str, link: Link, number: int, count: int) -> str:
    identity, title = escape(f"{name}-position-{number}"), escape(f"Position of {link.name}")
    return (
        f'<input type="number" class="form-control form-control-sm" style="width:5rem" name="{escape(name)}-position" '
        f'id="{identity}" value="{number + 1}" min="1" max="{count}" title="{title}" aria-label="{title}">'
    )


def _check_html(name: str, value: str, identity: str, label: str) -> str:
    name, identity = escape(name), escape(identity)
    return (
        '<span class="form-check" style="margin:0">'
        f'<input class="form-check-input" type="checkbox" name="{name}" value="{escape(value)}" id="{identity}">'
        f'<label class="form-check-label" for="{identity}">{label}</label></span>'
    )


def _size(size: int) -> str:
    left = float(size)
    for unit in ("bytes", "kB", "MB"):
        if left < 1000:  # noqa: PLR2004 - decimal units, as in max_size
            return f"{left:.0f} {unit}" if unit == "bytes" or left >= 10 else f"{left:.1f} {unit}"  # noqa: PLR2004 - two digits
        left /= 1000
    return f"{left:.1f} GB"


def answers_in(name: str, getlist: Callable[[str], Iterable[Any]], upload: str = "") -> Answers:
    """Return what a form says of a column.

    Args:
        name: The column's name in the form.
        getlist: Returns all values of a field of the form.
        upload: The name of the input for uploads. Default: the column's.
    """
    uploads = [value for value in getlist(upload or name) if is_upload(value)]
    shown = [value for value in getlist(f"{name}-file") if isinstance(value, str)]
    order = _moved(shown, [value for value in getlist(f"{name}-position") if isinstance(value, str)])
    removed = frozenset(value for value in getlist(f"{name}-remove") if isinstance(value, str))
    return Answers(uploads, bool(list(getlist(f"{name}-clear"))), order, removed)


def _moved(shown: Sequence[str], positions: Sequence[str]) -> list[str]:
    """Return marks in the order that a form asks for; others make room."""
    if len(positions) != len(shown):
        return list(shown)
    order: list[str] = []
    moved: list[tuple[int, str]] = []
    for place, (mark, text) in enumerate(zip(shown, positions, strict=True), 1):
        wanted = int(text) if text.isdecimal() and len(text) < _DIGITS else place
        if wanted == place:
            order.append(mark)
        else:
            moved.append((wanted, mark))
    for wanted, mark in sorted(moved):
        order.insert(max(wanted - 1, 0), mark)
    return order


def changed(answers: Answers, column: StoredObject, current: object) -> Mapping[str, Any]:
    """Return what a form makes of a column: ``{}`` or ``{"value": ...}``.

    ``{}`` leaves the column alone.

    Args:
        answers: What the form says.
        column: The column's type.
        current: What its row holds.
    """
    new = [FileObject.from_upload(upload) for upload in answers.uploads]
    if not column.multiple:
        if new:
            return {"value": new[-1]}
        return {"value": None} if answers.clear else {}
    held = files_in(current or [])
    marks = {_mark(file): file for file in held}
    order = list(dict.fromkeys(mark for mark in answers.order if mark in marks))
    unseen = [mark for mark in marks if mark not in order]
    files = [marks[mark] for mark in (*order, *unseen) if mark not in answers.removed]
    if not new and files == held:
        return {}
    return {"value": edit_of(held, [*files, *new])}


def new_files(change: Mapping[str, Any]) -> list[FileObject]:
    """Return the files of a change that are not stored yet."""
    value = change.get("value")
    files = value if isinstance(value, FileObjectList) else [value]
    return [file for file in files if isinstance(file, FileObject) and file.has_pending_data]


def refused(error: FileValidationError) -> str:
    """Return an error as a form shows it at its field, which names it already."""
    return error.message.removeprefix(f"{error.field}: ") if error.field else error.message


def no_files(column: StoredObject) -> FileObjectList | None:
    """Return the value of a column without files."""
    return FileObjectList() if column.multiple else None
