"""The declarations of a blueprint about the arrival of a technician: distances, and the states in which the technician
travels.
"""

from __future__ import annotations

import msgspec


class Arrival(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a technician is near the job's place and when they have arrived. All fields in ``_m`` are metres.

    ``technician.near`` is emitted at ``near_m``; ``technician.arrived`` when ``fixes`` measured positions in a row are
    within ``at_m`` and have a small error and a low speed (lua/lib/arrival.lua). A technician farther away than
    ``leave_m`` has left again. ``states`` are the states in which the technician travels to the place; if there are
    none, it is the first state in which their position is shared.
    """

    near_m: int = 500
    at_m: int = 60
    leave_m: int = 150
    fixes: int = 2
    states: tuple[str, ...] = ()
