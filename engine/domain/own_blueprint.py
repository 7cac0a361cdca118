"""Run a command with the blueprint of its job.

Only the job's record contains the name of the job's blueprint. To read the record first would cost every claim a round
trip. Therefore the plan of the default blueprint is sent along and the script compares; if the job has another
blueprint, the command is sent again with the right plan.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from engine.blueprint import registry
from engine.blueprint.schema import Blueprint
from engine.domain import job_restore
from engine.domain.commands import CommandContext
from engine.errors import OtherBlueprint, Unavailable

if TYPE_CHECKING:
    from engine.runtime import Engine

T = TypeVar("T")


async def run_with_own_blueprint(
    engine: Engine, context: CommandContext | None, run_with_blueprint: Callable[[Blueprint], Awaitable[T]]
) -> T:
    """Run ``run_with_blueprint`` with the job's own blueprint. The default blueprint is tried first. With ``context`` a
    finished job that Redis has evicted is restored for the command.

    Raises Unavailable if this process has not loaded the job's blueprint, and the errors of ``run_with_blueprint``.
    """

    async def run() -> T:
        blueprint = engine.blueprints.default
        for _ in range(2):
            try:
                return await run_with_blueprint(blueprint)
            except OtherBlueprint as other:
                blueprint = registry.require_version(engine.blueprints, other.key)
        raise Unavailable("The job's blueprint is not known here")

    if context is None:
        return await run()
    return await job_restore.run_with_restored_job(engine, context.caller, context.zone, context.job, run)
