"""All nemeses, by name."""

from tests.nemesis.nemeses import failover, network, processes, resources, stored_data
from tests.nemesis.nemeses.registry import NEMESES, Nemesis

__all__ = ["NEMESES", "Nemesis", "failover", "network", "processes", "resources", "stored_data"]
