"""The outbox: a durable note of each object to delete, in its row's transaction.

::

    from filerow.outbox import Outbox

    outbox = Outbox(Base.metadata, retention=timedelta(days=7))
    Base.metadata.create_all(engine)  # with its table, and the triggers of every table that has a file column
"""

from __future__ import annotations

from filerow.outbox._drain import Drained
from filerow.outbox._drainer import Drainer
from filerow.outbox._outbox import Outbox, outbox_of
from filerow.outbox._undelete import Removed

__all__ = ("Drained", "Drainer", "Outbox", "Removed", "outbox_of")
