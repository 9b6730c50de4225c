"""What a worker tells Prometheus, read back. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

from pipeline.status.facts import STAGES, FigureFacts, MonitorFacts, StageFacts, StreamFacts, WorkerFacts

Samples = Mapping[str, list[tuple[Mapping[str, str], float]]]
"""By metric: labels and value."""


def worker_facts(url: str, text: str) -> WorkerFacts:
    r"""Read a worker's metrics.

    >>> told = worker_facts("w", 'pipeline_lag_records{stage="learn",topic="rewards",partition="0"} 3\n')
    >>> told.stages["learn"].lag_records
    3

    Raises:
        ValueError: these are none of a worker.
    """
    try:
        return _worker_facts(url, text)
    except (LookupError, OverflowError) as error:
        raise ValueError(f"its metrics are none of a worker: {error!r}") from error


def _worker_facts(url: str, text: str) -> WorkerFacts:
    samples: defaultdict[str, list[tuple[Mapping[str, str], float]]] = defaultdict(list)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples[sample.name].append((sample.labels, sample.value))
    if not any(name.startswith("pipeline_") for name in samples):
        raise ValueError("no metric of a worker: is this its --metrics-port?")
    lags_s = [value for _, value in samples["pipeline_event_time_lag_seconds"]]
    return WorkerFacts(
        url,
        stages={stage: _stage(stage, samples) for stage in STAGES},
        streams={stream: _stream(stream, samples) for stream in STAGES["join"]},
        event_time_lag_s=max(lags_s, default=None),
        open_actions=round(sum(value for _, value in samples["pipeline_open_actions"])),
        published={labels["policy"]: round(value) for labels, value in samples["pipeline_published_version"]},
        held=_policies(samples, "pipeline_held_policies"),
        alarms={labels["policy"]: labels["state"] for labels, value in samples["pipeline_label_rate_alarm"] if value},
        waiting=_policies(samples, "pipeline_publishing_held"),
        label_rates={labels["policy"]: value for labels, value in samples["pipeline_label_rate_ratio"]},
        monitors=_monitors(samples),
    )


def _monitors(samples: Samples) -> dict[str, dict[str, MonitorFacts]]:
    figures: defaultdict[tuple[str, str], list[FigureFacts]] = defaultdict(list)
    for labels, value in samples["pipeline_monitor_figure"]:
        figures[labels["policy"], labels["monitor"]].append(FigureFacts(labels["figure"], labels["of"], value))
    found: defaultdict[str, dict[str, MonitorFacts]] = defaultdict(dict)
    for labels, value in samples["pipeline_monitor_alarm"]:
        policy, name = labels["policy"], labels["monitor"]
        found[policy][name] = MonitorFacts(bool(value), figures[policy, name])
    for labels, _ in samples["pipeline_monitor_withheld"]:
        found[labels["policy"]][labels["monitor"]] = MonitorFacts(withheld=labels["reason"])
    return dict(found)


def _policies(samples: Samples, metric: str) -> list[str]:
    return [labels["policy"] for labels, value in samples[metric] if value]


def _of(samples: Samples, metric: str, **wanted: str) -> list[tuple[Mapping[str, str], float]]:
    return [
        (labels, value)
        for labels, value in samples[metric]
        if all(labels[label] == word for label, word in wanted.items())
    ]


def _stage(stage: str, samples: Samples) -> StageFacts:
    failed = [labels["partition"] for labels, value in _of(samples, "pipeline_failed_lanes", stage=stage) if value]
    return StageFacts(
        round(sum(value for _, value in _of(samples, "pipeline_lag_records", stage=stage))),
        max((value for _, value in _of(samples, "pipeline_lag_seconds", stage=stage)), default=0.0),
        round(sum(value for _, value in _of(samples, "pipeline_handled_records_total", stage=stage))),
        round(sum(value for _, value in _of(samples, "pipeline_claimed_partitions", stage=stage))),
        sorted(failed, key=int),
    )


def _stream(stream: str, samples: Samples) -> StreamFacts:
    fates: defaultdict[str, int] = defaultdict(int)
    for labels, value in _of(samples, "pipeline_records", stream=stream):
        fates[labels["fate"]] += round(value)
    marks_s = [value for _, value in _of(samples, "pipeline_watermark_timestamp_seconds", stream=stream)]
    return StreamFacts(
        dict(fates),
        round(sum(abs(value) for _, value in _of(samples, "pipeline_records_unaccounted", stream=stream))),
        round(min(marks_s) * 1000) if marks_s else None,
    )
