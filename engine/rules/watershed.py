"""Clusters of areas by a watershed. The count of an area is its height on a map. From each area, the path to the
highest neighbour, repeated, ends at a peak, and the area belongs to this peak. Two peaks are one cluster if the pass
between them is nearly as high as the lower peak.

The same areas always give the same clusters. (Rejected: k-means, which cuts the centre of a city at arbitrary lines and
gives different clusters for two halves of a trace; HDBSCAN, which needs numpy and is slower; adding the counts of
neighbours to each area first, which joined nearly a whole city to one cluster. docs/demand.md has figures.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import comb

PASS_SHARE = 0.95
"""Two hills are one if the pass between them is at least this share of the lower peak."""
Neighbours = Callable[[str], Iterable[str]]
"""Returns the areas around an area."""


def find_clusters(counts: Mapping[str, int], neighbours: Neighbours) -> dict[str, str]:
    """Return the peak of each area: areas with the same peak are one cluster."""
    peak_of: dict[str, str] = {}
    merged: dict[str, str] = {}

    def find_root(peak: str) -> str:
        while merged[peak] != peak:
            peak = merged[peak]
        return peak

    def rank(area: str) -> tuple[int, str]:
        return counts[area], area

    for area in sorted(counts, key=rank, reverse=True):
        higher = [other for other in neighbours(area) if other in peak_of]
        if not higher:
            peak_of[area] = merged[area] = area
            continue
        peak_of[area] = peak_of[max(higher, key=rank)]
        roots = {find_root(peak_of[other]) for other in higher}
        highest = max(roots, key=rank)
        for root in roots - {highest}:
            if counts[area] >= PASS_SHARE * counts[root]:
                merged[root] = highest
    return {area: find_root(peak) for area, peak in peak_of.items()}


def adjusted_rand(pairs: Iterable[tuple[str, str, int]]) -> float:
    """Return the adjusted Rand index, which says how alike two clusterings are: 1 if they are the same, about 0 if they
    agree by chance (Hubert and Arabie, 1985). Each of ``pairs`` has a cluster of the one clustering, a cluster of the
    other, and how many objects are in both.
    """
    both: dict[tuple[str, str], int] = {}
    first: dict[str, int] = {}
    second: dict[str, int] = {}
    for one, other, count in pairs:
        both[one, other] = both.get((one, other), 0) + count
        first[one] = first.get(one, 0) + count
        second[other] = second.get(other, 0) + count
    together, in_first, in_second = (sum(comb(n, 2) for n in each.values()) for each in (both, first, second))
    by_chance = in_first * in_second / max(1, comb(sum(first.values()), 2))
    most = (in_first + in_second) / 2
    return 1.0 if most == by_chance else (together - by_chance) / (most - by_chance)
