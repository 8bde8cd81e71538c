"""A progress bar on a terminal, nothing elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress


@contextmanager
def progress_bar(label: str, total: int) -> Iterator[Callable[[int, float], None]]:
    """Shows a bar while the context lasts.

    Args:
        label: what is going on.
        total: number of steps.

    Yields:
        A function to be told the number of steps done and a value to show beside the label.
    """
    console = Console()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(label, total=total)

        def update(done: int, value: float) -> None:
            progress.update(task, completed=done, description=f"{label} {value:.3g}")

        yield update
