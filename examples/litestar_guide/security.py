"""Who may do what."""

from typing import Any
from uuid import UUID

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.exceptions import NotAuthorizedException
from litestar.handlers import BaseRouteHandler

from litestar_guide.database import alchemy_of
from litestar_guide.models import User

USER_ID = "user_id"


async def user_of(connection: ASGIConnection[Any, User, Any, State]) -> User | None:
    """Return who is logged in, in the session that the handler's ``db_session`` will be too."""
    session = alchemy_of(connection.app).provide_session(connection.app.state, connection.scope)
    user_id = connection.session.get(USER_ID)
    return await session.get(User, UUID(user_id)) if user_id else None


async def requires_login(connection: ASGIConnection[Any, User, Any, State], _: BaseRouteHandler) -> None:
    """Let only those pass who are logged in: a guard, which has no dependencies."""
    user = await user_of(connection)
    if user is None:
        raise NotAuthorizedException("log in first: POST /login")
    connection.scope["user"] = user


async def provide_user(request: Request[User, Any, State]) -> User:
    """Return the user whom the guard has let in."""
    return request.user
