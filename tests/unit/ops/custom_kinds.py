"""Of the kinds that others define, the fields that the chart writes: as their operators' own definitions have them.

Nothing beyond these is taken, so that a misspelt field is found, and one that is new in the chart is looked up first.
"""

from __future__ import annotations

from typing import Any

TEXT = {"type": "string"}
COUNT = {"type": "integer", "minimum": 0}
TEXTS = {"type": "array", "items": TEXT}
NAMED = {"type": "object", "additionalProperties": TEXT}


def record(needed: dict[str, Any], **more: Any) -> dict[str, Any]:
    properties = needed | more
    return {"type": "object", "properties": properties, "required": list(needed), "additionalProperties": False}


def many(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": 1}


def kind(spec: dict[str, Any]) -> dict[str, Any]:
    metadata = record({"name": TEXT}, labels=NAMED, annotations=NAMED)
    return record({"apiVersion": TEXT, "kind": TEXT, "metadata": metadata, "spec": spec})


_MATCH = record({"key": TEXT, "operator": {"enum": ["In", "NotIn", "Exists", "DoesNotExist"]}}, values=TEXTS)
_POD_MONITOR = record(
    {
        "selector": record({}, matchLabels=NAMED, matchExpressions=many(_MATCH)),
        "podMetricsEndpoints": many(record({"port": TEXT}, path=TEXT, interval=TEXT)),
    },
    jobLabel=TEXT,
)
_RULE = record({"expr": TEXT}, record=TEXT, alert=TEXT, labels=NAMED, annotations=NAMED, **{"for": TEXT})
_RULES = record({"groups": many(record({"name": TEXT, "rules": many(_RULE)}))})
_SCALING = record(
    {"stabilizationWindowSeconds": COUNT},
    policies=many(record({"type": {"enum": ["Pods", "Percent"]}, "value": COUNT, "periodSeconds": COUNT})),
)
_SCALED_OBJECT = record(
    {
        "scaleTargetRef": record({"name": TEXT}, apiVersion=TEXT, kind=TEXT),
        "triggers": many(
            record(
                {"type": {"const": "prometheus"}, "metadata": NAMED},
                metricType={"enum": ["AverageValue", "Value", "Utilization"]},
            )
        ),
    },
    minReplicaCount=COUNT,
    maxReplicaCount=COUNT,
    advanced=record(
        {}, horizontalPodAutoscalerConfig=record({"behavior": record({}, scaleUp=_SCALING, scaleDown=_SCALING)})
    ),
)
_TOPIC = record({"topicName": TEXT, "partitions": COUNT, "replicas": COUNT, "config": NAMED})
_OPERATIONS = [
    "Read",
    "Write",
    "Create",
    "Delete",
    "Alter",
    "Describe",
    "ClusterAction",
    "AlterConfigs",
    "DescribeConfigs",
]
_RESOURCE = record(
    {"type": {"enum": ["topic", "group", "cluster", "transactionalId"]}},
    name=TEXT,
    patternType={"enum": ["literal", "prefix"]},
)
_USER = record(
    {
        "authentication": record({"type": {"enum": ["tls", "scram-sha-512"]}}),
        "authorization": record(
            {
                "type": {"const": "simple"},
                "acls": many(record({"resource": _RESOURCE, "operations": many({"enum": _OPERATIONS})})),
            }
        ),
    }
)

SCHEMAS: dict[str, dict[str, dict[str, Any]]] = {
    "monitoring.coreos.com/v1": {"PodMonitor": kind(_POD_MONITOR), "PrometheusRule": kind(_RULES)},
    "keda.sh/v1alpha1": {"ScaledObject": kind(_SCALED_OBJECT)},
    "kafka.strimzi.io/v1": {"KafkaTopic": kind(_TOPIC), "KafkaUser": kind(_USER)},
}
"""By API version and kind."""
