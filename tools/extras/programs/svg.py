"""Extra ``svg``: a confined process draws an SVG."""

from filerow import FileObject
from filerow.variants import Resize, configure, make_variant
from tools.extras.programs.model import directory


def main() -> None:
    """Draw a stored file as large as a recipe says."""
    directory()
    drawing = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4 2"><circle cx="2" cy="1" r="1"/></svg>'
    file = FileObject("docs", "a.svg", content=drawing).save()
    workers = configure(workers=1, svg=True)
    made = make_variant(file, Resize(width=200))
    assert (made.content_type, made.width, made.height) == ("image/webp", 200, 100)
    workers.close()


if __name__ == "__main__":
    main()
