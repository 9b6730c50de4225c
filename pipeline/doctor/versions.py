"""Which Kafka the brokers are, by the requests that they take: a broker tells its versions of those, never its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from pipeline.doctor.checks import Finding, Status

Spoken = Mapping[int, Mapping[int, tuple[int, int]]]
FETCH = 1
RELEASES = (
    (17, "3.9 or 4.0"),
    (16, "3.7 or 3.8"),
    (15, "3.5 or 3.6"),
    (13, "3.1 to 3.4"),
    (12, "2.7 to 3.0"),
    (11, "2.3 to 2.6"),
)
"""By the highest version of Fetch, which nearly every release raises (Kafka's FetchRequest.json)."""
NEWER, OLDER = "4.1 or newer", "older than 2.3"


class Needed(NamedTuple):
    """A request that this package sends."""

    name: str
    """By Kafka's word."""
    version: int
    """The lowest that does what is needed."""
    why: str
    """What it is needed for."""
    is_strict: bool = True
    """Whether nothing goes without."""


NEEDED = {
    0: Needed("Produce", 3, "records with headers, and fenced writers"),
    FETCH: Needed("Fetch", 4, "to read what is committed, and nothing else"),
    22: Needed("InitProducerId", 0, "to claim partitions"),
    24: Needed("AddPartitionsToTxn", 0, "to renew claims"),
    26: Needed("EndTxn", 0, "to renew claims"),
    3: Needed("Metadata", 10, "to tell a topic that was made anew from the one that was known", is_strict=False),
    23: Needed("OffsetForLeaderEpoch", 2, "to tell a log that was cut off from the one that was read", is_strict=False),
    65: Needed("DescribeTransactions", 0, "to see claims here", is_strict=False),
}
UPGRADE = "upgrade the broker; Kafka 3.0 has all that is needed"


def release_of(versions: Mapping[int, tuple[int, int]]) -> str:
    """Return which releases of Kafka take just these requests.

    >>> release_of({1: (4, 16)})
    '3.7 or 3.8'
    """
    highest = versions.get(FETCH, (0, 0))[1]
    if highest > RELEASES[0][0]:
        return NEWER
    return next((release for least, release in RELEASES if highest >= least), OLDER)


def version_findings(spoken: Spoken) -> Iterator[Finding]:
    """Look whether every broker takes what is sent to it, and whether all are of one release."""
    releases: dict[str, list[int]] = {}
    for broker, versions in sorted(spoken.items()):
        releases.setdefault(release_of(versions), []).append(broker)
        for number, needed in NEEDED.items():
            highest = versions.get(number, (0, -1))[1]
            if highest < needed.version:
                seen = f"takes {needed.name} up to version {highest}" if highest >= 0 else f"takes no {needed.name}"
                status: Status = "fail" if needed.is_strict else "warn"
                yield Finding(
                    status,
                    f"version of broker {broker}",
                    seen,
                    f"{needed.version}, {needed.why}",
                    UPGRADE,
                )
    told = "; ".join(f"Kafka {release}: broker {', '.join(map(str, ids))}" for release, ids in releases.items())
    if len(releases) > 1:
        needed_words = "one release, but while they are upgraded one by one"
        yield Finding("warn", "broker versions", told, needed_words, "finish the upgrade")
    elif releases:
        yield Finding("ok", "broker versions", told)
