"""Signals that end a run: held back, and awaited where they can be answered.

Blocked and awaited instead of handled: then nothing can happen between two statements.
Imports nothing, because threads inherit what is blocked when they start, and the libraries
behind numpy start threads when they are loaded; a signal that finds one thread in which it is
not blocked ends the process without a word.
"""

from __future__ import annotations

import signal

INTERRUPTIONS = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
_AWAITED = INTERRUPTIONS | {signal.SIGCHLD}


def hold_back() -> None:
    """Block interruptions, and the news that a child has ended, in this and later threads."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)


def let_through() -> None:
    """Undo what was inherited from a process that holds interruptions back."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _AWAITED)


def await_next() -> signal.Signals:
    """Wait until an interruption comes (one of ``INTERRUPTIONS``) or a child ends (SIGCHLD)."""
    return signal.Signals(signal.sigwait(_AWAITED))
