"""How commands show their progress, on standard error: a bar on a terminal, else a line every few seconds."""

from __future__ import annotations

import contextlib
import datetime
import sys
import threading
from collections.abc import Callable, Iterator

EVERY = 5.0  # seconds between lines where there is no terminal to draw a bar on


@contextlib.contextmanager
def shown(title: str, unit: str) -> Iterator[Callable[..., None]]:
    """Shows progress as long as the block runs, by a function of (units done, all units, a note on what is at hand).

    The rate is measured from the first units that are done, so that compilation before them does not count. With
    `work=False` the units have not been done now, but were there already.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(stderr=True)
    words = [TextColumn(f"{{task.{field}}}", markup=False) for field in ("description", "fields[text]")]
    columns = (words[0], BarColumn(), words[1])
    bar = Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal, speed_estimate_period=1e9
    )
    bar.add_task(title, total=None, text="starting")
    (task,) = bar.tasks

    def show(done: int, total: int, note: str = "", *, work: bool = True) -> None:
        (bar.update if work else bar.reset)(task.id, total=total, completed=done)
        parts = [f"{done:,}/{total:,} {unit}", *([note] if note else [])]
        if task.speed and task.remaining:
            rate = f"{task.speed:,.0f}" if task.speed >= 100 else f"{task.speed:.3g}"
            parts += [f"{rate}/s", f"{duration(task.remaining / task.speed)} left"]
        bar.update(task.id, text=", ".join(parts))

    over = threading.Event()

    def speak() -> None:
        while not over.wait(EVERY):
            if bar.disable:
                print(f"{title}: {task.fields['text']}", file=sys.stderr, flush=True)

    # A thread of its own speaks even while the work makes no progress, as during a compilation.
    speaker = threading.Thread(target=speak, daemon=True)
    with bar:
        speaker.start()
        try:
            yield show
        finally:
            over.set()
            speaker.join()


def duration(seconds: float) -> str:
    """Seconds in words: as they are below a minute, else as hours:minutes:seconds.

    Example:
        >>> duration(3.14), duration(3725)
        ('3.1 s', '1:02:05')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    return str(datetime.timedelta(seconds=round(seconds)))
