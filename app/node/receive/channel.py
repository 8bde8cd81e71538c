"""What receiver processes tell the process of the node, over one socket pair.

Messages keep their boundaries (SOCK_SEQPACKET), so that all processes share the socket. It blocks
when the node does not keep up: senders then wait, and nothing is dropped.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from app.node.arrival import Arrival

_LONGEST_MESSAGE = 128 * 1024
_BUFFER_BYTES = 1024 * 1024
_INSTANCES_PER_MESSAGE = 500


@dataclass(frozen=True)
class AssociationEvent:
    """Something about an association that belongs in the audit trail.

    Attributes:
        what: ``accepted``, ``rejected``, ``aborted``, ``ended``, ``refused``.
        calling_ae: of the peer.
        called_ae: that it called.
        peer_address: of the peer.
        reason: why; empty where it ended well.
    """

    what: str
    calling_ae: str
    called_ae: str
    peer_address: str
    reason: str = ""


@dataclass(frozen=True)
class CommitmentReport:
    """An archive reported on storage commitment, or a part of such a report.

    Attributes:
        transaction_uid: of the request.
        committed: SOP Instance UIDs that it keeps.
        failed: SOP Instance UIDs that it does not keep, with the failure reason (0008,1197).
        complete: whether this is the last part.
    """

    transaction_uid: str
    committed: tuple[str, ...]
    failed: tuple[tuple[str, int], ...]
    complete: bool


Message = Arrival | AssociationEvent | CommitmentReport


def channel() -> tuple[socket.socket, socket.socket]:
    """The ends of the node and of the receiver processes."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
    return ours, theirs


class Reporter:
    """The end of a receiver process.

    Args:
        end: of the channel.
    """

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def send(self, message: Message) -> None:
        """Tell the node.

        Raises:
            OSError: the node is gone.
        """
        if isinstance(message, Arrival):
            self._end.send(b"A" + message.to_json().encode())
        elif isinstance(message, AssociationEvent):
            self._end.send(b"E" + json.dumps(vars(message)).encode())
        else:
            for part in _parts(message):
                self._end.send(b"C" + json.dumps(vars(part)).encode())


def received(end: socket.socket, *, wait: bool = True) -> Message | None:
    """The next message, or None when every receiver process is gone.

    Raises:
        BlockingIOError: there is none yet, and it is not to be waited for.
    """
    data = end.recv(_LONGEST_MESSAGE, 0 if wait else socket.MSG_DONTWAIT)
    if not data:
        return None
    kind, text = data[:1], data[1:]
    if kind == b"A":
        return Arrival.from_json(text)
    values = json.loads(text)
    if kind == b"E":
        return AssociationEvent(**values)
    return CommitmentReport(
        transaction_uid=values["transaction_uid"],
        committed=tuple(values["committed"]),
        failed=tuple((uid, reason) for uid, reason in values["failed"]),
        complete=values["complete"],
    )


def _parts(report: CommitmentReport) -> Iterator[CommitmentReport]:
    longest = max(len(report.committed), len(report.failed), 1)
    for at in range(0, longest, _INSTANCES_PER_MESSAGE):
        until = at + _INSTANCES_PER_MESSAGE
        yield CommitmentReport(
            report.transaction_uid,
            report.committed[at:until],
            report.failed[at:until],
            complete=report.complete and until >= longest,
        )
