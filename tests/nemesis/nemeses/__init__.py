"""All nemeses, by name."""

from tests.nemesis.nemeses import cluster, failover, network, processes, resources, stored_data
from tests.nemesis.nemeses.registry import NEMESES, Nemesis

__all__ = ["NEMESES", "Nemesis", "cluster", "failover", "network", "processes", "resources", "stored_data"]
