"""What three libraries that tie files to SQLAlchemy rows do, decided by looking at the rows and at the directory."""
