"""The composition root: create the parts of a server, start them in order, and stop them in the reverse order.

An exit stack registers the stop of each started part, so that a start that fails half way stops exactly the parts that
it had started. Stopping begins with the clients: the server reports that it is not ready, tells the sockets to
reconnect to another node (4000), and finishes the running requests. uvicorn alone would first close every socket with
1012.

If a part ends by itself, the process ends: a server without that part would pass health checks but lose jobs.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import structlog
import uvicorn
from prometheus_client import ProcessCollector
from starlette.types import ASGIApp

from engine.blueprint import registry
from engine.identity import outbox
from engine.process import embedded
from engine.process.datadir import CannotStart, hold_lock
from engine.process.settings import Settings
from engine.runtime import Engine
from engine.startup import open_engine
from engine.workers import archiver, maintenance, notifier, rebuilder, scheduler
from engine.zone.upgrade import raise_all
from server import logs
from server.app import Health, build_app, metrics_app
from server.gateway.gateway import Gateway
from server.gateway.transport import CalloutWebSocket
from server.http.http_protocol import CalloutHTTP

LISTEN_BACKLOG = 2048
SEND_BUFFER_BYTES = 64 * 1024
"""The send buffer in bytes. It is set on the listening socket, and each connection inherits it. With the kernel's
default a dead client costs 4 MB before a write blocks, with this value about 300 KB.
"""
MAX_FRAME_BYTES = 64 * 1024
SHUTDOWN_TIMEOUT_S = 5
KEEP_ALIVE_S = 75
"""How long an idle HTTP connection stays open. It is longer than the idle timeouts of clients and proxies (httpx 5 s,
nginx and AWS load balancers 60 s), so that they close first. With uvicorn's default of 5 s, a request that a client
sent at the moment of the close failed without an answer.
"""
CLOSE_CODE_DRAINING = 4000

ROLE_LOOPS: dict[str, tuple[Callable[[Engine], Awaitable[None]], ...]] = {
    "scheduler": (scheduler.run,),
    "archiver": (archiver.run, maintenance.run, rebuilder.run),
    "push": (notifier.run,),
}
"""The background loops of each role. Each loop runs for ever, and continues after faults of Redis and SQL."""

log = structlog.get_logger(__name__)


class PartEnded(Exception):
    """Raised when a part of the running server has ended by itself, so that the process must end. Exit code 1."""


class RunningServer:
    """A running server in this process."""

    def __init__(self, url: str, engine: Engine, gateway: Gateway | None, health: Health) -> None:
        self.url = url
        self.ws_url = "ws" + url.removeprefix("http") + "/v1/ws"
        self.engine = engine
        self.gateway = gateway
        self.health = health
        self.metrics_url = ""
        self.parts: set[asyncio.Task[Any]] = set()

    def ready_line(self) -> dict[str, Any]:
        """Return the line that is printed when the server is ready."""
        settings = self.engine.settings
        return {
            "serving": self.url,
            "version": version("callout"),
            "pid": os.getpid(),
            "data": os.path.realpath(settings.data),
            "zones": settings.zones,
            "roles": settings.roles,
            **({"metrics": self.metrics_url} if self.metrics_url else {}),
        }

    async def wait_for_ended_part(self) -> NoReturn:
        """Wait until a part ends by itself. Then raise PartEnded with the name of that part."""
        done, _ = await asyncio.wait(self.parts, return_when=asyncio.FIRST_COMPLETED)
        part = done.pop()
        error = None if part.cancelled() else part.exception()
        raise PartEnded(f"{part.get_name()} ended: {error or 'without a reason'}") from error


async def serve(settings: Settings, *, on_ready: Callable[[dict[str, Any]], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then stop in order. SIGHUP reloads the blueprints. ``on_ready`` is called with the
    result of ``RunningServer.ready_line`` when the server is ready.

    Raises CannotStart, UnsuitableServer or Unavailable if the server cannot start, and PartEnded if a part of it ended.
    """
    with _cancel_on_signals() as stopping:
        try:
            async with run_server(settings) as server:
                with _reload_on_signal(server.engine):
                    _freeze_objects()
                    if on_ready:
                        on_ready(server.ready_line())
                    await server.wait_for_ended_part()
        except asyncio.CancelledError:
            if not stopping.is_set():
                raise
    log.info("stopped")


@asynccontextmanager
async def run_server(settings: Settings) -> AsyncIterator[RunningServer]:
    """Run a server on the current event loop while the ``async with`` block runs. Signals are not changed.

    Raises CannotStart, UnsuitableServer or Unavailable.
    """
    async with AsyncExitStack() as stack:
        lock = stack.enter_context(hold_lock(Path(settings.data)))
        # Bound before anything is started: a port in use is the most common mistake, and should cost nothing.
        sock = stack.enter_context(bind_socket(settings.host, settings.port))
        counts = None
        if settings.metrics_port is not None:
            counts = stack.enter_context(bind_socket(settings.metrics_host, settings.metrics_port))
        valkey = None
        if settings.redis is None:
            sync: embedded.Sync = "always" if settings.durability == "aof" else "everysec"
            valkey = await embedded.start_or_adopt(Path(settings.data), sync=sync)
            stack.push_async_callback(valkey.stop)
            settings = msgspec.structs.replace(settings, redis=valkey.url)
        engine = await stack.enter_async_context(open_engine(settings))
        if valkey and settings.database is None:  # nobody else uses its stores
            await raise_all(engine.store, engine.archive)
        _register_metrics(engine)
        gateway = await stack.enter_async_context(_run_gateway(engine))
        server = RunningServer(url_of(sock), engine, gateway, Health(engine, gateway))
        await stack.enter_async_context(_run_background_parts(server, valkey))
        await stack.enter_async_context(_serve_metrics(server, counts))
        await stack.enter_async_context(_serve_http(server, sock))
        stack.push_async_callback(_drain, server)
        lock.set_url(server.url)
        yield server


def _freeze_objects() -> None:
    """Exclude the objects of the start from garbage collection: they stay until the process ends. The thresholds of the
    collections are set in server/cli/main.py.
    """
    gc.collect()
    gc.freeze()


def _register_metrics(engine: Engine) -> None:
    """Register the metrics of the whole process: its memory and descriptors, the open zones, and lost log lines."""
    zones = engine.store.zones
    ProcessCollector(registry=engine.metrics.registry)
    engine.metrics.add_callback_metric(
        "zone_open",
        "Whether the zone is open",
        lambda: {(zone,): float(state.open) for zone, state in zones.items()},
        "zone",
    )
    engine.metrics.add_callback_metric(
        "log_lines_lost", "Log lines that could not be written", lambda: float(logs.Sink.lost_lines), rises=True
    )


@contextmanager
def bind_socket(host: str, port: int) -> Iterator[socket.socket]:
    """Return a socket bound to ``host`` and ``port`` (0: a free port) that does not listen yet. Raises CannotStart."""
    if not 0 <= port <= 65535:  # getaddrinfo would take it modulo 65536
        raise CannotStart(f"cannot listen on {host}:{port}: a port is at most 65535")
    with convert_listen_errors(host, port):
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, proto)
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with convert_listen_errors(host, port):
            sock.bind(address)
        yield sock


@contextmanager
def convert_listen_errors(host: str, port: int) -> Iterator[None]:
    """Convert an OSError of binding or listening into CannotStart with a message of one line."""
    try:
        yield
    except OSError as error:
        raise CannotStart(
            f"cannot listen on {host}:{port}: {error.strerror}; give another --port (0: a free one)"
        ) from error


def url_of(sock: socket.socket) -> str:
    """Return the URL under which a client on this machine reaches the socket."""
    host, port, *_ = sock.getsockname()
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@asynccontextmanager
async def _run_gateway(engine: Engine) -> AsyncIterator[Gateway | None]:
    if "gateway" not in engine.settings.roles:
        yield None
        return
    gateway = Gateway(engine)
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
    parts["engine.blueprint.registry.reload_at_intervals"] = registry.reload_at_intervals(
        server.engine.archive, server.engine.blueprints
    )
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


class _Uvicorn(uvicorn.Server):
    """A uvicorn server without signal handlers, because this module handles the signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _uvicorn_config(app: ASGIApp, **more: Any) -> uvicorn.Config:
    """Return a uvicorn configuration for ``app``, without uvicorn's own logging and start-up."""
    return uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
        **more,
    )


@asynccontextmanager
async def _serve_http(server: RunningServer, sock: socket.socket) -> AsyncIterator[None]:
    proxies = server.engine.settings.trusted_proxies
    config = _uvicorn_config(
        build_app(server.engine, server.gateway, server.health),
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
    async with _run_uvicorn(server, sock, config, "the HTTP server"):
        yield


@asynccontextmanager
async def _serve_metrics(server: RunningServer, sock: socket.socket | None) -> AsyncIterator[None]:
    """Serve ``/metrics`` on its own port, if one is set, to everybody who can reach that port."""
    if sock is None:
        yield
        return
    server.metrics_url = f"{url_of(sock)}/metrics"
    config = _uvicorn_config(metrics_app(server.engine.metrics), proxy_headers=False)
    async with _run_uvicorn(server, sock, config, "the metrics' port"):
        yield


@asynccontextmanager
async def _run_uvicorn(
    server: RunningServer, sock: socket.socket, config: uvicorn.Config, name: str
) -> AsyncIterator[None]:
    host, port, *_ = sock.getsockname()
    with convert_listen_errors(host, port):
        sock.listen(LISTEN_BACKLOG)  # two sockets may bind with SO_REUSEADDR, but only one may listen
    http = _Uvicorn(config)
    task = asyncio.create_task(http.serve([sock]), name=name)
    server.parts.add(task)
    try:
        yield
    finally:
        http.should_exit = True
        await task


async def _drain(server: RunningServer) -> None:
    server.health.draining = True
    if server.gateway:
        await server.gateway.drain()
        await server.gateway.stop(CLOSE_CODE_DRAINING)


@contextmanager
def _cancel_on_signals() -> Iterator[asyncio.Event]:
    """Cancel the current task on SIGTERM or SIGINT, during start-up and while serving, and set the returned event.

    Python handles a second SIGINT: somebody who presses Ctrl-C twice wants to end at once. The next start adopts the
    Valkey that is then still running.
    """
    task, loop, stopping = asyncio.current_task(), asyncio.get_running_loop(), asyncio.Event()

    def stop() -> None:
        if not stopping.is_set():
            stopping.set()
            loop.remove_signal_handler(signal.SIGINT)
            assert task is not None
            task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        yield stopping
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


@contextmanager
def _reload_on_signal(engine: Engine) -> Iterator[None]:
    """Reload the blueprints on SIGHUP. If the terminal from which the server was started is gone, SIGHUP stops the
    server, as it stops other programs.
    """
    loop, terminal = asyncio.get_running_loop(), [number for number in range(3) if os.isatty(number)]
    reloads: set[asyncio.Task[None]] = set()

    def handle_sighup() -> None:
        if any(not os.isatty(number) for number in terminal):
            _redirect_to_null(terminal)
            return signal.raise_signal(signal.SIGTERM)
        task = loop.create_task(_reload_blueprints(engine), name="the blueprints")
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    loop.add_signal_handler(signal.SIGHUP, handle_sighup)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


def _redirect_to_null(streams: list[int]) -> None:
    """Redirect streams whose terminal is gone to /dev/null: a write to them fails, and would interrupt the stop."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in streams:
        os.dup2(null, number)
    os.close(null)


async def _reload_blueprints(engine: Engine) -> None:
    try:
        problems = await registry.reload_files(engine.settings, engine.archive, engine.blueprints)
    except Exception:  # a task boundary: after any error the server continues with its old blueprints
        log.exception("blueprints_not_reloaded")
        return
    if problems:
        log.error("blueprints_not_reloaded", problems=problems)
    else:
        log.info("blueprints_reloaded", keys=sorted(each.key for each in engine.blueprints.by_name.values()))
