"""Extra ``starlette-admin``: a form uploads a file, and the list shows its link."""

import re

from starlette.applications import Starlette
from starlette_admin.contrib.sqla import Admin, ModelView

import filerow.ext.starlette_admin  # noqa: F401 - importing it is enough
from tools.extras.programs.model import CONTENT, FORM, FORM_TYPE, Document, ask, database, directory


def main() -> None:
    """Run it."""
    backend = directory()
    app = Starlette()
    admin = Admin(database(), secret_key="for a trial")  # noqa: S106 - of a program that ends at once
    admin.add_view(ModelView(Document))
    admin.mount_to(app)
    opened = ask(app, "GET", "/admin/document/create")
    assert opened.status == 200, opened.body
    token = re.search(rb'name="csrftoken" value="([^"]*)"', opened.body)
    assert token is not None, opened.body
    given = token[1].decode()
    headers = {"content-type": FORM_TYPE, "cookie": f"starlette_admin_csrftoken={given}", "x-csrftoken": given}
    made = ask(app, "POST", "/admin/document/create", headers=headers, body=FORM)
    assert made.status == 303, (made.status, made.body)
    (stored,) = backend.list()
    assert backend.read(stored.path) == CONTENT
    shown = ask(app, "GET", "/admin/document/list").body
    assert b">a.txt</span></a>" in shown, shown
    edit = ask(app, "GET", "/admin/document/edit?pk=1").body
    assert b'name="file-clear"' in edit, edit


if __name__ == "__main__":
    main()
