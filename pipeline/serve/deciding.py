"""Requests → answers, with their records: written first, noted in the journal when the answer is sure.

    go       many short requests at once, each model asked once for all of them
    alone    one that takes longer than a go, in pieces
    batch    a caller's list by one snapshot, in pieces: all of it is logged, or none

An action that was decided before is answered as it was then, while the journal remembers it, and logged no more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import suppress

import numpy as np
from msgspec import UNSET, structs

from pipeline.errors import InvalidRecordError
from pipeline.serve.batching import GO_COST, SHARED_COST
from pipeline.serve.costs import decision_cost
from pipeline.serve.decision.explain import explaining
from pipeline.serve.decision.rollout import Known, Request, answer_many, answering
from pipeline.serve.delivery.journal import Journal, Written
from pipeline.serve.following.snapshot import LoadedSnapshot
from pipeline.serve.messages.answers import Explanation
from pipeline.serve.messages.decided import Decided, NoAnswer
from pipeline.serve.pieces import Pieces

Answer = Decided | NoAnswer


class Deciding:
    """Decides by what is known, draws by `rng`, and tells the journal."""

    def __init__(self, known: Known, journal: Journal, rng: np.random.Generator) -> None:
        self._known = known
        self._journal = journal
        self._rng = rng

    def arms(self, policy: str) -> int:
        """Return how many arms a policy has here."""
        snapshot = self._known.snapshots.get(policy)
        return 0 if snapshot is None else len(snapshot.active)

    def cost(self, policy: str, eligible: int | None, candidates: int) -> int:
        """Return what a decision costs, in those among few arms; `eligible`: how many the caller can show."""
        arms = self.arms(policy)
        return decision_cost(arms if eligible is None else min(arms, eligible), candidates)

    def go(self, requests: Sequence[Request]) -> list[Answer | Exception]:
        """Decide all of them by the snapshots of this moment, and log what was decided."""
        answers: list[Answer | Exception] = []
        for written in self._write_all(self._known, requests):
            if isinstance(written, Exception):
                answers.append(written)
            else:
                self._journal.note(written)
                answers.append(written.answer)
        return answers

    def alone(self, request: Request) -> Pieces[Answer]:
        """Decide what takes longer than a go, and log it."""
        written = yield from self._writing(self._known_now(), request)
        yield
        return self._noted(written).answer

    def batch(self, requests: Sequence[Request]) -> Pieces[list[Answer]]:
        """Decide all of them by the snapshots of this moment, and log them: all, or none.

        Raises:
            InvalidRecordError: what `go` gives, by the first request that can't be taken.
        """
        known = self._known_now()
        made: list[Written] = []
        for rows in self._shared(requests):
            if self._cost_of(requests[rows.start]) > GO_COST:
                made.append((yield from self._writing(known, requests[rows.start])))
            else:
                for each in self._write_all(known, requests[rows]):
                    if isinstance(each, Exception):
                        raise each
                    made.append(each)
            yield
        yield from self._noting(made)
        return [each.answer for each in made]

    def explaining(self, request: Request) -> Pieces[Explanation | NoAnswer]:
        """Tell what would be decided, and why; nothing is logged."""
        known = self._known_now()
        answer = yield from answering(known, request, self._rng)
        if isinstance(answer, NoAnswer):
            return answer
        yield
        explanation = yield from explaining(answer, _snapshot_of(known, answer))
        return structs.replace(explanation, action_id=UNSET, arm=UNSET, propensity=UNSET, decided_at_ms=UNSET)

    def _cost_of(self, request: Request) -> int:
        eligible = request.eligible
        return self.cost(request.policy, None if eligible is None else len(eligible), len(request.candidates))

    def _known_now(self) -> Known:
        """Return what is known, with the snapshots of this moment, for all goes that a work takes."""
        return dataclasses.replace(self._known, snapshots=dict(self._known.snapshots))

    def _writing(self, known: Known, request: Request) -> Pieces[Written]:
        """Do what `_write_all` does, for one request, in pieces."""
        first = self._journal.recall(request.policy, request.action_id)
        if first is not None:
            return first
        answer = yield from answering(known, request, self._rng)
        yield
        return self._written(known, request, answer)

    def _written(self, known: Known, request: Request, answer: Answer) -> Written:
        snapshot = None if isinstance(answer, NoAnswer) else _snapshot_of(known, answer)
        return self._journal.write(request.policy, answer, snapshot)

    def _write_all(self, known: Known, requests: Sequence[Request]) -> list[Written | Exception]:
        """Decide all of them, and write the records; an action that was decided before is answered as it was then."""
        written: list[Written | Exception | None] = []
        fresh: dict[str, int] = {}
        for place, request in enumerate(requests):
            if request.action_id in fresh:
                written.append(None)
                continue
            try:
                written.append(self._journal.recall(request.policy, request.action_id))
            except InvalidRecordError as error:
                written.append(error)
            if written[-1] is None:
                fresh[request.action_id] = place
        answers = answer_many(known, [requests[place] for place in fresh.values()], self._rng)
        for place, answer in zip(fresh.values(), answers, strict=True):
            try:
                written[place] = self._written(known, requests[place], answer)
            except InvalidRecordError as error:
                written[place] = error
        return [
            _again(written[fresh[request.action_id]], request) if each is None else each
            for request, each in zip(requests, written, strict=True)
        ]

    def _noting(self, made: list[Written]) -> Iterator[None]:
        """Log all of a batch, also where nobody waits for it any more: it has begun."""
        left = iter(range(len(made)))
        try:
            for place in left:
                made[place] = self._noted(made[place])
                yield
        finally:
            for place in left:
                self._noted(made[place])

    def _noted(self, written: Written) -> Written:
        """Log an answer, unless its action was decided meanwhile: by a row above it, or by somebody else."""
        answer = written.answer
        if isinstance(answer, Decided):
            with suppress(InvalidRecordError):  # another policy's: JOIN takes the first of the two
                again = self._journal.recall(written.asked, answer.decision.action_id)
                if again is not None:
                    return again
        self._journal.note(written)
        return written

    def _shared(self, requests: Sequence[Request]) -> Iterator[slice]:
        """Yield which requests of a batch are decided at once; one that takes longer than a go stands alone."""
        start = cost = 0
        for place, request in enumerate(requests):
            costs = self._cost_of(request)
            if costs > GO_COST and place > start:
                yield slice(start, place)
                start, cost = place, 0
            cost += costs
            if cost >= SHARED_COST or place + 1 == len(requests):
                yield slice(start, place + 1)
                start, cost = place + 1, 0


def _again(first: Written | Exception | None, request: Request) -> Written | Exception:
    """Return what a request is answered whose action is decided by one before it."""
    if isinstance(first, Written) and first.asked != request.policy:
        return InvalidRecordError("action-id-taken", f"action_id {request.action_id} is asked for of two policies")
    if isinstance(first, Written) and isinstance(first.answer, Decided):
        return first._replace(record=b"", shadows=())  # there is nothing more to log of it
    return first or RuntimeError("an action without an answer")


def _snapshot_of(known: Known, answer: Decided) -> LoadedSnapshot | None:
    """Return the snapshot that made a decision just now."""
    snapshot = known.snapshots.get(answer.decision.policy)
    return snapshot if snapshot is not None and snapshot.version == answer.snapshot_version else None
