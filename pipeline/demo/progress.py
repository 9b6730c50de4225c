"""How far a play is: a live display on a terminal, a plain line now and then elsewhere. Always on stderr."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import NamedTuple, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

LIVE_EVERY_S = 0.25
LINE_EVERY_S = 5.0
BAR_WIDTH = 24


class Frame(NamedTuple):
    """What there is to show at one moment."""

    phase: str
    """What goes on."""
    decisions: int
    total: int
    """How many decisions there will be."""
    settled: int
    version: int
    """Of the last snapshot; 0: none yet."""
    left_s: float | None = None
    """Seconds until the last decision, where that is known."""
    shares: Mapping[str, Mapping[str, float]] = {}
    """Segment → arm → share of the last decisions."""


class Progress:
    """Shows frames while the block runs."""

    def __init__(self, console: Console) -> None:
        self.interval_s = LIVE_EVERY_S if console.is_terminal else LINE_EVERY_S
        """How often a new frame is worth showing."""
        self._console = console
        self._live = Live(console=console, transient=True, auto_refresh=False) if console.is_terminal else None
        self._started_s = time.monotonic()

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, text: str) -> None:
        """Say what begins now."""
        if self._live is not None:
            self._live.update(Text(f"  {text} …", style="dim"), refresh=True)
        else:
            self._console.print(f"{self._elapsed()} {text}", highlight=False)

    def show(self, frame: Frame) -> None:
        """Show a frame."""
        if self._live is not None:
            self._live.update(drawn(frame), refresh=True)
        else:
            self._console.print(f"{self._elapsed()} {line(frame)}", highlight=False, soft_wrap=True)

    def _elapsed(self) -> str:
        return f"[{time.monotonic() - self._started_s:5.1f} s]"


def line(frame: Frame) -> str:
    """Write a frame as one line of text."""
    parts = [
        f"{frame.phase}: {frame.decisions:,} of {frame.total:,} decisions",
        f"{frame.settled:,} settled",
        f"snapshot {frame.version}",
    ]
    for segment, arms in frame.shares.items():
        if arms:
            arm, share = max(arms.items(), key=lambda item: item[1])
            parts.append(f"{segment} → {arm} {share:.0%}")
    if frame.left_s is not None:
        parts.append(f"{frame.left_s:.0f} s left")
    return ", ".join(parts)


def drawn(frame: Frame) -> RenderableType:
    """Draw a frame for a terminal."""
    facts = Table.grid(padding=(0, 2))
    facts.add_row(
        Text(frame.phase, style="bold"),
        ProgressBar(total=frame.total, completed=frame.decisions, width=BAR_WIDTH),
        f"{frame.decisions:,} of {frame.total:,} decisions",
        f"{frame.settled:,} settled",
        f"snapshot {frame.version}",
        "" if frame.left_s is None else f"{frame.left_s:.0f} s left",
    )
    if not frame.shares:
        return facts
    shares = Table.grid(padding=(0, 2))
    for segment, arms in frame.shares.items():
        for place, (arm, share) in enumerate(arms.items()):
            bar = ProgressBar(total=1.0, completed=share, width=BAR_WIDTH)
            shares.add_row(Text(segment if place == 0 else "", style="bold"), arm, bar, f"{share:4.0%}")
    return Group(facts, Text(""), shares)
