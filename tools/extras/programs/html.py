"""Extra ``html``: a picture of a page, escaped."""

from typing import Any, cast

from filerow.ext.html import img


def main() -> None:
    """Make the element of no file, and refuse what is not one."""
    assert img(None, "thumb") == ""
    try:
        img(cast("Any", "me.jpg"), "thumb")
    except TypeError:
        return
    raise AssertionError


if __name__ == "__main__":
    main()
