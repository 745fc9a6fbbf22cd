"""What says that a claim was used stays as long as the claim could be good, and no longer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session

from filerow import storages
from filerow.backends.memory import MemoryBackend
from filerow.direct import DirectUploads
from filerow.exceptions import ClaimError
from filerow.maintenance import sweep
from filerow.outbox import outbox_of
from tests.direct.redeemer import SECRET, Noted, Plain
from tests.places import know_places
from tests.tokens import said_by

BODY = b"straight to the store"
HOUR = 3600


@pytest.fixture
def backend() -> Iterator[MemoryBackend]:
    made = MemoryBackend("direct", base_url="/files", secret=SECRET)
    storages.register_backend(made)
    yield made
    storages.clear_backends()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = create_engine(f"sqlite:///{tmp_path / 'db'}")
    yield made
    made.dispose()


def use_a_claim(backend: MemoryBackend, engine: Engine, model: type[Plain | Noted]) -> None:
    """Upload, redeem, upload again."""
    model.metadata.create_all(engine)
    uploads = DirectUploads(model.file, secret=SECRET)
    ticket = uploads.begin(filename="a.txt", content_type="text/plain", size=len(BODY))
    path = said_by(ticket.claim)["path"]
    with Session(engine) as session:
        for expected in (None, ClaimError):
            backend.put(path, BODY)
            session.add(model(file=uploads.claim(ticket.claim)))
            if expected is None:
                session.commit()
                continue
            with pytest.raises(expected, match="used before"):
                session.commit()
            session.rollback()


@pytest.mark.parametrize(("hours", "left"), [(11, 1), (13, 0)])
def test_no_sweep_removes_a_mark_in_less_than_twelve_hours(
    backend: MemoryBackend, engine: Engine, monkeypatch: pytest.MonkeyPatch, hours: int, left: int
) -> None:
    then = time.time() - hours * HOUR  # a sweep believes the database's clock, so it is the claim that is old
    with monkeypatch.context() as earlier:
        earlier.setattr(time, "time", lambda: then)
        earlier.setattr(time, "time_ns", lambda: int(then * 1e9))
        use_a_claim(backend, engine, Plain)
    know_places(Plain.metadata, engine)
    for _ in sweep(Plain.metadata, engine, grace=timedelta(0), delete=True, full=True):
        pass
    assert len(list(backend.list("staged/claims"))) == left
    assert len(list(backend.list("paper"))) == 1, "the upload that nobody claimed is gone in any case"


@pytest.mark.parametrize(("hours", "left"), [(23, 1), (25, 0)])
def test_a_drain_forgets_a_used_claim_after_a_day(backend: MemoryBackend, engine: Engine, hours: int, left: int) -> None:
    use_a_claim(backend, engine, Noted)
    assert not list(backend.list("staged/claims"))
    with engine.begin() as connection:
        older = text("UPDATE filerow_outbox_state SET updated_at = updated_at - :seconds WHERE name LIKE 'claim/%'")
        assert connection.execute(older, {"seconds": hours * HOUR}).rowcount == 1
    outbox = outbox_of(Noted.metadata)
    assert outbox is not None
    outbox.drain(engine)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM filerow_outbox_state WHERE name LIKE 'claim/%'")) == left
