"""Extra ``flask-admin``: a form uploads a file, and the list shows its link."""

import tempfile

from flask import Flask
from flask_admin import Admin
from flask_sqlalchemy import SQLAlchemy

from filerow.ext.flask_admin import ModelView
from tools.extras.programs.model import CONTENT, FORM, FORM_TYPE, Base, Document, directory


def main() -> None:
    """Run it."""
    backend = directory()
    app = Flask(__name__)
    app.secret_key = "for a trial"  # noqa: S105 - of a program that ends at once
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{tempfile.mkdtemp()}/rows.db"
    db = SQLAlchemy(app, model_class=Base)
    with app.app_context():
        Base.metadata.create_all(db.engine)
    Admin(app).add_view(ModelView(Document, db))
    client = app.test_client()
    made = client.post("/admin/document/new/", data=FORM, content_type=FORM_TYPE)
    assert made.status_code == 302, made.data
    (stored,) = backend.list()
    assert backend.read(stored.path) == CONTENT
    shown = client.get("/admin/document/").data
    assert b">a.txt</span></a>" in shown, shown
    edit = client.get("/admin/document/edit/?id=1").data
    assert b'name="file-clear"' in edit, edit


if __name__ == "__main__":
    main()
