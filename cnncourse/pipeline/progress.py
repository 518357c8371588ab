"""What a run tells on the terminal: bars for people, plain lines for logs, a table in the end."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from cnncourse.pipeline.runner import Outcome

LINE_EVERY_S = 20  # a log without bars still shows that a long notebook moves
_STYLES = {"ran": "green", "cached": "cyan", "not run": "yellow", "interrupted": "yellow"}


class Display:
    """Where a run reports, from one thread. This one tells nobody."""

    def say(self, text: str) -> None:
        pass

    def begin(self, total: int) -> None:
        pass

    def start(self, name: str, why: str) -> None:
        pass

    def cell(self, name: str, number: int, of: int) -> None:
        pass

    def note(self, name: str, text: str) -> None:
        pass

    def finish(self, outcome: Outcome) -> None:
        pass

    def close(self) -> None:
        pass


class Lines(Display):
    """One line per event, for logs."""

    def __init__(self, console: Console):
        self.console = console
        self.total = self.done = 0
        self._last: dict[str, float] = {}

    def say(self, text: str) -> None:
        self._line(text)

    def begin(self, total: int) -> None:
        self.total = total

    def start(self, name: str, why: str) -> None:
        self._last[name] = time.monotonic()
        self._line(f"{name}: started ({why})")

    def cell(self, name: str, number: int, of: int) -> None:
        if time.monotonic() - self._last.get(name, 0.0) >= LINE_EVERY_S:
            self._last[name] = time.monotonic()
            self._line(f"{name}: cell {number} of {of}")

    def note(self, name: str, text: str) -> None:
        self._line(f"{name}: {text}")

    def finish(self, outcome: Outcome) -> None:
        self.done += 1
        count = f"[{self.done}/{self.total}]"
        self._line(f"{count} {outcome.name}: {outcome.status}, {duration(outcome.seconds)}{_where(outcome)}")

    def _line(self, text: str) -> None:
        self.console.print(Text(text), soft_wrap=True)


class Bars(Display):
    """One bar per running notebook, counting its cells, and one for the whole run."""

    def __init__(self, console: Console):
        self.console = console
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.completed}/{task.total} {task.fields[unit]}"),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=console,
            transient=True,
        )
        self._bars: dict[str, int] = {}
        self._all: int | None = None

    def say(self, text: str) -> None:
        self.console.print(Text(text))

    def begin(self, total: int) -> None:
        self._all = self.progress.add_task("notebooks", total=total, unit="done", note="")
        self.progress.start()

    def start(self, name: str, why: str) -> None:
        self._bars[name] = self.progress.add_task(name, total=None, unit="cells", note=f"starting ({why})")

    def cell(self, name: str, number: int, of: int) -> None:
        if name in self._bars:
            self.progress.update(self._bars[name], completed=number - 1, total=of, note=f"cell {number}")

    def note(self, name: str, text: str) -> None:
        if name in self._bars:
            self.progress.update(self._bars[name], note=text)

    def finish(self, outcome: Outcome) -> None:
        if outcome.name in self._bars:
            self.progress.remove_task(self._bars.pop(outcome.name))
        self.progress.advance(self._all)
        style = _STYLES.get(outcome.status, "red")
        line = Text(f"{outcome.name}  ").append(outcome.status, style=style)
        self.console.print(line.append(f"  {duration(outcome.seconds)}{_where(outcome)}"))

    def close(self) -> None:
        self.progress.stop()


def for_terminal() -> Display:
    """Bars on a terminal, lines elsewhere."""
    console = Console()
    return Bars(console) if console.is_terminal else Lines(Console(width=240))


def summary(outcomes: Iterable[Outcome], console: Console | None = None) -> None:
    """Print the table that ends a run, and where the logs of failures are."""
    console = console or Console()
    if not console.is_terminal:
        console = Console(file=console.file, width=200)  # a log has no width
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("notebook", "status", "cell"):
        table.add_column(column)
    table.add_column("time", justify="right")
    table.add_column("why")
    logs = []
    for outcome in outcomes:
        table.add_row(
            outcome.name,
            Text(outcome.status, style=_STYLES.get(outcome.status, "red")),
            str(outcome.cell or ""),
            duration(outcome.seconds),
            Text(outcome.reason),
        )
        if outcome.log:
            logs.append(outcome.log)
    console.print()
    console.print(table)
    for path in logs:
        console.print(Text(f"See {path}"), soft_wrap=True)


def duration(seconds: float) -> str:
    """A duration for people: ``12.3 s`` or ``4 min 05 s``."""
    return f"{seconds:.1f} s" if seconds < 100 else f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"


def _where(outcome: Outcome) -> str:
    where = f", in cell {outcome.cell}" if outcome.cell else ""
    return f"{where}: {outcome.reason}" if outcome.reason and not outcome.ok else where
