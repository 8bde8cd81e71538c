"""What every kind of DIMSE message has in common, whatever its service does with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from app.node.receive.channel import Reporter
from app.node.receive.command import Command, Status, response
from app.node.receive.disk_guard import DiskGuard
from app.node.receive.negotiation import AcceptedContext, Terms
from app.node.receive.settings import ReceiveSettings
from app.node.spool import Spool


@dataclass(frozen=True)
class Surroundings:
    """What services work with, the same for every association of a process.

    Attributes:
        settings: of receiving.
        spool: where objects go.
        disk: whether there is room.
        reporter: to the node.
    """

    settings: ReceiveSettings
    spool: Spool
    disk: DiskGuard
    reporter: Reporter


@dataclass(frozen=True)
class Request:
    """One DIMSE request, before its data set.

    Attributes:
        command: its command set.
        context_id: its presentation context.
        context: what was agreed for it.
        terms: of its association.
        peer_address: of the requestor.
        surroundings: what services work with.
    """

    command: Command
    context_id: int
    context: AcceptedContext
    terms: Terms
    peer_address: str
    surroundings: Surroundings


@dataclass(frozen=True)
class Reply:
    """What is sent back.

    Attributes:
        command: an encoded command set.
        data_set: an encoded data set that belongs to it, if any.
    """

    command: bytes
    data_set: bytes = b""


class Handler(Protocol):
    """Takes the data set of one request and answers it."""

    def write(self, data: memoryview) -> None:
        """Take the next bytes of the data set."""

    def finish(self) -> list[Reply]:
        """The message is complete: what to send."""

    def abandon(self) -> None:
        """The rest of the message will not come."""


class Refused:
    """A request that is answered with a failure whatever its data set holds.

    Args:
        command: the request.
        status: of the answer.
        comment: for a human on the other side.
    """

    def __init__(self, command: Command, status: Status, comment: str) -> None:
        self._answer = Reply(response(command, status, comment=comment))

    def write(self, data: memoryview) -> None:
        """Drop it."""

    def finish(self) -> list[Reply]:
        """The failure."""
        return [self._answer]

    def abandon(self) -> None:
        """There is nothing to undo."""


class Dropped:
    """A message that needs no answer."""

    def write(self, data: memoryview) -> None:
        """Drop it."""

    def finish(self) -> list[Reply]:
        """Nothing to send."""
        return []

    def abandon(self) -> None:
        """There is nothing to undo."""


class Echo:
    """Verification (PS3.4 annex A).

    Args:
        request: a C-ECHO request.
    """

    def __init__(self, request: Request) -> None:
        self._command = request.command

    def write(self, data: memoryview) -> None:
        """Drop it: C-ECHO has no data set."""

    def finish(self) -> list[Reply]:
        """Success."""
        return [Reply(response(self._command, Status.SUCCESS))]

    def abandon(self) -> None:
        """There is nothing to undo."""


Services = Mapping[int, Callable[[Request], Handler]]
