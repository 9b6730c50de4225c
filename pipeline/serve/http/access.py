"""Who may ask for what, and how often: checked before a body is read, and what a page says before it is taken."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from msgspec import structs

from pipeline.serve.addresses import network_of, plain
from pipeline.serve.claims import MAX_CLAIM_CHARACTERS, Claim, ClaimError, Claims
from pipeline.serve.http.rate_limit import RateLimit
from pipeline.serve.http.refused import CONNECTION, RefusedError, Scope
from pipeline.serve.keys import ApiKey, KeyRing, Right
from pipeline.serve.messages.bodies import OutcomeBody
from pipeline.serve.messages.decided import Decided
from pipeline.serve.settings import ServeSettings

BEARER = b"bearer "
MOST_REMEMBERED = 1_024
"""Addresses whose name as a caller is kept."""
CLAIM_MS = 86_400_000
"""How long a claim holds where it is not known until when an outcome counts."""


class Caller(NamedTuple):
    """Who asks."""

    name: str
    """Whose turn it is: a key's, an address's, or an address's behind a page's key."""
    key: ApiKey | None = None
    """None: no key is asked for."""

    @property
    def bucket(self) -> str:
        """Whose rate is counted, beside that of an address behind a page's key."""
        return self.name if self.key is None else f"key {self.key.name}"

    @property
    def is_page(self) -> bool:
        """Whether its key stands in a page."""
        return self.key is not None and bool(self.key.claims)


@lru_cache(MOST_REMEMBERED)
def _caller_at(address: str) -> Caller:
    return Caller(f"address {address}")


class Access:
    """A node's keys, claims and rate limits."""

    def __init__(self, settings: ServeSettings) -> None:
        self.last_used_ms: dict[str, int] = {}
        """By a key's name."""
        self._needs_keys = bool(settings.keys)
        self._ring = KeyRing(settings.keys)
        self._claims = Claims(settings.claim_secrets)
        self._proxies = frozenset(map(plain, settings.proxies))
        self._limit = RateLimit(settings.rate_per_s, settings.burst) if settings.rate_per_s else None
        self._page_limit = RateLimit(settings.page_rate_per_s, settings.burst) if settings.page_rate_per_s else None
        self._limits = self._limit is not None or self._page_limit is not None
        """Whether anything is counted."""
        self._callers: dict[str, Caller] = {}
        """Of keys that stand in no page, by hash: made once."""

    @property
    def keys(self) -> tuple[ApiKey, ...]:
        """Those in force."""
        return self._ring.keys

    def renew_keys(self, keys: Sequence[ApiKey]) -> None:
        """Take other keys from now on."""
        self._ring = KeyRing(keys)
        self._callers.clear()

    def renew_secrets(self, secrets: Sequence[bytes]) -> None:
        """Take other secrets of claims from now on."""
        self._claims = Claims(secrets)

    def admit(self, scope: Scope, right: Right, policy: str | None = None) -> Caller:
        """Return who asks, and count a request of theirs; `policy`: what they ask of, if it is one.

        Raises:
            RefusedError: 401, 403, 429.
        """
        if not self._needs_keys:
            caller = _caller_at(self._address(scope))
        else:
            key = self._key(scope)
            if not key.may(right, policy):
                what = f"the right {right}" if right not in key.rights else f"the policy {policy}"
                raise RefusedError(
                    403, "forbidden", f"key {key.name} lacks {what}: has {sorted(key.rights)} of {_policies(key)}"
                )
            caller = self._caller_of(key, scope)
        if self._limits:
            self._count(caller, 1)
        connection = scope.get(CONNECTION)
        if connection is not None and not connection.owner:
            connection.belong(caller.bucket)
        return caller

    def _caller_of(self, key: ApiKey, scope: Scope) -> Caller:
        if key.claims:
            return Caller(f"key {key.name} at {self._address(scope)}", key)
        caller = self._callers.get(key.sha256)
        if caller is None or caller.key is not key:
            caller = self._callers[key.sha256] = Caller(f"key {key.name}", key)
        return caller

    def has(self, scope: Scope, right: Right) -> bool:
        """Return whether a caller may; without keys everybody may."""
        if not self._needs_keys:
            return True
        try:
            return right in self._key(scope).rights
        except RefusedError:
            return False

    def charge(self, caller: Caller, cost: int) -> None:
        """Count what a request costs, of which one was counted when it was admitted.

        Raises:
            RefusedError: 429.
        """
        if self._limits and cost > 1:
            self._count(caller, cost, paid=1)

    def check_named(self, caller: Caller, action_ids: Sequence[str | None]) -> None:
        """Have the node itself name the actions of whom it gives claims.

        Raises:
            RefusedError: 403.
        """
        if caller.key is not None and caller.key.needs_claims and any(each is not None for each in action_ids):
            raise RefusedError(
                403,
                "action-id-refused",
                f"key {caller.key.name} is given claims to its actions, so the node names them: leave action_id out",
            )

    def claim(self, caller: Caller, policy: str, answer: Decided, expires_at_ms: int | None) -> str | None:
        """Return what an outcome of this decision has to bring, if this caller's have to."""
        key = caller.key
        if key is None or not key.needs_claims or "outcomes" not in key.rights:
            return None
        decision = answer.decision
        until_ms = decision.decided_at_ms + CLAIM_MS if expires_at_ms is None else expires_at_ms
        return self._claims.sign(key.name, decision.action_id, Claim(policy, key.claims), until_ms)

    def accept(self, caller: Caller, told: Sequence[OutcomeBody]) -> Sequence[OutcomeBody]:
        """Return outcomes as they may be taken of this caller.

        Raises:
            RefusedError: 403.
        """
        key = caller.key
        if key is None or not key.needs_claims:
            return told
        now_ms = _now_ms()
        return [self._claimed(key, each, now_ms) for each in told]

    def _claimed(self, key: ApiKey, told: OutcomeBody, now_ms: int) -> OutcomeBody:
        if told.claim is None or len(told.claim) > MAX_CLAIM_CHARACTERS:
            raise RefusedError(
                403,
                "claim-needed",
                f"key {key.name} tells outcomes only of decisions that it was given: send the `claim` of the decision",
            )
        try:
            claim = self._claims.read(key.name, told.action_id, told.claim, now_ms)
        except ClaimError as error:
            raise RefusedError(403, "claim-refused", f"the claim does not hold: {error}") from error
        if not key.may("outcomes", claim.policy):
            raise RefusedError(403, "forbidden", f"key {key.name} lacks the policy {claim.policy}")
        if not key.claims:
            return told
        most = min(claim.kinds.get(told.kind, -1.0), key.claims.get(told.kind, -1.0))
        if not abs(told.value) <= most:
            allowed = ", ".join(f"{kind} up to {key.claims[kind]:g}" for kind in sorted(key.claims))
            raise RefusedError(
                403, "claim-refused", f"{told.kind} of {told.value:g} is not claimed: key {key.name} tells {allowed}"
            )
        name = f"{told.action_id}-{told.kind}"
        if told.occurred_at_ms is not None or told.outcome_id not in {None, name}:
            raise RefusedError(
                403,
                "claim-refused",
                "the node dates and names what a page tells, one outcome of each kind: leave occurred_at_ms and "
                "outcome_id out",
            )
        return structs.replace(told, outcome_id=name)

    def _count(self, caller: Caller, cost: int, paid: int = 0) -> None:
        if self._limit is None and not caller.is_page:
            return
        now_s = time.monotonic()
        wait_s = 0.0 if self._limit is None else self._limit.wait_s(caller.bucket, now_s, cost, paid)
        if caller.is_page and self._page_limit is not None:
            page_wait_s = self._page_limit.wait_s(caller.name, now_s, cost, paid)
            if page_wait_s > 0.0 and wait_s <= 0.0 and self._limit is not None:
                self._limit.give_back(caller.bucket, cost)
            wait_s = max(wait_s, page_wait_s)
        if wait_s > 0.0:
            seconds = max(1, -int(-wait_s // 1))
            raise RefusedError(
                429,
                "too-many-requests",
                f"a request that costs {cost} can be made in {seconds} s: ask again then, or for less, or less often",
                {"retry-after": str(seconds)},
            )

    def _key(self, scope: Scope) -> ApiKey:
        presented = b""
        for name, value in scope["headers"]:
            # The names of ASGI's headers are in lower case.
            if name == b"authorization":
                presented = value[len(BEARER) :].strip() if value[: len(BEARER)].lower() == BEARER else b""
                break
        if presented:
            key = self._ring.of_secret(presented.decode("latin-1"))
        else:
            connection = scope.get(CONNECTION)
            key = None if connection is None else self._ring.of_certificate(connection.certificate_names)
        now_ms = _now_ms()
        if key is None:
            raise RefusedError(
                401,
                "unauthorized",
                "no key, or an unknown one: send `Authorization: Bearer KEY`",
                {"www-authenticate": "Bearer"},
            )
        if key.expires_at_ms is not None and now_ms >= key.expires_at_ms:
            raise RefusedError(
                401,
                "key-expired",
                f"key {key.name} is no key any more: ask for another one",
                {"www-authenticate": "Bearer"},
            )
        self.last_used_ms[key.name] = now_ms
        return key

    def _address(self, scope: Scope) -> str:
        """Return what counts as the caller's address: of a trusted proxy's caller, by what the proxy says."""
        client = scope.get("client")
        address = plain(client[0]) if client else ""
        if address not in self._proxies:
            return network_of(address)
        named = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for").decode("latin-1")
        for each in reversed([plain(part.strip()) for part in named.split(",") if part.strip()]):
            if each not in self._proxies:
                return network_of(each)
        return network_of(address)


def _policies(key: ApiKey) -> str:
    return str(sorted(key.policies)) if key.policies else "every policy"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
