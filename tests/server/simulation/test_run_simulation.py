"""How a simulation that runs as a command ends: by a signal, or because its server fails."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from server.cli.command_failed import CommandFailed
from server.cli.run_simulation import run_command
from server.simulation.child_server import ChildError

SERVER_ENDED = ExceptionGroup("parts", [ChildError("the server ended")])


def test_a_failed_server_is_a_failed_command() -> None:
    """Without a signal, the error of a part of the work becomes one CommandFailed with its text."""

    async def fail() -> None:
        raise SERVER_ENDED

    with pytest.raises(CommandFailed, match="the server ended"):
        run_command(fail())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_failure_after_a_signal_is_an_interruption(number: signal.Signals) -> None:
    """A signal cancels the work. If a part then fails because the other parts stop, the command is still interrupted
    and has not failed.
    """

    async def fail_when_cancelled() -> None:
        os.kill(os.getpid(), number)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise SERVER_ENDED from None

    with pytest.raises(KeyboardInterrupt):
        run_command(fail_when_cancelled())
