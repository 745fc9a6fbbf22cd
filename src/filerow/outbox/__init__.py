"""The outbox: a durable note, written in the row's own transaction, for every object that must go."""
