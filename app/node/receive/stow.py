"""STOW-RS (PS3.18 10.5): objects over HTTP, with the promises of C-STORE."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Callable, Sequence

from fastapi import APIRouter, Request, Response
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from app.node.arrival import Arrival, Origin
from app.node.encoded_header import UnreadableObject, checked_uid
from app.node.receive.command import Status
from app.node.receive.disk_guard import DiskGuard
from app.node.receive.settings import ReceiveSettings
from app.node.receive.stow_answer import JSON, XML, as_json, as_xml, stored_and_failed
from app.node.receive.stow_part import StowFailure, StowPart
from app.node.spool import Spool

_LOG = logging.getLogger(__name__)
_LONGEST_PART_HEADER = 16 * 1024
_LONGEST_BOUNDARY = 70  # RFC 2046
_TRY_AGAIN_SECONDS = "60"


class BadRequest(ValueError):  # noqa: N818 - the client's error
    """The request is not one for STOW-RS; the text says why."""


def stow_router(
    spool: Spool,
    settings: ReceiveSettings,
    on_arrivals: Callable[[Sequence[Arrival]], None],
) -> APIRouter:
    """The routes ``/dicom-web/studies`` and ``/dicom-web/studies/{study}``.

    Args:
        spool: where objects go.
        settings: without ``stow_token`` there are no routes.
        on_arrivals: told of objects that are safely on disk before the answer is sent, from
            another thread; when it raises, the client gets an error and sends again.
    """
    router = APIRouter(prefix="/dicom-web", tags=["DICOMweb"])
    if settings.stow_token is None:
        return router
    token = settings.stow_token.get_secret_value()
    disk = DiskGuard(spool, settings)

    async def store(request: Request, study: str | None = None) -> Response:
        """Store instances (STOW-RS)."""
        if not _has_token(request, token):
            return _plain(401, "a bearer token is needed", {"WWW-Authenticate": "Bearer"})
        if not disk.has_room():
            return _plain(503, "the disk is almost full", {"Retry-After": _TRY_AGAIN_SECONDS})
        peer = request.client.host if request.client else ""
        try:
            if study is not None:
                checked_uid(study, "Study Instance UID")
            answer_type = _answer_type(request)
            instances = StowRequest(
                boundary=_boundary(request),
                disk=disk,
                origin=Origin("", settings.ae_titles[0], peer, "stow"),
                study_instance_uid=study,
            )
            await _read(request, instances, settings.stalled_seconds)
        except (BadRequest, UnreadableObject) as error:
            return _plain(400, str(error))
        except (TimeoutError, ClientDisconnect):
            return _plain(408, "the request took too long")
        if instances.arrivals:
            await asyncio.to_thread(on_arrivals, instances.arrivals)
        return _answer(instances, answer_type)

    router.add_api_route("/studies", store, methods=["POST"])
    router.add_api_route("/studies/{study}", store, methods=["POST"])
    return router


async def _read(request: Request, instances: StowRequest, seconds: float) -> None:
    chunks = request.stream()
    try:
        while True:
            async with asyncio.timeout(seconds):
                chunk = await anext(chunks, None)
            if chunk is None:
                break
            # Parsing writes to the disk and syncs.
            await asyncio.to_thread(instances.write, chunk)
        await asyncio.to_thread(instances.finish)
    finally:
        instances.abandon()


class StowRequest:
    """The parts of a multipart/related body, stored as they come.

    Args:
        boundary: between the parts.
        disk: of the spool.
        origin: who sends them.
        study_instance_uid: to which they must belong, where the address names one.

    Attributes:
        arrivals: what was stored.
        failures: what was not.
    """

    def __init__(
        self, boundary: bytes, disk: DiskGuard, origin: Origin, study_instance_uid: str | None
    ) -> None:
        self._disk = disk
        self._origin = origin
        self._study = study_instance_uid
        self._part: StowPart | None = None
        self._name = bytearray()
        self._value = bytearray()
        self._header_bytes = 0
        self._is_complete = False
        self.arrivals: list[Arrival] = []
        self.failures: list[StowFailure] = []
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": lambda data, begin, end: self._header(
                    self._name, data[begin:end]
                ),
                "on_header_value": lambda data, begin, end: self._header(
                    self._value, data[begin:end]
                ),
                "on_header_end": self._end_header,
                "on_part_data": self._part_data,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )

    def write(self, chunk: bytes) -> None:
        """Take the next bytes of the body.

        Raises:
            BadRequest: it is not multipart/related with this boundary.
        """
        try:
            self._parser.write(chunk)
        except MultipartParseError:
            raise BadRequest("the body is not multipart/related as announced") from None

    def finish(self) -> None:
        """The body is over.

        Raises:
            BadRequest: it ended within a part.
        """
        if not self._is_complete:
            raise BadRequest("the body ends before its last boundary")

    def abandon(self) -> None:
        """Forget a part that is not complete."""
        if self._part is not None:
            self._part.abandon()
            self._part = None

    def _begin_part(self) -> None:
        self._part = StowPart(self._disk, self._origin, self._study)
        self._header_bytes = 0

    def _header(self, collected: bytearray, data: bytes) -> None:
        self._header_bytes += len(data)
        if self._header_bytes > _LONGEST_PART_HEADER:
            raise BadRequest("the header of a part is too long")
        collected += data

    def _end_header(self) -> None:
        name, value = bytes(self._name).strip().lower(), bytes(self._value).strip().lower()
        self._name.clear()
        self._value.clear()
        if name == b"content-type" and not value.startswith(b"application/dicom"):
            assert self._part is not None
            self._part.fail(Status.CANNOT_UNDERSTAND, "a part is not application/dicom")

    def _part_data(self, data: bytes, begin: int, end: int) -> None:
        assert self._part is not None
        self._part.write(memoryview(data)[begin:end])

    def _end_part(self) -> None:
        assert self._part is not None
        part, self._part = self._part, None
        arrival = part.finish()
        if arrival is not None:
            self.arrivals.append(arrival)
        elif part.failure is not None:
            _LOG.warning("object over STOW-RS refused: %s", part.failure.explanation)
            self.failures.append(part.failure)

    def _end(self) -> None:
        self._is_complete = True


def _has_token(request: Request, token: str) -> bool:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    same = hmac.compare_digest(given.strip().encode(), token.encode())
    return scheme.lower() == "bearer" and same


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/related" or not 0 < len(boundary) <= _LONGEST_BOUNDARY:
        raise BadRequest("the body must be multipart/related and name its boundary")
    if options.get(b"type", b"application/dicom").lower() != b"application/dicom":
        raise BadRequest("only parts of type application/dicom are taken")
    return boundary


def _answer_type(request: Request) -> str:
    accepted = request.headers.get("accept", "*/*")
    return XML if XML in accepted and JSON not in accepted else JSON


def _answer(instances: StowRequest, answer_type: str) -> Response:
    """All stored: 200; some: 202; none: 409 (PS3.18 table 10.5.3-1)."""
    status = 200 if not instances.failures else 202 if instances.arrivals else 409
    sequences = stored_and_failed(instances.arrivals, instances.failures)
    body = as_xml(sequences) if answer_type == XML else as_json(sequences)
    return Response(body, status, media_type=answer_type)


def _plain(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    return Response(text + "\n", status, headers, media_type="text/plain")
