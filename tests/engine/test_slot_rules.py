"""Tests of the computation of slots: the grid, the visits that block a slot, and that slots do not reveal places."""

from __future__ import annotations

import random

from engine.rules.distances import distance_m
from engine.rules.slots import (
    GRID_MS,
    LEAST_DISTANCE_M,
    SQUARE_DEGREES,
    Availability,
    Visit,
    WantedWork,
    area_distance_m,
    find_slots,
)

HOUR_MS, NOW = 3_600_000, 1_900_000_800_000
BUFFER_MS = 900_000


def gap_ms(metres: float) -> int:
    """Return a travel time of 60 s for each km, and the buffer."""
    return round(metres * 60) + BUFFER_MS


def always(_: int, __: int) -> bool:
    """Return True: the technician works at any time."""
    return True


WISH = WantedWork(52.52, 13.41, HOUR_MS, gap_ms)
FREE = Availability(0, [], always)


def begins(*technicians: Availability, hours: int = 12) -> list[float]:
    """Return when the slots of the next hours begin, in hours from now."""
    found = find_slots(WISH, NOW, NOW + hours * HOUR_MS, NOW, technicians)
    return [(slot.start - NOW) / HOUR_MS for slot in found]


def test_slots_begin_at_each_half_hour_and_not_before_somebody_could_come() -> None:
    """Slots begin at full and half hours, and last as long as the work. They begin no earlier than a technician of the
    area can arrive. Without a technician there are none.
    """
    assert find_slots(WISH, NOW, NOW + HOUR_MS, NOW, []) == []
    found = find_slots(WISH, NOW, NOW + 3 * HOUR_MS, NOW, [FREE, FREE])
    assert all(slot.start % GRID_MS == 0 and slot.end - slot.start == HOUR_MS and slot.free == 2 for slot in found)
    assert found[0].start - GRID_MS < NOW + gap_ms(LEAST_DISTANCE_M) <= found[0].start
    assert NOW + 3 * HOUR_MS - GRID_MS < found[-1].start <= NOW + 3 * HOUR_MS


def test_a_visit_blocks_slots_with_travel_and_buffer_on_both_sides() -> None:
    """A slot ends before a visit, or begins after it, by at least travel time and buffer. It also lies within the
    working hours, and after the time from which the technician is free.
    """
    start = NOW + 5 * HOUR_MS
    busy = Availability(0, [Visit(start, start + HOUR_MS, 52.5, 13.4)], always)
    blocked = set(begins(FREE)) - set(begins(busy))
    gap = gap_ms(LEAST_DISTANCE_M) / HOUR_MS
    assert blocked == {each for each in begins(FREE) if 5 - 1 - gap < each < 6 + gap}
    evening = Availability(0, [], lambda first, last: first >= start and last <= start + 2 * HOUR_MS)
    assert begins(evening) == [each for each in begins(FREE) if 5 <= each <= 6]
    assert min(begins(FREE._replace(free_from=start))) >= 5


def test_overdue_work_blocks_the_next_slots() -> None:
    """An overdue visit counts as if it ended now."""
    overdue = Availability(0, [Visit(NOW - 5 * HOUR_MS, NOW - 4 * HOUR_MS, 52.5, 13.4)], always)
    assert min(begins(overdue)) >= gap_ms(LEAST_DISTANCE_M) / HOUR_MS


def test_a_slot_tells_only_the_square_of_a_visit() -> None:
    """The distance that is used is at least the real one, and it is the same for all places of two squares; for
    adjacent squares it is that of the whole area. Therefore slots do not reveal where a technician works.
    """
    draw = random.Random(3)
    for _ in range(500):
        lat, lon = draw.uniform(-70, 70), draw.uniform(-179, 179)
        there = lat + draw.uniform(-0.6, 0.6), lon + draw.uniform(-0.6, 0.6)
        kept = area_distance_m(lat, lon, *there)
        assert kept >= max(LEAST_DISTANCE_M, distance_m(lat, lon, *there))
        same = [(each // SQUARE_DEGREES + 0.1) * SQUARE_DEGREES for each in (lat, lon, *there)]
        assert area_distance_m(*same) == kept
        assert (
            area_distance_m(lat, lon, lat + draw.uniform(-0.05, 0.05), lon + draw.uniform(-0.05, 0.05))
            == LEAST_DISTANCE_M
        )
