"""A chaos run: applications that store files while workers, databases and the store fail under them, and a judge.

``python -m tools.chaos --seconds 600`` starts PostgreSQL, MariaDB and SeaweedFS, and works in rounds. In each round some
processes insert, replace, copy, move and delete files (``worker``), through a proxy that breaks their requests (``proxy``),
while they and the database are killed, paused and restarted (``conductor``). Then everything is quiet, and a client of the
database and of the store that has nothing to do with Filerow (``judge``) compares rows, objects and what was acknowledged.
Finally an operator's two commands run, ``filerow drain`` and ``filerow sweep``, and the judge looks for what is left over.

Every column of the table it prints has to be zero. Needs Linux.
"""
