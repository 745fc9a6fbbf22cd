"""Files that change their place: moves, files saved before they have a column, migration, adoption, columns without lifecycle."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from filerow import FileObject, StorageBackend, StoredWith, storages
from filerow.backends.base import PutOptions
from filerow.backends.memory import MemoryBackend
from filerow.exceptions import UnsupportedOperationError
from filerow.maintenance import adopt, migrate
from tests.backends.stored_with.conftest import CACHE, KeptStore, Model, make_kept, on_s3
from tests.backends.stored_with.test_read_back import LARGE, NO_STORE, Sessions, chunks, committed, png
from tests.backends.stores import LARGE_BODY
from tests.direct.conftest import PNG
from tests.direct.site import Site
from tests.servers.counting import CountingProxy

pytestmark = [pytest.mark.servers, LARGE_BODY]


@pytest.fixture(params=["moto"])
def kept(request: pytest.FixtureRequest, site: Site, tmp_path: Path) -> KeptStore:
    return make_kept(request, site, tmp_path, request.param)


@pytest.fixture
def model(kept: KeptStore) -> Model:
    return Model(kept.options)


def paths(kept: KeptStore) -> set[str]:
    return {info.path for info in kept.backend.list()}


def test_file_moved_to_a_column_with_other_options_is_copied(kept: KeptStore, model: Model, session_of: Sessions) -> None:
    session = session_of(model)
    scan = committed(session, model, file=png())
    scan.other, scan.file = scan.file, None
    session.commit()
    kept.expect(scan.other.path, NO_STORE)
    assert paths(kept) == {scan.other.path}
    scan.pages, scan.other = [scan.other], None
    session.commit()
    kept.expect(scan.pages[0].path)
    assert paths(kept) == {scan.pages[0].path}
    assert scan.pages[0].get_content() == PNG


def test_file_moved_to_a_column_with_the_same_options_moves(kept: KeptStore, model: Model, session_of: Sessions) -> None:
    session = session_of(model)
    scan = committed(session, model, file=png())
    path = scan.file.path
    scan.pages, scan.file = [scan.file], None
    session.commit()
    assert scan.pages[0].path == path
    kept.expect(path)


def test_file_saved_before_gets_the_options_of_its_column(kept: KeptStore, model: Model, session_of: Sessions) -> None:
    session = session_of(model)
    saved = FileObject("direct", filename="cat.png", content=PNG).save()
    plain = FileObject("direct", filename="cat.png", content=PNG).save()
    before = saved.path
    session.add(model.Scan(file=saved, plain=plain))
    session.flush()
    assert saved.path != before
    assert before in paths(kept)
    session.rollback()
    assert (saved.path, paths(kept)) == (before, {before, plain.path})
    scan = committed(session, model, file=saved, plain=plain)
    kept.expect(scan.file.path)
    kept.expect(scan.plain.path, StoredWith())
    assert paths(kept) == {scan.file.path, scan.plain.path}
    again = committed(session, model, file=scan.file.copy())
    kept.expect(again.file.path)
    assert len(paths(kept)) == 3


def test_one_saved_file_for_two_rows_is_two_objects(kept: KeptStore, model: Model, session_of: Sessions) -> None:
    session = session_of(model)
    saved = FileObject("direct", filename="cat.png", content=PNG).save()
    scan = committed(session, model, file=saved, pages=[saved], other=saved)
    found = {scan.file.path, scan.pages[0].path, scan.other.path}
    assert len(found) == 3
    assert paths(kept) == found
    kept.expect(scan.pages[0].path)
    kept.expect(scan.other.path, NO_STORE)


@pytest.mark.parametrize("kept", ["moto", "azure", "gcs", "fsspec-s3", "fsspec-azure"], indirect=True)
def test_a_path_of_the_application_s_own_has_the_options(kept: KeptStore, session_of: Sessions) -> None:
    model = Model(kept.options, path=lambda request: f"own/{request.column}/{request.filename}")
    session = session_of(model)
    scan = committed(session, model, file=png(), pages=[png(chunks())])
    assert scan.file.get_content() == PNG
    kept.expect(scan.file.path)
    kept.expect(scan.pages[0].path)


def test_a_column_without_lifecycle_stores_with_the_options(kept: KeptStore, session_of: Sessions) -> None:
    model = Model(kept.options, lifecycle=False)
    session = session_of(model)
    scan = committed(session, model, file=png())
    kept.expect(scan.file.path)
    saved = FileObject("direct", filename="cat.png", content=PNG).save()
    other = committed(session, model, file=saved)
    assert other.file.path == saved.path
    kept.expect(saved.path, StoredWith())


def test_an_async_session_stores_and_copies_with_the_options(kept: KeptStore, model: Model) -> None:
    async def run() -> list[tuple[str, StoredWith]]:
        engine = create_async_engine("sqlite+aiosqlite://")
        async with engine.begin() as connection:
            await connection.run_sync(model.Base.metadata.create_all)
        async with AsyncSession(engine, expire_on_commit=False) as session:
            scan = model.Scan(file=png(), plain=png(LARGE))
            session.add(scan)
            await session.commit()
            copy = model.Scan(file=scan.plain, other=scan.plain)
            session.add(copy)
            await session.commit()
        await engine.dispose()
        found = [(scan.file.path, kept.options), (copy.file.path, kept.options)]
        return [*found, (copy.other.path, NO_STORE), (scan.plain.path, StoredWith())]

    for path, options in asyncio.run(run()):
        kept.expect(path, options)


@pytest.mark.parametrize("where", ["memory", "the same bucket"])
def test_migrated_files_have_the_options(
    kept: KeptStore, request: pytest.FixtureRequest, session_of: Sessions, where: str
) -> None:
    model = Model(kept.options)
    session = session_of(model)
    server, bucket = request.getfixturevalue("moto_server"), kept.backend.store.config["bucket"]  # type: ignore[attr-defined]
    old: StorageBackend = MemoryBackend("old") if where == "memory" else on_s3(server, bucket)
    old._key = "old"  # pyright: ignore[reportPrivateUsage]
    storages.register_backend(old)
    files = [FileObject("old", filename="cat.png", content=body).save() for body in (PNG, LARGE)]
    documents = [{"file": FileObject.from_dict(file.to_dict())} for file in files]
    with model.engine.begin() as connection:
        connection.execute(insert(model.Scan.__table__), [{**row, "pages": []} for row in documents])
    [*_, last] = migrate(model.Base.metadata, model.engine, "scan.file")
    assert last.changed == 2
    for scan in session.scalars(select(model.Scan)):
        assert scan.file.backend_key == "direct"
        kept.expect(scan.file.path)


def test_adopted_rows_keep_objects_and_copies_have_options(kept: KeptStore, model: Model, session_of: Sessions) -> None:
    kept.backend.put("legacy/cat.png", PNG, PutOptions("image/png", create_only=False))
    legacy = json.dumps({"backend": "direct", "filename": "legacy/cat.png", "content_type": "image/png", "size": len(PNG)})
    with model.engine.begin() as connection:
        for _ in range(2):  # which name one object
            connection.execute(text("INSERT INTO scan (file, pages) VALUES (:file, '[]')"), {"file": legacy})
    [*_, last] = adopt(model.Base.metadata, model.engine, "scan.file")
    assert last.changed == 2
    first, second = session_of(model).scalars(select(model.Scan).order_by(model.Scan.id))
    assert first.file.path == "legacy/cat.png"
    assert kept.found(first.file.path).tags == {}
    assert second.file.path != first.file.path
    kept.expect(second.file.path)
    assert second.file.get_content() == PNG


def test_migration_to_a_backend_that_keeps_less_is_refused(kept: KeptStore, model: Model) -> None:
    storages.register_backend(MemoryBackend("less"))
    with pytest.raises(UnsupportedOperationError, match=r"scan\.file is stored with storage_class= and tags= and metadata="):
        migrate(model.Base.metadata, model.engine, "scan.file", to="less")
    assert kept.backend.key == "direct"


# -- what it costs ---------------------------------------------------------------------------------------------------------


def test_large_copies_are_made_by_the_store(request: pytest.FixtureRequest, site: Site, tmp_path: Path) -> None:
    server = request.getfixturevalue("s3_server")
    model = Model(StoredWith(cache_control=CACHE))
    with CountingProxy(server.endpoint) as proxy:
        kept = make_kept(request, site, tmp_path, "s3", aws_endpoint=proxy.endpoint)
        with Session(model.engine) as session:
            scan = committed(session, model, file=png(LARGE))
            with proxy.record() as seen:
                copies = committed(session, model, file=scan.file, other=scan.file, plain=scan.file)
            assert sorted(request.method for request in seen) == ["HEAD"] * 3 + ["PUT"] * 3
            kept.expect(copies.other.path, NO_STORE)
    model.engine.dispose()


def test_column_without_options_sends_no_extra_requests(request: pytest.FixtureRequest, site: Site, tmp_path: Path) -> None:
    server = request.getfixturevalue("s3_server")
    with CountingProxy(server.endpoint) as proxy:
        make_kept(request, site, tmp_path, "s3", aws_endpoint=proxy.endpoint)
        model = Model(StoredWith())
        storages._expected.clear()  # pyright: ignore[reportPrivateUsage] - its other column has options
        with Session(model.engine) as session, proxy.record() as seen:
            scan = committed(session, model, plain=png())
            committed(session, model, plain=scan.plain)
        assert [request.method for request in seen] == ["PUT", "PUT", "HEAD"]
    model.engine.dispose()


def test_gcsfs_encrypts_with_a_key_of_google_s(request: pytest.FixtureRequest) -> None:
    from filerow import Encryption
    from filerow.backends.fsspec import FSSpecBackend

    server = request.getfixturevalue("gcs_server")
    key = "projects/p/locations/l/keyRings/r/cryptoKeys/k"
    with CountingProxy(server.endpoint) as proxy:
        options: dict[str, Any] = {"project": server.project, "token": "anon", "endpoint_url": proxy.endpoint}
        backend = FSSpecBackend("direct", f"gs://{server.make_bucket()}", **options, encryption=Encryption("gcp:kms", key=key))
        storages.register_backend(backend)
        model = Model(NO_STORE)
        with Session(model.engine) as session:
            scan = committed(session, model, file=png(), pages=[png(LARGE)])
            copies = committed(session, model, file=scan.file, other=scan.pages[0])
            assert copies.other.get_content() == LARGE
        asked = [str(request) for request in proxy.requests]
        wrote = [line for line in asked if "uploadType=" in line and "upload_id" not in line]
        copied = [line for line in asked if "/rewriteTo/" in line]
        assert len(wrote) >= 3
        assert copied
        assert all("kmsKeyName=projects" in line for line in wrote)
        assert all("destinationKmsKeyName=projects" in line for line in copied)
    model.engine.dispose()
