"""Long requests, row by row: nothing that is done for one of them takes longer than a go of the loop (`batching.py`).

A batch is read, decided, logged and written in pieces, each when its caller's turn comes; it is logged whole, or not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from pipeline.errors import InvalidRecordError
from pipeline.serve.costs import outcomes_cost
from pipeline.serve.held import Held
from pipeline.serve.http.access import Access, Caller
from pipeline.serve.messages import answers, bodies
from pipeline.serve.messages.decided import Decided, NoAnswer
from pipeline.serve.messages.reading import row_reader_of
from pipeline.serve.node import ServingNode
from pipeline.serve.pieces import Pieces

MOST_HELD_ENTRIES = 1_000_000
"""Probabilities of all batches that are being decided, some 64 MiB with their records: two batches of 500 among 1,000
arms. Who comes then waits for them to be answered."""
MOST_ENTRIES = 100_000
"""Probabilities in the answer to one batch: some 4 MB."""
_encode = msgspec.json.Encoder().encode
_read_request = row_reader_of(bodies.DecideBody)
_read_outcome = row_reader_of(bodies.OutcomeBody)


class Batches:
    """What decides and takes many at once."""

    def __init__(self, node: ServingNode, access: Access) -> None:
        self._node = node
        self._access = access
        self._held = Held(MOST_HELD_ENTRIES)

    async def decide(self, caller: Caller, policy: str, body: bodies.DecideManyRows) -> memoryview:
        """Return the answer to a batch of one policy's.

        Raises:
            InvalidRecordError, DecodeError, RefusedError: by the first request that can't be taken.
        """
        node = self._node
        fields = bodies.OF_BATCHES if body.fields is None else body.fields
        requests, cost = await node.in_turn(self._reading(policy, body.requests), caller.name)
        self._access.check_named(caller, [each.action_id for each in requests])
        arms = node.arms(policy)
        width = arms if set(fields) & set(bodies.LONG_PARTS) else 1
        if width * len(requests) > MOST_ENTRIES:
            raise InvalidRecordError(
                "out-of-range",
                f"{len(requests)} requests of {width} arms each are an answer of {width * len(requests)} "
                f"probabilities, expected at most {MOST_ENTRIES}: ask for fewer, or leave them out of `fields`",
            )
        self._access.charge(caller, cost)
        async with self._held.hold(sum(arms + len(each.candidates or ()) for each in requests)):
            decided = await node.decide_many(policy, requests, caller=caller.name)
            return await node.in_turn(self._writing(decided, requests, caller, policy, fields), caller.name)

    async def take(self, caller: Caller, body: bodies.OutcomesRows) -> list[str]:
        """Take outcomes, all or none; return their ids.

        Raises:
            InvalidRecordError, DecodeError, RefusedError: by the first outcome that can't be taken.
        """
        count = len(body.outcomes)
        self._access.charge(caller, outcomes_cost(count))
        return await self._node.take_outcomes(self._told(caller, body.outcomes), count=count, caller=caller.name)

    def _reading(self, policy: str, rows: Sequence[msgspec.Raw]) -> Pieces[tuple[list[bodies.DecideBody], int]]:
        """Return the requests, and what they cost."""
        requests: list[bodies.DecideBody] = []
        cost = 0
        for place, row in enumerate(rows):
            requests.append(_read_request(row, f"requests[{place}]"))
            cost += self._node.cost_of(policy, requests[-1])
            yield
        return requests, cost

    def _writing(
        self,
        decided: list[Decided | NoAnswer],
        requests: list[bodies.DecideBody],
        caller: Caller,
        policy: str,
        fields: Sequence[str],
    ) -> Pieces[memoryview]:
        """Write answers and let go of each: to free half a million probabilities in one go takes milliseconds."""
        written = bytearray(b'{"answers":[')
        decided.reverse()
        while decided:
            written += _encode(self._row(decided.pop(), caller, policy, fields))
            written += b"," if decided else b""
            requests.pop()
            yield
        written += b"]}"
        return memoryview(written)

    def _row(
        self, answer: Decided | NoAnswer, caller: Caller, policy: str, fields: Sequence[str]
    ) -> answers.BatchAnswer:
        if isinstance(answer, NoAnswer):
            return answers.BatchAnswer(refused=answers.ErrorAnswer(answer.reason, answer.detail))
        expires_at_ms = self._node.expires_at_ms(answer)
        claim = self._access.claim(caller, policy, answer, expires_at_ms)
        return answers.BatchAnswer(decided=answers.decided_answer(answer, expires_at_ms, claim, fields))

    def _told(self, caller: Caller, rows: Sequence[msgspec.Raw]) -> Iterator[bodies.OutcomeBody]:
        for place, row in enumerate(rows):
            yield from self._access.accept(caller, [_read_outcome(row, f"outcomes[{place}]")])
