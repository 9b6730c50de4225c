"""How fast it is, with the result checked each time; `python -m benchmarks --help`."""
