"""Delivery by STOW-RS (PS3.18 10.5): one object a request, so that each has its own answer."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import httpx

from app.node.deliver.outcome import Outcome, OutcomeState, Parcel
from app.node.deliver.settings import StowTarget

_CHUNK_BYTES = 256 * 1024
_REFERENCED, _FAILED, _REASON = "00081199", "00081198", "00081197"
# Answers about the object and not about this node or the state of the server.
_REFUSES_THE_OBJECT = frozenset((400, 406, 413, 415, 422))
_OUT_OF_RESOURCES = range(0xA700, 0xA800)
_PROCESSING_FAILURE = 0x0110


def deliver_by_stow(target: StowTarget, parcels: Sequence[Parcel]) -> list[Outcome]:
    """Send objects one after the other over one connection."""
    headers = {"Accept": "application/dicom+json"}
    if target.token is not None:
        headers["Authorization"] = f"Bearer {target.token.get_secret_value()}"
    credentials = None
    if target.user is not None and target.password is not None:
        credentials = httpx.BasicAuth(target.user, target.password.get_secret_value())
    try:
        verify = target.tls.context() if target.tls is not None else True
    except OSError as error:
        reason = f"TLS cannot be set up: {error.strerror or error}"
        return [parcel.outcome(OutcomeState.TRANSIENT, reason) for parcel in parcels]
    with httpx.Client(
        headers=headers, auth=credentials, timeout=target.seconds, verify=verify, trust_env=False
    ) as client:
        return [_sent(client, target.url.rstrip("/") + "/studies", parcel) for parcel in parcels]


def _sent(client: httpx.Client, url: str, parcel: Parcel) -> Outcome:
    boundary = uuid.uuid4().hex
    begin = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    end = f"\r\n--{boundary}--\r\n".encode()
    kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
    try:
        length = len(begin) + parcel.path.stat().st_size + len(end)
        answer = client.post(
            url,
            content=_body(parcel, begin, end),
            headers={"Content-Type": kind, "Content-Length": str(length)},
        )
    except (httpx.HTTPError, OSError) as error:
        reason = f"the server cannot be reached: {type(error).__name__}"
        return parcel.outcome(OutcomeState.TRANSIENT, reason)
    return _judged(parcel, answer)


def _body(parcel: Parcel, begin: bytes, end: bytes) -> Iterator[bytes]:
    yield begin
    with parcel.path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
    yield end


def _judged(parcel: Parcel, answer: httpx.Response) -> Outcome:
    status = f"HTTP status {answer.status_code}"
    if answer.status_code not in (200, 202, 409):
        permanent = answer.status_code in _REFUSES_THE_OBJECT
        state = OutcomeState.PERMANENT if permanent else OutcomeState.TRANSIENT
        return parcel.outcome(state, f"refused with {status}")
    stored, failed = _instances(answer)
    if parcel.meta.sop_instance_uid in stored:
        return parcel.outcome(OutcomeState.DELIVERED)
    if parcel.meta.sop_instance_uid in failed or answer.status_code == 409:
        reason = failed.get(parcel.meta.sop_instance_uid, 0)
        passing = reason in _OUT_OF_RESOURCES or reason in (0, _PROCESSING_FAILURE)
        state = OutcomeState.TRANSIENT if passing else OutcomeState.PERMANENT
        return parcel.outcome(state, f"refused with {status}, failure reason {reason:#06x}")
    # Success without saying what of: some servers answer with an empty body.
    if answer.status_code == 200:
        return parcel.outcome(OutcomeState.DELIVERED, "the server did not list what it stored")
    return parcel.outcome(OutcomeState.TRANSIENT, f"{status} without saying what was stored")


def _instances(answer: httpx.Response) -> tuple[set[str], dict[str, int]]:
    """SOP Instance UIDs that were stored, and failure reasons of those that were not."""
    try:
        data_set = answer.json()
        data_set = data_set[0] if isinstance(data_set, list) else data_set
        stored = {_value(item, "00081155") for item in _items(data_set, _REFERENCED)}
        failed = {
            _value(item, "00081155"): int(_value(item, _REASON) or 0)
            for item in _items(data_set, _FAILED)
        }
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return set(), {}
    return stored, failed


def _items(data_set: dict[str, Any], tag: str) -> list[dict[str, Any]]:
    return data_set.get(tag, {}).get("Value") or []


def _value(item: dict[str, Any], tag: str) -> Any:
    values = item.get(tag, {}).get("Value") or [""]
    return values[0]
