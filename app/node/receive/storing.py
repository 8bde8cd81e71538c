"""Storage service class, provider side (PS3.4 annex B)."""

from __future__ import annotations

import logging

from app.node.arrival import Arrival, Origin
from app.node.encoded_header import UnreadableObject, checked_uid
from app.node.part10 import FileMeta
from app.node.receive.channel import AssociationEvent
from app.node.receive.command import Status, response
from app.node.receive.message import Handler, Refused, Reply, Request
from app.node.spool import IncomingObject
from app.node.spool_file import MismatchedObject

_LOG = logging.getLogger(__name__)


def store(request: Request) -> Handler:
    """What takes the object of a C-STORE request."""
    command, surroundings = request.command, request.surroundings
    try:
        checked_uid(command.sop_class_uid, "Affected SOP Class UID")
        checked_uid(command.sop_instance_uid, "Affected SOP Instance UID")
    except UnreadableObject as error:
        return _refusal(request, Status.CANNOT_UNDERSTAND, str(error))
    if command.sop_class_uid != request.context.abstract_syntax:
        reason = "the SOP class is not that of the presentation context"
        return _refusal(request, Status.CLASS_NOT_SUPPORTED, reason)
    if not command.has_data_set:
        return _refusal(request, Status.CANNOT_UNDERSTAND, "the request has no data set")
    if not surroundings.disk.has_room():
        return _refusal(request, Status.OUT_OF_RESOURCES, "the disk is almost full")
    terms = request.terms
    meta = FileMeta(
        sop_class_uid=command.sop_class_uid,
        sop_instance_uid=command.sop_instance_uid,
        transfer_syntax_uid=request.context.transfer_syntax,
        origin=Origin(terms.calling_ae, terms.called_ae, request.peer_address, "dimse"),
    )
    return _Store(request, surroundings.spool.begin(meta))


def _refusal(request: Request, status: Status, reason: str) -> Handler:
    _tell(request, reason)
    return Refused(request.command, status, reason)


def _tell(request: Request, reason: str) -> None:
    terms = request.terms
    _LOG.warning("object of %s refused: %s", terms.calling_ae, reason)
    request.surroundings.reporter.send(
        AssociationEvent("refused", terms.calling_ae, terms.called_ae, request.peer_address, reason)
    )


class _Store:
    """Writes one object as it comes; answers success when it is synced and in its place.

    After a failure the rest of the data set is dropped, and the answer says why.
    """

    def __init__(self, request: Request, incoming: IncomingObject) -> None:
        self._request = request
        self._incoming = incoming
        self._failure: tuple[Status, str] | None = None

    def write(self, data: memoryview) -> None:
        if self._failure is not None:
            return
        most = self._request.surroundings.settings.largest_object
        if self._incoming.size + len(data) > most:
            self._fail(Status.OUT_OF_RESOURCES, f"the object is larger than {most} bytes")
            return
        try:
            self._incoming.write(data)
        except OSError as error:
            self._fail(Status.OUT_OF_RESOURCES, _reason(error))

    def finish(self) -> list[Reply]:
        arrival = self._committed()
        if arrival is None:
            assert self._failure is not None
            status, reason = self._failure
            _tell(self._request, reason)
            return [Reply(response(self._request.command, status, comment=reason))]
        self._request.surroundings.reporter.send(arrival)
        return [Reply(response(self._request.command, Status.SUCCESS))]

    def _committed(self) -> Arrival | None:
        if self._failure is not None:
            return None
        try:
            return self._incoming.commit()
        except MismatchedObject as error:
            self._fail(Status.DATA_SET_DOES_NOT_MATCH, str(error))
        except UnreadableObject as error:
            self._fail(Status.CANNOT_UNDERSTAND, str(error))
        except OSError as error:
            self._fail(Status.OUT_OF_RESOURCES, _reason(error))
        return None

    def _fail(self, status: Status, reason: str) -> None:
        self._failure = (status, reason)
        self._incoming.discard()

    def abandon(self) -> None:
        self._incoming.discard()


def _reason(error: OSError) -> str:
    return f"it cannot be written: {error.strerror or type(error).__name__}"
