"""Measurements side by side with peers: `python -m benchmarks.NAME` prints a table, then its ratios as JSON."""
