"""Answers that a requestor waits for are not lost to pynetdicom's own reactor.

pynetdicom 3 pauses an association's reactor while a request waits for its answer, but takes a
reactor that is about to run again for one that is paused. It then takes the answer off the queue
as an unexpected message, and the requestor waits until its time-out.
"""

from __future__ import annotations

from typing import Any

from pynetdicom.association import Association


def keep_answers(association: Association) -> Association:
    """Let the reactor put back what is no request; returns the association.

    Args:
        association: of a requestor, before its first request.
    """
    serve = association._serve_request

    def serve_or_put_back(message: Any, context_id: int) -> None:
        if message.is_valid_request:
            serve(message, context_id)
        else:
            association.dimse.msg_queue.put((context_id, message))

    # A method of pynetdicom's that is replaced for this association alone.
    association._serve_request = serve_or_put_back  # type: ignore[assignment]
    return association
