"""A worker's look at its cluster: before it starts, and again while it runs; and a node's at its grants.

What breaks exactness stops it, by the name of topic and setting and with the command that mends it; the rest is logged,
among it partitions that take nothing because brokers are away: they hold up what is written there, and nothing else.
Partition counts are looked at every few seconds: of a partition that was added nothing is counted by halves, the worker
stops before and says what to do.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from pipeline.doctor.checks import Finding, grant_findings, partition_findings, topic_findings, worker_findings
from pipeline.doctor.gather import BrokerFacts, gather_cluster
from pipeline.doctor.requirements import Role
from pipeline.errors import ConfigError, NotAllowedError, StateError, UnavailableError
from pipeline.stream.security import Address

log = logging.getLogger(__name__)

LOOK_EVERY_S = 3.0
"""At the partition counts: one request."""
NO_GROUP = "pipeline"
"""Stands for the group that such a role has nothing to do with."""
SETTINGS_EVERY = 20
"""At all else, every so many looks: once a minute."""


def require_sound(broker: Address, app_id: str, partitions: int) -> None:
    """Look at everything before a worker starts.

    Raises:
        ConfigError: something breaks exactness, or a grant lacks. UnavailableError: no broker answers.
    """
    found = list(worker_findings(gather_cluster(broker, app_id, partitions), app_id, partitions, str(broker)))
    if refused := [each.in_words() for each in found if each.refuses]:
        raise ConfigError("this cluster, as `pipeline doctor` shows it", refused)
    warn(found)


def require_grants(broker: Address, role: Role) -> None:
    """Look at the grants of a role that works without a consumer group.

    Raises:
        ConfigError: one lacks, or the brokers do not take our name. UnavailableError: no broker answers.
    """
    try:
        cluster = BrokerFacts(broker, NO_GROUP).cluster()
    except NotAllowedError as error:
        raise ConfigError(f"broker {broker}", [str(error)]) from error
    found = list(grant_findings(cluster, role, NO_GROUP, str(broker)))
    if refused := [each.in_words() for each in found if each.refuses]:
        raise ConfigError(f"this cluster, as `pipeline doctor --role {role}` shows it", refused)
    warn(found)


class ClusterWatch:
    """Looks again and again, for as long as a worker runs."""

    def __init__(self, broker: Address, app_id: str, partitions: int) -> None:
        self._broker = broker
        self._app_id = app_id
        self._partitions = partitions
        self._warned: frozenset[Finding] = frozenset()
        self._is_answered = True

    async def run(self) -> None:
        """Look until cancelled.

        Raises:
            StateError: something breaks exactness now.
        """
        facts = BrokerFacts(self._broker, self._app_id)
        looks, is_askable = 0, False
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            looks += 1
            try:
                is_askable = is_askable or await asyncio.to_thread(facts.is_askable)
                if not is_askable:
                    return
                look = self._look_at_all if looks % SETTINGS_EVERY == 0 else self._look_at_counts
                await asyncio.to_thread(look, facts)
            except UnavailableError as error:
                self._note_silence(error)
            else:
                self._note_answer()

    def _note_silence(self, error: UnavailableError) -> None:
        """Say that the brokers do not tell any more: once, however often they are asked."""
        if self._is_answered:
            log.info("cluster-not-looked-at error=%s", error)
        self._is_answered = False

    def _note_answer(self) -> None:
        if not self._is_answered:
            log.info("cluster-looked-at-again")
        self._is_answered = True

    def _look_at_counts(self, facts: BrokerFacts) -> None:
        _stop_for(partition_findings(facts.counts(), self._app_id, self._partitions))

    def _look_at_all(self, facts: BrokerFacts) -> None:
        found = list(topic_findings(facts.cluster(), self._app_id, self._partitions, str(self._broker)))
        new = frozenset(each for each in found if each.is_told) - self._warned
        warn(new)
        self._warned = frozenset(each for each in found if each.is_told)  # what was over and comes again is said again
        _stop_for(found)


def _stop_for(findings: Iterable[Finding]) -> None:
    if refused := [each.in_words() for each in findings if each.refuses]:
        raise StateError("; ".join(refused))


def warn(findings: Iterable[Finding]) -> None:
    """Log what does not keep a worker from starting."""
    for each in findings:
        if each.is_told:
            log.warning("cluster-warning %s", each.in_words())
