"""Takes connections and serves each in a thread, so many at a time and no more."""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import ssl
import threading
import time

from app.node.receive.association import Association
from app.node.receive.connection import Connection
from app.node.receive.message import Services, Surroundings
from app.node.receive.negotiation import NO_DISK, NO_ROOM, Rejection

_LOG = logging.getLogger(__name__)
# Connections above the limit that are still answered with a rejection.
_REJECTED_AT_A_TIME = 32
_ENDING_SECONDS = 5.0
# A process that is busy lets an idle one, which waits at the same socket, go first.
_COURTESY_SECONDS = 0.0005
_LONGEST_COURTESY_SECONDS = 0.005


class _Place:
    """One of the associations that there may be at a time.

    Args:
        channel: its socket.
    """

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.association: Association | None = None
        self._taken = time.monotonic()

    @property
    def progress(self) -> float:
        """When it last completed something."""
        return self._taken if self.association is None else self.association.progress

    def shut_down(self) -> None:
        """Wake its thread, which then ends."""
        with contextlib.suppress(OSError):
            self.channel.shutdown(socket.SHUT_RDWR)


class Listener:
    """Serves the connections of one process.

    Args:
        listening: socket that is listened on, perhaps by other processes too.
        surroundings: what services work with.
        services: what answers each kind of request.
        most_associations: of this process at a time.
        tls: makes connections secret; None for plain ones.
    """

    def __init__(
        self,
        listening: socket.socket,
        surroundings: Surroundings,
        services: Services,
        most_associations: int,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._listening = listening
        self._listening.setblocking(False)
        self._surroundings = surroundings
        self._services = services
        self._most = most_associations
        self._tls = tls
        self._lock = threading.Lock()
        self._places: set[_Place] = set()
        self._rejecting = 0

    def accept_until(self, ending: socket.socket, gone: socket.socket) -> None:
        """Take connections until ``ending`` can be read, then let associations end.

        Args:
            ending: becomes readable when it is time to end.
            gone: becomes readable when nobody is left to work for; then this returns at once.
        """
        while True:
            readable, _, _ = select.select([self._listening, ending, gone], [], [])
            if gone in readable:
                return
            if ending in readable:
                break
            busy = len(self._places) * _COURTESY_SECONDS
            time.sleep(min(busy, _LONGEST_COURTESY_SECONDS))
            try:
                channel, address = self._listening.accept()
            except (BlockingIOError, ConnectionError):  # another process took it, or it is gone
                continue
            except OSError as error:  # no file descriptors left
                _LOG.error("no connection can be accepted: %s", error.strerror)
                time.sleep(0.1)
                continue
            self._take(channel, address[0])
        self._end()

    def _take(self, channel: socket.socket, peer_address: str) -> None:
        place = _Place(channel)
        with self._lock:
            has_room = len(self._places) < self._most or self._evict()
            if has_room:
                self._places.add(place)
            elif self._rejecting < _REJECTED_AT_A_TIME:
                self._rejecting += 1
            else:
                channel.close()
                return
        threading.Thread(
            target=self._serve,
            args=(place, peer_address),
            kwargs={"has_room": has_room},
            daemon=True,
        ).start()

    def _evict(self) -> bool:
        """End the association that has completed nothing for longest; whether there was one."""
        idlest = min(self._places, key=lambda place: place.progress)
        if time.monotonic() - idlest.progress < self._surroundings.settings.evictable_seconds:
            return False
        _LOG.warning("an idle association gives way to a new one")
        self._places.discard(idlest)
        idlest.shut_down()
        return True

    def _serve(self, place: _Place, peer_address: str, *, has_room: bool) -> None:
        settings = self._surroundings.settings
        try:
            place.channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            place.channel.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if self._tls is not None:
                place.channel.settimeout(settings.greeting_seconds)
                place.channel = self._tls.wrap_socket(place.channel, server_side=True)
            connection = Connection(place.channel, settings.longest_pdu, settings.stalled_seconds)
            place.association = Association(
                connection, peer_address, self._surroundings, self._services
            )
            place.association.serve(lambda: self._obstacle(has_room=has_room))
        except OSError as error:  # also what TLS refuses
            _LOG.info("connection of %s ended: %s", peer_address, type(error).__name__)
        except Exception as error:  # noqa: BLE001 - one association must not end the others
            _LOG.error("internal fault in an association", exc_info=error)
        finally:
            with self._lock:
                self._places.discard(place)
                self._rejecting -= not has_room
            place.channel.close()

    def _obstacle(self, *, has_room: bool) -> Rejection | None:
        if not has_room:
            return NO_ROOM
        return None if self._surroundings.disk.has_room() else NO_DISK

    def _end(self) -> None:
        deadline = time.monotonic() + _ENDING_SECONDS
        while self._places and time.monotonic() < deadline:
            time.sleep(0.02)
