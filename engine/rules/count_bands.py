"""Quantiles of counts. A count with the mean m has the variance m + d m², where d is the *dispersion*: it has the
negative binomial distribution, which is Poisson's for d = 0.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

MEAN_STEP = 0.02
"""The logarithm of a mean is rounded to steps of this size (2 %), so that few different quantiles are computed and
cached."""
DISPERSION_STEP = 0.005
NO_MEAN = 1e-4
"""For a smaller mean, each quantile that is used is 0."""
LARGE_MEAN = 400.0
"""From this mean on, a normal distribution of the same variance is used: its quantiles differ by less than 1 %."""


def band_of(mean: float, dispersion: float) -> tuple[int, int]:
    """Return the quantiles 0.1 and 0.9 of a count with this mean and dispersion."""
    if mean <= NO_MEAN:
        return 0, 0
    return _rounded_band(round(math.log(mean) / MEAN_STEP), round(dispersion / DISPERSION_STEP))


def quantile(mean: float, dispersion: float, probability: float) -> int:
    """Return the smallest count k such that a count is at most k with at least this probability."""
    if mean <= NO_MEAN:
        return 0
    return _rounded_quantile(round(math.log(mean) / MEAN_STEP), round(dispersion / DISPERSION_STEP), probability)


@lru_cache(16_384)
def _rounded_band(mean_steps: int, dispersion_steps: int) -> tuple[int, int]:
    return _rounded_quantile(mean_steps, dispersion_steps, 0.1), _rounded_quantile(mean_steps, dispersion_steps, 0.9)


@lru_cache(65_536)
def _rounded_quantile(mean_steps: int, dispersion_steps: int, probability: float) -> int:
    mean, dispersion = math.exp(mean_steps * MEAN_STEP), dispersion_steps * DISPERSION_STEP
    if mean >= LARGE_MEAN:
        spread = math.sqrt(mean + dispersion * mean * mean)
        return max(0, round(mean + spread * NormalDist().inv_cdf(probability)))
    # The sum starts with P(0), and P(k + 1) follows from P(k). The result is exact enough unless P(0) is rounded to 0.
    ratio = dispersion * mean / (1 + dispersion * mean)
    mass = math.exp(-mean) if dispersion == 0 else (1 + dispersion * mean) ** (-1 / dispersion)
    total, count = mass, 0
    while total < probability and count < 50 * LARGE_MEAN:
        if dispersion == 0:
            mass *= mean / (count + 1)
        else:
            mass *= ratio * (count + 1 / dispersion) / (count + 1)
        total += mass
        count += 1
    return count
