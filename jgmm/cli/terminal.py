"""What the command line shows: progress while it works, a table when it is done."""

from __future__ import annotations

import sys
import threading
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from jgmm.cli.process import shown


class OutputError(Exception):
    """Standard output cannot be written to."""


class UnheardError(Exception):
    """Nobody reads standard output on."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to us."""
        raise


class Terminal:
    """Standard output: live on a terminal, plain lines elsewhere, nothing when quiet."""

    def __init__(self, quiet: bool = False) -> None:
        """``quiet``: show nothing."""
        self._console = _Console(
            quiet=quiet, highlight=False, markup=False, emoji=False, soft_wrap=True
        )
        self._lock = threading.Lock()
        self._progress: Progress | None = None
        self._name = ""

    def line(self, text: str) -> None:
        """Print a line that stays."""
        self._print(shown(text, sys.stdout))

    def _print(self, content: str | Table) -> None:
        try:
            self._console.print(content)
        except BrokenPipeError:
            raise UnheardError from None
        except OSError as error:
            raise OutputError(f"cannot write to standard output: {error.strerror}") from error

    def begin(self, name: str, about: str, steps: int, doing: str = "fitting") -> None:
        """Start with an image, of so many steps, and with ``doing``."""
        self._name = shown(name, sys.stdout)
        self.line(f"{name}: {about}")
        if self._console.is_terminal and not self._console.quiet:
            self._progress = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=30),
                TimeElapsedColumn(),
                console=self._console,
                transient=True,
            )
            self._progress.add_task(doing, total=steps)
            self._progress.start()

    def step(self, text: str, advance: int = 1) -> None:
        """Say what has just been done; from any thread."""
        with self._lock:
            if self._progress is None:
                self.line(f"{self._name}: {text}")
            else:
                task = self._progress.task_ids[0]
                self._progress.update(task, description=shown(text, sys.stdout), advance=advance)

    def end(self) -> None:
        """Take the live display away."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def table(self, summary: dict[str, Any]) -> None:
        """The closing table: a line for each k."""
        table = Table(box=None, padding=(0, 2, 0, 0), caption_justify="left")
        flat = any(any(fit["at_floor"]) for fit in summary["fits"])
        headings = ["k", "log-likelihood", "iterations", "status", "BIC", "seconds"]
        for heading in [*headings, "flat"] if flat else headings:
            table.add_column(heading, justify="left" if heading == "status" else "right")
        several = len(summary["fits"]) > 1
        for fit in summary["fits"]:
            mark = " *" if fit["k"] == summary["chosen_k"] else "  "
            cells = [
                str(fit["k"]),
                _number(fit["log_likelihood"], ".4f"),
                str(fit["iterations"]),
                fit["status"],
                _number(fit["bic"], ",.0f") + (mark if several else ""),
                f"{fit['seconds']:.1f}",
            ]
            table.add_row(*cells, *([str(sum(fit["at_floor"]))] if flat else []))
        self._print(table)
        if flat:
            self.line(
                "flat: segments without spread in some direction, but for the rounding of the "
                "image; they make likelihoods high and say little"
            )
        if any(fit["criteria_of"] != "this fit" for fit in summary["fits"]):
            self.line("BIC: of the plain mixture, as the fit under a noise model has none")
        if summary["chosen_k"] is not None and several:
            self.line(f"log-likelihood: mean nats per pixel; * {summary['chosen_because']}")
        elif len(summary["chosen_from"]) > 1 or summary.get("chosen_by") == "bayes":
            self.line(f"k = {summary['chosen_k']}: {summary['chosen_because']}")


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
