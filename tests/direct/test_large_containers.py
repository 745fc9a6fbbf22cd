"""A container whose index comes last, in an upload that is larger than what is read ahead of it."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, StoredObject, storages
from filerow.backends.memory import MemoryBackend
from filerow.direct import DirectUploads, Ticket
from filerow.exceptions import ClaimError
from tests.corpus import FILES
from tests.direct.conftest import SECRET


class Base(DeclarativeBase):
    pass


class Large(Base):
    __tablename__ = "large"
    id: Mapped[int] = mapped_column(primary_key=True)
    audio: Mapped[FileObject | None] = mapped_column(StoredObject("large", content_types=["audio/*"]))
    video: Mapped[FileObject | None] = mapped_column(StoredObject("large", content_types=["video/*"]))
    anything: Mapped[FileObject | None] = mapped_column(StoredObject("large"))


@pytest.fixture
def engine() -> Iterator[Engine]:
    storages.register_backend(MemoryBackend("large", base_url="http://127.0.0.1/files", secret=SECRET))
    made = create_engine("sqlite://")
    Base.metadata.create_all(made)
    yield made
    made.dispose()
    storages.clear_backends()


def send(ticket: Ticket, data: bytes) -> None:
    path = unquote(urlsplit(ticket.url).path).removeprefix("/files/large/")
    storages.get_backend("large").put(path, data)


def padded(name: str, size: int) -> bytes:
    """Return a film of the corpus whose index comes after megabytes of pictures that nobody plays."""
    data = (FILES / name).read_bytes()
    start = int.from_bytes(data[:4])
    return data[:start] + (size + 8).to_bytes(4) + b"free" + bytes(size) + data[start:]


@pytest.mark.parametrize("size", [100_000, 6 << 20, 9 << 20])
@pytest.mark.parametrize(("name", "stored"), [("sound-moov-last.mp4", "audio/mp4"), ("film.mp4", "video/mp4")])
def test_an_index_at_the_end_of_a_large_upload_is_found(engine: Engine, size: int, name: str, stored: str) -> None:
    data = padded(name, size)
    fits = stored.partition("/")[0]
    for column in ("anything", fits):
        uploads = DirectUploads(getattr(Large, column), secret=SECRET, multipart_from="64 MB")
        ticket = uploads.begin(filename=name, size=len(data), content_type="video/mp4")
        send(ticket, data)
        with Session(engine, expire_on_commit=False) as session:
            row = Large(**{column: uploads.claim(ticket.claim)})
            session.add(row)
            session.commit()
            file = getattr(row, column)
            assert (file.content_type, file.size) == (stored, len(data))


def test_upload_that_changes_after_its_index_was_read_is_refused(engine: Engine) -> None:
    class Switching(MemoryBackend):
        """Gives the index of one upload, and the bytes of another."""

        def read(self, path: str, start: int = 0, end: int | None = None) -> bytes:
            return other[start:end]

    data, other = padded("film.mp4", 6 << 20), padded("sound-moov-last.mp4", 6 << 20)
    size = min(len(data), len(other))
    data, other = data[:size], other[:size]
    storages.clear_backends()
    storages.register_backend(Switching("large", base_url="http://127.0.0.1/files", secret=SECRET))
    uploads = DirectUploads(Large.anything, secret=SECRET)
    ticket = uploads.begin(filename="a.mp4", size=size, content_type="video/mp4")
    send(ticket, data)
    with Session(engine) as session:
        session.add(Large(anything=uploads.claim(ticket.claim)))
        with pytest.raises(ClaimError, match="since this claim was looked at"):
            session.commit()
