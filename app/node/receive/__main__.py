"""The receiver processes: ``python -m app.node.receive LISTENING CHANNEL SPOOL``.

LISTENING and CHANNEL are inherited file descriptors; the settings come as JSON on standard input.
This process loads everything once and forks the ones that serve, so that they share its memory;
it then does nothing but replace those that end. All end when the node does: the other end of
CHANNEL is closed then.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path

from app.interruption import let_through
from app.logs import set_up_logging
from app.node.receive.channel import Reporter
from app.node.receive.command import Service
from app.node.receive.commitment import request_commitment, take_report
from app.node.receive.disk_guard import DiskGuard
from app.node.receive.listener import Listener
from app.node.receive.message import Echo, Services, Surroundings
from app.node.receive.settings import ReceiveSettings
from app.node.receive.storing import store
from app.node.spool import Spool

_LOG = logging.getLogger("app.node.receive")
_SERVICES: Services = {
    Service.C_ECHO: Echo,
    Service.C_STORE: store,
    Service.N_ACTION: request_commitment,
    Service.N_EVENT_REPORT: take_report,
}
_SHORT_LIFE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 5.0


def main() -> None:
    """Fork the serving processes and replace them until told to end."""
    listening_descriptor, channel_descriptor, folder = sys.argv[1:]
    settings = ReceiveSettings.model_validate_json(sys.stdin.buffer.read())
    let_through()  # the node holds interruptions back, and this process inherited that
    set_up_logging()
    listening = socket.socket(fileno=int(listening_descriptor))
    channel = socket.socket(fileno=int(channel_descriptor))
    children = _Children(settings, Path(folder), listening, channel)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal; the node decides
    signal.signal(signal.SIGTERM, lambda *_: children.end())
    children.keep()


class _Children:
    """The serving processes."""

    def __init__(
        self,
        settings: ReceiveSettings,
        folder: Path,
        listening: socket.socket,
        channel: socket.socket,
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._listening = listening
        self._channel = channel
        self._started: dict[int, float] = {}
        self._ending = False
        self._pause = 0.0

    def keep(self) -> None:
        """Start all, and another for each that ends, until they shall end and have."""
        while True:
            while not self._ending and len(self._started) < self._settings.processes:
                self._start()
            if not self._started:
                return
            pid, status = os.wait()
            lived = time.monotonic() - self._started.pop(pid, 0.0)
            if self._ending or _node_is_gone(self._channel):
                self._ending = True
                continue
            code = os.waitstatus_to_exitcode(status)
            _LOG.error("a receiver process ended with status %d and is replaced", code)
            short = lived < _SHORT_LIFE_SECONDS
            self._pause = min(2 * self._pause + 0.1, _LONGEST_PAUSE_SECONDS) if short else 0.0
            time.sleep(self._pause)

    def end(self) -> None:
        """Let associations end, then the processes."""
        self._ending = True
        for pid in self._started:
            os.kill(pid, signal.SIGTERM)

    def _start(self) -> None:
        # Held back until the child is known, or has its own handler.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        pid = os.fork()
        if pid == 0:
            self._serve()
        self._started[pid] = time.monotonic()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def _serve(self) -> None:
        status = 1
        try:
            wake, waker = socket.socketpair()
            signal.signal(signal.SIGTERM, lambda *_: waker.send(b"."))
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            spool = Spool(self._folder)
            surroundings = Surroundings(
                settings=self._settings,
                spool=spool,
                disk=DiskGuard(spool, self._settings),
                reporter=Reporter(self._channel),
            )
            tls = self._settings.tls.context() if self._settings.tls else None
            share = -(-self._settings.most_associations // self._settings.processes)
            listener = Listener(self._listening, surroundings, _SERVICES, share, tls)
            listener.accept_until(wake, self._channel)
            status = 0
        except Exception as error:  # noqa: BLE001 - the parent must learn of it by the status
            _LOG.error("a receiver process failed", exc_info=error)
        finally:
            # Threads may still be at work for a node that is gone.
            logging.shutdown()
            os._exit(status)


def _node_is_gone(channel: socket.socket) -> bool:
    readable, _, _ = select.select([channel], [], [], 0)
    return bool(readable)


if __name__ == "__main__":
    main()
