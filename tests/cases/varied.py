"""``VariedWorld``: the same cases where every column declares a variant, and somebody looks at it as soon as there is a file."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Collection, Iterator
from typing import Any

from sqlalchemy import Engine, event, inspect
from sqlalchemy.orm import Session
from sqlalchemy.util import await_only

from filerow import FileObject, StoredObject
from filerow.exceptions import FilerowError
from filerow.variants import Thumbnail
from tests.cases.models import Base
from tests.cases.stores import DERIVED
from tests.cases.world import World
from tests.variants.pictures import four_colours, saved

THUMB = {"thumb": Thumbnail(4, 4, format="png")}
PICTURE = saved(four_colours(8, 4))


@contextlib.contextmanager
def declared() -> Iterator[None]:
    """Let each file column of the models declare a variant."""
    types = {id(column.type): column.type for table in Base.metadata.tables.values() for column in table.columns}
    with contextlib.ExitStack() as undo:
        for kind in types.values():
            if isinstance(kind, StoredObject) and not kind.variants:
                before = dict(vars(kind))
                undo.callback(vars(kind).update, before)
                kind.variants = StoredObject(variants=THUMB).variants
                kind._shown = kind._shown._replace(variants=kind.variants)
        yield


class VariedWorld(World):
    """A world whose files have variants: images, and what was asked for and could not be made."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._pictures = itertools.count(1)

    def file(self, content: Any = None, filename: str = "cat.png", **options: Any) -> FileObject:
        """Return a pending file; an image, unless bytes are given."""
        return super().file(b"%b%d" % (PICTURE, next(self._pictures)) if content is None else content, filename, **options)

    def open(self, **options: Any) -> Session:
        """Return another session, in which somebody looks at everything after each flush."""
        session = super().open(**options)
        event.listen(session, "after_flush_postexec", lambda session, _: self._look(session))
        return session

    def run(self, case: Callable[[], None]) -> None:
        with declared():
            super().run(case)

    def sweep(self, key: str, path: str) -> None:
        """Delete an object that no row names, and then its variants."""
        super().sweep(key, path)
        for where, variant in self.store.derived():
            if (where, original_of(variant)) == (key, path):
                super().sweep(key, variant)

    def check(self, orphans: Collection[tuple[str, str]] = (), *, settled: bool = True) -> None:
        """Compare all objects with all rows; only what is there has variants."""
        super().check(orphans, settled=settled)
        if settled:
            objects = self.store.objects()
            lost = {(key, path) for key, path in self.store.derived() if (key, original_of(path)) not in objects}
            assert lost == set(), "variants of objects that are gone"

    def _look(self, session: Session) -> None:
        for row in list(session.identity_map.values()):
            state = inspect(row)
            for attribute in state.mapper.column_attrs:
                held = state.dict.get(attribute.key)
                for file in held if isinstance(held, list) else [held]:
                    if isinstance(file, FileObject):
                        self._look_at(file)

    def _look_at(self, file: FileObject) -> None:
        with contextlib.suppress(FilerowError, LookupError):
            variant = file.variant("thumb")
            if isinstance(self.engine, Engine):
                variant.get_content()
            else:
                await_only(variant.get_content_async())


def original_of(path: str) -> str:
    return path.removeprefix(DERIVED).rpartition("/")[0]
