"""What keeps the node from working now; and ``python -m app.node health``, which asks it."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.node.page.settings import PageSettings

if TYPE_CHECKING:
    from app.node.node import Node

_SECONDS_TO_ANSWER = 5


def problems(node: Node) -> Iterator[str]:
    """One sentence for each thing that keeps ``node`` from receiving, running or delivering."""
    if not node.receiver.alive:
        yield "nothing can be received: the receiver processes are not running"
    receive = node.settings.node.receive
    if (
        node.spool.free_bytes() < receive.smallest_free_bytes
        or node.spool.free_fraction() < receive.smallest_free_fraction
    ):
        yield "nothing is received: the disk is nearly full"
    try:
        with node.ledger.read() as connection:
            connection.execute(text("SELECT 1"))
    except SQLAlchemyError:
        yield "the database cannot be reached"
    for name, thread in (("completer", node.completer), ("membership", node.membership)):
        if not thread.is_alive():
            yield f"the {name} has ended; see the log"


def ask(settings: PageSettings) -> tuple[bool, str]:
    """Whether a node answers on this machine, and a word about it."""
    if not settings.enabled:
        return True, "the page is off (node.page.enabled): nobody can be asked"
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    url = f"http://{f'[{host}]' if ':' in host else host}:{settings.port}/healthz"
    try:
        with urllib.request.urlopen(url, timeout=_SECONDS_TO_ANSWER) as answer:
            return answer.status == 200, "alive"
    except urllib.error.HTTPError as error:
        return False, f"the node answers {error.code}"
    except OSError as error:
        reason = getattr(error, "reason", error)
        return False, f"no node answers on this machine: {reason}"
