"""PDUs over a socket (PS3.8 section 9.3), within limits of length and time.

pynetdicom's own reactor reads four kilobytes at a time, sleeps between its steps and takes any
length that a peer announces. A node that must keep up with a scanner and survive strangers reads
here instead; what PDUs mean is still pynetdicom's.
"""

from __future__ import annotations

import enum
import socket
import struct
import time

_HEADER = struct.Struct(">BxL")
# An association request with 128 presentation contexts of 38 transfer syntaxes fits.
_LONGEST_REQUEST = 512 * 1024
_CLOSING_SECONDS = 2.0


class PduType(enum.IntEnum):
    """Kinds of PDU."""

    ASSOCIATE_RQ = 1
    ASSOCIATE_AC = 2
    ASSOCIATE_RJ = 3
    P_DATA = 4
    RELEASE_RQ = 5
    RELEASE_RP = 6
    ABORT = 7


_KNOWN = frozenset(PduType)


class AbortReason(enum.IntEnum):
    """Why the provider aborts (PS3.8 table 9-26)."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PARAMETER = 4
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER = 6


class Closed(Exception):  # noqa: N818 - connections end
    """The peer is gone, or was silent for too long."""


class ProtocolViolation(Exception):  # noqa: N818 - it is the peer's error
    """The peer sent what must not be sent.

    Args:
        message: what.
        reason: to give when aborting.
    """

    def __init__(self, message: str, reason: AbortReason = AbortReason.INVALID_PARAMETER) -> None:
        self.reason = reason
        super().__init__(message)


class Connection:
    """A connected socket that gives whole PDUs.

    Args:
        channel: the socket, plain or TLS.
        longest_pdu: bytes that a P-DATA-TF PDU may have after its header.
        stalled_seconds: in which a PDU that has begun must have arrived.
    """

    def __init__(self, channel: socket.socket, longest_pdu: int, stalled_seconds: float) -> None:
        self._channel = channel
        self._longest_pdu = longest_pdu
        self._stalled_seconds = stalled_seconds
        self._buffer = bytearray(_HEADER.size + longest_pdu)
        self._view = memoryview(self._buffer)
        self._begin = self._end = 0

    def secure(self, channel: socket.socket) -> None:
        """Go on over the TLS socket around the plain one; nothing was read before."""
        self._channel = channel

    def receive(self, seconds: float) -> tuple[PduType, memoryview]:
        """The next PDU, without its header.

        Args:
            seconds: to wait for its first byte.

        Returns:
            Its type, and its bytes, valid until the next call.

        Raises:
            Closed: the peer closed the connection or took too long.
            ProtocolViolation: the type is unknown or the length is not acceptable.
        """
        if self._end == self._begin:
            self._begin = self._end = 0
            self._read(seconds)
        deadline = time.monotonic() + self._stalled_seconds
        self._need(_HEADER.size, deadline)
        kind, length = _HEADER.unpack_from(self._buffer, self._begin)
        self._check_length(kind, length)
        self._need(_HEADER.size + length, deadline)
        begin = self._begin + _HEADER.size
        self._begin = begin + length
        return PduType(kind), self._view[begin : begin + length]

    def _check_length(self, kind: int, length: int) -> None:
        if kind not in _KNOWN:
            raise ProtocolViolation("unknown PDU type", AbortReason.UNRECOGNIZED_PDU)
        if kind == PduType.P_DATA:
            longest = self._longest_pdu
        elif kind in (PduType.ASSOCIATE_RQ, PduType.ASSOCIATE_AC):
            longest = _LONGEST_REQUEST
        else:
            longest = 4
        if length > longest:
            raise ProtocolViolation(f"a PDU of {length} bytes, where {longest} are accepted")

    def _need(self, count: int, deadline: float) -> None:
        """Read until ``count`` unread bytes are there."""
        if self._begin + count > len(self._buffer):
            if count > len(self._buffer):
                larger = bytearray(count)
                larger[: self._end - self._begin] = self._view[self._begin : self._end]
                self._buffer, self._view = larger, memoryview(larger)
            else:
                unread = bytes(self._view[self._begin : self._end])
                self._view[: len(unread)] = unread
            self._begin, self._end = 0, self._end - self._begin
        while self._end - self._begin < count:
            left = deadline - time.monotonic()
            if left <= 0:
                raise Closed("a PDU took too long")
            self._read(left)

    def _read(self, seconds: float) -> None:
        self._channel.settimeout(seconds)
        try:
            count = self._channel.recv_into(self._view[self._end :])
            # Many senders wait with the end of an object until its beginning is acknowledged
            # (RFC 896), which the kernel would put off for 40 ms.
            self._channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        except TimeoutError:
            raise Closed("silent for too long") from None
        except OSError as error:
            raise Closed(error.strerror or type(error).__name__) from None
        if count == 0:
            raise Closed("closed by the peer")
        self._end += count

    def send(self, data: bytes) -> None:
        """Send bytes.

        Raises:
            Closed: the peer is gone or does not read.
        """
        self._channel.settimeout(self._stalled_seconds)
        try:
            self._channel.sendall(data)
        except OSError as error:
            raise Closed(error.strerror or type(error).__name__) from None

    def abort(self, reason: AbortReason) -> None:
        """Tell the peer that the association is over (A-ABORT by the provider)."""
        try:
            self.send(_HEADER.pack(PduType.ABORT, 4) + bytes((0, 0, 2, reason)))
        except Closed:
            return

    def finish(self) -> None:
        """Wait a moment for the peer to close, as it does after a reject, release or abort.

        Without this, closing with unread bytes resets the connection and the peer may never
        see what it was sent last.
        """
        deadline = time.monotonic() + _CLOSING_SECONDS
        try:
            self._channel.shutdown(socket.SHUT_WR)
            while (left := deadline - time.monotonic()) > 0:
                self._channel.settimeout(left)
                if not self._channel.recv_into(self._view):
                    return
        except OSError:
            return
