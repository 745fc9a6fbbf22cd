"""Direct upload: clients upload to the store; a signed claim makes it a file.

::

    from filerow.direct import DirectUploads
"""

from __future__ import annotations

from filerow.direct._policies import Ticket, TicketPart
from filerow.direct._uploads import DirectUploads

__all__ = ("DirectUploads", "Ticket", "TicketPart")
