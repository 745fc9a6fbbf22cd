"""A small library of documents, run end to end on real parts: ``python -m demo``, or ``make demo``.

After every step an audit compares all objects in the store with all documents in the database; it reads both without
Filerow.

::

    models.py       the application's tables: what a user of Filerow writes
    app.py          its engines, sessions and backend: the rest of what a user writes
    files.py        the PNG, the PDF, the text and the 64 MB stream
    steps.py        what the application does
    async_steps.py  the same through AsyncSession
    plan.py         the order of the steps, and how many rows and objects each must leave
    run.py          carries out the plan: a step, the audit, a line
    reader.py       a second process that reads what the first has stored
    audit.py        reads database and store on its own and compares them
    servers.py      SQLite and a directory, or PostgreSQL and S3
    table.py        one line per step
"""
