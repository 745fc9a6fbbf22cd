"""Error answers of Azure, given in Azurite's place, become the errors they stand for."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest

from filerow import StorageBackend
from filerow.backends.base import PutOptions
from filerow.backends.fsspec import FSSpecBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.exceptions import ObjectExistsError, StorageError, StoragePermissionError
from tests.backends.stores import azure_options, bucket_of
from tests.servers._http import Ends, HTTPRelay, Message, has_body

pytestmark = pytest.mark.servers

OVERWRITE = PutOptions(create_only=False)


class AzureProxy(HTTPRelay):
    """Passes requests on, and answers those itself for which :attr:`code` returns a status and an error code."""

    code: Callable[[Message], tuple[int, str] | None] = staticmethod(lambda _: None)

    async def handle(self, request: Message, ends: Ends) -> None:
        body = await ends.read_body(request)
        refusal = self.code(request)
        if refusal is None:
            await ends.pass_answer(request, await ends.send(request, body))
        else:
            ends.writer.write(self._error(request, *refusal))

    @staticmethod
    def _error(request: Message, status: int, code: str) -> bytes:
        when = f"RequestId:{uuid.uuid4()}\nTime:2026-01-01T00:00:00.0000000Z"
        content = f"<Error><Code>{code}</Code><Message>no\n{when}</Message></Error>".encode()
        lines = [("x-ms-error-code", code), ("Content-Type", "application/xml"), ("Content-Length", str(len(content)))]
        head = Message(f"HTTP/1.1 {status} No", lines).encode()
        return head + content if has_body(request, status) else head


@pytest.fixture(params=["obstore", "adlfs"])
def store(request: pytest.FixtureRequest) -> Iterator[tuple[StorageBackend, AzureProxy]]:
    server, container = bucket_of(request, "azurite_server")
    with AzureProxy(server.endpoint.rpartition("/")[0]) as proxy:
        endpoint, url = f"{proxy.endpoint}/{server.account_name}", f"az://{container}/{uuid.uuid4().hex}"
        backend: StorageBackend
        if request.param == "adlfs":
            account = f"AccountName={server.account_name};AccountKey={server.account_key}"
            connection = f"DefaultEndpointsProtocol=http;{account};BlobEndpoint={endpoint};"
            backend = FSSpecBackend("docs", url, connection_string=connection)
        else:
            backend = ObstoreBackend("docs", url, **{**azure_options(server), "endpoint": endpoint})
        backend.put("a", b"first", OVERWRITE)
        yield backend, proxy
        proxy.code = lambda _: None


CALLS: dict[str, Callable[[StorageBackend], object]] = {
    "read": lambda backend: backend.read("a"),
    "copy": lambda backend: backend.copy("a", "c"),
    "put": lambda backend: backend.put("a", b"second", OVERWRITE),
    "put new": lambda backend: backend.put("c", b"second"),
    "list": lambda backend: list(backend.list()),
}


@pytest.mark.parametrize(
    ("call", "status", "code", "kind", "said"),
    [
        ("read", 409, "BlobArchived", StorageError, "restore it"),
        ("copy", 409, "BlobArchived", StorageError, "restore it"),
        ("put", 412, "LeaseIdMissing", StoragePermissionError, "lease"),
        ("put new", 409, "BlobImmutableDueToPolicy", StoragePermissionError, "retention"),
        ("read", 403, "AuthorizationPermissionMismatch", StoragePermissionError, "AuthorizationPermissionMismatch"),
        ("list", 403, "AuthenticationFailed", StoragePermissionError, "key and secret"),
    ],
)
def test_answer_becomes_the_error_it_stands_for(
    store: tuple[StorageBackend, AzureProxy], call: str, status: int, code: str, kind: type[StorageError], said: str
) -> None:
    backend, proxy = store
    proxy.code = lambda asked: None if call == "copy" and asked.first.startswith("HEAD ") else (status, code)
    with pytest.raises(StorageError, match=said) as caught:
        CALLS[call](backend)
    assert type(caught.value) is kind
    assert not isinstance(caught.value, ObjectExistsError)
    assert "RequestId" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("count", [1, 2])
def test_nothing_is_deleted_in_a_container_that_is_missing(store: tuple[StorageBackend, AzureProxy], count: int) -> None:
    backend, proxy = store
    proxy.code = lambda _: (404, "ContainerNotFound")
    paths = ["a", "b"][:count]
    assert list(backend.delete(paths)) == paths
