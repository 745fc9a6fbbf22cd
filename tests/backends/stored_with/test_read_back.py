"""Every option of a column is on the object, whichever way its bytes came: a client of the store reads it back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from filerow import FileObject, StoredWith
from filerow.direct import Ticket
from filerow.variants import Thumbnail
from tests.backends.stored_with.conftest import KeptStore, Model, Side, make_kept
from tests.backends.stores import LARGE_BODY
from tests.direct.conftest import PNG, Send
from tests.direct.site import Site
from tests.variants.pictures import four_colours, saved

pytestmark = [pytest.mark.servers, LARGE_BODY, pytest.mark.one_in(4)]

KINDS = ["s3", "moto", "azure", "gcs", "fsspec-s3", "fsspec-moto", "fsspec-gcs", "fsspec-azure"]
LARGE = PNG + b"x" * (9 << 20)
NO_STORE = StoredWith(cache_control="no-store")

Sessions = Callable[[Model], Session]


@pytest.fixture(params=KINDS)
def kept(request: pytest.FixtureRequest, site: Site, tmp_path: Path) -> KeptStore:
    return make_kept(request, site, tmp_path, request.param)


@pytest.fixture
def model(kept: KeptStore) -> Model:
    return Model(kept.options)


def png(content: Any = PNG) -> FileObject:
    return FileObject(filename="cat.png", content=content)


def chunks() -> Iterator[bytes]:
    yield PNG
    yield from (b"x" * (1 << 20) for _ in range(9))


def committed(session: Session, model: Model, **files: Any) -> Any:
    scan = model.Scan(**files)
    session.add(scan)
    session.commit()
    return scan


def test_commits_store_the_options(kept: KeptStore, model: Model, session_of: Sessions) -> None:
    scan = committed(session_of(model), model, file=png(), pages=[png()], other=png(), plain=png(chunks()))
    kept.expect(scan.file.path)
    kept.expect(scan.pages[0].path)
    kept.expect(scan.other.path, NO_STORE)
    kept.expect(scan.plain.path, StoredWith())


def test_large_streams_store_the_options(kept: KeptStore, model: Model, session_of: Sessions) -> None:
    scan = committed(session_of(model), model, file=png(chunks()))
    assert scan.file.size == len(LARGE)
    kept.expect(scan.file.path)


@pytest.mark.parametrize("body", [PNG, LARGE], ids=["small", "large"])
def test_copies_have_the_options_of_their_own_column(kept: KeptStore, model: Model, session_of: Sessions, body: bytes) -> None:
    session = session_of(model)
    scan = committed(session, model, file=png(body))
    copies = committed(session, model, file=scan.file, other=scan.file, plain=scan.file)
    assert len({scan.file.path, copies.file.path, copies.other.path, copies.plain.path}) == 4
    kept.expect(scan.file.path)
    kept.expect(copies.file.path)
    kept.expect(copies.other.path, NO_STORE)
    kept.expect(copies.plain.path, StoredWith())
    assert copies.other.get_content() == body
    back = committed(session, model, file=copies.plain)
    kept.expect(back.file.path)


@pytest.mark.parametrize("body", [PNG, LARGE], ids=["small", "large"])
def test_direct_uploads_become_objects_with_the_options(
    kept: KeptStore, model: Model, session_of: Sessions, send: Send, side: Side, body: bytes
) -> None:
    uploads = kept.store.uploads(model.Scan.file)
    ticket = side(uploads, "begin", filename="cat.png", content_type="image/png", size=len(body))
    assert isinstance(ticket, Ticket)
    assert send(ticket, body) in {200, 201, 204}
    scan = committed(session_of(model), model, file=side(uploads, "claim", ticket.claim))
    kept.expect(scan.file.path)
    assert scan.file.get_content() == body


def test_variants_are_stored_as_their_column_says(kept: KeptStore, session_of: Sessions) -> None:
    recipes = {"thumb": Thumbnail(8, 8, format="png"), "late": Thumbnail(9, 9, format="png")}
    model = Model(kept.options, variants=recipes, make_variants={"thumb": "commit"})
    session = session_of(model)
    scan = committed(session, model, file=png(saved(four_colours(40, 20), "PNG")))
    assert scan.file.to_dict()["variants"] == [scan.file.variant("thumb").id]
    kept.expect(scan.file.variant("thumb").path)
    session.expire_all()  # what a row has loaded knows its column
    assert scan.file.variant("late").get_content()
    kept.expect(scan.file.variant("late").path)
    copies = committed(session, model, file=scan.file, other=scan.file, plain=scan.file)
    for file, options in ((copies.file, None), (copies.other, NO_STORE), (copies.plain, StoredWith())):
        assert file.to_dict()["variants"] == scan.file.to_dict()["variants"]
        kept.expect(file.variant("thumb").path, options)
        assert file.variant("thumb").get_content() == scan.file.variant("thumb").get_content()
