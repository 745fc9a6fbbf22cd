"""What there is before a process is killed, what is left after, and what an operator does then."""

from __future__ import annotations

import json
import os
import urllib.request
from pathlib import Path

import boto3
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from filerow import FileObject, StoredObject, storages
from filerow.direct import DirectUploads
from filerow.maintenance import adopt, migrate, sweep
from filerow.outbox import outbox_of
from tests.generated import Located
from tests.places import RECORD, know_places
from tests.soak.crash.child import KillPoint, World
from tests.soak.crash.models import KEYS, SECRET, FormerPaper, model
from tests.soak.crash.works import NO_TIME


def prepare(world: World, engine: Engine, moment: KillPoint) -> World:
    """Make four rows, and whatever there must be to do."""
    paper = model(with_outbox=world.with_outbox)
    paper.metadata.create_all(engine)
    know_places(paper.metadata, engine)
    if moment.work == "drain":  # which writes no mark where the last one is young
        with engine.begin() as connection:
            connection.execute(text("UPDATE filerow_outbox_state SET updated_at = 0"))
    kind = FormerPaper if moment.work == "migrate" else paper
    with Session(engine) as session:
        for number in range(1, 5):
            file, *pages = (FileObject(content=b"%d-%d" % (number, n)) for n in range(3))
            session.add(kind(id=number, file=file, pages=pages))
        session.commit()
    if moment.work in {"drain", "undelete"}:
        with Session(engine) as session:
            session.delete(session.get(paper, 4))
            session.commit()
    if moment.work == "sweep":
        for number in range(5):
            FileObject(content=b"orphan %d" % number, backend="docs").save()
    if moment.work == "adopt":
        _share(engine)
    return world._replace(claim=_upload(world)) if moment.work == "claim" else world


def _share(engine: Engine) -> None:
    """Let two rows name one object, in the words of Advanced Alchemy, where nobody owns a file."""
    with Session(engine) as session:
        path = session.get_one(model(with_outbox=False), 1).file.path
    document = json.dumps({"backend": "docs", "filename": path, "content_type": "text/plain"})
    with engine.begin() as connection:
        connection.execute(text("UPDATE paper SET file = :document WHERE id IN (1, 2)"), {"document": document})


def _upload(world: World) -> str:
    """Be a client that uploads straight to the store; return its claim."""
    uploads = DirectUploads(model(with_outbox=world.with_outbox).file, secret=SECRET, s3_method="PUT")
    body = b"straight to the store"
    ticket = uploads.begin(filename="direct.txt", content_type="text/plain", size=len(body))
    request = urllib.request.Request(ticket.url, body, dict(ticket.headers), method=ticket.method)
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200
    return ticket.claim


def owned(world: World, engine: Engine) -> set[Located]:
    """Return what the rows name."""
    metadata = model(with_outbox=world.with_outbox).metadata
    found: set[Located] = set()
    with Session(engine) as session:
        for row in session.query(model(with_outbox=world.with_outbox)):
            found |= {Located(file.backend_key, file.path) for file in [row.file, *row.pages] if file is not None}
    assert isinstance(metadata.tables["paper"].c.file.type, StoredObject)
    return found


def stored() -> set[Located]:
    """Return all objects of both backends, but for what says whose place it is, and which claims were used."""
    everything = (Located(key, info.path) for key in KEYS for info in storages.get_backend(key).list())
    return {one for one in everything if one.path != RECORD and not one.path.startswith("staged/claims/")}


def unfinished(world: World) -> list[str]:
    """Return the uploads that have begun and are not objects yet, seen from outside."""
    if not world.options:
        found = set()
        for key, top in world.stores.items():
            files = (Path(folder) / name for folder, _, names in os.walk(top) for name in names)
            found |= {Located(key, file.relative_to(top).as_posix()) for file in files}
        return sorted(path for _, path in found - stored() if path != RECORD)
    places = [store.removeprefix("s3://").partition("/") for store in world.stores.values()]
    client = boto3.client(
        "s3",
        endpoint_url=world.options["aws_endpoint"],
        aws_access_key_id=world.options["aws_access_key_id"],
        aws_secret_access_key=world.options["aws_secret_access_key"],
        region_name="us-east-1",
    )
    try:
        uploads = [(client.list_multipart_uploads(Bucket=bucket).get("Uploads", ()), prefix) for bucket, _, prefix in places]
    finally:
        client.close()
    return [upload["Key"] for found, prefix in uploads for upload in found if upload["Key"].startswith(prefix)]


def recover(world: World, engine: Engine, moment: KillPoint) -> None:
    """Do what an operator does after a crash: run the same again, drain, sweep."""
    metadata = model(with_outbox=world.with_outbox).metadata
    for name in ("paper.file", "paper.pages"):
        for _ in migrate(metadata, engine, name):
            pass
    if moment.work == "adopt":
        for _ in adopt(metadata, engine, "paper.file"):
            pass
    outbox = outbox_of(metadata)
    if outbox is not None:
        outbox.drain(engine)
    for _ in sweep(metadata, engine, grace=NO_TIME, delete=True, full=True, allow_many=True, backends=KEYS):
        pass
