"""Direct upload by another host than the one we talk to: nginx before the store. What is ours stays inside."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from filerow import storages
from filerow.backends.fsspec import FSSpecBackend
from filerow.backends.obstore import ObstoreBackend
from tests.backends.stores import s3_options, s3fs_options
from tests.direct.conftest import PNG, Document, Send, Side, Store, kept, put
from tests.direct.site import Site
from tests.direct.test_browser import LARGE, MAKE_LARGE, file_of, open_bucket, page, upload  # noqa: F401 - fixtures
from tests.tokens import said_by

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from tests.servers._s3 import S3Server
    from tests.servers.chromium import Page
    from tests.servers.nginx import Nginx

BYTES = os.urandom(1 << 20) * 11 + b"the end"
CHECKSUM = f"sha256:{hashlib.sha256(PNG).hexdigest()}"


@pytest.fixture(params=["POST", "PUT", "s3fs"])
def outside(
    request: pytest.FixtureRequest,
    s3_server: S3Server,
    public_host: Nginx,
    open_bucket: str,  # noqa: F811
    site: Site,
) -> Iterator[Store]:
    """A store whose clients come by nginx."""
    place = f"s3://{open_bucket}/{s3_server.make_prefix().strip('/')}"
    public = public_host.endpoint
    if request.param == "s3fs":
        made = Store("s3fs", FSSpecBackend("direct", place, public_endpoint=public, **s3fs_options(s3_server)), site)
    else:
        backend = ObstoreBackend("direct", place, public_endpoint=public, **s3_options(s3_server))
        made = Store("s3", backend, site, s3_method=request.param)
    storages.register_backend(made.backend)
    site.uploads = {"image": made.uploads(), "large": made.uploads(Document.anything, multipart_from="6 MB", part_size="5 MiB")}
    yield made
    storages.clear_backends()


@pytest.mark.one_in(2)
def test_a_client_uploads_by_the_public_host(
    outside: Store, side: Side, send: Send, session: Session, public_host: Nginx, s3_server: S3Server
) -> None:
    before = len(public_host.requests())
    uploads = outside.uploads()
    ticket = side(uploads, "begin", filename="cat.png", size=len(PNG), content_type="image/png", checksum=CHECKSUM)
    assert ticket.url.startswith(f"{public_host.endpoint}/")
    assert s3_server.endpoint not in f"{ticket!r} {said_by(ticket.claim)!r}"
    assert send(ticket, PNG) in {200, 204}
    file = kept(session, side(uploads, "claim", ticket.claim))
    assert file.get_content() == PNG
    assert outside.paths() == {file.path}
    assert [one.method for one in public_host.requests()[before:]] == [ticket.method]  # and nothing of ours


@pytest.mark.parametrize("outside", ["POST"], indirect=True)
def test_parts_go_by_the_public_host_and_all_else_inside(
    outside: Store, side: Side, session: Session, public_host: Nginx, tmp_path: Path
) -> None:
    before = len(public_host.requests())
    uploads = outside.uploads(Document.anything, multipart_from="6 MB", part_size="5 MiB")
    ticket = side(uploads, "begin", filename="large.bin", size=len(BYTES))
    assert [part.number for part in ticket.parts] == [1, 2, 3]
    assert all(part.url.startswith(f"{public_host.endpoint}/") for part in ticket.parts)
    first = ticket.parts[0]
    assert put(tmp_path, first.url, {}, BYTES[first.start : first.end]) == 200
    again = side(uploads, "resume", ticket.claim)
    assert [part.number for part in again.parts] == [2, 3]
    for part in again.parts:
        assert put(tmp_path, part.url, {}, BYTES[part.start : part.end]) == 200
    file = kept(session, side(uploads, "claim", ticket.claim), Document.anything)
    assert file.get_content() == BYTES
    came = public_host.requests()[before:]
    assert [(one.method, "partNumber=" in one.target) for one in came] == [("PUT", True)] * 3  # not its start, list or end


@pytest.mark.parametrize("outside", ["POST", "PUT"], indirect=True)
def test_a_browser_uploads_and_reads_by_the_public_host(
    page: Page,  # noqa: F811
    outside: Store,
    session: Session,
    public_host: Nginx,
) -> None:
    answer = upload(page, file_of(PNG, "cat.png", "image/png"), "{url: '/uploads/image'}")
    assert answer.get("claim"), answer
    picture = kept(session, outside.uploads().claim(answer["claim"]))
    answer = upload(page, MAKE_LARGE, "{url: '/uploads/large'}")
    assert answer.get("claim"), answer
    assert outside.uploads(Document.anything).claim(answer["claim"]).size == LARGE
    url = picture.sign(download_as="Katze.png")
    assert url.startswith(public_host.endpoint)
    assert page.open(url) == "net::ERR_ABORTED"  # a download, as the signed URL asks
    assert ("GET", 200) in {(one.method, one.status) for one in public_host.requests(picture.path)}
