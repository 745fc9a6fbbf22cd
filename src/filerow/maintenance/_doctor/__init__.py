"""Doctor: find what would go wrong with backends, database and outbox."""
