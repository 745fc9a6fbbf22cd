"""Everything that knows SQLAlchemy's ORM."""
