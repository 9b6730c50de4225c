"""What a node serves over HTTP: the table of which routes and the OpenAPI document are made. Pure."""

from __future__ import annotations

from pipeline.serve.http.openapi import Operation
from pipeline.serve.messages import answers, bodies

_CONTEXT = {"context": {"visits": 1}}

OPERATIONS = (
    Operation(
        "decide",
        "POST",
        "/v1/policies/{policy}/decide",
        "Choose an arm, and log the decision.",
        {200: answers.DecidedAnswer},
        errors=(409,),
        body=bodies.DecideBody,
        right="decide",
        example=_CONTEXT,
    ),
    Operation(
        "decide_many",
        "POST",
        "/v1/policies/{policy}/decide/batch",
        "Choose an arm for each of many requests, all by one snapshot, and log the decisions.",
        {200: answers.DecidedManyAnswer},
        errors=(409,),
        body=bodies.DecideManyBody,
        right="decide",
        example={"requests": [_CONTEXT]},
    ),
    Operation(
        "explain",
        "POST",
        "/v1/policies/{policy}/explain",
        "Tell what would be decided, and why; nothing is drawn and nothing is logged.",
        {200: answers.Explanation},
        errors=(409,),
        body=bodies.ExplainBody,
        right="decide",
        example=_CONTEXT,
    ),
    Operation(
        "explain_decision",
        "GET",
        "/v1/decisions/{action_id}/explain",
        "Tell why a recent decision of this node was what it was.",
        {200: answers.Explanation},
        errors=(400, 404),
        right="decide",
    ),
    Operation(
        "outcome",
        "POST",
        "/v1/outcomes",
        "Tell what came of a decision.",
        {200: answers.OutcomeAnswer},
        body=bodies.OutcomeBody,
        right="outcomes",
        example={"action_id": "0199", "kind": "click"},
    ),
    Operation(
        "outcomes",
        "POST",
        "/v1/outcomes/batch",
        "Tell what came of many decisions.",
        {200: answers.OutcomesAnswer},
        body=bodies.OutcomesBody,
        right="outcomes",
        example={"outcomes": [{"action_id": "0199", "kind": "click"}]},
    ),
    Operation("policies", "GET", "/v1/policies", "List the policies.", {200: answers.PoliciesAnswer}, right="operate"),
    Operation(
        "healthz", "GET", "/healthz", "Tell that the node lives; to operators, how.", {200: answers.HealthAnswer}
    ),
    Operation(
        "readyz",
        "GET",
        "/readyz",
        "Tell whether the node has a snapshot young enough to be sent traffic.",
        {200: answers.ReadyAnswer, 503: answers.ReadyAnswer},
    ),
    Operation("metrics", "GET", "/metrics", "Tell Prometheus the counts.", {200: None}, right="operate"),
)
