"""Serves the web application of the node from a thread of its process."""

from __future__ import annotations

import socket
import threading

import uvicorn
from fastapi import FastAPI

_SECONDS_TO_END = 5


class WebServer:
    """Serves until it is stopped.

    Args:
        application: what is served.
        host: network address to listen on.
        port: of HTTP; 0 takes a free one.
    """

    def __init__(self, application: FastAPI, host: str, port: int) -> None:
        configuration = uvicorn.Config(
            application,
            # Neither addresses nor accession numbers belong in the log.
            access_log=False,
            log_config=None,
            lifespan="off",
            timeout_graceful_shutdown=_SECONDS_TO_END,
            server_header=False,
        )
        self._address = (host, port)
        self._server = uvicorn.Server(configuration)
        self._listening: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, name="web", daemon=True)

    def start(self) -> None:
        """Listen and serve.

        Raises:
            OSError: the address or port cannot be had.
        """
        host, port = self._address
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listening = socket.create_server((host, port), family=family)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that is listened on."""
        assert self._listening is not None, "the server was not started"
        return int(self._listening.getsockname()[1])

    def stop(self) -> None:
        """Let requests end for some seconds, then end."""
        if self._listening is None:
            return
        self._server.should_exit = True
        self._thread.join(2 * _SECONDS_TO_END)
        self._listening.close()

    def _serve(self) -> None:
        self._server.run(sockets=[self._listening] if self._listening else None)
