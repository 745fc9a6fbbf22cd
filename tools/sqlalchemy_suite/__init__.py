"""Run SQLAlchemy's own tests against Filerow and print what differs."""
