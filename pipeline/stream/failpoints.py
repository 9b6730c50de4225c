"""Places where a fault test ends the process as `kill -9` does. In a normal run each is a call that does nothing.

`PIPELINE_FAILPOINT=join.changelog-sent:3` kills the worker when JOIN has sent a third step to its changelog.
The points, in their order, for the stages join, learn and publish:

    part-restored (as often as there are fetches)
    before-outputs  outputs-sent  outputs-acknowledged  changelog-sent  changelog-acknowledged  rows-written  batch-done

and for the process: worker.before-commit, worker.after-commit, publish.snapshot-built, publish.snapshot-sent; where a
snapshot has parts, publish.parts-written and publish.parts-sent after each group of them. Of a checkpoint:
checkpoint.part-sent after each part, checkpoint.parts-sent, checkpoint.head-sent, checkpoint.superseded.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable

from pipeline.errors import ConfigError

VARIABLE = "PIPELINE_FAILPOINT"

Reach = Callable[[str], None]
"""Told the name of each point that is reached."""


def pass_by(point: str) -> None:
    """Do nothing: no point is armed."""


def failpoint(setting: str) -> Reach:
    """Return what a worker calls at each point.

    Args:
        setting: `stage.name:nth`, or nothing.

    Raises:
        ConfigError: the setting is neither.
    """
    if not setting:
        return pass_by
    armed, _, nth = setting.rpartition(":")
    if "." not in armed or not nth.isdigit():
        raise ConfigError(VARIABLE, [f"{setting!r} is not stage.name:nth, such as join.changelog-sent:3"])
    reached: Counter[str] = Counter()

    def reach(point: str) -> None:
        reached[point] += 1
        if point == armed and reached[point] == int(nth):
            os.kill(os.getpid(), signal.SIGKILL)

    return reach
