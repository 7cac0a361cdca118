"""Jobs that a technician has claimed, each at a place of its own."""

from __future__ import annotations

from bench.load.seed import ZONE, SeededZone, member_id, squad_position
from bench.rig import BenchError
from engine.types import JobId, new_job_id


def customer_id(place: int) -> str:
    """Return the user id of the customer of the job at this place."""
    return f"user_c{place}"


async def claim_job(zone: SeededZone, place: int) -> JobId:
    """Bring a technician (``member_id``) online, book a job at the same place and claim it, which opens its room.
    Return the job.
    """
    technician, job, position = member_id(place), new_job_id(ZONE), squad_position(place)
    await zone.create_technician(technician, *position)
    await zone.run(zone.booking_call(job, *position, customer=customer_id(place)))
    offers = (await zone.run(zone.wave_call(job, 1))).values[0]
    if int(offers) != 1:
        raise BenchError(f"a job was offered to {int(offers)} and not to the one technician at its place")
    await zone.run(zone.claim_call(job, technician))
    return job
