"""Extra ``sqladmin``: a form uploads a file, and the list shows its link."""

from sqladmin import Admin
from starlette.applications import Starlette

from filerow.ext.sqladmin import ModelView
from tools.extras.programs.model import CONTENT, FORM, FORM_TYPE, Document, ask, database, directory


class DocumentAdmin(ModelView, model=Document):
    """The view."""

    column_list = (Document.id, Document.file)


def main() -> None:
    """Run it."""
    backend = directory()
    app = Starlette()
    Admin(app, database()).add_view(DocumentAdmin)
    form = FORM.replace(b'name="file"', b'name="file-upload"')
    made = ask(app, "POST", "/admin/document/create", headers={"content-type": FORM_TYPE}, body=form)
    assert made.status == 302, (made.status, made.body)
    (stored,) = backend.list()
    assert backend.read(stored.path) == CONTENT
    shown = ask(app, "GET", "/admin/document/list").body
    assert stored.path.encode() in shown, shown
    assert b">a.txt</span></a>" in shown, shown
    edit = ask(app, "GET", "/admin/document/edit/1").body
    assert b'name="file-clear"' in edit, edit


if __name__ == "__main__":
    main()
