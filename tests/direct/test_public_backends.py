"""Direct upload to backends whose files have public URLs: what is uploaded can be opened before anybody has looked at it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from filerow import storages
from filerow.backends.fsspec import FSSpecBackend
from filerow.backends.memory import MemoryBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.exceptions import UnsupportedOperationError
from filerow.testing import FaultyBackend
from tests.backends.stores import azure_options, bucket_of, s3_options, s3fs_options
from tests.direct.conftest import PNG, SECRET, Document, Side, Store, put
from tests.direct.site import Site
from tests.tokens import said_by

if TYPE_CHECKING:
    from tests.servers._s3 import S3Server

PUBLIC = "https://media.example.org"
SVG = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"


@pytest.mark.servers
@pytest.mark.one_in(3)
@pytest.mark.parametrize("how", ["public_url", "cdn", "faulty"])
def test_no_upload_begins_where_everybody_could_open_it(request: pytest.FixtureRequest, site: Site, side: Side, how: str) -> None:
    server, container = bucket_of(request, "azurite_server")
    options: dict[str, Any] = {"public_url": PUBLIC} if how != "cdn" else {"cdn": f"{PUBLIC}/{{path}}"}
    backend = ObstoreBackend("direct", f"az://{container}/public", **options, **azure_options(server))
    storages.register_backend(FaultyBackend(backend) if how == "faulty" else backend)
    uploads = Store("azure", backend, site).uploads()
    with pytest.raises(UnsupportedOperationError, match="a client could publish a page; let clients upload to a backend without"):
        side(uploads, "begin", filename="cat.png", size=len(PNG), content_type="image/png")
    storages.clear_backends()


@pytest.mark.servers
def test_what_could_run_is_uploaded_as_bytes(s3_server: S3Server, site: Site, side: Side, tmp_path: Path) -> None:
    """SVG keeps its type for the row's own object, with headers that a client cannot change, as it can those of this upload."""
    place = f"s3://{s3_server.shared_bucket}/{s3_server.make_prefix().strip('/')}"
    backend = FSSpecBackend("direct", place, public_url=PUBLIC, **s3fs_options(s3_server))
    storages.register_backend(backend)
    uploads = Store("s3fs", backend, site).uploads(Document.anything)
    ticket = side(uploads, "begin", filename="logo.svg", size=len(SVG), content_type="image/svg+xml")
    assert dict(ticket.headers) == {"Content-Type": "application/octet-stream"}
    opened = {"Content-Disposition": "inline"}
    assert put(tmp_path, ticket.url, {"Content-Type": "image/svg+xml", **opened}, SVG) == 403
    assert put(tmp_path, ticket.url, {**ticket.headers, **opened}, SVG) == 200
    assert backend.head(said_by(ticket.claim)["path"]).content_type == "application/octet-stream"
    file = side(uploads, "claim", ticket.claim)
    assert file.content_type == "image/svg+xml"
    storages.clear_backends()


@pytest.mark.servers
def test_a_form_of_s3_binds_what_a_reader_gets(s3_server: S3Server, site: Site) -> None:
    backend = ObstoreBackend("direct", f"s3://{s3_server.shared_bucket}/x", public_url=PUBLIC, **s3_options(s3_server))
    storages.register_backend(backend)
    ticket = Store("s3", backend, site).uploads(Document.anything).begin(filename="logo.svg", size=len(SVG))
    assert ticket.fields["Content-Disposition"].startswith("attachment")
    storages.clear_backends()


def test_our_own_route_binds_the_type(site: Site) -> None:
    backend = MemoryBackend("direct", base_url="/files", secret=SECRET, public_url="/media")
    storages.register_backend(backend)
    ticket = Store("memory", backend, site).uploads(Document.anything).begin(filename="page.html", size=9)
    assert dict(ticket.headers)["Content-Type"] == "application/octet-stream"
    storages.clear_backends()
