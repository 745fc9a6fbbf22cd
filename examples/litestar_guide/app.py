"""The application: ``litestar --app litestar_guide.app:create_app run``."""

from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from advanced_alchemy.extensions.litestar import SQLAlchemyPlugin
from filerow import storages
from filerow.backends.local import LocalBackend
from filerow.ext.litestar import install, routes
from filerow.variants import configure_urls
from litestar import Litestar

from litestar_guide.cli import GuideCommands
from litestar_guide.controllers.accounts import AccountController
from litestar_guide.controllers.authors import AuthorController
from litestar_guide.controllers.books import BookController
from litestar_guide.controllers.documents import DocumentController
from litestar_guide.controllers.pages import PageController
from litestar_guide.controllers.repositories import AuthorRepositoryController, BookRepositoryController
from litestar_guide.database import alchemy_for
from litestar_guide.openapi import openapi_of, scripts_of_openapi
from litestar_guide.sessions import sessions_in
from litestar_guide.settings import DATA, FILES_URL, Settings

CONTROLLERS = [
    AccountController,
    AuthorController,
    BookController,
    AuthorRepositoryController,
    BookRepositoryController,
    DocumentController,
    PageController,
]


def create_app(settings: Settings | None = None) -> Litestar:
    """Return the application.

    Args:
        settings: Where rows and bytes go; what the environment says when left out.
    """
    if settings is None:
        settings = Settings.from_environment()
        DATA.mkdir(exist_ok=True)
    alchemy = alchemy_for(settings)
    register_storage(settings)
    return Litestar(
        [*CONTROLLERS, routes(FILES_URL), scripts_of_openapi()],
        plugins=[SQLAlchemyPlugin(alchemy), install(), GuideCommands()],
        middleware=[sessions_in(alchemy, secure=settings.secure_cookies)],
        openapi_config=openapi_of("Guide", "1"),
    )


def register_storage(settings: Settings) -> None:
    """Register the backend that ``Document.file`` names."""
    development = settings.secret is None
    configure_urls(url=FILES_URL, secret=settings.secret, development=development)  # of variants, whatever the store
    url = urlsplit(settings.storage_url)
    if url.scheme != "file":
        public = {} if settings.public_endpoint is None else {"public_endpoint": settings.public_endpoint}
        storages.register_backend(settings.storage_url, "documents", **public, **settings.storage_options)
        return
    folder = Path(url2pathname(url.path))
    storages.register_backend(
        LocalBackend("documents", folder, base_url=FILES_URL, secret=settings.secret, development=development)
    )
