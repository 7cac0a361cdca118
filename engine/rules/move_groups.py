"""Splits the moves of a day plan into groups that can be applied one by one, each in one step.

A *move* takes a job from its technician (or from nobody) and gives it to another one. A move *needs* another one if its
new technician must first give up a job at that time. The moves of a group are a chain or a cycle of such needs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec

MAX_MOVES = 16
"""The most moves of a group: one script applies a group, and a zone waits while a script runs."""

LEAST_SAVING_S = 1.0
"""The least travel time (seconds) for which a job is moved. A plan shows whole seconds, so less is shown as nothing."""


class Move(msgspec.Struct, frozen=True):
    """A job goes from the technician ``origin`` to the technician ``target`` (all three are indexes). With ``origin``
    None, nobody has the job.
    """

    job: int
    origin: int | None
    target: int


def group_moves(moves: Sequence[Move], clash: Callable[[int, int], bool]) -> list[list[Move]]:
    """Return the moves in groups of at most ``MAX_MOVES``. ``clash`` returns whether one technician cannot do both of
    two jobs. A group needs only earlier groups. A move needs only earlier moves and moves of its own cycle. Moves that
    cannot be in such a group are left out.
    """
    needs = {
        move.job: {other.job for other in moves if other.origin == move.target and clash(move.job, other.job)}
        for move in moves
    }
    move_of = {move.job: move for move in moves}
    groups: list[list[Move]] = []
    left_out: set[int] = set()
    for chain in _connected(needs):
        for part in _split_chain(chain, needs):
            if len(part) > MAX_MOVES or any(needs[job] & left_out for job in part):
                left_out |= set(part)
            else:
                groups.append([move_of[job] for job in part])
    return groups


def _connected(needs: dict[int, set[int]]) -> list[set[int]]:
    """Return the sets of jobs that are connected by needs, in either direction."""
    joined: dict[int, set[int]] = {job: set(others) for job, others in needs.items()}
    for job, others in needs.items():
        for other in others:
            joined[other].add(job)
    found, seen = [], set[int]()
    for job in needs:
        if job not in seen:
            found.append(_reachable([job], joined))
            seen |= found[-1]
    return found


def _reachable(starts: Collection[int], edges: dict[int, set[int]]) -> set[int]:
    found, waiting = set(starts), list(starts)
    while waiting:
        for other in edges[waiting.pop()] - found:
            found.add(other)
            waiting.append(other)
    return found


def _split_chain(chain: set[int], needs: dict[int, set[int]]) -> list[list[int]]:
    """Return the chain in parts of at most ``MAX_MOVES`` jobs; a cycle that is longer is a part of its own. A job that
    another one needs is in an earlier part, earlier in the same part, or in the same cycle.
    """
    reach = {job: _reachable([job], needs) for job in chain}
    # A job reaches more jobs than each job that it needs. The jobs of a cycle are an exception: they all reach the same
    # jobs.
    order = sorted(chain, key=lambda job: (len(reach[job]), job))
    cycles: list[list[int]] = []
    for job in order:
        if not any(job in cycle for cycle in cycles):
            cycles.append([other for other in order if other in reach[job] and job in reach[other]])
    parts: list[list[int]] = []
    for cycle in cycles:
        if parts and len(parts[-1]) + len(cycle) <= MAX_MOVES:
            parts[-1] += cycle
        else:
            parts.append(list(cycle))
    return parts


def drop_impossible(
    moves: Sequence[Move], visits_of: Mapping[int, set[int]], clash: Callable[[int, int], bool]
) -> list[Move]:
    """Return the moves without those whose new technician keeps another job that clashes. ``visits_of`` has the jobs of
    each technician before the first move.
    """
    possible = list(moves)
    while True:
        given_up = {move.job for move in possible}
        kept = [
            move
            for move in possible
            if not any(clash(move.job, job) for job in visits_of[move.target] - given_up if job != move.job)
        ]
        if len(kept) == len(possible):
            return kept
        possible = kept


def rank_groups(
    groups: Sequence[list[Move]],
    visits_of: Mapping[int, set[int]],
    clash: Callable[[int, int], bool],
    travel_s: Callable[[set[int]], float],
) -> list[tuple[list[Move], float]]:
    """Return the groups, the best first, each with the travel time (seconds) that it saves if those before it have been
    applied. A group is better if it serves more waiting jobs, then if it saves more; it comes after the groups that it
    needs. Groups that save less than ``LEAST_SAVING_S`` and serve no waiting job are left out. ``travel_s`` returns the
    travel time of one technician who does these jobs.
    """
    held = {technician: set(jobs) for technician, jobs in visits_of.items()}
    needs = _needed_groups(groups, clash)
    waiting, ratings = set(range(len(groups))), dict[int, tuple[int, float]]()
    ranked: list[tuple[list[Move], float]] = []
    while ready := [number for number in sorted(waiting) if not needs[number] & waiting]:
        for number in ready:
            if number not in ratings:
                serves = sum(move.origin is None for move in groups[number])
                ratings[number] = (serves, _saves_s(groups[number], held, travel_s))
        best = max(ready, key=ratings.__getitem__)
        serves, saves_s = ratings[best]
        if not serves and saves_s < LEAST_SAVING_S:
            break
        waiting.remove(best)
        changed = _jobs_after(groups[best], held)
        held |= changed
        ranked.append((groups[best], saves_s))
        ratings = {
            number: rating for number, rating in ratings.items() if not _technicians_of(groups[number]) & changed.keys()
        }
    return ranked


def _needed_groups(groups: Sequence[list[Move]], clash: Callable[[int, int], bool]) -> list[set[int]]:
    """Return for each group the indexes of the groups that it needs."""
    leaving: dict[int | None, list[tuple[int, int]]] = {}
    for number, group in enumerate(groups):
        for move in group:
            leaving.setdefault(move.origin, []).append((number, move.job))
    return [
        {
            other
            for move in group
            for other, job in leaving.get(move.target, ())
            if other != number and clash(move.job, job)
        }
        for number, group in enumerate(groups)
    ]


def _technicians_of(group: Sequence[Move]) -> set[int]:
    """Return the technicians whom the group concerns."""
    return {technician for move in group for technician in (move.origin, move.target) if technician is not None}


def _jobs_after(group: Sequence[Move], held: Mapping[int, set[int]]) -> dict[int, set[int]]:
    """Return the jobs that the technicians of the group have after its moves."""
    changed = {technician: set(held[technician]) for technician in _technicians_of(group)}
    for move in group:
        if move.origin is not None:
            changed[move.origin].discard(move.job)
        changed[move.target].add(move.job)
    return changed


def _saves_s(group: Sequence[Move], held: Mapping[int, set[int]], travel_s: Callable[[set[int]], float]) -> float:
    after = _jobs_after(group, held)
    return sum(travel_s(held[technician]) - travel_s(jobs) for technician, jobs in after.items())
