"""The study's statistics: intervals, paired tests, verdicts. The unit of inference is never the event or the clip.

At home it is the session, with one score each; in fusion the cluster, a person or recording with several clips.

Events of one session share people, hour and plan: treating them as independent understates the standard error about
three- to sixfold. With six test sessions a percentile bootstrap covers 86 % instead of 95 %,
Student's t covers 94 %, hence t. Scores and gaps keep the unit they come in (F1 as 0 … 1, or points).

Six sessions prove little: their smallest two-sided sign-flip p is 2/2⁶ = 0.031, and Holm multiplies it by the number of
pairs. From two pairs on *no* gap, however large, reaches 0.05; ``Pair.p_least`` says so in every row.
``python -m tests.bench.calibration`` measures size, coverage and power on simulated data.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import combinations, compress
from statistics import NormalDist
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.NDArray[np.float64]
Verdict = Literal["higher", "lower", "not shown"]
NAN = float("nan")
EXACT_UP_TO = 16
"""Sessions up to which every sign pattern is tried; beyond, a seeded sample of them."""
ROUNDING = 1e-12
"""Sums that differ by less, relative to the sum of sizes, count as equal: only rounding parts them."""
FEW = 20
"""Clusters below which percentiles of a bootstrap are too narrow (six: 86 % instead of 95 %) and t takes over."""
B = 2000
"""Resamples of a bootstrap."""


class Interval(NamedTuple):
    """A mean with its uncertainty; the bounds are NaN for fewer than two units of inference."""

    n: int
    """Units of inference: sessions, or clusters of clips."""
    mean: float
    low: float
    high: float
    sd: float
    """Standard deviation between units (n-1) that the t interval rests on; NaN for other intervals."""
    n_values: int = 0
    """Values behind the mean: as many as sessions, or the clips of all clusters."""
    how: str = "t"
    """How the interval was made."""

    def __str__(self) -> str:
        if self.n == 0:
            return "no sessions"
        if self.n == 1:
            return f"{self.mean:.3f} (n = 1, no interval)"
        return f"{bounded(self.mean, self.low, self.high)} (n = {self.n})"

    @property
    def brief(self) -> str:
        """Two digits and no n, for cells of a grid."""
        bounds = f"[{self.low:.2f}, {self.high:.2f}]" if self.low == self.low else "(no interval)"
        return f"{self.mean:.2f} {bounds}" if self.mean == self.mean else "not measured"

    def numbers(self, name: str) -> dict[str, float]:
        """Mean and bounds as key numbers: ``name``, ``name_low``, ``name_high``."""
        return {name: self.mean, f"{name}_low": self.low, f"{name}_high": self.high}

    @property
    def within(self) -> Interval:
        """The interval of a share, cut at 0 and 1."""
        return self.cut(0.0, 1.0)

    def cut(self, least: float, most: float) -> Interval:
        """Not beyond what the mean can be (t knows no such ends)."""
        return self._replace(low=max(least, self.low), high=min(most, self.high)) if self.low == self.low else self


def bounded(mean: float | None, low: float | None, high: float | None) -> str:
    """A mean with its interval, as tables of text write it; a dash for None."""
    if mean is None:
        return "–"
    return f"{mean:.3f} (no interval)" if low is None or high is None else f"{mean:.3f} [{low:.3f}, {high:.3f}]"


def t_interval(values: Sequence[float] | Floats, level: float = 0.95) -> Interval:
    """Mean over sessions with Student's t interval.

    Args:
        values: one score a session; NaN (no scored event) is left out and not counted.
        level: coverage, 0 … 1.
    """
    kept = np.array([value for value in values if value == value], dtype=float)
    n = len(kept)
    if n < 2:
        return Interval(n, float(kept.mean()) if n else NAN, NAN, NAN, NAN, n)
    return _t(n, float(kept.mean()), float(kept.std(ddof=1)), level, n, "t")


def _t(n: int, mean: float, sd: float, level: float, n_values: int, how: str) -> Interval:
    half = minimum_detectable_gap(sd, n, level)
    return Interval(n, mean, mean - half, mean + half, sd, n_values, how)


def clustered_interval(
    values: Sequence[float] | Floats,
    clusters: Sequence[Hashable],
    *,
    how: Literal["auto", "t", "bootstrap"] = "auto",
    n_resamples: int = B,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Mean over clips, interval over clusters.

    Where all clips score 0, or all 1, nothing varies and t and bootstrap would both claim certainty: the bound is then
    Clopper & Pearson's for so many clips, as Korn & Graubard (1998) have it. It takes clips as independent, for want of
    a sign of the contrary.

    Args:
        values: one a clip; NaN is left out.
        clusters: of each clip.
        how: "bootstrap": percentiles over resampled clusters. "t": Student's t with clusters - 1 degrees of freedom on
            the cluster-robust standard error of the mean; with clusters of one size that is :func:`t_interval` over
            cluster means. "auto": t below :data:`FEW` clusters.
        n_resamples: of the bootstrap.
        seed: of the bootstrap.
        level: coverage, 0 … 1.

    Raises:
        ValueError: values and clusters differ in length.
    """
    given = np.asarray(values, dtype=float)
    if len(given) != len(clusters):
        raise ValueError(f"{len(given)} values and {len(clusters)} clusters: need one of each a clip")
    kept = ~np.isnan(given)
    y, index = given[kept], number_clusters(list(compress(clusters, kept)))
    n, c = len(y), int(index.max(initial=-1)) + 1
    mean = float(y.mean()) if n else NAN
    if c < 2:
        return Interval(c, mean, NAN, NAN, NAN, n, "one cluster: no interval")
    if not np.ptp(y) and mean in (0.0, 1.0):
        least = float(((1 - level) / 2) ** (1 / n))
        bounds = (least, 1.0) if mean else (0.0, 1 - least)
        return Interval(c, mean, *bounds, NAN, n, "Clopper-Pearson, clips")
    sums, sizes = np.bincount(index, y, c), np.bincount(index, minlength=c)
    if how == "t" or (how == "auto" and c < FEW):
        sd = float((((sums - mean * sizes) ** 2).sum() * c / (c - 1)) ** 0.5 / n * c**0.5)
        return _t(c, mean, sd, level, n, "t, clusters")
    times = _resample(c, n_resamples, seed)
    return Interval(c, mean, *_percentiles(times @ sums / (times @ sizes), level), NAN, n, "bootstrap, clusters")


def resampled_interval(
    statistic: Callable[[Floats], Floats],
    n: int,
    n_values: int,
    *,
    n_resamples: int = B,
    seed: int = 0,
    level: float = 0.95,
    strata: Sequence[int] = (),
) -> Interval:
    """Interval of any share-like statistic of clusters (such as macro F1) by resampling them.

    Percentiles; below :data:`FEW` clusters the statistic ± t · (standard deviation of the resamples), cut at 0 and 1.

    Args:
        statistic: how often each cluster is taken, shape (n_draws, n) -> the statistic of each draw, (n_draws,).
        n: clusters.
        n_values: clips in all of them.
        n_resamples: of the bootstrap.
        seed: of the bootstrap.
        level: coverage, 0 … 1.
        strata: clusters of each home, those of a home side by side: only they stand in for one another; none = all do.
    """
    if not n:
        return Interval(0, NAN, NAN, NAN, NAN, 0, "no clips")
    mean, sizes = float(statistic(np.ones((1, n)))[0]), list(strata) or [n]
    if min(sizes) < 2:
        return Interval(n, mean, NAN, NAN, NAN, n_values, "one cluster: no interval")
    parts = [_resample(size, n_resamples, seed + place) for place, size in enumerate(sizes)]
    drawn = statistic(np.concatenate(parts, axis=1))
    if min(sizes) < FEW:
        half = float(special.stdtrit(n - len(sizes), 0.5 + level / 2)) * float(drawn.std(ddof=1))
        return Interval(n, mean, mean - half, mean + half, NAN, n_values, "t on a bootstrap, clusters").within
    return Interval(n, mean, *_percentiles(drawn, level), NAN, n_values, "bootstrap, clusters")


def widened_weights(n: int, n_resamples: int = B, seed: int = 0, level: float = 0.95) -> Floats:
    """Weights of clusters in each resample, (n_resamples, n), each row's sum n: for statistics that are linear in them.

    Below :data:`FEW` clusters they lie so much farther from 1 that percentiles of a weighted mean are as wide as
    Student's t; some are negative then. One cluster always has the weight 1: it has no interval.

    Args:
        n: clusters.
        n_resamples: rows.
        seed: of the draw.
        level: coverage of the interval that is taken from them, 0 … 1.
    """
    times = _resample(n, n_resamples, seed)
    if not 1 < n < FEW:
        return times
    wider = float(special.stdtrit(n - 1, 0.5 + level / 2)) / NormalDist().inv_cdf(0.5 + level / 2)
    return 1 + (times - 1) * wider * (n / (n - 1)) ** 0.5


def number_clusters(clusters: Sequence[Hashable]) -> npt.NDArray[np.int64]:
    """The number of each clip's cluster, counted in order of appearance, shape (n_clips,)."""
    place = {name: i for i, name in enumerate(dict.fromkeys(clusters))}
    return np.array([place[name] for name in clusters], dtype=np.int64)


def _resample(n: int, n_resamples: int, seed: int) -> Floats:
    """How often each cluster is in each resample, (n_resamples, n)."""
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), n_resamples).astype(float)


def _percentiles(drawn: Floats, level: float) -> tuple[float, float]:
    low, high = np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)


def minimum_detectable_gap(sd: float, n: int, level: float = 0.95) -> float:
    """The mean gap from which on the t interval excludes zero: t(0.975, n-1) · sd / √n.

    1.05 sd for six sessions, 0.64 for 12, 0.37 for 30. It bounds the *observed* gap of one
    comparison: a *true* gap of this size is found every second time (n = 6: 38 %), and Holm over pairs asks for more.

    Args:
        sd: standard deviation (n-1) of the session differences.
        n: sessions; NaN comes back for fewer than two.
        level: of the interval, 0 … 1.
    """
    if n < 2:
        return NAN
    return float(special.stdtrit(n - 1, 0.5 + level / 2)) * sd / n**0.5  # scipy.stats costs a second to import


def wilson(k: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share k / n (1927), 0 … 1; NaN for n = 0."""
    if not n:
        return float("nan"), float("nan")
    z = NormalDist().inv_cdf(0.5 + level / 2)
    middle, half = k + z**2 / 2, z * (k * (n - k) / n + z**2 / 4) ** 0.5
    return max(0.0, (middle - half) / (n + z**2)), min(1.0, (middle + half) / (n + z**2))


class SignFlip(NamedTuple):
    """A two-sided paired sign-flip test."""

    n: int
    mean: float
    """Mean difference, in the unit of the scores; NaN without a pair."""
    p: float
    """1 for one pair (it cannot tell), NaN for none."""
    exact: bool
    """Every sign pattern was tried; else a seeded sample."""
    n_dropped: int
    """Pairs left out because a score is NaN; not in n."""


def sign_flip(differences: Sequence[float] | Floats, n_flips: int = 10_000, seed: int = 0) -> SignFlip:
    """Test whether session differences are centred on zero, by flipping their signs.

    If two models are exchangeable within a session, every sign pattern is equally likely: p is the share of patterns
    whose mean is at least as far from zero as the observed one. All 2ⁿ patterns for up to 16 sessions; beyond, drawn
    ones with p = (count + 1) / (n_flips + 1) (Phipson & Smyth 2010). p depends neither on the order of sessions nor on
    which model comes first. Differences of zero stay in. Equal means alone do not make models exchangeable: where one
    collapses at times, size at 5 % was measured as 6.7 % (n = 12).

    Args:
        differences: one a session, first model minus second; NaN is dropped and counted.
        n_flips: drawn patterns beyond 16 sessions.
        seed: of the draw.

    Raises:
        ValueError: an infinite difference, or no flips.
    """
    given = np.asarray(differences, dtype=float)
    kept = given[~np.isnan(given)]
    n = len(kept)
    if not n:
        return SignFlip(0, NAN, NAN, True, len(given))
    p = float(sign_flip_p(kept[None], n_flips, seed)[0])
    return SignFlip(n, float(kept.mean()), p, n <= EXACT_UP_TO, len(given) - n)


def sign_flip_p(tests: Floats, n_flips: int = 10_000, seed: int = 0) -> Floats:
    """p of many sign-flip tests at once, one a row of ``tests``, shape (n_tests, n_sessions); no NaN.

    Raises:
        ValueError: a difference that is not finite, or no flips.
    """
    if not np.isfinite(tests).all() or n_flips < 1:
        raise ValueError("a sign-flip test needs finite differences and at least one flip")
    n = tests.shape[1]
    if exact := n <= EXACT_UP_TO:  # a pattern and its mirror image are equally far from zero: half of them will do
        signs = 1.0 - 2.0 * (np.arange(2 ** max(0, n - 1))[:, None] >> np.arange(n) & 1)
    else:
        signs = 2.0 * np.random.default_rng(seed).integers(0, 2, (n_flips, n), dtype=np.int8) - 1.0
    sizes = np.sort(np.abs(tests), axis=1)  # sorted: the drawn flips must not see the order of sessions
    far = np.abs(tests.sum(axis=1)) - ROUNDING * sizes.sum(axis=1)
    count = np.empty(len(tests))
    block = max(1, 2**22 // len(signs))  # 32 MB
    for i in range(0, len(tests), block):
        count[i : i + block] = (np.abs(signs @ sizes[i : i + block].T) >= far[i : i + block]).sum(axis=0)
    return count / len(signs) if exact else (count + 1) / (n_flips + 1)


def least_p(n: int, n_flips: int = 10_000) -> float:
    """The smallest p a sign-flip test of n sessions can reach: 2/2ⁿ up to 16; NaN for none."""
    return NAN if n < 1 else 2.0 ** (1 - n) if n <= EXACT_UP_TO else 1 / (n_flips + 1)


def holm(p_values: Sequence[float] | Floats) -> list[float]:
    """Holm's step-down adjustment (1979), in the order given; NaN passes through and counts as no test.

    Raises:
        ValueError: a p outside 0 … 1.
    """
    p = np.asarray(p_values, dtype=float)
    if ((p < 0) | (p > 1)).any():
        raise ValueError(f"p-values lie in 0 … 1, got {p.tolist()}")
    order = np.argsort(p, kind="stable")[: int((~np.isnan(p)).sum())]  # NaN sorts last
    adjusted = np.full(len(p), NAN)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return [float(value) for value in adjusted]


def verdict(p: float, gap: float, alpha: float = 0.05) -> Verdict:
    """The word for a comparison; "not shown" unless p ≤ alpha, and it never means "equal".

    Args:
        p: of the sign-flip test, adjusted by Holm over all pairs that are reported; NaN is "not shown".
        gap: mean difference, first model minus second.
        alpha: level of the test.
    """
    if not (p <= alpha and gap):
        return "not shown"
    return "higher" if gap > 0 else "lower"


class Pair(NamedTuple):
    """Two models or answerers on the same sessions or clips; gaps are first minus second, in the unit of the scores."""

    first: str
    second: str
    n: int
    """Sessions that both have a score for, or clusters of the clips."""
    gap: float
    low: float
    """95 % interval of the gap, for this pair alone: not widened for the number of pairs; of shares cut at -1 and 1
    (t knows neither)."""
    high: float
    p: float
    """Two-sided sign-flip test; of clips whole clusters change sides."""
    p_holm: float
    p_least: float
    """Smallest p_holm that these units and pairs can reach: above alpha, "not shown" was certain beforehand."""
    least_gap: float
    """Half the interval; of sessions the `minimum_detectable_gap` of this pair."""
    verdict: Verdict
    """Of the first against the second; "not shown" never means "equal"."""
    n_values: int
    """Sessions, or clips, behind the gap."""

    def numbers(self, name: str, p: str) -> dict[str, float]:
        """Gap, bounds and p as key numbers: ``name``, ``name_low``, ``name_high``, and p by its own name."""
        return {name: self.gap, f"{name}_low": self.low, f"{name}_high": self.high, p: self.p}


def compare_pairs(
    scores: Mapping[str, Sequence[float] | Floats],
    pairs: Sequence[tuple[str, str]] | None = None,
    clusters: Sequence[Hashable] | None = None,
    *,
    alpha: float = 0.05,
    n_resamples: int = B,
    seed: int = 0,
) -> list[Pair]:
    """Compare models over the sessions, or answerers over the clips, that they share: sign-flip test, Holm over pairs.

    Args:
        scores: name → one score a session or clip, the same ones in the same order; NaN where there is none (it drops
            out of that name's pairs).
        pairs: which names are compared, and adjusted for; None = all pairs, in the mapping's order.
        clusters: of each clip: the interval is :func:`clustered_interval` and the test moves whole clusters. None =
            each score is a session of its own.
        alpha: level of the verdict.
        n_resamples: of a bootstrap over clusters.
        seed: of that, and of the drawn sign patterns beyond 16 units.

    Raises:
        ValueError: names with unequal numbers of scores, or an infinite score.
    """
    table = dict(zip(scores, _by_session(scores)))
    chosen = list(combinations(scores, 2)) if pairs is None else list(pairs)
    gaps, p = [], []
    for first, second in chosen:
        difference = table[first] - table[second]
        noise = np.abs(difference) <= ROUNDING * np.maximum(np.abs(table[first]), np.abs(table[second]))
        difference[noise] = 0.0  # equal scores that were summed in another order are equal
        if clusters is None:
            gaps.append(t_interval(difference))
            units: Floats = difference
        else:
            gap = clustered_interval(difference, clusters, n_resamples=n_resamples, seed=seed)
            # where none differs, the bound is that of a share, one-sided: a gap may lie on either side
            gaps.append(gap if np.nan_to_num(difference).any() else gap._replace(low=-gap.high))
            both = ~np.isnan(difference)
            units = np.bincount(number_clusters(list(compress(clusters, both))), difference[both]).astype(float)
        p.append(sign_flip(units, seed=seed).p)
    adjusted = holm(p)
    widest = 1.0 if np.all(np.nan_to_num(np.abs(list(table.values()))) <= 1) else float("inf")
    least = holm([least_p(gap.n) for gap in gaps])  # Holm is monotone: all at their least is the least
    return [
        Pair(
            *names,
            n=gap.n,
            gap=gap.mean,
            low=gap.cut(-widest, widest).low,
            high=gap.cut(-widest, widest).high,
            p=own_p,
            p_holm=p_holm,
            p_least=p_least,
            least_gap=(gap.high - gap.low) / 2,
            verdict=verdict(p_holm, gap.mean, alpha),
            n_values=gap.n_values,
        )
        for names, gap, own_p, p_holm, p_least in zip(chosen, gaps, p, adjusted, least)
    ]


class VarianceSplit(NamedTuple):
    """Variances of session, window and sample, in squared units of the value; NaN where the data cannot tell."""

    n_sessions: int
    n_windows: int
    n_values: int
    session: float
    window: float
    sample: float
    total: float

    @property
    def shares(self) -> dict[str, float]:
        """Each component over the total, 0 … 1; NaN where it is unknown or nothing varies."""
        parts = {"session": self.session, "window": self.window, "sample": self.sample}
        return {name: part / self.total if self.total else NAN for name, part in parts.items()}


def variance_split(session: Sequence[Any], window: Sequence[Any], value: Sequence[float]) -> VarianceSplit:
    """Split the variance of answers into sessions, windows within sessions and samples of one window.

    Nested random effects y_ijk = μ + s_i + w_ij + e_ijk by the method of moments, balanced or not (Henderson 1953,
    method I; Searle, Casella & McCulloch 1992, *Variance Components*). N values, a sessions, b windows, n_i values of a
    session, n_ij samples of a window, Q = Σ n_ij² / n_i::

        E MS_sample  = σ²_e                         df N - b
        E MS_window  = σ²_e + k1 σ²_w               df b - a
        E MS_session = σ²_e + k2 σ²_w + k3 σ²_s     df a - 1
        k1 = (N - Q) / (b - a)     k2 = (Q - Σ n_ij² / N) / (a - 1)     k3 = (N - Σ n_i² / N) / (a - 1)

    Solved from the top; negative solutions become 0 afterwards. With one sample a window, window and sample cannot be
    told apart and are NaN (session and total stand); with one session, or one window in each, session is NaN. Six
    sessions leave 5 df: read the session's part as an order of magnitude.

    Args:
        session: a session id per value.
        window: a window id per value; ids may repeat in other sessions.
        value: score of one sample of one window, such as its accuracy; NaN is left out.

    Raises:
        ValueError: the three differ in length.
    """
    y = np.asarray(value, dtype=float)
    if not len(session) == len(window) == len(y):
        raise ValueError(f"{len(session)} sessions, {len(window)} windows and {len(y)} values: need one of each a row")
    kept = ~np.isnan(y)
    if not kept.any():
        return VarianceSplit(0, 0, 0, NAN, NAN, NAN, NAN)
    y = y[kept] - y[kept][0]  # exactly zero where nothing varies
    y -= y.mean()
    i = np.unique(np.asarray(list(session))[kept], return_inverse=True)[1]
    j = np.unique(np.asarray(list(window))[kept], return_inverse=True)[1]
    _, at, ij = np.unique(i * len(y) + j, return_index=True, return_inverse=True)
    n_i, n_ij = np.bincount(i), np.bincount(ij)
    mean_i, mean_ij = np.bincount(i, y) / n_i, np.bincount(ij, y) / n_ij
    a, b, n, q = len(n_i), len(n_ij), len(y), float((n_ij**2 / n_i[i[at]]).sum())
    sample = _over(((y - mean_ij[ij]) ** 2).sum(), n - b)
    ms_window = _over((n_ij * (mean_ij - mean_i[i[at]]) ** 2).sum(), b - a)
    ms_session = _over((n_i * mean_i**2).sum(), a - 1)
    k1, k2, k3 = _over(n - q, b - a), _over(q - (n_ij**2).sum() / n, a - 1), _over(n - (n_i**2).sum() / n, a - 1)
    within = (ms_window - sample) / k1
    between = (ms_session - (sample + k2 * within if n > b else ms_window)) / k3  # one sample a window: k1 = k2 = 1
    within, between = float(np.maximum(within, 0.0)), float(np.maximum(between, 0.0))  # NaN stays
    return VarianceSplit(a, b, n, between, within, sample, between + (within + sample if n > b else ms_window))


def _by_session(scores: Mapping[str, Sequence[float] | Floats]) -> Floats:
    """Scores of shape (n_models, n_sessions), checked."""
    counts = {name: len(values) for name, values in scores.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(
            f"unequal numbers of sessions: {counts}; give every model one score a session, NaN where there is none"
        )
    table = np.array([list(values) for values in scores.values()], dtype=float)
    table = table.reshape(len(counts), max([0, *counts.values()]))
    if np.isinf(table).any():
        raise ValueError("an infinite score: scores are finite, or NaN where there is none")
    return table


def _over(total: float, df: float) -> float:
    return float(total) / df if df > 0 else NAN
