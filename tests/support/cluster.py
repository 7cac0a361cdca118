"""A real cluster of three primaries, on free ports and in temporary folders. Replicas and empty nodes are added by the
tests that need them.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import redis
from redis.crc import key_slot

from tests.support import valkey

SLOTS = 16_384
NODE_TIMEOUT_MS = 1_000
PRIMARIES = 3


class Cluster:
    """A running Redis Cluster. ``nodes`` are its processes by port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nodes: dict[int, subprocess.Popen[bytes]] = {}
        self._joined: list[int] = []
        self._bus_ports: dict[int, int] = {}

    @property
    def url(self) -> str:
        """Return the Redis URL of the cluster, with the addresses of two of its nodes."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in list(self.nodes)[:2])

    def start_node(self) -> int:
        """Start a node without slots, and return its port."""
        port, bus = valkey.free_port(), valkey.free_port()
        self._bus_ports[port] = bus
        folder = self.folder / str(port)
        folder.mkdir()
        options = ("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-port", str(bus))
        timeout = ("--cluster-node-timeout", str(NODE_TIMEOUT_MS), "--repl-diskless-sync-delay", "0")
        fast = ("--cluster-replica-validity-factor", "0", "--cluster-allow-replica-migration", "no")
        parts = ("--cluster-require-full-coverage", "no")
        self.nodes[port], _ = valkey.start_server(folder, *options, *timeout, *fast, *parts, port=port)
        return port

    def ask(self, port: int, *command: Any) -> Any:
        """Run a command on one node, and return the reply."""
        with redis.Redis(port=port) as client:
            return client.execute_command(*command)

    def id_of(self, port: int) -> str:
        """Return the id of the node at this port in the cluster."""
        return str(self.ask(port, "CLUSTER", "MYID").decode())

    def join(self, port: int) -> None:
        """Let a node join the others, and wait until all know it."""
        others = [each for each in self._joined if self.nodes[each].poll() is None]
        names = {self.id_of(each) for each in others} | {self.id_of(port)}
        if others:
            self.ask(others[0], "CLUSTER", "MEET", "127.0.0.1", port, self._bus_ports[port])
            self.wait(lambda: all(names <= self._known_nodes(each) for each in (*others, port)))
        self._joined.append(port)

    def _known_nodes(self, port: int) -> set[str]:
        with redis.Redis(port=port) as client:
            return {each["node_id"] for each in client.execute_command("CLUSTER NODES").values()}

    def add_replica(self, primary: int) -> int:
        """Start a replica of a primary, and wait until it has all data. Return its port."""
        port = self.start_node()
        self.join(port)
        self.ask(port, "CLUSTER", "REPLICATE", self.id_of(primary))
        self.wait(lambda: self.role(port)[0] == b"slave" and self.role(port)[3] == b"connected")
        return port

    def role(self, port: int) -> list[Any]:
        """Return the node's reply to the Redis command ROLE."""
        with redis.Redis(port=port) as client:
            return list(client.execute_command("ROLE"))

    def owner_of(self, key: str) -> int:
        """Return the port of the primary that has the slot of a key, according to the running nodes."""
        slot = key_slot(key.encode())
        for port, process in self.nodes.items():
            if process.poll() is None:
                with redis.Redis(port=port) as client:
                    for first, last, owner, *_ in client.execute_command("CLUSTER", "SLOTS"):
                        if first <= slot <= last:
                            return int(owner[1])
        raise LookupError(key)

    def move_slot(self, key: str, target: int) -> None:
        """Move the slot of a key to another primary in one step (atomic slot migration), and wait until it is there."""
        source, slot = self.owner_of(key), key_slot(key.encode())
        self.ask(source, "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", self.id_of(target))
        self.wait(lambda: self.owner_of(key) == target)

    def kill(self, port: int) -> None:
        """Kill the node at this port."""
        self.nodes[port].kill()
        self.nodes[port].wait()

    def is_whole(self) -> bool:
        """Return whether every running node reports that all slots are served."""
        running = [port for port, process in self.nodes.items() if process.poll() is None]
        return all(b"cluster_state:ok" in self._cluster_info(port) for port in running)

    def _cluster_info(self, port: int) -> bytes:
        with redis.Redis(port=port) as client:
            client.response_callbacks.clear()
            return bytes(client.execute_command("CLUSTER", "INFO"))

    def empty(self) -> None:
        """Delete all keys of the cluster."""
        for port, process in self.nodes.items():
            if process.poll() is None and self.role(port)[0] == b"master":
                self.ask(port, "FLUSHALL")

    def wait(self, condition: Callable[[], bool], within_s: float = 20.0) -> None:
        """Wait until the condition is true."""
        until = time.monotonic() + within_s
        while not condition():
            if time.monotonic() > until:
                raise AssertionError("the cluster did not come to the wanted state")
            time.sleep(0.05)


@contextlib.contextmanager
def run_cluster(folder: Path) -> Iterator[Cluster]:
    """Run a cluster of three primaries while the block runs."""
    cluster = Cluster(folder)
    try:
        ports = [cluster.start_node() for _ in range(PRIMARIES)]
        for number, port in enumerate(ports):
            bounds = (SLOTS * number // PRIMARIES, SLOTS * (number + 1) // PRIMARIES - 1)
            cluster.ask(port, "CLUSTER", "ADDSLOTSRANGE", *bounds)
            cluster.ask(port, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for port in ports:
            cluster.join(port)
        cluster.wait(cluster.is_whole)
        yield cluster
    finally:
        for process in cluster.nodes.values():
            process.kill()
            process.wait()
