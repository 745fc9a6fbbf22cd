"""What the application does, each thing in transactions of its own. ``plan.py`` says what must be left."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
import tempfile
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError

from sqlalchemy import delete as delete_from
from sqlalchemy import insert as insert_into
from sqlalchemy import select
from sqlalchemy import update as update_of
from sqlalchemy.exc import IntegrityError

from demo.audit import Disagreement
from demo.files import BIG, TEXT, big_stream, broken_stream, draw_pdf, draw_png, sha256_of
from demo.models import Author, Document
from filerow import FileObject
from filerow.exceptions import ContentTypeError, UnsupportedRouteError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.orm import Session

    from demo.app import Library

ROOT = Path(__file__).resolve().parents[1]
ESSAY = draw_pdf("On the Moon", "It rises (mostly in the evening).", "It sets.")
POEM_NAME = "Gedicht – 月.txt"  # noqa: RUF001 - clients send such names

STORED = {
    "Ada/ada.png": draw_png("Ada", 64, 64),
    "moon/cover.png": draw_png("moon"),
    "moon/essay.pdf": ESSAY,
    f"moon/{POEM_NAME}": TEXT,
    "sea/cover.png": draw_png("sea"),
}
"""What the first step stores, by owner and filename."""


# -- helpers -----------------------------------------------------------------------------------------------------------


def expect(condition: object, finding: str) -> None:
    """Insist on something.

    Raises:
        Disagreement: It is not so.
    """
    if not condition:
        raise Disagreement(finding)


@contextmanager
def refused(*kinds: type[Exception]) -> Iterator[None]:
    """Insist that the block fails with one of these errors.

    Raises:
        Disagreement: It went well.
    """
    try:
        yield
    except kinds:
        return
    raise Disagreement(f"this had to fail with {' or '.join(kind.__name__ for kind in kinds)}, and went well")


def cover(seed: str) -> FileObject:
    """Return a new cover; every client calls it the same."""
    return FileObject(filename="cover.png", content=draw_png(seed))


def author(session: Session, name: str) -> Author:
    """Load an author."""
    return session.scalars(select(Author).where(Author.name == name)).one()


def document(session: Session, slug: str) -> Document:
    """Load a document."""
    return session.scalars(select(Document).where(Document.slug == slug)).one()


def cover_of(document: Document) -> FileObject:
    """Return the cover of a document that has one."""
    expect(document.cover is not None, f"{document.slug} has lost its cover")
    assert document.cover is not None
    return document.cover


# -- one row at a time -------------------------------------------------------------------------------------------------


def insert(library: Library) -> None:
    """Insert files of three kinds, from memory, from a path and from an open file."""
    with tempfile.TemporaryDirectory() as folder, library.session() as session:
        essay, poem = Path(folder, "essay.pdf"), Path(folder, "poem.txt")
        essay.write_bytes(ESSAY)
        poem.write_bytes(TEXT)
        ada = Author(name="Ada", portrait=FileObject(filename="ada.png", content=STORED["Ada/ada.png"]))
        moon = Document(slug="moon", author=ada, cover=cover("moon"), pages=[FileObject(content=essay)])
        session.add_all([ada, moon, Document(slug="sea", author=Author(name="Ben"), cover=cover("sea"))])
        with poem.open("rb") as file:
            moon.pages.append(FileObject(filename=POEM_NAME, content=file))
            session.commit()
        kinds = [page.content_type for page in moon.pages]
        expect(kinds == ["application/pdf", "text/plain"], f"the pages' types are {kinds}")


def read_elsewhere(library: Library) -> str:
    """Read everything in another process and compare it with what was meant to be stored."""
    expected = {name: sha256_of(content) for name, content in STORED.items()}
    order = json.dumps({"settings": library.settings.to_json(), "expected": expected})
    command = [sys.executable, "-m", "demo.reader"]
    done = subprocess.run(command, cwd=ROOT, input=order, capture_output=True, text=True, timeout=60, check=False)
    expect(done.returncode == 0, f"the other process read something else:\n{done.stderr}")
    return f"{done.stdout.strip()}, each with the SHA-256 that was meant"


def find(library: Library) -> None:
    """Let the database look into the documents, and read a range of a file."""
    png, small = Document.cover.content_type == "image/png", Document.cover.size < BIG
    with library.session() as session:
        slugs = session.scalars(select(Document.slug).where(png, small).order_by(Document.slug)).all()
        expect(slugs == ["moon", "sea"], f"a query by type and size found {slugs}")
        with document(session, "moon").pages[1].open() as poem:
            poem.seek(4)
            expect(poem.read(4) == b"Mond", "a part of the poem reads differently")


def replace(library: Library) -> None:
    """Replace a cover by another of the same filename."""
    with library.session() as session:
        moon = document(session, "moon")
        before = cover_of(moon)
        moon.cover = cover("new moon")
        session.commit()
        expect(not before.exists(), f"{before.path} was replaced and is still there")
        expect(cover_of(moon).get_content() == draw_png("new moon"), "the new cover reads differently")


def same_filename(library: Library) -> None:
    """Store two files that their clients call the same."""
    with library.session() as session:
        ben = author(session, "Ben")
        first, second = (Document(slug=slug, author=ben, cover=cover(slug)) for slug in ("sand", "salt"))
        session.add_all([first, second])
        session.commit()
        expect(cover_of(first).path != cover_of(second).path, f"both are at {cover_of(first).path}")
        expect(cover_of(first).get_content() == draw_png("sand"), "the first reads like the second")


def append(library: Library) -> None:
    """Add to a list in place, twice."""
    with library.session() as session:
        moon = document(session, "moon")
        moon.pages.append(FileObject(filename="note.txt", content=b"one"))
        session.commit()
        moon.pages.extend([FileObject(filename="note.txt", content=iter([b"t", b"wo"]))])
        session.commit()
        expect([page.size for page in moon.pages[2:]] == [3, 3], "the notes are not what was appended")


def remove(library: Library) -> None:
    """Take one file from a list and turn the others round."""
    with library.session() as session:
        moon = document(session, "moon")
        moon.pages.remove(moon.pages[2])
        moon.pages.reverse()
        session.commit()
        names = [page.filename for page in moon.pages]
        expect(names == ["note.txt", POEM_NAME, "essay.pdf"], f"the list is now {names}")


# -- transactions that fail --------------------------------------------------------------------------------------------


def _upset(session: Session) -> None:
    """Replace, append, insert and delete, and flush all of it."""
    moon = document(session, "moon")
    moon.cover = cover("eclipse")
    moon.pages.append(FileObject(filename="page.txt", content=b"never"))
    session.add(Document(slug="never", author=moon.author, cover=cover("never")))
    session.delete(document(session, "sea"))
    session.flush()


def savepoint_rolled_back(library: Library) -> None:
    """Roll a savepoint back and commit what was around it."""
    with library.session() as session:
        session.add(Document(slug="tide", author=author(session, "Ben"), cover=cover("tide")))
        savepoint = session.begin_nested()
        _upset(session)
        savepoint.rollback()
        session.commit()
        expect(cover_of(document(session, "moon")).get_content() == draw_png("new moon"), "the cover did not come back")


def savepoint_released(library: Library) -> None:
    """Release a savepoint and roll back the transaction around it."""
    with library.session() as session:
        with session.begin_nested():
            _upset(session)
        session.rollback()


def failed_commit(library: Library) -> None:
    """Let COMMIT itself fail: the author of a document does not exist, which only COMMIT checks."""
    with library.session() as session:
        _upset(session)
        session.add(Document(slug="nobody's", author_id=-1, cover=cover("nobody's")))
        session.flush()
        with refused(IntegrityError):
            session.commit()


def failed_flush(library: Library) -> None:
    """Let the database refuse a row after its files are stored, and use the session again."""
    with library.session() as session:
        session.add_all(Document(slug=slug, author=author(session, "Ada"), cover=cover(slug)) for slug in ("x", "moon"))
        with refused(IntegrityError):
            session.commit()
        session.rollback()
        session.commit()


def rollback(library: Library) -> None:
    """Roll back; then simply close the session."""
    with library.session() as session:
        _upset(session)
        session.rollback()
        _upset(session)


def refused_type(library: Library) -> None:
    """Call a PDF a PNG: refused at the line that assigns it, and at the commit where only the bytes can show it."""
    with library.session() as session:
        moon = document(session, "moon")
        with refused(ContentTypeError):
            moon.cover = FileObject(filename="cover.png", content_type="image/png", content=ESSAY)
        moon.cover = FileObject(filename="cover.png", content_type="image/png", content=iter([ESSAY]))
        with refused(ContentTypeError):
            session.commit()


def failing_upload(library: Library) -> None:
    """Store three files in one flush, of which one ends in the middle."""
    with library.session() as session:
        ada = author(session, "Ada")
        for slug, content in (("a", draw_png("a")), ("b", broken_stream(20 << 20)), ("c", draw_png("c"))):
            session.add(Document(slug=slug, author=ada, pages=[FileObject(content=content)]))
        with refused(ConnectionResetError):
            session.commit()


# -- many rows at a time -----------------------------------------------------------------------------------------------


def bulk_insert(library: Library) -> None:
    """Insert five rows by one statement."""
    with library.session() as session:
        ben = author(session, "Ben").id
        rows = [{"slug": f"bulk-{n}", "author_id": ben, "cover": cover(f"bulk-{n}")} for n in range(5)]
        session.execute(insert_into(Document), rows)
        session.commit()
        expect(cover_of(document(session, "bulk-4")).get_content() == draw_png("bulk-4"), "it reads differently")


def bulk_update(library: Library) -> None:
    """Give one row a new file and take two rows' files away; one file for many rows is refused."""
    with library.session() as session:
        session.execute(update_of(Document).where(Document.slug == "bulk-0").values(cover=cover("fresh")))
        session.execute(update_of(Document).where(Document.slug.in_(["bulk-1", "bulk-2"])).values(cover=None))
        session.commit()
        expect(cover_of(document(session, "bulk-0")).get_content() == draw_png("fresh"), "it reads differently")
        with refused(UnsupportedRouteError):
            session.execute(update_of(Document).values(cover=cover("for all")))


def bulk_delete(library: Library) -> None:
    """Delete rows by two statements, the new kind and the legacy kind."""
    with library.session() as session:
        session.execute(delete_from(Document).where(Document.slug.in_(["bulk-0", "bulk-1", "bulk-2"])))
        session.query(Document).filter(Document.slug.like("bulk-%")).delete()
        session.commit()


def threads(library: Library) -> None:
    """Insert from eight threads at once, each with sessions of its own."""

    def work(worker: int) -> None:
        for number in range(3):
            with library.session() as session:
                slug = f"thread-{worker}-{number}"
                session.add(Document(slug=slug, author=author(session, "Ben"), cover=cover(slug)))
                session.commit()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))


# -- owners ------------------------------------------------------------------------------------------------------------


def move(library: Library) -> None:
    """Hand a file on to another row; it stays the same object."""
    with library.session() as session:
        sea, tide = document(session, "sea"), document(session, "tide")
        path = cover_of(sea).path
        tide.cover, sea.cover = sea.cover, None
        session.commit()
        expect(cover_of(tide).path == path, f"{path} became {cover_of(tide).path}")


def share(library: Library) -> None:
    """Give a row the file of another, which keeps it: each has its own object."""
    with library.session() as session:
        sea, moon = document(session, "sea"), document(session, "moon")
        sea.cover = moon.cover
        session.commit()
        expect(cover_of(sea).path != cover_of(moon).path, f"both rows have {cover_of(sea).path}")
        expect(cover_of(sea).checksum == cover_of(moon).checksum, "the copy is another file")


def delete_orphan(library: Library) -> None:
    """Take a document from its author, without whom it may not be."""
    with library.session() as session:
        ben = author(session, "Ben")
        ben.documents.remove(document(session, "salt"))
        session.commit()


def big(library: Library) -> str:
    """Store a stream of unknown length, from a generator."""
    before = _peak()
    with library.session() as session:
        moon = document(session, "moon")
        moon.pages.append(FileObject(filename="scan.bin", content=big_stream()))
        session.commit()
        file = moon.pages[-1]
        expect(file.size == BIG, f"the row says {file.size} bytes, and {BIG} have passed")
        expect(file.checksum == f"sha256:{sha256_of(big_stream())}", f"the row says {file.checksum}")
    return f"peak of memory +{_peak() - before:.0f} MB"


def _peak() -> float:
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


# -- the end -----------------------------------------------------------------------------------------------------------


def sign(library: Library) -> str:
    """Sign a URL and fetch it without any credentials: from the S3 server, or from our own route for a directory."""
    with library.session() as session:
        file = cover_of(document(session, "moon"))
    url = file.sign(expires_in=60, download_as="Der Mond.png")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as answer:
        expect(answer.read() == draw_png("new moon"), f"{file.path} reads differently by its URL")
        disposition = answer.headers["Content-Disposition"]
        expect("Der Mond.png" in disposition, f"the URL answers with Content-Disposition: {disposition}")
    longer = re.sub(r"(?<=xpires=)\d+", lambda expires: str(int(expires[0]) + 60), url)
    expect(longer != url, f"there is no expiry in {url}")
    with refused(HTTPError):
        try:
            opener.open(longer, timeout=10)
        except HTTPError as refusal:
            refusal.close()
            raise
    return "fetched as an attachment; with another expiry it is refused"


def delete(library: Library) -> None:
    """Delete one document with all its files."""
    with library.session() as session:
        session.delete(document(session, "moon"))
        session.commit()


def delete_everything(library: Library) -> None:
    """Delete the authors; their documents go with them."""
    with library.session() as session:
        for one in session.scalars(select(Author)):
            session.delete(one)
        session.commit()
