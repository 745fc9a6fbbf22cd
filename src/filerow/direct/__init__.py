"""Direct upload: the browser sends the bytes straight to the store, and a signed, short-lived claim makes them a file.

::

    from filerow.direct import DirectUploads
"""

from __future__ import annotations

from filerow.direct._policies import Ticket, TicketPart
from filerow.direct._uploads import DirectUploads

__all__ = ("DirectUploads", "Ticket", "TicketPart")
