"""The outbox: a durable note, written in the row's own transaction, for every object that must go.

::

    from filerow.outbox import Outbox

    outbox = Outbox(Base.metadata, retention=timedelta(days=7))
    Base.metadata.create_all(engine)  # with its table, and the triggers of every table that has a file column
"""

from __future__ import annotations

from filerow.outbox._drain import Drained
from filerow.outbox._outbox import Outbox, outbox_of

__all__ = ("Drained", "Outbox", "outbox_of")
