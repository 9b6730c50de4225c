"""Many decisions by one snapshot: what the model is asked, asked once for all of them. Pure.

Inside `foreseeing` a snapshot has the model's weights of a batch at hand, computed in one vectorised pass. `decide`
then does everything else, the same for one request as for many, so that a batch can't be decided by other rules;
where it asks for something that was not foreseen, the model is asked as for a single request.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from pipeline.models.many import probabilities_many
from pipeline.policy.features import decode
from pipeline.serve.bodies import DecideBody
from pipeline.serve.snapshot import Asked, LoadedSnapshot


@contextmanager
def foreseeing(snapshot: LoadedSnapshot | None, requests: Sequence[DecideBody]) -> Iterator[None]:
    """Have the weights of these requests at hand; a model without context has them anyway."""
    if snapshot is None or not snapshot.needs_context or len(requests) < 2:
        yield
        return
    _foresee(snapshot, requests)
    try:
        yield
    finally:
        snapshot.foreseen.clear()


def _foresee(snapshot: LoadedSnapshot, requests: Sequence[DecideBody]) -> None:
    definition = snapshot.definition
    vectors, errors = definition.features.encode_many([request.context for request in requests])
    rows: defaultdict[tuple[str, tuple[str, ...]], list[int]] = defaultdict(list)
    for row, (request, error) in enumerate(zip(requests, errors, strict=True)):
        if error is None:
            rows[definition.segments.segment_for(request.context), _arms(snapshot, request)].append(row)
    for (segment, arms), of_group in rows.items():
        if segment not in snapshot.segments or not arms:
            continue
        group = vectors[of_group]
        weights = probabilities_many(snapshot.model, snapshot.segments[segment].of(arms), decode(group))
        for vector, row_weights in zip(group, weights, strict=True):
            if not np.isnan(row_weights).any():  # else `decide` finds out why there is no answer
                snapshot.foreseen[Asked(segment, arms, vector.tobytes())] = row_weights


def _arms(snapshot: LoadedSnapshot, request: DecideBody) -> tuple[str, ...]:
    if request.eligible is None:
        return snapshot.active
    listed = frozenset(request.eligible)
    return tuple(arm for arm in snapshot.active if arm in listed)
