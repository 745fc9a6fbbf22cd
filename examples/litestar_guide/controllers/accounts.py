"""``/login``, ``/logout`` and ``/me``."""

from typing import Any

from litestar import Controller, Request, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.exceptions import NotAuthorizedException
from litestar.params import JSONBody
from litestar.status_codes import HTTP_200_OK, HTTP_204_NO_CONTENT
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from litestar_guide.models import User
from litestar_guide.passwords import is_password_of
from litestar_guide.schemas import Account, Credentials
from litestar_guide.security import USER_ID, provide_user, requires_login


class AccountController(Controller):
    """Who is there."""

    tags = ("accounts",)
    dependencies = {"user": Provide(provide_user)}

    @post("/login", status_code=HTTP_200_OK)
    async def login(
        self, request: Request[User, Any, State], db_session: NamedDependency[AsyncSession], data: JSONBody[Credentials]
    ) -> Account:
        """Log in with email and password; the answer sets the session's cookie."""
        user = await db_session.scalar(select(User).where(User.email == data.email.lower()))
        if not await is_password_of(data.password, user.password_hash if user else None) or user is None:
            raise NotAuthorizedException("wrong email or password")
        request.set_session({USER_ID: str(user.id)})
        return Account.model_validate(user)

    @post("/logout", status_code=HTTP_204_NO_CONTENT)
    async def logout(self, request: Request[User, Any, State]) -> None:
        """Log out; the session is deleted from the database."""
        request.clear_session()

    @get("/me", guards=[requires_login])
    async def me(self, user: NamedDependency[User]) -> Account:
        """Return who is logged in."""
        return Account.model_validate(user)
