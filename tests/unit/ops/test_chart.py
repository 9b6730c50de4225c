"""The chart: what Kubernetes takes, with least rights, and nothing that stands elsewhere and could drift from it."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from confluent_kafka.admin import AclBinding, ResourcePatternType, ResourceType

from pipeline.brokers import default_cache_dir
from pipeline.stream.log.topics import topic_specs
from tests.harness.chart import (
    ALL,
    LEAST,
    NEWEST,
    OLDEST,
    RELEASE,
    SECURED,
    STRIMZI,
    ask_helm,
    containers,
    environment,
    pods,
    probes,
    rendered,
)
from tests.harness.grants import ROLES, bindings, documented
from tests.harness.metric_tables import every_metric
from tests.harness.pages import TOP
from tests.harness.prometheus import prometheus_binaries
from tests.harness.stopping import ENDS_WITHIN_S
from tests.unit.ops.custom_kinds import SCHEMAS
from tests.unit.test_compose import command_of, known_variables

KAFKA_FOLDER = "/run/secrets/pipeline/kafka"


@pytest.fixture(scope="module", params=ALL)
def objects(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return rendered(ALL[request.param])


@pytest.fixture(scope="module")
def secured() -> list[dict[str, Any]]:
    return rendered(SECURED)


@pytest.fixture(scope="module")
def strimzi() -> list[dict[str, Any]]:
    return rendered(STRIMZI)


def of_kind(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [each for each in objects if each["kind"] == kind]


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(values)
    for name, change in changes.items():
        is_both = isinstance(change, Mapping) and isinstance(found.get(name), Mapping)
        found[name] = merged(found[name], change) if is_both else change
    return found


@pytest.mark.parametrize("values", ALL.values(), ids=ALL)
def test_helm_finds_no_fault_in_it(values: Mapping[str, Any]):
    ended = ask_helm("lint", values)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_takes_each_object_and_knows_each_of_its_fields(objects: list[dict[str, Any]], version: str):
    asked_for = yaml.safe_load((TOP / "ops" / "helm" / "Chart.yaml").read_text("utf-8"))["kubeVersion"]
    assert asked_for == f">={OLDEST}.0-0"
    for each in objects:
        if each["apiVersion"] in SCHEMAS:
            jsonschema.validate(each, SCHEMAS[each["apiVersion"]][each["kind"]])
        else:
            kubernetes_validate.validate(each, version, strict=True)


def test_no_two_objects_have_one_name_and_none_is_a_secret(objects: list[dict[str, Any]]):
    names = Counter((each["kind"], each["metadata"]["name"]) for each in objects)
    assert set(names.values()) == {1}
    assert "Secret" not in {kind for kind, _ in names}


def test_pods_run_without_rights(objects: list[dict[str, Any]]):
    for pod in pods(objects).values():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        # Else a Service of this release would be PIPELINE_…, which the command line refuses as a misspelt setting.
        assert spec["enableServiceLinks"] is False
        context = spec["securityContext"]
        assert context["runAsNonRoot"]
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert f"--uid {context['runAsUser']} " in (TOP / "ops" / "Dockerfile").read_text("utf-8")
    for container in containers(objects).values():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]


def test_each_container_runs_a_command_that_there_is_with_options_that_it_knows(objects: list[dict[str, Any]]):
    known = known_variables()
    for container in containers(objects).values():
        command = command_of(container["args"])
        own = {name for name in environment(container) if name.startswith("PIPELINE_")}
        assert own <= known
        # Of the command itself, but for those that every command reads.
        twins = {option.envvar for option in command.params}
        assert {name for name in own if not name.startswith("PIPELINE_KAFKA_")} - twins <= {
            "PIPELINE_LOG_FORMAT",
            "PIPELINE_APP_ID",
        }


def test_what_is_written_lies_where_it_can_be_and_what_is_read_is_mounted(objects: list[dict[str, Any]]):
    for component, container in containers(objects).items():
        writable = [each["mountPath"] for each in container["volumeMounts"] if not each.get("readOnly")]
        readable = [each["mountPath"] for each in container["volumeMounts"] if each.get("readOnly")]
        volumes = {each["name"] for each in pods(objects)[component]["spec"]["volumes"]}
        claims = [
            claim["metadata"]["name"]
            for each in of_kind(objects, "StatefulSet")
            for claim in each["spec"].get("volumeClaimTemplates", [])
        ]
        assert {each["name"] for each in container["volumeMounts"]} <= volumes | set(claims)
        for name, value in environment(container).items():
            if not value.startswith("/"):
                continue
            where = writable if name.endswith("_DIR") or name == "HOME" else readable
            assert any(value == top or value.startswith(f"{top}/") for top in where), (component, name, value)
            # A volume's own top is the file system's, with its lost+found and its owner.
            if name.startswith("PIPELINE_") and name.endswith("_DIR"):
                assert value not in where


def test_passwords_and_keys_come_from_secrets_by_name_alone(secured: list[dict[str, Any]]):
    for component, container in containers(secured).items():
        told = environment(container)
        assert not {"PIPELINE_KAFKA_PASSWORD", "PIPELINE_KAFKA_KEY_PASSWORD", "PIPELINE_SUBJECT_SALT"} & set(told)
        role = {"worker": "worker", "serve": "node", "console": "operator", "topics": "operator"}[component]
        assert told["PIPELINE_KAFKA_USERNAME"] == role
        assert told["PIPELINE_KAFKA_PASSWORD_FILE"] == f"{KAFKA_FOLDER}/password"
        volumes = {each["name"]: each for each in pods(secured)[component]["spec"]["volumes"]}
        assert volumes["kafka"]["secret"]["secretName"] == f"kafka-{role}"
        assert all(each["secret"]["defaultMode"] == 0o440 for each in volumes.values() if "secret" in each)


def test_a_pod_has_the_time_that_its_process_takes_to_stop(objects: list[dict[str, Any]]):
    for component, pod in pods(objects).items():
        (container,) = pod["spec"]["containers"]
        pauses = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["sleep", "0"])
        assert pauses[0] == "sleep"
        assert int(pauses[1]) + ENDS_WITHIN_S.get(component, 0.0) < pod["spec"]["terminationGracePeriodSeconds"] <= 30


def test_who_selects_pods_selects_those_that_are_meant(objects: list[dict[str, Any]]):
    labels = {component: pod["metadata"]["labels"] for component, pod in pods(objects).items()}

    def chosen(selector: Mapping[str, str]) -> set[str]:
        return {component for component, own in labels.items() if selector.items() <= own.items()}

    for each in objects:
        spec, name = each["spec"], each["metadata"]["name"]
        if each["kind"] == "Service":
            selector = spec["selector"]
        elif each["kind"] in {"StatefulSet", "Deployment", "PodDisruptionBudget"}:
            selector = spec["selector"]["matchLabels"]
        elif each["kind"] == "NetworkPolicy":
            selector = spec["podSelector"]["matchLabels"]
        else:
            continue
        (component,) = chosen(selector)
        assert name == f"{RELEASE}-bandit-pipeline-{component}"
        ports = {port["name"] for port in containers(objects)[component].get("ports", [])}
        if each["kind"] == "Service":
            assert {port["targetPort"] for port in spec["ports"]} <= ports
        if each["kind"] == "NetworkPolicy":
            assert {port["port"] for rule in spec["ingress"] for port in rule["ports"]} <= ports
            assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert {each["metadata"]["name"].rpartition("-")[2] for each in of_kind(objects, "NetworkPolicy")} == set(labels)


def test_an_empty_list_of_who_may_come_lets_nobody_in_but_the_console(strimzi: list[dict[str, Any]]):
    for each in of_kind(strimzi, "NetworkPolicy"):
        for rule in each["spec"]["ingress"]:
            (let_in,) = rule["from"]  # an empty `from` would let everybody in
            assert let_in["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "console"


def test_who_counts_pods_is_the_only_one_that_does():
    by_hand, by_load = rendered(merged(LEAST, {"node": {"autoscaling": {"enabled": False}}})), rendered(STRIMZI)
    (deployment,) = of_kind(by_hand, "Deployment")
    assert deployment["spec"]["replicas"] == 2
    assert not of_kind(by_hand, "HorizontalPodAutoscaler")
    (workers,) = of_kind(by_load, "StatefulSet")
    assert "replicas" not in workers["spec"]
    (scaled,) = of_kind(by_load, "ScaledObject")
    assert scaled["spec"]["scaleTargetRef"]["name"] == workers["metadata"]["name"]
    (nodes,) = of_kind(rendered(LEAST), "Deployment")
    assert "replicas" not in nodes["spec"]


def test_workers_are_scaled_by_a_metric_that_they_tell(strimzi: list[dict[str, Any]]):
    (scaled,) = of_kind(strimzi, "ScaledObject")
    (trigger,) = scaled["spec"]["triggers"]
    (name,) = re.findall(r"pipeline_\w+", trigger["metadata"]["query"])
    assert name in {metric.name for metric in every_metric()}
    assert int(trigger["metadata"]["threshold"]) == 100_000


def test_prometheus_has_the_rules_of_ops_and_asks_by_the_names_of_their_jobs(
    secured: list[dict[str, Any]], tmp_path: Path
):
    (rule,) = of_kind(secured, "PrometheusRule")
    groups = [
        group
        for name in ("rules.yml", "alerts.yml")
        for group in yaml.safe_load((TOP / "ops" / "prometheus" / name).read_text("utf-8"))["groups"]
    ]
    for group in groups:
        for each in group["rules"]:
            if "annotations" in each:
                page = each["annotations"]["runbook_url"].removeprefix("ops/runbooks/")
                each["annotations"]["runbook_url"] = f"https://example.org/runbooks/{page}"
    assert rule["spec"]["groups"] == groups
    (monitor,) = of_kind(secured, "PodMonitor")
    assert monitor["spec"]["jobLabel"] == "app.kubernetes.io/component"
    (wanted,) = monitor["spec"]["selector"]["matchExpressions"]
    asked = set(re.findall(r'job="(\w+)"', (TOP / "ops" / "prometheus" / "alerts.yml").read_text("utf-8")))
    assert set(wanted["values"]) == asked
    for component in asked:
        assert "metrics" in {port["name"] for port in containers(secured)[component]["ports"]}
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rule["spec"]), "utf-8")
    promtool = prometheus_binaries(default_cache_dir()).promtool
    checked = subprocess.run(
        [promtool, "check", "rules", tmp_path / "rules.yml"], capture_output=True, text=True, check=False, timeout=60
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_strimzi_makes_the_topics_that_the_command_makes():
    objects = rendered(merged(STRIMZI, {"appId": "blue"}))
    found = {each["spec"]["topicName"]: each["spec"] for each in of_kind(objects, "KafkaTopic")}
    assert found == {
        spec.name: {
            "topicName": spec.name,
            "partitions": spec.partitions,
            "replicas": 3,
            "config": {**spec.config, "min.insync.replicas": "2"},
        }
        for spec in topic_specs("blue", 24)
    }


@pytest.mark.parametrize("role", ROLES)
def test_strimzi_grants_a_role_what_the_docs_grant_it_and_no_more(strimzi: list[dict[str, Any]], role: str):
    (user,) = [each for each in of_kind(strimzi, "KafkaUser") if each["metadata"]["name"] == f"{RELEASE}-{role}"]
    given = {
        (acl["resource"]["type"], acl["resource"].get("name"), acl["resource"].get("patternType"), operation)
        for acl in user["spec"]["authorization"]["acls"]
        for operation in acl["operations"]
    }
    told = {_as_told(each) for each in bindings(role)}
    other = documented(role).other
    if "Create on the cluster" in other:
        told |= {("cluster", None, None, "Create")}
    if "AlterConfigs on topics" in other:
        told |= {("topic", "*", "literal", "AlterConfigs")}
    assert given == told


def _as_told(binding: AclBinding) -> tuple[str, str | None, str | None, str]:
    kinds = {
        ResourceType.TOPIC: "topic",
        ResourceType.GROUP: "group",
        ResourceType.TRANSACTIONAL_ID: "transactionalId",
    }
    pattern = "prefix" if binding.resource_pattern_type == ResourcePatternType.PREFIXED else "literal"
    operation = binding.operation.name.title().replace("_", "")
    return kinds[binding.restype], binding.name, pattern, operation


def test_strimzis_users_are_those_that_pods_speak_as(strimzi: list[dict[str, Any]]):
    users = {each["metadata"]["name"] for each in of_kind(strimzi, "KafkaUser")}
    for component, pod in pods(strimzi).items():
        (kafka,) = [each for each in pod["spec"]["volumes"] if each["name"] == "kafka"]
        assert kafka["secret"]["secretName"] in users
        told = environment(containers(strimzi)[component])
        assert told["PIPELINE_KAFKA_CERTIFICATE_FILE"] == f"{KAFKA_FOLDER}/user.crt"  # as Strimzi's secrets name it
        assert told["PIPELINE_KAFKA_KEY_FILE"] == f"{KAFKA_FOLDER}/user.key"


def test_probes_ask_what_containers_listen_on_by_a_name_that_they_answer(objects: list[dict[str, Any]]):
    for component, container in containers(objects).items():
        ports = {port["name"] for port in container.get("ports", [])}
        asked = dict(probes(container))
        assert len(asked) == (0 if component == "topics" else 3)
        for probe in asked.values():
            assert (probe.get("httpGet") or probe["tcpSocket"])["port"] in ports
        if component == "console":
            (header,) = asked["readinessProbe"]["httpGet"]["httpHeaders"]
            names = environment(container)["PIPELINE_CONSOLE_SERVER_NAMES"].split()
            assert header == {"name": "Host", "value": names[0]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kafka": {"bootstrapServers": ""}}, "kafka.bootstrapServers is missing"),
        ({"node": {"open": False}}, "node.apiKeys.secret is missing"),
        ({"console": {"enabled": True}}, "console.apiKeys.secret and console.serverNames are needed"),
        ({"kafka": {"securityProtocol": "SASL_SSL"}}, "users.worker.username is missing"),
        ({"kafka": {"securityProtocol": "TLS"}}, "securityProtocol"),
        ({"worker": {"replicas": 13}}, "13 workers, but topics.partitions is 12"),
        ({"worker": {"keda": {"enabled": True, "maxReplicas": 20}}}, "20 workers, but topics.partitions is 12"),
        ({"worker": {"keda": {"enabled": True}}}, "worker.keda.prometheus is missing"),
        ({"worker": {"env": {"IDLE_AFTER": "5"}}}, "IDLE_AFTER"),
        ({"worker": {"replica": 3}}, "replica"),
        ({"strimzi": {"users": True}}, "strimzi.cluster is missing"),
        ({"strimzi": {"topics": True, "cluster": "kafka"}}, "topics.job and strimzi.topics are both set"),
        ({"image": {"digest": "latest"}}, "digest"),
    ],
)
def test_values_that_can_not_be_are_refused_by_name(changes: Mapping[str, Any], said: str):
    ended = ask_helm("template", merged(LEAST, changes))
    assert ended.returncode != 0
    assert said in ended.stderr


def test_every_value_is_in_the_schema_and_explained_where_it_stands():
    values = yaml.safe_load((TOP / "ops" / "helm" / "values.yaml").read_text("utf-8"))
    schema = yaml.safe_load((TOP / "ops" / "helm" / "values.schema.json").read_text("utf-8"))

    def compare(value: Any, told: Mapping[str, Any], path: str) -> None:
        if isinstance(value, dict) and "properties" in told:
            assert told["additionalProperties"] is False, path
            assert set(told["properties"]) - {"global"} == set(value), path
            for name, each in value.items():
                compare(each, told["properties"][name], f"{path}.{name}")

    compare(values, schema, "")
    jsonschema.validate(values, schema)
