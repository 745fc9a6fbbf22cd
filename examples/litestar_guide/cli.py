"""``litestar guide …``: what the operator does at the command line."""

import asyncio

import click
from litestar import Litestar
from litestar.cli._utils import LitestarEnv
from litestar.plugins import CLIPlugin

from litestar_guide.database import alchemy_of
from litestar_guide.models import User
from litestar_guide.passwords import hash_password
from litestar_guide.services import UserService


class GuideCommands(CLIPlugin):
    """Adds our commands to Litestar's."""

    def on_cli_init(self, cli: click.Group) -> None:
        """Add the group ``guide``."""
        cli.add_command(guide)


@click.group()
def guide() -> None:
    """Look after the guide application."""


@guide.command()
@click.argument("email")
@click.password_option()
@click.pass_obj
def create_user(env: LitestarEnv, email: str, password: str) -> None:
    """Let somebody log in and upload."""
    asyncio.run(_create_user(env.app, email, password))
    click.echo(f"{email} can log in now")


async def _create_user(app: Litestar, email: str, password: str) -> None:
    alchemy = alchemy_of(app)
    async with alchemy.get_session() as session:
        service = UserService(session=session)
        await service.create(User(email=email.lower(), password_hash=hash_password(password)), auto_commit=True)
    await alchemy.get_engine().dispose()
