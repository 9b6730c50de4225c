"""Requests and answers of a serving node, without any IO: what the sync and the async client share.

Every method of `Calls` returns a `Call`: what to send, and how to read the answer. `converse` leads it to that answer:
it says what to do next (send, or wait), and a client is whatever does it.

Outcomes are named here, so that one that is sent again counts once. A decision is not sent again once it may have
arrived: the second answer could be another arm than the one that was logged. Ask anew instead.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import quote

import msgspec

from pipeline.errors import PipelineError, UnavailableError
from pipeline.serve.messages.answers import (
    BatchAnswer,
    DecidedAnswer,
    DecidedManyAnswer,
    ErrorAnswer,
    Explanation,
    OutcomeAnswer,
    OutcomesAnswer,
    PoliciesAnswer,
    PolicyAnswer,
)
from pipeline.serve.messages.bodies import DecideBody, DecideManyBody, ExplainBody, OutcomeBody, OutcomesBody

T = TypeVar("T")
NOBODY = 0
"""Stands for a status where nobody took the request."""
LOST = -1
"""The request may have arrived, its answer did not."""
NOT_DONE = frozenset({NOBODY, 429, 503})
UNCERTAIN = frozenset({LOST, 502, 504})
_encode = msgspec.json.Encoder().encode


class NodeError(PipelineError):
    """The node did not do what it was asked."""

    def __init__(self, status: int, word: str, detail: str) -> None:
        self.status = status
        self.word = word
        self.detail = detail
        super().__init__(f"{status} {word}: {detail}")


class Call(NamedTuple, Generic[T]):
    """One request, and how its answer is read."""

    method: str
    path: str
    body: bytes | None
    read: Callable[[int, bytes], T]
    """Takes the status and the body. Raises NodeError."""
    headers: Mapping[str, str]
    is_repeatable: bool = True
    """Whether it may be sent again though it may have arrived."""


class Calls:
    """What a node can be asked."""

    def __init__(self, new_id: Callable[[], str], key: str | None = None) -> None:
        """Take what makes ids that never repeat, and the API key where one is asked for."""
        self._new_id = new_id
        self._headers = {"accept": "application/json", "content-type": "application/json"}
        if key is not None:
            self._headers["authorization"] = f"Bearer {key}"

    def decide(
        self,
        policy: str,
        context: Mapping[str, Any],
        eligible: Sequence[str] | None = None,
        subject: str | None = None,
        action_id: str | None = None,
        candidates: Mapping[str, Mapping[str, float]] | None = None,
    ) -> Call[DecidedAnswer]:
        """Ask for an arm to show; candidates are arms of this request alone, by name, with their features."""
        body = DecideBody(context, eligible, subject, action_id, candidates)
        path = f"/v1/policies/{quote(policy, safe='')}/decide"
        return self._post(path, body, DecidedAnswer, lambda each: each)._replace(is_repeatable=False)

    def decide_many(self, policy: str, requests: Sequence[DecideBody]) -> Call[list[BatchAnswer]]:
        """Ask for many arms at once; a request that can't be answered has `refused` in its place."""
        path = f"/v1/policies/{quote(policy, safe='')}/decide/batch"
        asked = DecideManyBody(requests)
        return self._post(path, asked, DecidedManyAnswer, lambda answer: answer.answers)._replace(is_repeatable=False)

    def outcome(
        self,
        action_id: str,
        kind: str,
        value: float = 1.0,
        outcome_id: str | None = None,
        occurred_at_ms: int | None = None,
    ) -> Call[str]:
        """Tell what came of a decision; named here if the caller does not, so that a repeat counts once."""
        body = OutcomeBody(action_id, kind, value, outcome_id or self._new_id(), occurred_at_ms)
        return self._post("/v1/outcomes", body, OutcomeAnswer, lambda answer: answer.outcome_id)

    def outcomes(self, outcomes: Sequence[OutcomeBody]) -> Call[list[str]]:
        """Tell what came of many decisions."""
        named = [
            each if each.outcome_id else msgspec.structs.replace(each, outcome_id=self._new_id()) for each in outcomes
        ]
        return self._post("/v1/outcomes/batch", OutcomesBody(named), OutcomesAnswer, lambda answer: answer.outcome_ids)

    def explain(
        self,
        policy: str,
        context: Mapping[str, Any],
        eligible: Sequence[str] | None = None,
        candidates: Mapping[str, Mapping[str, float]] | None = None,
    ) -> Call[Explanation]:
        """Ask what would be decided, and why."""
        path = f"/v1/policies/{quote(policy, safe='')}/explain"
        return self._post(path, ExplainBody(context, eligible, candidates), Explanation, lambda each: each)

    def explain_decision(self, action_id: str) -> Call[Explanation]:
        """Ask why a recent decision of this node was what it was."""
        path = f"/v1/decisions/{quote(action_id, safe='')}/explain"
        return self._call("GET", path, None, Explanation, lambda each: each)

    def policies(self) -> Call[list[PolicyAnswer]]:
        """Ask what the node decides for."""
        return self._call("GET", "/v1/policies", None, PoliciesAnswer, lambda answer: answer.policies)

    def _post(self, path: str, body: msgspec.Struct, kind: type[Any], take: Callable[[Any], T]) -> Call[T]:
        return self._call("POST", path, _encode(body), kind, take)

    def _call(self, method: str, path: str, body: bytes | None, kind: type[Any], take: Callable[[Any], T]) -> Call[T]:
        def read(status: int, raw: bytes) -> T:
            if status == 200:
                try:
                    return take(msgspec.json.decode(raw, type=kind))
                except msgspec.MsgspecError as error:
                    raise NodeError(status, "not-understood", f"the answer is no {kind.__name__}: {error}") from error
            raise _refusal(status, raw)

        return Call(method, path, body, read, self._headers)


class Send(NamedTuple):
    """Do this request; answer with a `Reply`."""

    method: str
    path: str
    body: bytes | None
    headers: Mapping[str, str]


class Wait(NamedTuple):
    """Do nothing for so long; answer with None."""

    seconds: float


class Reply(NamedTuple):
    """What came of a `Send`."""

    status: int
    """Or NOBODY, or LOST."""
    body: bytes
    retry_after: str | None = None


def converse(call: Call[T], attempts: int) -> Generator[Send | Wait, Reply | None, T]:
    """Lead a call to its answer: yield what to do next, be sent what came of it, return the answer.

    Raises:
        NodeError: the node refuses it. UnavailableError: no node answers.
    """
    send = Send(call.method, call.path, call.body, call.headers)
    for attempt in itertools.count(1):
        reply = yield send
        if reply is None:
            raise ValueError("a Send is answered with a Reply")
        may_repeat = reply.status in NOT_DONE or (call.is_repeatable and reply.status in UNCERTAIN)
        if may_repeat and attempt < attempts:
            yield Wait(_wait_s(attempt, reply.retry_after))
        elif reply.status in {NOBODY, LOST}:
            raise UnavailableError(f"no node answers {call.method} {call.path}: {reply.body.decode()}")
        else:
            return call.read(reply.status, reply.body)
    raise AssertionError("unreachable")


def _wait_s(attempt: int, retry_after: str | None) -> float:
    """Return how long to wait after attempt 1, 2, …: what the node says, or twice as long each time."""
    if retry_after is not None and retry_after.isdigit():
        return float(retry_after)
    return min(5.0, 0.1 * 2.0 ** (attempt - 1))


def _refusal(status: int, raw: bytes) -> NodeError:
    try:
        answer = msgspec.json.decode(raw, type=ErrorAnswer)
    except msgspec.MsgspecError:
        return NodeError(status, "not-understood", "the answer is not a node's: is something else at this address?")
    return NodeError(status, answer.error, answer.detail)
