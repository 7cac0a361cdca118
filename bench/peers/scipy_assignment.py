"""scipy's solvers of the assignment problem, with a dummy column for each job that stays without a technician."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from bench.rig import PeerUnavailable
from engine.rules.assignment import Edges


def load_scipy() -> Any:
    """Return numpy and scipy's module of sparse graphs. Raise PeerUnavailable when they are not installed."""
    try:
        import numpy
        from scipy import sparse
        from scipy.sparse import csgraph
    except ImportError as error:
        raise PeerUnavailable(f"scipy is not installed ({error})") from error
    return numpy, sparse, csgraph


def read_version() -> str:
    """Return the version of scipy. Raise PeerUnavailable when it is not installed."""
    try:
        return version("scipy")
    except PackageNotFoundError as error:
        raise PeerUnavailable("scipy is not installed") from error


def least_cost(edges: Edges, unmatched: Sequence[int]) -> int:
    """Return the least cost of an assignment. scipy treats a stored zero as no edge, so 1 is added to each cost."""
    numpy, sparse, csgraph = load_scipy()
    count, technicians = len(edges), 1 + max((each for row in edges for each, _ in row), default=-1)
    rows = [job for job, row in enumerate(edges) for _ in row] + list(range(count))
    columns = [each for row in edges for each, _ in row] + [technicians + job for job in range(count)]
    costs = [cost + 1 for row in edges for _, cost in row] + [cost + 1 for cost in unmatched]
    matrix = sparse.csr_array((numpy.array(costs), (rows, columns)), shape=(count, technicians + count))
    jobs, taken = csgraph.min_weight_full_bipartite_matching(matrix)
    return int(matrix[jobs, taken].sum()) - count
