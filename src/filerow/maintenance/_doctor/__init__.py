"""Doctor: what would go wrong, asked of the backends, the database and the outbox."""
