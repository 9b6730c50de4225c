"""How long each process takes to end when it is told to, at most, as its own code bounds it."""

from __future__ import annotations

from dataclasses import fields

from pipeline.cli.worker import STOPPED_WITHIN_S
from pipeline.console.server import FINISH_WITHIN_S as CONSOLE_FINISHES_WITHIN_S
from pipeline.serve.http.server import FINISH_WITHIN_S
from pipeline.serve.settings import ServeSettings

(DRAINED_WITHIN_S,) = [each.default for each in fields(ServeSettings) if each.name == "drain_timeout_s"]

ENDS_WITHIN_S = {
    "worker": STOPPED_WITHIN_S,
    # Answers of both listeners are finished, one after the other; then what waits is delivered.
    "serve": 2 * FINISH_WITHIN_S + DRAINED_WITHIN_S,
    "console": CONSOLE_FINISHES_WITHIN_S,
}
"""By command."""
