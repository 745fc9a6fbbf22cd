"""HTML: pictures with the right size for each screen (extra ``filerow[html]``).

::

    img(user.photo, "thumb", alt=user.name)
    img(user.photo, "w640", "w1280", sizes="(max-width: 700px) 100vw, 640px", alt=user.name)

In Jinja's templates, after ``install(environment)``::

    {{ img(user.photo, "w640", "w1280", sizes="100vw", alt=user.name) }}
    {{ user.photo | img("thumb", alt=user.name, class="round") }}

URLs are signed without a request, except on stores that fetch their credentials: there, await :func:`img_async`, as asynchronous
environments do after ``install``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from filerow._execution.steps import Steps, run, run_async
from filerow._file.object import FileObject
from filerow._file.variant import EXPIRY, signed, signed_set
from filerow._recipes import Recipe
from filerow._requirements import needs

with needs("html", "filerow.ext.html"):
    from markupsafe import Markup, escape

__all__ = ("img", "img_async", "install")

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.:-]{0,63}")
_OURS = frozenset({"src", "srcset"})


def img(
    file: FileObject | None,
    *variants: str | Recipe,
    sizes: str | None = None,
    alt: str = "",
    loading: str | None = "lazy",
    expires_in: float = EXPIRY,
    round_expiry: float | None = EXPIRY,
    **attributes: object,
) -> Markup:
    """Return an ``<img>`` that shows a file's variants.

    The first variant is ``src``, whose width and height keep its place on the page while it loads. With several, the browser
    chooses among all of them (``srcset``) by ``sizes`` and its screen.

    Args:
        file: A stored file. ``None``, and a file whose content type is not an image's, make an empty text, so that templates need
            no condition.
        *variants: Names in the column's ``variants=``, or recipes; at least one.
        sizes: How wide the image is on the page, as in HTML. Default: ``100vw`` for several variants.
        alt: What the image shows, for those who do not see it. Empty: it is an ornament.
        loading: ``lazy`` loads it when it comes near the screen; ``eager`` or ``None`` at once.
        expires_in: Seconds for which the URLs work.
        round_expiry: Length in seconds of a window in which all URLs are the same, for caches; ``None`` for none.
        **attributes: Further attributes. ``_`` stands for ``-`` and is dropped at the end (``class_``, ``data_id``); ``None`` and
            ``False`` leave one out, ``True`` writes its name alone. All values are escaped.

    Raises:
        ValueError: An attribute has no valid name, is ``src`` or ``srcset``, or handles an event (``onclick``).
        TypeError: No variant is named, or the file is something else.
        FileStateError: The file is not stored.
        RecipeError: The column declares no variant of this name.
        SecretError: No secret is set.
    """
    return run(_img(file, variants, {"sizes": sizes, "alt": alt, "loading": loading, **attributes}, expires_in, round_expiry))


async def img_async(
    file: FileObject | None,
    *variants: str | Recipe,
    sizes: str | None = None,
    alt: str = "",
    loading: str | None = "lazy",
    expires_in: float = EXPIRY,
    round_expiry: float | None = EXPIRY,
    **attributes: object,
) -> Markup:
    """Return an ``<img>`` that shows a file's variants; see :func:`img`."""
    given = {"sizes": sizes, "alt": alt, "loading": loading, **attributes}
    return await run_async(_img(file, variants, given, expires_in, round_expiry))


def install(environment: Any) -> None:
    """Add ``img`` to a Jinja environment, as a function and as a filter.

    Args:
        environment: A ``jinja2.Environment``; of Flask ``app.jinja_env``, of Starlette and FastAPI ``templates.env``, of
            Litestar ``template_engine.engine``. In an asynchronous one it is :func:`img_async`, which Jinja awaits.
    """
    one = img_async if environment.is_async else img
    environment.globals["img"] = environment.filters["img"] = one


def _img(
    file: FileObject | None,
    wanted: tuple[str | Recipe, ...],
    given: Mapping[str, object],
    expires_in: float,
    round_expiry: float | None,
) -> Steps[Markup]:
    extra = {_name_of(name): value for name, value in given.items()}
    if not wanted:
        raise TypeError('img() needs at least one variant: img(photo, "thumb")')
    if file is None:
        return Markup("")
    if not isinstance(file, FileObject):
        raise TypeError(f"img() shows a FileObject, not {type(file).__name__}")
    variants = [file.variant(one) for one in wanted]
    if not _may_be_image(file.content_type):
        return Markup("")
    sizes = extra.pop("sizes") or "100vw"
    attributes: dict[str, object] = {}
    if len(variants) == 1:
        attributes["src"] = yield from signed(variants[0], expires_in, round_expiry)
    else:
        found = yield from signed_set(variants, expires_in, round_expiry)
        attributes["src"] = found.src
        if len(found.candidates) > 1:
            attributes |= {"srcset": found.srcset, "sizes": sizes}
    if not {"width", "height"}.intersection(extra):
        attributes |= {"width": variants[0].width, "height": variants[0].height}
    return _tag({**attributes, "decoding": "async", **extra})


def _may_be_image(content_type: str | None) -> bool:
    """Return False for a type that no worker makes an image of."""
    return content_type is None or content_type == "application/octet-stream" or content_type.startswith("image/")


def _name_of(name: str) -> str:
    written = name.rstrip("_").replace("_", "-")
    if not _NAME.fullmatch(written):
        raise ValueError(f"img(): {name!r} is not a name of an attribute")
    if written.lower() in _OURS:
        raise ValueError(f"img() writes {written} itself, from the variants that it is given")
    if written.lower().startswith("on"):
        raise ValueError(f"img() writes no handlers of events, such as {written}; add them by a script")
    return written


def _tag(attributes: Mapping[str, object]) -> Markup:
    parts = []
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        parts.append(escape(name) if value is True else Markup('{}="{}"').format(name, _text(value)))
    return Markup("<img {}>").format(Markup(" ").join(parts))


def _text(value: object) -> str:
    """Return a value as plain text.

    What is safe between tags may not be so in an attribute.
    """
    if hasattr(value, "__html__"):
        return Markup(value).unescape()  # noqa: S704 - escaped afterwards
    return str(value)
