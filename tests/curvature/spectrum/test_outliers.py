from __future__ import annotations

import numpy as np
import pytest

from eigenboundary import count_outliers
from tests.references import Golden

SPIKES = [[], [4.0], [10.0, 5.0, 3.0], [3.0, 3.2, 3.4], [100, 30, 20, 10, 9, 8, 7, 6, 5, 4]]


def spiked_wigner(p: int, spikes: list[float], rng: np.random.Generator) -> np.ndarray:
    """A bulk in [-2, 2]; a spike s > 1 gives an eigenvalue near s + 1/s."""
    noise = rng.normal(size=(p, p))
    basis = np.linalg.qr(rng.normal(size=(p, max(len(spikes), 1))))[0][:, : len(spikes)]
    matrix = (noise + noise.T) / np.sqrt(2 * p) + (basis * spikes) @ basis.T
    return np.linalg.eigvalsh(matrix)[::-1]


def spiked_wishart(p: int, n: int, spikes: list[float], rng: np.random.Generator) -> np.ndarray:
    """A Marchenko–Pastur bulk; covariance 1 + 2s along each spike."""
    basis = np.linalg.qr(rng.normal(size=(p, max(len(spikes), 1))))[0][:, : len(spikes)]
    noise = rng.normal(size=(n, p))
    stretch = np.sqrt(1 + 2 * np.array(spikes)) - 1
    samples = noise + ((noise @ basis) * stretch) @ basis.T
    return np.linalg.eigvalsh(samples.T @ samples / n)[::-1]


@pytest.mark.parametrize("spikes", SPIKES)
def test_spikes_on_a_known_bulk_are_counted(spikes: list[float]) -> None:
    rng = np.random.default_rng(0)
    for kind in ("wigner", "wishart"):
        counts = [
            count_outliers(
                (
                    spiked_wigner(300, spikes, rng)
                    if kind == "wigner"
                    else spiked_wishart(250, 500, spikes, rng)
                )[:30]
            ).count
            for _ in range(20)
        ]
        # The rule is consistent, not exact: Onatski reports a few per cent of errors.
        assert np.mean(np.array(counts) == len(spikes)) >= 0.9, (kind, counts)


@pytest.mark.parametrize("known", [20, 25, 30, 40, 60, 100])
def test_golden_networks_have_the_outliers_one_sees(golden: Golden, known: int) -> None:
    """Read off the gaps of the files' spectra: the last ratio above 1.1 before a flat bulk."""
    seen = {
        "gauss_normal": 8,
        "gauss_adversarial": 7,
        "gauss_large_norm": 5,
        "checkerboard_normal": 6,
        "checkerboard_wide": 8,
    }
    found = count_outliers(golden["eigenvalues"][:known])
    assert (found.count, found.resolved) == (seen[golden.name], True)


@pytest.mark.parametrize("ratio", [1.2, 1.5, 2.0])
def test_without_a_bulk_in_sight_the_count_is_only_a_lower_bound(ratio: float) -> None:
    found = count_outliers(ratio ** -np.arange(25.0))
    assert not found.resolved
    assert found.count <= 20


def test_more_eigenvalues_are_looked_at_where_twenty_do_not_reach_the_bulk() -> None:
    bulk = 1 - 0.01 * np.arange(20) ** (2 / 3)
    spikes = np.geomspace(1000, 2, 25)
    found = count_outliers([*spikes, *bulk])
    assert (found.count, found.resolved) == (25, True)


def test_a_matrix_of_low_rank_has_its_rank_in_outliers() -> None:
    assert count_outliers([5.0, 4.0, 3.0, *np.zeros(12)]).count == 3


def test_gaps_below_the_noise_do_not_count() -> None:
    values = [5.0, 1.2, 1.0, *(1e-9 * np.arange(12)[::-1])]
    assert count_outliers(values).count == 3
    assert count_outliers(values, noise=0.5).count == 3
    assert count_outliers(values, noise=2.0).count == 1


def test_too_few_eigenvalues_say_nothing() -> None:
    found = count_outliers([3.0, 2.0, 1.0])
    assert (found.count, found.resolved) == (0, False)
