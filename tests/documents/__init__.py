"""The blocks of the documents, run: each command, each file of settings, each statement of SQL."""
