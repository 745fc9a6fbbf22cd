"""Everything that knows SQLAlchemy's ORM: the column type, the unit of work, and who owns an object."""
