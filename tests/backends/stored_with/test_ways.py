"""The rarer ways in: bulk statements, merged rows, lists edited in place, a restored file, an upload in parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from filerow import FileObject, StoredWith
from tests.backends.stored_with.conftest import KeptStore, Model, Side, make_kept
from tests.backends.stored_with.test_read_back import LARGE, NO_STORE, Sessions, committed, png
from tests.backends.stores import LARGE_BODY
from tests.direct.conftest import PNG, Send, put
from tests.direct.site import Site

pytestmark = [pytest.mark.servers, LARGE_BODY, pytest.mark.one_in(2)]


@pytest.fixture(params=["moto", "azure", "gcs", "fsspec-s3"])
def kept(request: pytest.FixtureRequest, site: Site, tmp_path: Path) -> KeptStore:
    return make_kept(request, site, tmp_path, request.param)


@pytest.fixture
def model(kept: KeptStore) -> Model:
    return Model(kept.options)


def expect_all(kept: KeptStore, scan: Any, options: StoredWith | None = None) -> None:
    kept.expect(scan.file.path, options)
    if scan.other is not None:
        kept.expect(scan.other.path, NO_STORE)
    if scan.plain is not None:
        kept.expect(scan.plain.path, StoredWith())
    for page in scan.pages:
        kept.expect(page.path)


def test_bulk_inserts_and_updates_store_the_options(kept: KeptStore, model: Model, session_of: Sessions) -> None:
    session = session_of(model)
    saved = FileObject("direct", filename="cat.png", content=PNG).save()
    session.execute(
        insert(model.Scan),
        [
            {"id": 1, "file": png(), "pages": [png(), png()], "other": png(), "plain": png()},
            {"id": 2, "file": saved, "pages": [], "other": None, "plain": None},
        ],
    )
    session.commit()
    for scan in session.scalars(select(model.Scan)):
        expect_all(kept, scan)
    first = session.get(model.Scan, 1)
    assert first is not None
    session.execute(update(model.Scan).where(model.Scan.id == 2).values(file=png(LARGE), other=first.plain))
    session.commit()
    for scan in session.scalars(select(model.Scan)):
        expect_all(kept, scan)


def test_merged_rows_and_edited_lists_store_the_options(kept: KeptStore, model: Model, session_of: Sessions) -> None:
    session = session_of(model)
    scan = committed(session, model, file=png(), plain=png())
    merged = session.merge(model.Scan(id=scan.id, file=png(), other=scan.plain, pages=[scan.plain, png()]))
    session.commit()
    merged.pages.append(merged.plain)
    merged.pages.insert(0, FileObject("direct", filename="cat.png", content=PNG).save())
    session.commit()
    assert len({page.path for page in merged.pages}) == 4
    expect_all(kept, merged)


def test_an_upload_in_parts_becomes_an_object_with_the_options(
    request: pytest.FixtureRequest, site: Site, tmp_path: Path, session_of: Sessions, side: Side
) -> None:
    kept = make_kept(request, site, tmp_path, "moto")
    model = Model(kept.options)
    uploads = kept.store.uploads(model.Scan.file, multipart_from="6 MiB", part_size=5 << 20)
    ticket = side(uploads, "begin", filename="cat.png", content_type="image/png", size=len(LARGE))
    assert len(ticket.parts) == 2
    for part in ticket.parts:
        assert put(tmp_path, part.url, dict(part.headers), LARGE[part.start : part.end]) == 200
    scan = committed(session_of(model), model, file=side(uploads, "claim", ticket.claim))
    kept.expect(scan.file.path)
    assert scan.file.get_content() == LARGE


def test_a_claim_is_stored_with_the_options_of_its_column(
    kept: KeptStore, model: Model, session_of: Sessions, send: Send, side: Side
) -> None:
    session = session_of(model)
    uploads = kept.store.uploads(model.Scan.other)
    ticket = side(uploads, "begin", filename="cat.png", content_type="image/png", size=len(PNG))
    assert send(ticket, PNG) in {200, 201, 204}
    scan = committed(session, model, other=side(uploads, "claim", ticket.claim))
    kept.expect(scan.other.path, NO_STORE)
    scan.file, scan.other = scan.other, None
    session.commit()
    kept.expect(scan.file.path)
