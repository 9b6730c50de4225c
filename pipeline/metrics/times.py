"""Histograms of times: counted in a tenth of the time that the client's own take, which lock."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily


class Times:
    """How long something took, by labels that the code itself gives: their number is bounded by it."""

    def __init__(self, name: str, text: str, labels: Sequence[str], buckets_s: Sequence[float]) -> None:
        self._name = name
        self._text = text
        self._labels = labels
        self._buckets_s = buckets_s
        self._counts: dict[tuple[str, ...], list[int]] = {}
        """By labels and bucket; the last is what took longer than all of them."""
        self._sums_s: dict[tuple[str, ...], float] = {}

    def observe(self, labels: tuple[str, ...], seconds: float) -> None:
        """Count one."""
        counts = self._counts.get(labels)
        if counts is None:
            counts = self._counts[labels] = [0] * (len(self._buckets_s) + 1)
            self._sums_s[labels] = 0.0
        counts[bisect_left(self._buckets_s, seconds)] += 1
        self._sums_s[labels] += seconds

    def family(self) -> HistogramMetricFamily:
        """Return what was counted, for Prometheus."""
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        bounds = [*(str(bound_s) for bound_s in self._buckets_s), "+Inf"]
        for labels, counts in list(self._counts.items()):
            family.add_metric(labels, list(zip(bounds, accumulate(counts), strict=True)), self._sums_s[labels])
        return family
