"""Receiving, seen from the process of the node: starts the receiver processes and hears them."""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from app.node.arrival import Arrival
from app.node.receive.channel import (
    AssociationEvent,
    CommitmentReport,
    Message,
    channel,
    received,
)
from app.node.receive.settings import ReceiveSettings
from app.node.spool import Spool

_LOG = logging.getLogger(__name__)
_BACKLOG = 256
_MOST_AT_A_TIME = 500
_LONGEST_PAUSE_SECONDS = 10.0
_STOP_SECONDS = 10.0


class Receiver:
    """Receives objects until it is stopped; what crashes of it is started again.

    Args:
        settings: who may send, over what, and how much.
        spool: where objects go. ``spool.recover()`` must have been worked through.
        on_arrivals: told of objects that are safely on disk, in batches, from a thread of this
            receiver. When it raises it is called again with the same objects until it
            returns; meanwhile senders wait. An object may be told more than once.
        on_event: told of associations, for the audit trail.
        on_commitment: told of storage commitment reports of archives.
    """

    def __init__(
        self,
        settings: ReceiveSettings,
        spool: Spool,
        on_arrivals: Callable[[Sequence[Arrival]], None],
        on_event: Callable[[AssociationEvent], None] | None = None,
        on_commitment: Callable[[CommitmentReport], None] | None = None,
    ) -> None:
        self._settings = settings
        self._spool = spool
        self._on_arrivals = on_arrivals
        self._on_event = on_event
        self._on_commitment = on_commitment
        self._listening: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen, and start the receiver processes.

        Raises:
            OSError: the address or port cannot be had, or a TLS file is missing or wrong.
        """
        settings = self._settings
        if settings.tls is not None:
            settings.tls.context()
        if not settings.allow:
            _LOG.warning(
                "nobody is allowed to send: node.receive.allow is empty; name AE titles and "
                "addresses of senders there"
            )
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        self._listening = socket.create_server(
            (settings.host, settings.port), family=family, backlog=_BACKLOG
        )
        self._stopping.clear()
        self._thread = threading.Thread(target=self._keep, name="receiver", daemon=True)
        self._thread.start()
        _LOG.info("receiving at %s, port %d", settings.host, self.port)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        assert self._listening is not None, "the receiver was not started"
        return int(self._listening.getsockname()[1])

    @property
    def alive(self) -> bool:
        """Whether receiver processes are running."""
        process = self._process
        return process is not None and process.poll() is None

    def stop(self) -> None:
        """Take no more connections, let associations end for some seconds, and end.

        What was acknowledged has been told to ``on_arrivals`` when this returns, unless that
        raises all the time: then ``Spool.recover`` gives it at the next start.
        """
        self._stopping.set()
        process = self._process
        if process is not None:
            process.terminate()
        if self._thread is not None:
            self._thread.join(2 * _STOP_SECONDS)
        if self._listening is not None:
            self._listening.close()

    def _keep(self) -> None:
        pause = 0.0
        while not self._stopping.is_set():
            began = time.monotonic()
            self._run()
            if self._stopping.is_set():
                return
            _LOG.error("the receiver processes ended and are started again")
            lasted = time.monotonic() - began > _LONGEST_PAUSE_SECONDS
            pause = 0.1 if lasted else min(2 * pause + 0.1, _LONGEST_PAUSE_SECONDS)
            self._stopping.wait(pause)

    def _run(self) -> None:
        """Start the processes and hear them until they have ended."""
        assert self._listening is not None
        ours, theirs = channel()
        with ours:
            with theirs:
                descriptors = (self._listening.fileno(), theirs.fileno())
                process = self._process = subprocess.Popen(
                    [
                        sys.executable,
                        "-m",
                        "app.node.receive",
                        *map(str, descriptors),
                        str(self._spool.folder),
                    ],
                    stdin=subprocess.PIPE,
                    pass_fds=descriptors,
                    cwd=Path(__file__).resolve().parents[3],
                    start_new_session=True,
                )
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError), process.stdin as orders:
                orders.write(self._settings.model_dump_json(exclude={"stow_token"}).encode())
            if self._stopping.is_set():
                process.terminate()
            self._hear(ours, process)
            process.wait()

    def _hear(self, ours: socket.socket, process: subprocess.Popen[bytes]) -> None:
        """Pass messages on until every process has closed its end."""
        told_to_end = False
        while True:
            if process.poll() is not None and not told_to_end:
                # Serving processes that outlive the one that forked them end with this.
                ours.shutdown(socket.SHUT_WR)
                told_to_end = True
            readable, _, _ = select.select([ours], [], [], 0.2)
            if not readable:
                continue
            messages, is_over = _available(ours)
            self._pass_on(messages)
            if is_over:
                return

    def _pass_on(self, messages: Sequence[Message]) -> None:
        arrivals = [message for message in messages if isinstance(message, Arrival)]
        if arrivals:
            self._tell(arrivals)
        for message in messages:
            if isinstance(message, AssociationEvent) and self._on_event:
                self._on_event(message)
            elif isinstance(message, CommitmentReport) and self._on_commitment:
                self._on_commitment(message)

    def _tell(self, arrivals: Sequence[Arrival]) -> None:
        pause = 0.05
        while True:
            try:
                self._on_arrivals(arrivals)
            except Exception as error:  # noqa: BLE001 - they are on disk and must not be lost
                _LOG.error("%d arrivals could not be taken over", len(arrivals), exc_info=error)
                if self._stopping.wait(pause):
                    return
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            else:
                return


def _available(ours: socket.socket) -> tuple[list[Message], bool]:
    """What has been said, and whether nobody is left to say anything."""
    messages: list[Message] = []
    while len(messages) < _MOST_AT_A_TIME:
        try:
            message = received(ours, wait=False)
        except BlockingIOError:
            break
        if message is None:
            return messages, True
        messages.append(message)
    return messages, False
