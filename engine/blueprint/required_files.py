"""Find the files that a command still needs, so that ``actions`` leaves it out. The script decides again
(lua/lib/job_files.lua).
"""

from __future__ import annotations

from collections.abc import Mapping

from engine.rules.job_document import JobView


def missing_files(needs: Mapping[str, int], job: JobView) -> dict[str, int]:
    """Return how many files of each kind ``job`` lacks of those that a command ``needs``."""
    lacks = {kind: number - sum(file.kind == kind for file in job.photos) for kind, number in needs.items()}
    return {kind: number for kind, number in lacks.items() if number > 0}
