from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom

import eigenboundary as eb
from eigenboundary.boundary import SampleMargins
from eigenboundary.boundary import smallest_margin as smallest
from tests.references import Golden
from tests.shared_analyses import analysis_of


def margins(distances: object) -> SampleMargins:
    found = np.asarray(distances, dtype=np.float64)
    return SampleMargins(np.arange(len(found)), found)


def test_intervals_of_quantiles_are_the_order_statistics_of_the_binomial() -> None:
    found = margins(np.arange(1.0, 101.0))
    low, high = found.median_interval
    assert found.median == 50.5
    # P(the median lies between x_(l) and x_(u)) from the binomial itself
    assert binom.cdf(high - 1, 100, 0.5) - binom.cdf(low - 1, 100, 0.5) >= 0.95
    assert binom.cdf(high - 2, 100, 0.5) - binom.cdf(low, 100, 0.5) < 0.96
    assert found.quantile(0.05) == pytest.approx(5.95)


def test_intervals_hold_the_truth_in_ninety_percent_of_draws() -> None:
    rng, held = np.random.default_rng(0), {"median": 0, "5 %": 0, "volume": 0}
    for _ in range(300):
        found = margins(rng.exponential(size=120))
        for name, truth, (low, high) in (
            ("median", math.log(2), found.median_interval),
            ("5 %", -math.log(0.95), found.quantile_interval(0.05)),
            ("volume", (1 - math.exp(-0.2)) / 0.4, found.volume_interval(0.2)),
        ):
            held[name] += low <= truth <= high
    assert min(held.values()) >= 0.9 * 300


def test_few_samples_leave_an_end_open() -> None:
    low, high = margins([0.3, 0.5]).quantile_interval(0.05)
    assert low == 0.0
    assert high >= 0.5


def test_volume_is_the_share_nearer_than_epsilon_over_twice_epsilon() -> None:
    found = margins([0.05, 0.2, 0.5, 0.9])
    assert found.volume(0.25) == pytest.approx(0.5 / 0.5)
    assert found.volume_interval(0.25)[0] < 1.0 < found.volume_interval(0.25)[1]


@pytest.mark.parametrize("wrong", [0, 1, -0.1, "a", float("nan")])
def test_a_share_that_is_none_is_refused(wrong: object) -> None:
    with pytest.raises(eb.InvalidInputError, match="share must"):
        margins([0.1, 0.2]).quantile(wrong)
    with pytest.raises(eb.InvalidInputError, match="epsilon must"):
        margins([0.1, 0.2]).volume(-1)


def test_margins_are_of_at_least_one_sample() -> None:
    with pytest.raises(eb.InvalidInputError, match="distances must hold at least one number"):
        margins([])


def test_a_large_network_has_the_margins_of_samples_drawn_at_random(
    gauss_normal: Golden, monkeypatch
) -> None:
    monkeypatch.setattr(smallest, "_FLOPS_OF_ALL", 0)
    analysis = analysis_of(gauss_normal).find_sections(grid=0, n_points=50)
    found, least = analysis.sample_margins, analysis.smallest_margin
    assert found is not None
    assert least is not None
    assert not least.complete
    assert len(set(found.samples)) == 9
    assert found.samples.std() > 20  # not those that eigenvectors point at alone
    true = gauss_normal["true_margin"]
    np.testing.assert_allclose(found.distances, true[found.samples], rtol=0.01)
    assert least.n_examined > 18
