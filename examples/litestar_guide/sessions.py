"""Web sessions in the database: who is logged in."""

from typing import Any

from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig
from advanced_alchemy.extensions.litestar.session import SQLAlchemyAsyncSessionBackend
from litestar.connection import ASGIConnection
from litestar.middleware import DefineMiddleware
from litestar.middleware.session import SessionMiddleware
from litestar.middleware.session.server_side import ServerSideSessionConfig
from litestar.types import Empty, Message, ScopeSession

from litestar_guide.models import WebSession

LOADED = "loaded_session"
NEW_ID = "new_session_id"


class SessionBackend(SQLAlchemyAsyncSessionBackend):
    """Writes a session only when it has changed, and then under a new id.

    Litestar writes every session before the head of every response, on a connection of its own, while the request's
    transaction is still open. SQLite has one writer at a time, so the two would wait for each other after every upload. A new
    id at each login keeps an id that somebody else has planted from becoming the id of a session that is logged in.
    """

    async def load_from_connection(self, connection: ASGIConnection[Any, Any, Any, Any]) -> dict[str, Any]:
        """Return the session of a request, and remember what it was."""
        session = await super().load_from_connection(connection)
        connection.state[LOADED] = dict(session)
        return session

    async def store_in_message(
        self, scope_session: ScopeSession, message: Message, connection: ASGIConnection[Any, Any, Any, Any]
    ) -> None:
        """Write the session and its cookie into a response, if there is something to write."""
        if scope_session == connection.state.get(LOADED, {}):
            return
        cookie = connection.cookies.get(self.config.key)
        if cookie and scope_session is not Empty:
            await self.delete(cookie, self.config.get_store_from_app(connection.app))
            connection.state[NEW_ID] = self.generate_session_id()
        await super().store_in_message(scope_session, message, connection)

    def get_session_id(self, connection: ASGIConnection[Any, Any, Any, Any]) -> str:
        """Return the id of a request's session: the new one, or the one that the cookie names."""
        new: str | None = connection.state.get(NEW_ID)
        return new or super().get_session_id(connection)


def sessions_in(alchemy: SQLAlchemyAsyncConfig, *, secure: bool) -> DefineMiddleware:
    """Return the middleware that keeps web sessions in the database."""
    config = ServerSideSessionConfig(secure=secure)
    return DefineMiddleware(SessionMiddleware, backend=SessionBackend(config, alchemy, WebSession))
