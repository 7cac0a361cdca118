"""Benchmarks: one question per file, each beside its peers in the same run. ``python -m bench`` lists them."""
