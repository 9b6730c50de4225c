"""What processes tell Prometheus: counts with bounded labels, times, and one listener for each process.

A process has one registry, and whoever serves `/metrics` is handed it: what was counted is what is scraped. Names
follow Prometheus's conventions: `pipeline_`, base units, `_total` on what only rises.
"""
