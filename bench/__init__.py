"""Benchmarks: each file answers one question and measures comparable servers in the same run. ``python -m bench`` lists
them.
"""
