"""``/``: a page that shows the documents, images in the size that each screen needs."""

from filerow.ext.html import img_async
from markupsafe import Markup
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_documents.models import Document

PAGE = Markup("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Documents</title>
<style>
  body {{ font: 16px/1.4 sans-serif; max-width: 1100px; margin: 1rem auto; padding: 0 1rem }}
  ul {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); gap: 1rem; list-style: none; padding: 0 }}
  img {{ display: block; width: 100%; height: auto; background: #eee }}
</style>
<h1>Documents</h1>
<ul>{}</ul>
</html>
""")
ITEM = Markup('<li><a href="{}">{}{}</a></li>')
SIZES = "(max-width: 720px) 100vw, 340px"


async def page_of(session: AsyncSession) -> Markup:
    """Return the page of the latest documents."""
    rows = await session.scalars(select(Document).order_by(Document.id.desc()).limit(100))
    return PAGE.format(Markup("").join([await item_of(row) for row in rows]))


async def item_of(document: Document) -> Markup:
    """Return a document's name, linked to its bytes, and its picture if it is one."""
    is_image = document.file.width is not None
    picture = await img_async(document.file if is_image else None, "w320", "w640", "w1280", sizes=SIZES)
    return ITEM.format(await document.file.sign_async(inline=True), picture, document.name)
