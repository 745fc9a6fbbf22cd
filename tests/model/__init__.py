"""A random walk over the unit of work, compared with a plain dictionary.

``book`` is the dictionary, ``actor`` one session beside its model, ``routes`` and ``bulk`` what an application does, ``faults`` a
store that fails, ``walk`` the state machine.

What it notices was tried by breaking a copy of the library; the short walk is that of ``make test``, the long one that of ``make
soak``, stopped at its first failure. A dash: not tried there.

==================================================  ==========  =========
Broken                                              Short walk  Long walk
==================================================  ==========  =========
A savepoint that is rolled back is not undone       noticed     -
Objects are deleted at the flush                    noticed     -
A released savepoint forgets what it took back      noticed     -
A session closed without commit is not undone       noticed     -
A released savepoint forgets what it dropped        noticed     noticed
A rollback leaves its files attached                noticed     noticed
A lost answer to a put is taken for a refusal       noticed     noticed
Removals from a list are forgotten                  -           noticed
A shared file is not copied                         -           noticed
A bulk DELETE drops nothing                         -           noticed
A new row with a deleted one's key is not seen      -           noticed
==================================================  ==========  =========
"""
