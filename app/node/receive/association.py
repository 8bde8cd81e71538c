"""One association, from its first byte to its last: the acceptor's side of PS3.8 section 9.2."""

from __future__ import annotations

import logging
import struct
import time
from collections.abc import Callable

from app.node.receive.channel import AssociationEvent
from app.node.receive.command import (
    RESPONSE,
    Command,
    Service,
    Status,
    data_pdus,
    decoded_command,
)
from app.node.receive.connection import (
    AbortReason,
    Closed,
    Connection,
    PduType,
    ProtocolViolation,
)
from app.node.receive.message import Dropped, Handler, Refused, Request, Services, Surroundings
from app.node.receive.negotiation import Rejection, Terms, decoded_request, negotiate

_LOG = logging.getLogger(__name__)
_FRAGMENT = struct.Struct(">LBB")
_RELEASED = bytes((PduType.RELEASE_RP, 0, 0, 0, 0, 4, 0, 0, 0, 0))
_PROGRESS_BYTES = 1024 * 1024
_LONGEST_COMMAND = 64 * 1024


class Association:
    """Serves one connection.

    Args:
        connection: to the requestor.
        peer_address: of the requestor.
        surroundings: what services work with.
        services: what answers each kind of request.

    Attributes:
        progress: when it last completed something, in seconds of ``time.monotonic``.
    """

    def __init__(
        self,
        connection: Connection,
        peer_address: str,
        surroundings: Surroundings,
        services: Services,
    ) -> None:
        self._connection = connection
        self._peer_address = peer_address
        self._surroundings = surroundings
        self._services = services
        self._terms: Terms | None = None
        self._command = bytearray()
        self._handler: Handler | None = None
        self._context_id = 0
        self._since_progress = 0
        self.progress = time.monotonic()

    def serve(self, obstacle: Callable[[], Rejection | None]) -> None:
        """Negotiate, then answer requests until either side ends it.

        Args:
            obstacle: why nobody can be accepted at the moment.
        """
        reason = ""
        try:
            if self._established(obstacle):
                self._answer_until_released()
            self._connection.finish()
        except Closed as error:
            reason = str(error)
        except ProtocolViolation as error:
            reason = str(error)
            self._connection.abort(error.reason)
            self._connection.finish()
        finally:
            if self._handler is not None:
                self._handler.abandon()
        if self._terms is not None:
            self._tell("aborted" if reason else "ended", reason)
        elif reason:
            _LOG.info("connection of %s without association: %s", self._peer_address, reason)

    def _established(self, obstacle: Callable[[], Rejection | None]) -> bool:
        settings = self._surroundings.settings
        kind, payload = self._connection.receive(settings.greeting_seconds)
        if kind != PduType.ASSOCIATE_RQ:
            raise ProtocolViolation("no association was asked for", AbortReason.UNEXPECTED_PDU)
        request = decoded_request(bytes(payload))
        outcome = negotiate(request, settings, self._peer_address, obstacle)
        if isinstance(outcome, Rejection):
            self._connection.send(outcome.encode())
            event = AssociationEvent(
                "rejected",
                str(request.calling_ae_title).strip(),
                str(request.called_ae_title).strip(),
                self._peer_address,
                outcome.reason,
            )
            _LOG.warning("association of %s rejected: %s", self._peer_address, outcome.reason)
            self._surroundings.reporter.send(event)
            return False
        self._terms = outcome
        self._connection.send(outcome.acceptance)
        self._tell("accepted")
        return True

    def _tell(self, what: str, reason: str = "") -> None:
        assert self._terms is not None
        terms = self._terms
        self._surroundings.reporter.send(
            AssociationEvent(what, terms.calling_ae, terms.called_ae, self._peer_address, reason)
        )

    def _answer_until_released(self) -> None:
        settings = self._surroundings.settings
        while True:
            begun = bool(self._command) or self._handler is not None
            seconds = settings.stalled_seconds if begun else settings.idle_seconds
            kind, payload = self._connection.receive(seconds)
            if kind == PduType.P_DATA:
                self._take_fragments(payload)
            elif kind == PduType.RELEASE_RQ:
                self._connection.send(_RELEASED)
                return
            elif kind == PduType.ABORT:
                raise Closed("aborted by the peer")
            else:
                raise ProtocolViolation("a PDU out of turn", AbortReason.UNEXPECTED_PDU)

    def _take_fragments(self, payload: memoryview) -> None:
        """Presentation data values of one P-DATA-TF PDU (PS3.8 9.3.5.1 and annex E)."""
        at = 0
        while at < len(payload):
            if at + _FRAGMENT.size > len(payload):
                raise ProtocolViolation("a presentation data value is cut short")
            length, context_id, control = _FRAGMENT.unpack_from(payload, at)
            end = at + 4 + length
            if length < 2 or end > len(payload):
                raise ProtocolViolation("a presentation data value has a wrong length")
            fragment = payload[at + _FRAGMENT.size : end]
            is_command, is_last = bool(control & 1), bool(control & 2)
            if is_command:
                self._take_command(context_id, fragment, is_last=is_last)
            else:
                self._take_data(context_id, fragment, is_last=is_last)
            at = end

    def _take_command(self, context_id: int, fragment: memoryview, *, is_last: bool) -> None:
        if self._handler is not None:
            raise ProtocolViolation("a command before the data set of the last was complete")
        if len(self._command) + len(fragment) > _LONGEST_COMMAND:
            raise ProtocolViolation("a command set without end")
        self._command += fragment
        if not is_last:
            return
        command = decoded_command(self._command)
        self._command.clear()
        self._context_id = context_id
        self._handler = self._handler_of(command, context_id)
        if self._handler is not None and not command.has_data_set:
            self._complete()

    def _take_data(self, context_id: int, fragment: memoryview, *, is_last: bool) -> None:
        if self._handler is None or context_id != self._context_id:
            raise ProtocolViolation("a data set without a command")
        self._handler.write(fragment)
        self._since_progress += len(fragment)
        if self._since_progress > _PROGRESS_BYTES:
            self._made_progress()
        if is_last:
            self._complete()

    def _handler_of(self, command: Command, context_id: int) -> Handler | None:
        """What takes the message; None where nothing is to be done and nothing follows."""
        assert self._terms is not None
        context = self._terms.contexts.get(context_id)
        if context is None:
            raise ProtocolViolation("a presentation context that was not accepted")
        if command.field & RESPONSE or command.field == Service.C_CANCEL:
            if command.has_data_set:
                return Dropped()
            return None
        factory = self._services.get(command.field)
        if factory is None:
            reason = "this service is not offered"
            return Refused(command, Status.UNRECOGNIZED_OPERATION, reason)
        return factory(
            Request(
                command,
                context_id,
                context,
                self._terms,
                self._peer_address,
                self._surroundings,
            )
        )

    def _complete(self) -> None:
        assert self._handler is not None
        assert self._terms is not None
        handler, self._handler = self._handler, None
        longest = self._terms.longest_pdu
        for reply in handler.finish():
            data = data_pdus(self._context_id, reply.command, is_command=True, longest_pdu=longest)
            if reply.data_set:
                data += data_pdus(
                    self._context_id, reply.data_set, is_command=False, longest_pdu=longest
                )
            self._connection.send(data)
        self._made_progress()

    def _made_progress(self) -> None:
        self.progress = time.monotonic()
        self._since_progress = 0
