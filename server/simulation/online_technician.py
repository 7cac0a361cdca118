"""A technician who is online somewhere: the base of simulated technicians."""

from __future__ import annotations

from callout_client.listeners import Frame
from server.simulation.account import Account
from server.simulation.person import Person, Simulation


class OnlineTechnician(Person):
    """A technician at a place (``at``), who goes online when they connect, and again if their presence lease expired
    while the connection was lost.
    """

    def __init__(self, simulation: Simulation, account: Account, at: tuple[float, float]) -> None:
        super().__init__(simulation, account)
        self.at = at
        self.online = False
        self._rng = simulation.random_for(account.name)

    async def connect(self) -> None:
        """Connect and go online at the current position."""
        await super().connect()
        await self._go_online()
        self.online = True

    async def go_offline(self) -> None:
        """Go offline. Otherwise the account would receive offers until its presence lease expires."""
        self.online = False
        await self.client.request("availability", online=False)

    def record_join(self, ok: Frame) -> None:
        """Read the reply to ``connect``."""
        super().record_join(ok)
        if self.online and ok.get("online") is False:
            self.start(self._go_online())

    async def send_fix(self) -> None:
        """Send the current position."""
        await self.client.send("location", lat=self.at[0], lon=self.at[1])

    async def _go_online(self) -> None:
        await self.client.request("availability", online=True, lat=self.at[0], lon=self.at[1])
