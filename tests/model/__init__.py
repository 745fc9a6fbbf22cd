"""A random walk over the unit of work, compared with a plain dictionary.

``book`` is the dictionary, ``actor`` one session beside its model, ``routes`` and ``bulk`` what an application does, ``faults`` a
store that fails, ``walk`` the state machine.
"""
