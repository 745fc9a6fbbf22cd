"""``/``: a page for people."""

from litestar import MediaType, get
from litestar.di import NamedDependency
from sqlalchemy.ext.asyncio import AsyncSession

from litestar_guide.page import page_of


@get("/", media_type=MediaType.HTML, include_in_schema=False)
async def show_page(db_session: NamedDependency[AsyncSession]) -> str:
    """Show the latest documents."""
    return await page_of(db_session)
