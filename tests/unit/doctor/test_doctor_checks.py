from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

import pytest

from pipeline.doctor.checks import (
    Change,
    Finding,
    deployment_findings,
    folder_finding,
    grant_findings,
    partition_findings,
    topic_findings,
    worst,
)
from pipeline.doctor.facts import Cluster, Deployment, Sample, StateFolder, Topic
from pipeline.doctor.requirements import Role, grants_of, needs_of
from pipeline.stream.log.topics import topic_specs

ALL = frozenset({"Read", "Write", "Describe", "DescribeConfigs", "AlterConfigs", "Create"})
# What Apache Kafka gives a topic that nobody has set anything of.
DEFAULTS = {
    "cleanup.policy": "delete",
    "retention.ms": "604800000",
    "retention.bytes": "-1",
    "message.timestamp.type": "CreateTime",
    "max.message.bytes": "1048588",
    "min.compaction.lag.ms": "0",
    "delete.retention.ms": "86400000",
    "min.insync.replicas": "1",
    "unclean.leader.election.enable": "false",
}


def topic(partitions: int = 4, replicas: int = 3, in_sync: int = 3, **settings: str) -> Topic:
    return Topic(partitions, replicas, in_sync, {**DEFAULTS, **settings}, ALL)


def as_we_make_them() -> dict[str, Topic]:
    return {
        spec.name: topic(spec.partitions, **{**dict(spec.config), "min.insync.replicas": "2"})
        for spec in topic_specs("pipeline", 4)
    }


def cluster(**changed: Topic | None) -> Cluster:
    return Cluster(3, as_we_make_them() | changed, ALL, ALL)


def amiss(findings: Iterable[Finding]) -> dict[str, Finding]:
    return {finding.what: finding for finding in findings if finding.status != "ok"}


def test_what_topics_create_makes_is_what_is_needed():
    assert amiss(topic_findings(cluster(), "pipeline", 4, "b:1")) == {}
    assert needs_of("pipeline").keys() == {spec.name for spec in topic_specs("pipeline", 4)}


def test_a_cluster_s_defaults_are_refused_by_topic_and_setting_with_the_command_that_mends_them():
    made_by_others = Cluster(3, {name: topic() for name in as_we_make_them()})
    findings = list(topic_findings(made_by_others, "pipeline", 4, "b:1"))
    changelogs = [f"pipeline-{table}-changelog" for table in ("join", "learn", "publish")]
    expected = {(name, "message.timestamp.type") for name in ("decisions", "outcomes")}
    expected |= {(name, "retention.ms") for name in ("rewards", "erasures")}
    expected |= {
        (name, "cleanup.policy") for name in ("statistics", "snapshots", "policies", "deployments", *changelogs)
    }
    bounded = made_by_others.topics.keys() - {
        "shadow-decisions",
        "audit",
        "deployments",
        "checkpoints",
        "history-decisions",
        "history-outcomes",
    }
    expected |= {(name, "max.message.bytes") for name in bounded}
    refused = [finding.change for finding in findings if finding.status == "fail" and finding.change]
    assert {(change.topic, change.setting) for change in refused} == expected
    stamped = next(finding for finding in findings if finding.what == "topic decisions")
    assert stamped.change == Change("decisions", "message.timestamp.type", "LogAppendTime")
    assert stamped.in_words() == (
        "topic decisions: message.timestamp.type = CreateTime; needed: LogAppendTime, as otherwise a producer's own "
        "clock would stand where the broker's is counted on, and close others' windows; mend it by: pipeline doctor "
        "--fix --broker b:1"
    )


@pytest.mark.parametrize(
    ("name", "settings", "status"),
    [
        ("outcomes", {"cleanup.policy": "compact"}, "fail"),
        ("rewards", {"cleanup.policy": "compact,delete", "retention.ms": "-1"}, "fail"),
        ("rewards", {"retention.ms": "-1", "retention.bytes": "1000000"}, "fail"),
        ("statistics", {"cleanup.policy": "compact,delete"}, "fail"),
        ("statistics", {"cleanup.policy": "compact,delete", "retention.ms": "-1"}, "warn"),
        ("pipeline-join-changelog", {"cleanup.policy": "compact", "delete.retention.ms": "60000"}, "fail"),
        ("pipeline-join-changelog", {"cleanup.policy": "compact", "min.compaction.lag.ms": "864000000"}, "warn"),
        ("decisions", {"message.timestamp.type": "LogAppendTime", "retention.ms": "3600000"}, "warn"),
        ("dead-letters", {"unclean.leader.election.enable": "true"}, "fail"),
    ],
)
def test_a_setting_is_judged_by_what_comes_of_it(name: str, settings: dict[str, str], status: str):
    large = {"max.message.bytes": "8388608", "min.insync.replicas": "2"}
    judged = amiss(topic_findings(cluster(**{name: topic(**{**large, **settings})}), "pipeline", 4, "b:1"))
    assert {what: finding.status for what, finding in judged.items()} == {f"topic {name}": status}


def test_a_missing_topic_is_made_and_one_whose_settings_nobody_may_see_is_told():
    without = Cluster(3, {name: found for name, found in as_we_make_them().items() if name != "rewards"}, ALL, ALL)
    assert amiss(topic_findings(without, "pipeline", 4, "b:1"))["topic rewards"].change == Change("rewards", "", "")
    unseen = topic()._replace(settings=None)
    told = amiss(topic_findings(cluster(rewards=unseen), "pipeline", 4, "b:1"))["topic rewards"]
    assert told.status == "warn"
    assert "--operation DescribeConfigs --topic rewards" in told.mend


def test_replication_says_what_it_survives():
    alone = {name: found._replace(replicas=1, in_sync=1) for name, found in as_we_make_them().items()}
    lone = {
        name: found._replace(settings={**found.settings, "min.insync.replicas": "1"}) for name, found in alone.items()
    }
    assert amiss(topic_findings(Cluster(1, lone), "pipeline", 4, "b:1"))["replication of all topics"].status == "warn"
    behind = as_we_make_them()["rewards"]._replace(in_sync=1)
    found = amiss(topic_findings(cluster(rewards=behind), "pipeline", 4, "b:1"))["replication of rewards"]
    assert (found.status, found.seen) == ("fail", "1 of 3 brokers have all of it")


def test_nobody_stops_for_a_partition_that_takes_nothing_while_brokers_are_away():
    behind = as_we_make_them()["rewards"]._replace(in_sync=1)
    (found,) = amiss(topic_findings(cluster(rewards=behind), "pipeline", 4, "b:1")).values()
    assert (found.refuses, found.is_told) == (False, True)
    unsound = topic()._replace(settings={"max.message.bytes": "1"})
    refused = amiss(topic_findings(cluster(rewards=unsound), "pipeline", 4, "b:1"))["topic rewards"]
    assert (refused.refuses, refused.is_told) == (True, False)


def test_topics_in_which_records_meet_have_equal_counts_and_one_that_has_grown_is_told():
    counts = {name: found.partitions for name, found in as_we_make_them().items()}
    assert amiss(partition_findings(counts, "pipeline", None)) == {}
    grown = amiss(partition_findings(counts | {"outcomes": 6}, "pipeline", None))["partitions of outcomes"]
    assert (grown.status, grown.seen, grown.mend) == ("fail", "6", "ops/runbooks/partitions-added.md")
    # The snapshots' count is nobody else's.
    assert amiss(partition_findings(counts | {"snapshots": 6}, "pipeline", None)) == {}
    # A worker that counts others is wrong about all of them: four topics and three changelogs.
    assert len(amiss(partition_findings(counts, "pipeline", 6))) == 7


@pytest.mark.parametrize("role", get_args(Role))
def test_each_grant_of_a_role_is_missed_by_its_name(role: Role):
    assert amiss(grant_findings(cluster(), role, "pipeline", "b:1")) == {}
    for grant in grants_of(role, "pipeline"):
        for operation in grant.operations:
            fewer, seen = ALL - {operation}, cluster()
            match grant.kind:
                case "topic":
                    seen = cluster(**{grant.name: as_we_make_them()[grant.name]._replace(operations=fewer)})
                case "group":
                    seen = seen._replace(group_operations=fewer)
                case "cluster":
                    seen = seen._replace(cluster_operations=fewer)
            (lacking,) = [each for each in grant_findings(seen, role, "pipeline", "b:1") if each.status != "ok"]
            resource = f"{grant.kind} {grant.name}".strip()
            assert lacking.seen == f"{operation} on {resource} lacks"
            assert f"--operation {operation}" in lacking.mend


def test_a_worker_misses_its_transactional_ids_and_a_topic_that_it_may_not_even_see():
    seen = cluster(rewards=None)._replace(refused_ids=("pipeline-join-0",))
    found = [each.seen for each in grant_findings(seen, "worker", "pipeline", "b:1") if each.status == "fail"]
    assert found == [
        "Read on topic rewards lacks",
        "Write on topic rewards lacks",
        "Write on transactional id pipeline-join-0 lacks",
    ]


def test_lag_claims_partitioners_clocks_and_producers_are_told():
    samples = {
        "decisions": Sample(100, 100, 25, newest_ms=900, ahead_ms=0),
        "outcomes": Sample(100, 26, 100, newest_ms=90_000, ahead_ms=400_000, codecs=("lz4",)),
    }
    deployment = Deployment({"decisions": 0, "outcomes": 7, "rewards": None}, 1, 3, samples)
    found = amiss(deployment_findings(deployment, cluster(), 1_000))
    outcomes = {f"{what} of outcomes" for what in ("lag", "partitioner", "clock", "producers")}
    assert found.keys() == {*outcomes, "claims"}
    assert found["partitioner of outcomes"].seen.startswith(
        "26 of 100 keys lie where murmur2 puts them, 100 where crc32"
    )
    assert found["claims"].seen == "1 workers have 3 of 4 partitions"


def test_a_state_folder_is_told_when_it_is_not_writable_or_full():
    roomy = StateFolder("s", is_writable=True, free_bytes=1 << 40, held_bytes=0)
    assert folder_finding(roomy).status == "ok"
    assert folder_finding(roomy._replace(is_writable=False)).status == "fail"
    assert folder_finding(roomy._replace(free_bytes=1 << 20)).status == "warn"
    assert folder_finding(roomy._replace(broken=("0.broken",))).status == "warn"
    assert worst([Finding("fail", "a", ""), Finding("ok", "b", "")]) == "fail"
