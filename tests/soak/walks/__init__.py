"""A random walk over the unit of work, compared with a plain dictionary.

``book`` is the dictionary, ``actor`` one session beside its model, ``routes`` and ``bulk`` what an application does, ``hostile``
what its listeners do, ``faults`` a store that fails, ``sharded`` sessions over two databases, ``walk`` the state machine.
``lists`` is a second one, for three sessions that edit the same lists, and ``editor`` one of them beside the rules of the merge.

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

The walks of lists, over shards and with hostile listeners, each with the step at which a long one stopped:

==========================================================  ========  ====
Broken                                                      Walk      Step
==========================================================  ========  ====
An added page forgets its left neighbour                    lists       50
What one has removed comes back                             lists       44
What the other has noted on a page is lost                  lists      121
A list counts as unchanged that was reordered               lists      861
A page put twice is not copied                              lists      861
A list does not note what a flush has written               lists       44
Lists are not merged                                        lists       44
Rows of two shards with one key are taken for one           shards     312
Statements go to the first shard                            shards       0
A savepoint is not begun in each database                   shards     437
==========================================================  ========  ====
"""
