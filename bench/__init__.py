"""Benchmarks: one question a file, each with its peers in the same run. ``python -m bench`` lists them."""
