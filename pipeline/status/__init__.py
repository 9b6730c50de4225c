"""How a deployment is, at a glance: topics, stages, workers, nodes, and what is wrong with them.

`facts.py` what was seen, `judge.py` what is wrong with it, both pure; `metrics_text.py` reads what a worker tells
Prometheus; `asking.py` asks workers and nodes, `gather.py` brokers too.
"""
