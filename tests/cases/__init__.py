"""The table of cases: what an application does with files, once for every kind of session, database and store.

A case is a plain function with an argument ``world``, written as synchronous code. It runs eight times: with a ``Session`` and
with an ``AsyncSession`` (inside its greenlet, where our hooks really await), on SQLite and on PostgreSQL, with a local directory
and with a real S3 server. After each case, whatever it was, :meth:`world.World.check` compares rows and objects by means that
the library does not know.
"""
