"""One of several processes that redeem the same claim at the same time."""

from __future__ import annotations

import threading
import time
from typing import NamedTuple

from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, StoredObject, storages
from filerow.backends.local import LocalBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.direct import DirectUploads
from filerow.exceptions import ClaimError
from filerow.outbox import Outbox
from tests.databases import make_engine

SECRET = "a secret of these tests, and no other"


class PlainBase(DeclarativeBase):
    pass


class Plain(PlainBase):
    __tablename__ = "paper"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("direct"))


class NotedBase(DeclarativeBase):
    pass


class Noted(NotedBase):
    __tablename__ = "paper"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("direct"))


Outbox(NotedBase.metadata)


class World(NamedTuple):
    """Where everything is.

    Attributes:
        url: Of the database.
        store: A folder, or the URL of a prefix of a bucket.
        options: What the store needs.
        with_outbox: Which of the two models.
    """

    url: str
    store: str
    options: dict[str, str]
    with_outbox: bool

    @property
    def model(self) -> type[Plain | Noted]:
        return Noted if self.with_outbox else Plain

    @property
    def uploads(self) -> DirectUploads:
        return DirectUploads(self.model.file, secret=SECRET, s3_method="PUT")

    def register(self) -> None:
        storages.clear_backends()
        if self.options:
            storages.register_backend(ObstoreBackend("direct", self.store, **self.options))  # type: ignore[arg-type]
        else:
            storages.register_backend(LocalBackend("direct", self.store, base_url="/files", secret=SECRET, fsync=False))


def redeem(world: World, claim: str, threads: int, begin_at: float, rollbacks: int) -> list[str]:
    """Redeem a claim in several threads at once; return what became of each.

    Args:
        world: Where.
        claim: The claim.
        threads: How many.
        begin_at: When, by the clock.
        rollbacks: How often each rolls back what it has flushed, before it commits.
    """
    world.register()
    engine = make_engine(world.url)
    ends: list[str] = []

    def one() -> None:
        time.sleep(max(0.0, begin_at - time.time()))
        try:
            file = world.uploads.claim(claim)
            with Session(engine) as session:
                for _ in range(rollbacks):
                    session.add(world.model(file=file))
                    session.flush()
                    session.rollback()
                session.add(world.model(file=file))
                session.commit()
        except ClaimError:
            ends.append("refused")
        except Exception as error:  # noqa: BLE001 - whatever it was, the test shows it
            ends.append(f"{type(error).__name__}: {error}")
        else:
            ends.append("stored")

    workers = [threading.Thread(target=one) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    engine.dispose()
    return ends
