"""Intervals for measurements that are paired: the same items, answered by two models.

Items that belong together (answers to one prompt) form a cluster, and clusters are what an interval is taken
over: treating them as independent would make it too narrow. Shares of independent items get score intervals,
which hold for small numbers and at 0 and 1; everything else a bootstrap.
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from .results import Score

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], tuple[Floats, Floats]]

Z = NormalDist().inv_cdf(0.975)
REPLICATES = 2000
# Cells of one block of resampled clusters; bounds memory when there are many clusters.
BLOCK = 1_000_000
LEAST_CLUSTERS = 10
"""With fewer no bootstrap interval is given: resampling a handful of values says nothing about the rest."""


@dataclass(frozen=True)
class Items:
    """One metric of one model, item by item; two models are compared on the same items in the same order."""

    values_I: Floats
    weights_I: Floats
    """How much an item counts in the mean, for instance its tokens."""
    clusters_I: NDArray[np.int64]
    """Which items belong together; numbers from 0."""
    exponential: bool = False
    """The metric is the exponential of the mean, as perplexity is."""

    @property
    def value(self) -> float:
        """The metric."""
        mean = float(np.average(self.values_I, weights=self.weights_I))
        return float(np.exp(mean)) if self.exponential else mean

    @property
    def independent_share(self) -> bool:
        """Whether the metric is a share of independent items: all values are 0 or 1 and nothing is clustered."""
        alone = len(np.unique(self.clusters_I)) == len(self.clusters_I) and bool((self.weights_I == 1).all())
        return alone and not self.exponential and bool(np.isin(self.values_I, (0.0, 1.0)).all())


def score(items: Items, seed: int = 0) -> Score:
    """The metric of one model with its 95 % interval: Wilson's for shares of independent items, else a bootstrap."""
    if items.independent_share:
        return wilson(int(items.values_I.sum()), len(items.values_I))
    found = _bootstrap_score((items,), _mean, seed)
    if not items.exponential:
        return found
    ends = {key: None if end is None else float(np.exp(end)) for key, end in (("low", found.low), ("high", found.high))}
    return Score(value=items.value, n=found.n, **ends)


def change(after: Items, reference: Items, seed: int = 0) -> Score:
    """`after` minus `reference` on the same items with its 95 % interval: Tango's for shares, else a bootstrap."""
    if after.independent_share and reference.independent_share:
        won = int(((after.values_I == 1) & (reference.values_I == 0)).sum())
        lost = int(((after.values_I == 0) & (reference.values_I == 1)).sum())
        return tango(won, lost, len(after.values_I))
    return _bootstrap_score((after, reference), _difference(after.exponential), seed)


def distance_growth(after: Items, reference: Items, target: float, seed: int = 0) -> Score:
    """How much farther from `target` `after` lies than `reference`, with a 95 % bootstrap interval."""
    return _bootstrap_score((after, reference), _growth(target), seed)


def wilson(successes: int, n: int) -> Score:
    """A share with Wilson's score interval (Wilson 1927, JASA 22:209-212)."""
    share = successes / n
    centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    low, high = min(share, centre - half), max(share, centre + half)
    return Score(value=share, n=n, low=max(0.0, float(low)), high=min(1.0, float(high)))


def tango(won: int, lost: int, n: int) -> Score:
    """The difference of two paired shares, (won - lost) / n, with Tango's score interval.

    `won` and `lost` count the items that only the one or only the other got right. The bounds are where the
    score statistic reaches 1.96 (Tango 1998, Statistics in Medicine 17:891-908).
    """
    difference = (won - lost) / n

    def statistic(delta: float) -> float:
        # q is the maximum-likelihood share of `lost` items among all, given that the true difference is delta.
        b = (2 * n - won + lost) * delta - won - lost
        q = (np.sqrt(b * b + 8 * n * lost * delta * (1 - delta)) - b) / (4 * n)
        variance = n * (2 * q + delta * (1 - delta))
        distance = won - lost - n * delta
        return float(distance / np.sqrt(variance)) if variance > 0 else float(np.sign(distance)) * np.inf

    low = _root(lambda delta: statistic(delta) - Z, -1.0, difference)
    high = _root(lambda delta: statistic(delta) + Z, difference, 1.0)
    return Score(value=difference, n=n, low=low, high=high)


def bootstrap(
    sums_AC: Floats, weights_C: Floats, statistic: Statistic, seed: int, replicates: int = REPLICATES
) -> tuple[float, float, float]:
    """A statistic of A weighted means and the ends of its 95 % interval, resampling C clusters.

    `sums_AC` holds each model's weighted values summed by cluster, `weights_C` the weights; `statistic` maps
    means [R, A] to values [R] and gradients [R, A]. All models are resampled together, so pairing is kept.
    The interval is the symmetric studentised one (Hall 1988, JRSS B 50:35-45): in simulations with skewed
    scores of a few dozen clusters it covers 93 to 98 %, where percentile and BCa intervals cover 88 to 92 %.
    """
    everyone_1C = np.arange(len(weights_C))[None]
    value_1, error_1 = _estimate(sums_AC, weights_C, statistic, everyone_1C)
    value, error = float(value_1[0]), float(error_1[0])
    if error <= 1e-12 * abs(value):
        return value, value, value
    rng = np.random.default_rng(seed)
    rows = max(1, BLOCK // len(weights_C))
    deviations = []
    for start in range(0, replicates, rows):
        drawn_RC = rng.integers(0, len(weights_C), (min(rows, replicates - start), len(weights_C)))
        value_R, error_R = _estimate(sums_AC, weights_C, statistic, drawn_RC)
        spread_R = error_R > 1e-9 * error  # a resample without any spread cannot be studentised
        deviations.append(np.abs(value_R - value)[spread_R] / error_R[spread_R])
    half = error * float(np.quantile(np.concatenate(deviations), 0.95))
    return value, value - half, value + half


def _estimate(
    sums_AC: Floats, weights_C: Floats, statistic: Statistic, drawn_RC: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """The statistic [R] on R resamples of the clusters, and its standard error [R] by the delta method."""
    drawn_ARC, weights_RC = sums_AC[:, drawn_RC], weights_C[drawn_RC]
    total_R = weights_RC.sum(axis=1)
    means_RA = (drawn_ARC.sum(axis=2) / total_R).T
    value_R, gradient_RA = statistic(means_RA)
    residual_RC = np.einsum("ra,arc->rc", gradient_RA, drawn_ARC)
    residual_RC -= (gradient_RA * means_RA).sum(axis=1)[:, None] * weights_RC
    clusters = len(weights_C)
    correction = clusters / max(clusters - 1, 1)
    return value_R, np.sqrt(correction * (residual_RC**2).sum(axis=1)) / total_R


def _bootstrap_score(models: tuple[Items, ...], statistic: Statistic, seed: int) -> Score:
    first = models[0]
    sums_AC = np.stack([_totals(m.values_I * m.weights_I, m.clusters_I) for m in models])
    weights_C = _totals(first.weights_I, first.clusters_I)
    value, low, high = bootstrap(sums_AC, weights_C, statistic, seed)
    if len(weights_C) < LEAST_CLUSTERS:
        return Score(value=value, n=len(first.values_I))
    return Score(value=value, n=len(first.values_I), low=low, high=high)


def _totals(values_I: Floats, clusters_I: NDArray[np.int64]) -> Floats:
    return np.bincount(clusters_I, values_I).astype(np.float64)


def _mean(means_RA: Floats) -> tuple[Floats, Floats]:
    return means_RA[:, 0], np.ones_like(means_RA)


def _difference(exponential: bool) -> Statistic:
    def statistic(means_RA: Floats) -> tuple[Floats, Floats]:
        metrics_RA = np.exp(means_RA) if exponential else means_RA
        slope_RA = metrics_RA if exponential else np.ones_like(metrics_RA)
        return metrics_RA[:, 0] - metrics_RA[:, 1], slope_RA * np.array([1.0, -1.0])

    return statistic


def _growth(target: float) -> Statistic:
    def statistic(means_RA: Floats) -> tuple[Floats, Floats]:
        offset_RA = means_RA - target
        distance_RA = np.abs(offset_RA)
        return distance_RA[:, 0] - distance_RA[:, 1], np.sign(offset_RA) * np.array([1.0, -1.0])

    return statistic


def _root(falling: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling function crosses zero between `low` and `high`; an end where it does not."""
    for _ in range(60):
        middle = (low + high) / 2
        if falling(middle) > 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2
