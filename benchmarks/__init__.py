"""Benchmarks: each prints a table and writes JSON; none asserts a time.

Figures of one machine at one hour say little, so whatever is compared runs beside its alternative in the same run,
in turns, and the ratio of the medians is what counts. ``python -m benchmarks.run`` runs them all.
"""
