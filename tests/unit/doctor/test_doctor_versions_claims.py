from __future__ import annotations

from pipeline.doctor.checks import Finding
from pipeline.doctor.claims import claim_findings
from pipeline.doctor.facts import Claimed, Deployment
from pipeline.doctor.versions import NEEDED, release_of, version_findings

ALL_NEEDED = dict.fromkeys(NEEDED, (0, 17))
NOBODY = Deployment({}, 0, 0, {})
ONE_WORKER = Deployment({}, 1, 2, {}, {"0a1b2c3d@10.0.0.7": 2})
OWNED = Claimed("Empty", 1001, 3, -1, 60_000)


def by_what(findings: object) -> dict[str, Finding]:
    return {finding.what: finding for finding in findings}  # type: ignore[attr-defined]


def test_brokers_of_one_release_that_take_everything_are_well():
    (finding,) = version_findings({1: ALL_NEEDED, 2: ALL_NEEDED})
    assert (finding.status, finding.seen) == ("ok", "Kafka 3.9 or 4.0: broker 1, 2")


def test_brokers_of_two_releases_are_told_of():
    (finding,) = version_findings({1: ALL_NEEDED, 2: {**ALL_NEEDED, 1: (0, 13)}})
    assert finding.status == "warn"
    assert finding.seen == "Kafka 3.9 or 4.0: broker 1; Kafka 3.1 to 3.4: broker 2"


def test_a_broker_that_can_t_be_fenced_on_is_refused_and_one_that_tells_less_is_warned_of():
    old = {**ALL_NEEDED, 1: (0, 3)}
    del old[22], old[65]
    lacking = [finding for finding in version_findings({4: old}) if finding.what == "version of broker 4"]
    assert {(finding.status, finding.seen) for finding in lacking} == {
        ("fail", "takes Fetch up to version 3"),
        ("fail", "takes no InitProducerId"),
        ("warn", "takes no DescribeTransactions"),
    }


def test_the_newest_release_that_is_known_is_not_the_newest_there_is():
    assert (release_of({1: (4, 18)}), release_of({1: (0, 10)}), release_of({})) == (
        "4.1 or newer",
        "older than 2.3",
        "older than 2.3",
    )


def claims(**changed: Claimed | None) -> dict[str, Claimed | None]:
    names = [f"pipeline-{table}-{number}" for table in ("join", "learn", "publish") for number in range(2)]
    return dict.fromkeys(names, OWNED) | {name.replace("_", "-"): claim for name, claim in changed.items()}


def test_what_is_claimed_is_shown_with_who_has_it():
    found = by_what(claim_findings(claims(), ONE_WORKER, "pipeline", "b:1", 0))
    assert {finding.status for finding in found.values()} == {"ok"}
    assert found["claims of learn"].seen == "2 of 2 partitions, epochs 3 to 3; workers: 0a1b2c3d@10.0.0.7 has 2"


def test_a_partition_that_a_worker_has_and_has_not_claimed_is_named():
    found = by_what(claim_findings(claims(pipeline_publish_1=None), ONE_WORKER, "pipeline", "b:1", 0))
    assert found["claims of publish"].status == "warn"
    assert "partition 1" in found["claims of publish"].mend


def test_before_there_is_a_worker_nothing_need_be_claimed():
    nothing = dict.fromkeys(claims())
    assert {finding.status for finding in claim_findings(nothing, NOBODY, "pipeline", "b:1", 0)} == {"ok"}


def test_a_transaction_that_outlives_its_timeout_is_named():
    # Open since 1,000, for 60 s at most: at 61,000 it may still be; a millisecond later it hangs.
    hanging = claims(pipeline_join_0=Claimed("Ongoing", 1001, 3, 1_000, 60_000))
    assert "claim pipeline-join-0" not in by_what(claim_findings(hanging, ONE_WORKER, "pipeline", "b:1", 61_000))
    found = by_what(claim_findings(hanging, ONE_WORKER, "pipeline", "b:1", 61_001))
    assert found["claim pipeline-join-0"].status == "warn"


def test_claims_that_may_not_be_seen_name_the_grant():
    (finding,) = claim_findings(None, ONE_WORKER, "pipeline", "b:1", 0)
    assert finding.status == "warn"
    assert "--operation Describe --transactional-id pipeline- --resource-pattern-type prefixed" in finding.mend
