"""The composition root: create the parts of a server, start them in order, and stop them in the reverse order.

An exit stack registers the stop of each started part, so that a start that fails half way stops exactly the parts that
it had started. Stopping begins with the clients: the server reports that it is not ready, closes the sockets with 4000
(reconnect to another node), and finishes the running requests. uvicorn alone would first close every socket with 1012.

If a part ends by itself, the process ends: a server without that part would pass health checks but lose jobs.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import structlog
import uvicorn

from engine.blueprint import registry
from engine.files.blobs import check_shared
from engine.identity import outbox
from engine.process import embedded
from engine.process.datadir import hold_lock
from engine.process.embedded import EmbeddedValkey
from engine.process.settings import Settings
from engine.runtime import Engine
from engine.startup import open_engine
from engine.workers import archiver, demand, maintenance, notifier, payment_worker, rebuilder, scheduler, travel_learner
from engine.zone.upgrade import raise_all
from server.app import Health, build_app, metrics_app
from server.gateway.gateway import Gateway
from server.gateway.transport import CalloutWebSocket
from server.http.http_metrics import HttpMetrics
from server.http.http_protocol import CalloutHTTP
from server.process import process_metrics
from server.process.http_server import HttpServer, uvicorn_config
from server.process.listening import LISTEN_BACKLOG, bind_metrics_socket, bind_socket, start_listening, url_of
from server.process.sampler import Sampler
from server.process.signals import reload_on_signal, stop_on_signals
from server.process.worker_loads import WorkerLoads
from server.whole_server import WholeServer

MAX_FRAME_BYTES = 64 * 1024
CLOSE_CODE_DRAINING = 4000

ROLE_LOOPS: dict[str, tuple[Callable[[Engine], Awaitable[None]], ...]] = {
    "scheduler": (scheduler.run,),
    "archiver": (archiver.run, maintenance.run, rebuilder.run, travel_learner.run, demand.run),
    "push": (notifier.run, payment_worker.run),
}
"""The background loops of each role. Each loop runs forever, and continues after faults of Redis and SQL."""

log = structlog.get_logger(__name__)


class PartEnded(Exception):
    """Raised when a part of the running server has ended by itself, so that the process must end. Exit code 1."""


@dataclass(frozen=True, slots=True)
class ProcessPlan:
    """What one process of a server serves, and what it shares with the server's other processes."""

    url: str
    """The URL of the server."""
    http_socket: socket.socket | None
    """The listening socket of the server; None if this process serves no HTTP."""
    metrics_socket: socket.socket | None = None
    valkey: EmbeddedValkey | None = None
    """The embedded Valkey that this process has started or adopted."""
    upgrades_zone_formats: bool = False
    """Whether this process raises the formats of the zones at its start, because nobody else uses the stores."""
    loads: WorkerLoads | None = None
    """The loads of the server's workers, if there are several."""
    name: str = "server"
    """The name of this process in its server."""
    make_whole: Callable[[Engine, Health], WholeServer] = WholeServer
    """Makes the object that speaks for all processes of the server."""


class RunningServer:
    """A running server in this process."""

    def __init__(self, plan: ProcessPlan, engine: Engine, gateway: Gateway | None) -> None:
        self.plan = plan
        self.url = plan.url
        self.ws_url = "ws" + self.url.removeprefix("http") + "/v1/ws"
        self.engine = engine
        self.gateway = gateway
        self.health = Health(engine, gateway)
        self.whole = plan.make_whole(engine, self.health)
        self.http_metrics = HttpMetrics()
        self.metrics_url = f"{url_of(plan.metrics_socket)}/metrics" if plan.metrics_socket else ""
        self.drain_s: float | None = None
        """The seconds over which the gateway closes its sessions; None for ``drain_s`` of the settings."""
        self.http: HttpServer | None = None
        self.parts: set[asyncio.Task[Any]] = set()

    def ready_line(self) -> dict[str, Any]:
        """Return the line that is printed when the server is ready."""
        return ready_line(self.engine.settings, self.url, self.metrics_url)

    def release_port(self) -> None:
        """Accept no connection any more and close the listening socket. The stop that follows does not drain."""
        self.drain_s = 0
        if self.http and self.plan.http_socket:
            self.http.stop_accepting()
            self.plan.http_socket.close()

    async def wait_for_ended_part(self) -> NoReturn:
        """Wait until a part ends by itself. Then raise PartEnded with the name of that part."""
        done, _ = await asyncio.wait(self.parts, return_when=asyncio.FIRST_COMPLETED)
        part = done.pop()
        error = None if part.cancelled() else part.exception()
        raise PartEnded(f"{part.get_name()} ended: {error or 'without a reason'}") from error


def ready_line(settings: Settings, url: str, metrics_url: str) -> dict[str, Any]:
    """Return the line that a server prints when it is ready."""
    return {
        "serving": url,
        "version": version("callout"),
        "pid": os.getpid(),
        "data": os.path.realpath(settings.data),
        "zones": settings.zones,
        "roles": settings.roles,
        **({"workers": settings.workers} if settings.workers > 1 else {}),
        **({"metrics": metrics_url} if metrics_url else {}),
    }


async def serve(settings: Settings, *, on_ready: Callable[[dict[str, Any]], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then stop in order. SIGHUP reloads the blueprints. ``on_ready`` is called with the
    result of ``RunningServer.ready_line`` when the server is ready.

    Raises CannotStart, UnsuitableServer or Unavailable if the server cannot start, and PartEnded if a part of it ended.
    """
    with stop_on_signals() as stop:
        try:
            async with run_server(settings) as server:
                with reload_on_signal(server.engine):
                    freeze_objects()
                    if on_ready:
                        on_ready(server.ready_line())
                    await server.wait_for_ended_part()
        except asyncio.CancelledError:
            if not stop.is_made:
                raise
    log.info("stopped")


@asynccontextmanager
async def run_server(settings: Settings) -> AsyncIterator[RunningServer]:
    """Run a server on the current event loop while the ``async with`` block runs. Signals are not changed.

    Raises CannotStart, SettingsError, UnsuitableServer or Unavailable.
    """
    check_shared(settings)
    async with AsyncExitStack() as stack:
        lock = stack.enter_context(hold_lock(Path(settings.data)))
        # The port is bound before anything is started, because a port in use is the most common mistake.
        sock = stack.enter_context(bind_socket(settings.host, settings.port))
        counts = stack.enter_context(bind_metrics_socket(settings))
        valkey = None
        if settings.redis is None:
            valkey = await start_valkey(settings)
            stack.push_async_callback(valkey.stop)
            settings = msgspec.structs.replace(settings, redis=valkey.url)
        is_alone = valkey is not None and settings.database is None
        plan = ProcessPlan(url_of(sock), sock, counts, valkey, upgrades_zone_formats=is_alone)
        server = await stack.enter_async_context(run_process(settings, plan))
        lock.set_url(server.url)
        yield server


async def start_valkey(settings: Settings) -> EmbeddedValkey:
    """Start the embedded Valkey of the data directory, or adopt the one that runs. Raises CannotStart."""
    sync: embedded.Sync = "always" if settings.durability == "aof" else "everysec"
    return await embedded.start_or_adopt(Path(settings.data), sync=sync)


@asynccontextmanager
async def run_process(settings: Settings, plan: ProcessPlan) -> AsyncIterator[RunningServer]:
    """Run one process of a server while the block runs: the roles of ``settings`` on the Redis of ``settings``.

    Raises CannotStart, UnsuitableServer or Unavailable.
    """
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(open_engine(settings))
        if plan.upgrades_zone_formats:
            await raise_all(engine.store, engine.archive)
        process_metrics.register(engine)
        server = RunningServer(plan, engine, await stack.enter_async_context(_run_gateway(engine, plan.loads)))
        await stack.enter_async_context(_run_background_parts(server, plan.valkey))
        await stack.enter_async_context(_serve_metrics(server))
        await stack.enter_async_context(_serve_http(server))
        stack.push_async_callback(_drain, server)
        yield server


def freeze_objects() -> None:
    """Exclude the objects of the start from garbage collection: they stay until the process ends. The thresholds of the
    collections are set in server/cli/main.py.
    """
    gc.collect()
    gc.freeze()


@asynccontextmanager
async def _run_gateway(engine: Engine, loads: WorkerLoads | None) -> AsyncIterator[Gateway | None]:
    if "gateway" not in engine.settings.roles:
        yield None
        return
    gateway = Gateway(engine, loads.sockets_of_others) if loads else Gateway(engine)
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.stop(CLOSE_CODE_DRAINING)


@asynccontextmanager
async def _run_background_parts(server: RunningServer, valkey: embedded.EmbeddedValkey | None) -> AsyncIterator[None]:
    """Run the background parts while the block runs: the loops of this server's roles, the health check, and the watch
    on the embedded Valkey.
    """
    parts: dict[str, Awaitable[None]] = {"the embedded Valkey": _watch(valkey, server.engine)} if valkey else {}
    parts["the look at its health"] = server.health.run()
    parts["server.process.sampler"] = Sampler(
        server.engine, server.gateway, server.http_metrics, server.plan.name
    ).run()
    parts["engine.blueprint.registry.reload_at_intervals"] = registry.reload_at_intervals(
        server.engine.archive, server.engine.blueprints
    )
    parts["engine.workers.travel_learner.reload_forever"] = travel_learner.reload_forever(server.engine)
    parts["engine.identity.outbox.run"] = outbox.run(server.engine)
    for role in server.engine.settings.roles:
        parts |= {f"{loop.__module__}.{loop.__name__}": loop(server.engine) for loop in ROLE_LOOPS.get(role, ())}
    tasks = [asyncio.create_task(_run_part(part), name=name) for name, part in parts.items()]
    server.parts.update(tasks)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _watch(valkey: embedded.EmbeddedValkey, engine: Engine) -> None:
    """Return when the Valkey has ended. From then on the requests that wait for it are refused at once."""
    await valkey.wait_until_ended()
    engine.store.abandon()


async def _run_part(work: Awaitable[None]) -> None:
    try:
        await work
    except Exception:  # a task boundary: logged here with a traceback, and again, in one line, when the process ends
        log.exception("part_died", part=asyncio.current_task().get_name())  # type: ignore[union-attr]
        raise


@asynccontextmanager
async def _serve_http(server: RunningServer) -> AsyncIterator[None]:
    plan, gateway = server.plan, server.gateway
    if plan.http_socket is None:
        yield
        return
    proxies = server.engine.settings.trusted_proxies
    config = uvicorn_config(
        build_app(server.engine, gateway, server.health, server.whole, server.http_metrics),
        http=CalloutHTTP,
        # By default, uvicorn trusts forwarded addresses from this machine: a login limit by address would not work.
        proxy_headers=bool(proxies),
        forwarded_allow_ips=list(proxies),
        ws=CalloutWebSocket,
        ws_max_size=MAX_FRAME_BYTES,
        ws_ping_interval=None,
        ws_per_message_deflate=False,
        backlog=LISTEN_BACKLOG,
    )
    count_sockets = (lambda: len(gateway.sessions)) if gateway else (lambda: 0)
    server.http = HttpServer(config, plan.loads, count_sockets)
    async with _run_uvicorn(server, plan.http_socket, server.http, "the HTTP server"):
        yield


@asynccontextmanager
async def _serve_metrics(server: RunningServer) -> AsyncIterator[None]:
    """Serve ``/metrics`` on its own port, if one is set, to everybody who can reach that port."""
    if server.plan.metrics_socket is None:
        yield
        return
    http = HttpServer(uvicorn_config(metrics_app(server.whole), proxy_headers=False))
    async with _run_uvicorn(server, server.plan.metrics_socket, http, "the metrics' port"):
        yield


@asynccontextmanager
async def _run_uvicorn(
    server: RunningServer, sock: socket.socket, http: uvicorn.Server, name: str
) -> AsyncIterator[None]:
    start_listening(sock)
    task = asyncio.create_task(http.serve([sock]), name=name)
    server.parts.add(task)
    try:
        yield
    finally:
        http.should_exit = True
        await task


async def _drain(server: RunningServer) -> None:
    """Close the clients' sessions. If only this process of the server stops, the others get the new connections."""
    server.health.draining = True
    if server.http and not server.whole.is_stopping:
        server.http.stop_accepting()
    if server.gateway:
        await server.gateway.drain(server.drain_s)
        await server.gateway.stop(CLOSE_CODE_DRAINING)
