"""DIMSE command sets (PS3.7 section 6.3 and annex E): implicit VR little endian, group 0000."""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from app.node.encoded_header import Encoded, checked_uid
from app.node.receive.connection import PduType, ProtocolViolation

_ELEMENT = struct.Struct("<HHL")
_NO_DATA_SET = 0x0101
_DATA_SET = 0x0001


class Service(enum.IntEnum):
    """Command Field (0000,0100) of requests; responses have bit 15 set."""

    C_STORE = 0x0001
    C_GET = 0x0010
    C_FIND = 0x0020
    C_MOVE = 0x0021
    C_ECHO = 0x0030
    N_EVENT_REPORT = 0x0100
    N_GET = 0x0110
    N_SET = 0x0120
    N_ACTION = 0x0130
    N_CREATE = 0x0140
    N_DELETE = 0x0150
    C_CANCEL = 0x0FFF


RESPONSE = 0x8000


class Status(enum.IntEnum):
    """Status (0000,0900) that this node answers with (PS3.7 annex C, PS3.4 B.2.3)."""

    SUCCESS = 0x0000
    NO_SUCH_INSTANCE = 0x0112
    NO_SUCH_EVENT_TYPE = 0x0113
    INVALID_ARGUMENT = 0x0115
    CLASS_NOT_SUPPORTED = 0x0122
    NO_SUCH_ACTION = 0x0123
    UNRECOGNIZED_OPERATION = 0x0211
    OUT_OF_RESOURCES = 0xA700
    DATA_SET_DOES_NOT_MATCH = 0xA900
    CANNOT_UNDERSTAND = 0xC000
    TRANSFER_SYNTAX_NOT_SUPPORTED = 0xC122


@dataclass(frozen=True)
class Command:
    """A received command set.

    Attributes:
        field: Command Field (0000,0100).
        message_id: (0000,0110), or (0000,0120) of a response.
        sop_class_uid: Affected (0000,0002) or Requested (0000,0003) SOP Class UID.
        sop_instance_uid: Affected (0000,1000) or Requested (0000,1001) SOP Instance UID.
        has_data_set: whether a data set follows.
        type_id: Action Type ID (0000,1008) or Event Type ID (0000,1002).
        status: (0000,0900) of a response.
    """

    field: int
    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    has_data_set: bool
    type_id: int | None
    status: int | None


def decoded_command(encoded: Encoded) -> Command:
    """Read a command set.

    Raises:
        ProtocolViolation: it is cut short, or has no Command Field.
    """
    values: dict[int, bytes] = {}
    at, end = 0, len(encoded)
    while at < end:
        if at + _ELEMENT.size > end:
            raise ProtocolViolation("a command element is cut short")
        group, element, length = _ELEMENT.unpack_from(encoded, at)
        at += _ELEMENT.size
        if group != 0 or at + length > end:
            raise ProtocolViolation("a command element is cut short or of another group")
        values[element] = bytes(encoded[at : at + length])
        at += length
    field = _number(values, 0x0100)
    if field is None:
        raise ProtocolViolation("a command set without a Command Field")
    message_id = _number(values, 0x0120 if field & RESPONSE else 0x0110)
    type_id = _number(values, 0x1008)
    return Command(
        field=field,
        message_id=message_id or 0,
        sop_class_uid=_uid(values.get(0x0002) or values.get(0x0003) or b""),
        sop_instance_uid=_uid(values.get(0x1000) or values.get(0x1001) or b""),
        has_data_set=_number(values, 0x0800) != _NO_DATA_SET,
        type_id=_number(values, 0x1002) if type_id is None else type_id,
        status=_number(values, 0x0900),
    )


def _number(values: dict[int, bytes], element: int) -> int | None:
    value = values.get(element, b"")
    return int.from_bytes(value[:2], "little") if len(value) >= 2 else None


def _uid(value: bytes) -> str:
    return value.decode("ascii", "replace").strip(" \0")


def response(
    request: Command, status: int, *, comment: str = "", type_element: int | None = None
) -> bytes:
    """The command set that answers ``request``, without a data set.

    Args:
        request: what is answered.
        status: (0000,0900).
        comment: Error Comment (0000,0902); cut at 64 characters.
        type_element: 0x1008 or 0x1002 to repeat the action or event type.
    """
    elements: list[tuple[int, bytes]] = []
    if request.sop_class_uid:
        elements.append((0x0002, _even(request.sop_class_uid, "\0")))
    elements += [
        (0x0100, struct.pack("<H", request.field | RESPONSE)),
        (0x0120, struct.pack("<H", request.message_id)),
        (0x0800, struct.pack("<H", _NO_DATA_SET)),
        (0x0900, struct.pack("<H", status)),
    ]
    if comment:
        elements.append((0x0902, _even(comment[:64], " ")))
    if request.sop_instance_uid:
        elements.append((0x1000, _even(request.sop_instance_uid, "\0")))
    if type_element is not None and request.type_id is not None:
        elements.append((type_element, struct.pack("<H", request.type_id)))
    return encoded_command(sorted(elements))


def event_report(
    message_id: int, sop_class_uid: str, sop_instance_uid: str, event_type: int
) -> bytes:
    """The command set of an N-EVENT-REPORT request with a data set (PS3.7 10.3.1)."""
    return encoded_command(
        [
            (0x0002, _even(checked_uid(sop_class_uid, "SOP Class UID"), "\0")),
            (0x0100, struct.pack("<H", Service.N_EVENT_REPORT)),
            (0x0110, struct.pack("<H", message_id)),
            (0x0800, struct.pack("<H", _DATA_SET)),
            (0x1000, _even(checked_uid(sop_instance_uid, "SOP Instance UID"), "\0")),
            (0x1002, struct.pack("<H", event_type)),
        ]
    )


def encoded_command(elements: Iterable[tuple[int, bytes]]) -> bytes:
    """Elements of group 0000 in ascending order, behind their group length."""
    body = b"".join(_ELEMENT.pack(0, number, len(value)) + value for number, value in elements)
    return _ELEMENT.pack(0, 0, 4) + struct.pack("<L", len(body)) + body


def _even(text: str, padding: str) -> bytes:
    return (text + padding * (len(text) % 2)).encode("ascii", "replace")


def data_pdus(context_id: int, data: bytes, *, is_command: bool, longest_pdu: int) -> bytes:
    """P-DATA-TF PDUs of one fragment each (PS3.8 9.3.5 and annex E).

    Args:
        context_id: presentation context.
        data: an encoded command set or data set.
        is_command: which of the two.
        longest_pdu: bytes after the header that the peer accepts; 0 where it has no limit.
    """
    step = max((longest_pdu or 128 * 1024) - 6, 1024)
    parts = []
    for at in range(0, len(data), step):
        fragment = data[at : at + step]
        control = int(is_command) | (2 if at + step >= len(data) else 0)
        length = len(fragment)
        parts.append(struct.pack(">BxL", PduType.P_DATA, length + 6))
        parts.append(struct.pack(">LBB", length + 2, context_id, control))
        parts.append(fragment)
    return b"".join(parts)
