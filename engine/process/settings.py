"""Settings from flags, then ``CALLOUT_*``, then ``callout.toml``. Each has one name, one default, one unit, one range.

``docs/settings.md`` is generated: ``python -m engine.process.settings > docs/settings.md``. A test compares the two.
"""

from __future__ import annotations

import os
import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from engine.process.origins import normalise_origins
from engine.process.settings_checks import value_problems
from engine.process.settings_file import ZONES_TABLE, read_file
from engine.process.settings_names import VARIABLE_PREFIX, is_unknown, suggestion
from engine.process.zone_tables import read_zone_tables, served_zones
from engine.rules.zone_areas import ZoneArea
from engine.types import DEFAULT_ZONE, NEWEST_FORMAT, Zone

DAY_S = 86_400
NonEmptyText = Annotated[str, Meta(min_length=1)]


class SettingsError(ValueError):
    """Raised when the settings cannot be used. The text names every wrong setting and the reason."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of a process. Durations end in ``_s`` and are seconds, or in ``_days``; sizes end in ``_bytes``."""

    data: Annotated[
        str, Meta(min_length=1, description="The data directory: the embedded Valkey, SQLite and the signing key.")
    ] = "./.callout"
    redis: Annotated[
        NonEmptyText | None,
        Meta(
            description="The address of a Redis >= 7.0 or Valkey >= 8, of its sentinels "
            "(`redis+sentinel://HOST:PORT,HOST:PORT/SERVICE`) or of nodes of a cluster "
            "(`redis+cluster://HOST:PORT,HOST:PORT`). Without it, one is started under `data`.",
        ),
    ] = None
    database: Annotated[
        NonEmptyText | None,
        Meta(description="`postgresql://…` or `sqlite:///…`. Without it, SQLite under `data`."),
    ] = None
    durability: Annotated[
        Literal["fast", "replica", "aof", "sql"],
        Meta(
            description="What an acknowledgement promises: in Redis' memory and file (`fast`), on all its replicas"
            " (`replica`), synced to its disk (`aof`), or in SQL (`sql`). See durability.md.",
        ),
    ] = "fast"
    replicas: Annotated[
        Annotated[int, Meta(ge=1, le=100)] | None,
        Meta(description="How many replicas Redis has: level `replica` waits for all of them."),
    ] = None
    host: Annotated[str, Meta(min_length=1, description="The address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535, description="The port to listen on; 0 takes a free one.")] = 8700
    zones: Annotated[
        tuple[Zone, ...],
        Meta(description="The zones that this process serves, beside `main`. Without it, all: see zones.md."),
    ] = (DEFAULT_ZONE,)
    zone_areas: tuple[ZoneArea, ...] = ()
    """The places of the zones, from the tables ``[zones.<name>]`` of the settings file."""
    roles: Annotated[
        tuple[Literal["gateway", "scheduler", "archiver", "push"], ...],
        Meta(description="What this process does. Several processes may share the roles on one Redis and database."),
    ] = ("gateway", "scheduler", "archiver", "push")
    workers: Annotated[
        int,
        Meta(
            ge=1,
            le=256,
            description="Processes of the role `gateway`. Beyond 1, the other roles run in one more (see running.md).",
        ),
    ] = 1
    blueprints: Annotated[
        NonEmptyText | None,
        Meta(description="A folder of blueprints (`*.toml`) added to the shipped ones; one of the same name wins."),
    ] = None
    blueprint: Annotated[
        str,
        Meta(description="The default blueprint: of jobs that name none, and for names of events without a job."),
    ] = "home_service"
    key_file: Annotated[
        NonEmptyText | None,
        Meta(
            description="The signing key, which several hosts can share. Without it, `<data>/signing.key`. A missing"
            " file is created at the first start.",
        ),
    ] = None
    files: Annotated[
        NonEmptyText | None,
        Meta(
            description="Where photos, documents and signatures are stored: a folder, or `s3://BUCKET/PREFIX`, whose"
            " credentials, region and endpoint come from `AWS_…` variables. Without it, `<data>/blobs`. Several hosts"
            " need a place that all reach. See files.md.",
        ),
    ] = None
    origins: Annotated[
        tuple[str, ...],
        Meta(description="Web origins whose pages may call the API (CORS) and open WebSockets: `https://app.example`."),
    ] = ()
    limits: Annotated[
        Literal["on", "off"], Meta(description="Rate limits and the limits on sockets; `off` is for load tests.")
    ] = "on"
    lease_s: Annotated[
        float,
        Meta(gt=0, le=DAY_S, description="A technician goes offline after this time without a sign of life."),
    ] = 90.0
    job_lifetime_s: Annotated[
        Annotated[float, Meta(gt=0, le=365 * DAY_S)] | None,
        Meta(description="Overrides the job lifetime of every blueprint; for load tests."),
    ] = None
    memory_bytes: Annotated[
        int,
        Meta(
            ge=2**20,
            le=2**40,
            description="How much of the zones' logs the server holds for clients that resume, divided between zones"
            " and workers.",
        ),
    ] = 64 * 1024 * 1024
    memory_s: Annotated[float, Meta(gt=0, le=DAY_S, description="How long a gateway keeps an event in memory.")] = 600.0
    log_window_s: Annotated[
        float, Meta(gt=0, le=30 * DAY_S, description="How long an archived event stays in Redis.")
    ] = 600.0
    log_window_bytes: Annotated[
        int, Meta(ge=2**20, le=2**40, description="How much of a zone's archived log stays in Redis at most.")
    ] = 256 * 1024 * 1024
    path_retention_s: Annotated[
        float, Meta(gt=0, le=3650 * DAY_S, description="How long a technician's path on a job is stored in SQL.")
    ] = 30.0 * DAY_S
    keep_events_days: Annotated[int, Meta(ge=0, le=36_500, description="Days SQL has events; 0: forever.")] = 0
    keep_jobs_days: Annotated[int, Meta(ge=0, le=36_500, description="Days SQL has finished jobs; 0: forever.")] = 0
    keep_messages_days: Annotated[int, Meta(ge=0, le=36_500, description="Days SQL has closed rooms; 0: forever.")] = 0
    keep_notifications_days: Annotated[int, Meta(ge=0, le=36_500, description="Days SQL has notifications.")] = 90
    keep_demand_days: Annotated[
        int, Meta(ge=0, le=36_500, description="Days SQL has the counts of requests: 100 or more; 0: forever.")
    ] = 730
    erasures_file: Annotated[
        NonEmptyText | None,
        Meta(description="The list of erased persons, for restored backups. Without it, `<data>/erasures.jsonl`."),
    ] = None
    format: Annotated[int, Meta(ge=1, le=999, description="The newest known format; for tests.")] = NEWEST_FORMAT
    ping_s: Annotated[float, Meta(ge=0.1, le=3600, description="The time between two pings to a socket.")] = 25.0
    pong_s: Annotated[
        float,
        Meta(ge=0.1, le=3600, description="How long a socket may take to answer a ping; then 4002."),
    ] = 10.0
    max_sockets: Annotated[
        int, Meta(ge=1, le=10**7, description="The most WebSockets of all workers; others get 503.")
    ] = 50_000
    user_sockets: Annotated[
        int,
        Meta(
            ge=1,
            le=10_000,
            description="The most WebSockets of one user over all gateways, and the most event streams. A further one"
            " closes the WebSocket that has been silent for longest, or the oldest stream. Not counted with `limits`"
            " off.",
        ),
    ] = 5
    address_sockets: Annotated[
        int,
        Meta(
            ge=1,
            le=10**6,
            description="The most WebSockets of one address at one worker that have not sent `connect` yet; further"
            " ones get 503. Not counted with `limits` off.",
        ),
    ] = 256
    accepts: Annotated[
        int,
        Meta(
            ge=1,
            le=10**6,
            description="The most WebSockets that one worker accepts in a second; further ones get 503. Not counted"
            " with `limits` off.",
        ),
    ] = 1_000
    token_warning_s: Annotated[
        float,
        Meta(ge=0, le=DAY_S, description="How long before the end of a token its socket gets `token.expiring`."),
    ] = 60.0
    token_grace_s: Annotated[
        float,
        Meta(
            ge=0,
            le=DAY_S,
            description="How long a socket outlives its token, so that it can `refresh`; then 4003.",
        ),
    ] = 10.0
    drain_s: Annotated[
        float,
        Meta(ge=0, le=3600, description="The time over which a stopping gateway closes its clients (4000)."),
    ] = 5.0
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(description="Addresses and networks (`10.0.0.0/8`) whose `X-Forwarded-For` is trusted."),
    ] = ()
    metrics_port: Annotated[
        Annotated[int, Meta(ge=0, le=65_535)] | None,
        Meta(
            description="A port that serves only `/metrics`, without a token; 0 takes a free one. On `port`, `/metrics`"
            " needs a token of ops or a service.",
        ),
    ] = None
    metrics_host: Annotated[str, Meta(min_length=1, description="The address on which `metrics_port` listens.")] = (
        "127.0.0.1"
    )
    push_url: Annotated[
        NonEmptyText | None,
        Meta(description="The URL to which push notifications are posted. Without it, none are sent."),
    ] = None
    push_secret: Annotated[str, Meta(description="The key that signs each push notification (HMAC-SHA-256).")] = ""
    web_push_contact: Annotated[
        NonEmptyText | None,
        Meta(description="`mailto:…` or `https://…`: your contact for push services. Turns Web Push on. See push.md."),
    ] = None
    web_push_origins: Annotated[
        tuple[str, ...],
        Meta(description="Push services of your own, which may be at private addresses and without TLS."),
    ] = ()
    payments: Annotated[
        Literal["outside", "test", "stripe"],
        Meta(
            description="Who moves the money: a payment service `outside` that reads the events and reports by HTTP,"
            " `stripe`, or `test`, which moves none and answers at once. See money.md."
        ),
    ] = "outside"
    stripe_key: Annotated[str, Meta(description="The secret key of Stripe's API, for `payments=stripe`.")] = ""
    stripe_webhook_secret: Annotated[
        str, Meta(description="The secret (`whsec_…`) by which Stripe signs `POST /v1/payments/webhooks/stripe`.")
    ] = ""
    stripe_url: Annotated[str, Meta(min_length=1, description="The address of Stripe's API.")] = (
        "https://api.stripe.com"
    )
    router: Annotated[
        NonEmptyText | None,
        Meta(
            description="A router for travel times by road: `osrm+http://HOST:PORT` or `valhalla+http://HOST:PORT`."
            " Without one, and while it does not answer within 150 ms, learnt times apply. See travel.md.",
        ),
    ] = None
    app_min_version: Annotated[
        tuple[str, ...],
        Meta(
            description="The oldest version of the apps that may connect: `2.1` for every app, `driver=2.1` for the one"
            " that calls itself `driver` (`connect.app`). An older one, or one that names no version, is closed with"
            " 4506.",
        ),
    ] = ()
    map_style: Annotated[
        NonEmptyText | None,
        Meta(
            description="The address of a MapLibre style for the maps of the pages. Without it and without `map_tiles`,"
            " a map shows what the server knows, and a browser loads nothing from elsewhere."
        ),
    ] = None
    map_tiles: Annotated[
        NonEmptyText | None,
        Meta(description="Raster tiles for the maps: `https://tiles.example/{z}/{x}/{y}.png`."),
    ] = None
    map_attribution: Annotated[str, Meta(description="Whose map it is; every map shows this text.")] = ""
    map_origins: Annotated[
        tuple[str, ...],
        Meta(description="Further origins from which `map_style` loads tiles, glyphs and images."),
    ] = ()
    demo: Annotated[
        NonEmptyText | None,
        Meta(description="A file of a demo, whose routes `/demo/…` the server then has; `callout demo` sets it."),
    ] = None
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="The lowest level that is logged to standard error."),
    ] = "info"

    @property
    def all_zones(self) -> tuple[Zone, ...]:
        """Return the zones of the deployment: those of the settings file, and ``main``."""
        return tuple(dict.fromkeys((*(area.name for area in self.zone_areas), *self.zones, DEFAULT_ZONE)))

    @property
    def replay_buffer_bytes(self) -> int:
        """The size of the replay buffer of one zone in one worker."""
        return self.memory_bytes // (len(self.zones) * self.workers)


LIST_SETTINGS = ("zones", "roles", "origins", "map_origins", "web_push_origins", "app_min_version", "trusted_proxies")


def read_settings(
    flags: Mapping[str, Any], *, env: Mapping[str, str] | None = None, file: Path | None = None
) -> Settings:
    """Merge the three sources and return the settings. ``flags`` that are None were not given.

    Raises SettingsError with every unknown or wrong setting.
    """
    env = os.environ if env is None else env
    path = file or Path("callout.toml")
    values, problems = read_file(path)
    tables = values.pop(ZONES_TABLE) if isinstance(values.get(ZONES_TABLE), dict) else {}
    areas, wrong = read_zone_tables(tables, path.parent)
    problems += wrong
    names = tuple(name for name in Settings.__struct_fields__ if name != "zone_areas")
    ours = {VARIABLE_PREFIX + name.upper(): name for name in names}
    problems += [
        f"{path}: unknown setting {name!r}{suggestion(name, names)}" for name in sorted(set(values) - set(names))
    ]
    problems += [f"unknown {name}{suggestion(name, ours)}" for name in sorted(env) if is_unknown(name, ours)]
    values.update({ours[name]: env[name] for name in env.keys() & ours.keys()})
    values.update({name: value for name, value in flags.items() if value is not None})
    settings, wrong = _convert_values({name: value for name, value in values.items() if name in names})
    problems += wrong
    zones, wrong = served_zones(settings.zones if "zones" in values else None, tables)
    problems += wrong
    if problems:
        raise SettingsError("; ".join(problems))
    return msgspec.structs.replace(settings, zones=zones, zone_areas=areas)


def _convert_values(values: dict[str, Any]) -> tuple[Settings, list[str]]:
    """Convert the values to the types of the settings. Return the settings and the problems."""
    hints = {field.name: field.type for field in msgspec.structs.fields(Settings)}
    found: dict[str, Any] = {}
    problems: list[str] = []
    for name, raw in values.items():
        value = [part.strip() for part in raw.split(",")] if isinstance(raw, str) and name in LIST_SETTINGS else raw
        try:
            found[name] = msgspec.convert(value, hints[name], strict=False)
        except msgspec.ValidationError as error:
            problems.append(f"{name}: {error}")
    settings = Settings(**found)
    problems += [problem for name in found for problem in value_problems(name, settings)]
    lists: dict[str, tuple[str, ...]] = {}
    for name in ("origins", "map_origins", "web_push_origins"):
        lists[name], wrong = normalise_origins(name, getattr(settings, name))
        problems += wrong
    return msgspec.structs.replace(settings, **lists), problems


if __name__ == "__main__":
    # Run by name, because the page imports this module.
    runpy.run_module("engine.process.settings_page", run_name="__main__")
