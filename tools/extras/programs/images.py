"""Extra ``images``: a confined process makes a thumbnail in each format."""

import io

from PIL import Image

from filerow import FileObject
from filerow.variants import Thumbnail, configure, make_variant
from tools.extras.programs.model import directory


def main() -> None:
    """Make thumbnails of a stored file."""
    directory()
    target = io.BytesIO()
    Image.new("RGB", (80, 40), "red").save(target, "PNG")
    file = FileObject("docs", "a.png", content=target.getvalue()).save()
    workers = configure(workers=1)
    recipes = [
        Thumbnail(20, 20, format="avif"),
        Thumbnail(20, 20, format="gif"),
        Thumbnail(20, 20, format="jpeg"),
        Thumbnail(20, 20, format="png"),
        Thumbnail(20, 20, format="tiff"),
        Thumbnail(20, 20, format="webp"),
    ]
    for recipe in recipes:
        made = make_variant(file, recipe)
        assert (made.content_type, made.width, made.height) == (recipe.content_type, 20, 20)
    workers.close()


if __name__ == "__main__":
    main()
