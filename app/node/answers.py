"""A requestor that waits is not left waiting by pynetdicom's own threads.

pynetdicom 3 pauses an association's reactor while a request waits for its answer, but

- takes a reactor that is about to run again for one that is paused. It then takes the answer off
  the queue as an unexpected message, and the requestor waits until its time-out;
- serves a report of the peer (N-EVENT-REPORT) in a thread of its own, which at its end marks the
  reactor as running though it may be paused. The next request or release then waits for ever.
"""

from __future__ import annotations

import threading
from typing import Any

from pynetdicom.association import Association


def keep_answers(association: Association) -> Association:
    """Let the reactor put back what is no request, and reports leave it paused.

    Args:
        association: of a requestor, before its first request.

    Returns:
        the association.
    """
    serve = association._serve_request

    def serve_or_put_back(message: Any, context_id: int) -> None:
        if not message.is_valid_request:
            association.dimse.msg_queue.put((context_id, message))
            return
        serve(message, context_id)
        if threading.current_thread() is not association:
            # Where the reactor runs, it says so again itself, and puts back what it takes.
            association._is_paused = True

    # A method of pynetdicom's that is replaced for this association alone.
    association._serve_request = serve_or_put_back  # type: ignore[assignment]
    return association
