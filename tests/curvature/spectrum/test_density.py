from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import trapezoid

import eigenboundary as eb
from eigenboundary.curvature.spectrum import density as module
from tests.curvature.eigensolvers.test_solve import symmetric
from tests.curvature.spectrum.test_trace import random_vectors


def probe_measure(
    operator: eb.MatrixOperator, seed: int, probe: int
) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, ascending, and their weights in the probe's own unit vector."""
    values, vectors = np.linalg.eigh(operator.matrix.numpy())
    drawn = random_vectors(operator.size, probe + 1, seed)[:, probe]
    return values, (vectors.T @ drawn) ** 2 / operator.size


@settings(max_examples=15)
@given(st.integers(0, 1000), st.integers(1, 12), st.floats(-1.5, 1.5))
def test_the_quadrature_bounds_the_measure_of_its_probe(seed: int, steps: int, t: float) -> None:
    rng = np.random.default_rng(seed)
    operator = symmetric(rng.choice([-1.0, 0.0, 0.5, 1.0], 30) + 0.2 * rng.normal(size=30), seed)
    found = eb.spectral_density(operator, probes=2, steps=steps, seed=seed)
    for probe in range(2):
        values, weights = probe_measure(operator, seed, probe)
        below, here = found._below(probe, t)
        assert below - 1e-9 <= weights[values < t].sum() + 1e-12
        assert weights[values <= t].sum() <= below + here + 1e-9
        # Gauss quadrature: moments up to twice the number of steps are those of the measure.
        for order in range(2 * steps):
            expected = (weights * values**order).sum()
            ours = (found.weights[probe] * found.nodes[probe] ** order).sum()
            assert ours == pytest.approx(
                expected, rel=1e-6, abs=1e-8 * max(1, abs(values).max() ** order)
            )


def test_as_many_steps_as_eigenvalues_leave_only_the_probes_error() -> None:
    operator = symmetric(np.repeat([3.0, 1.0, -2.0], [5, 20, 15]))
    found = eb.spectral_density(operator, probes=3, steps=30)
    assert found.products == 9  # three steps reach all that a probe sees
    for probe in range(3):
        values, weights = probe_measure(operator, 0, probe)
        kept = found.weights[probe] > 1e-12
        np.testing.assert_allclose(found.nodes[probe][kept], [-2, 1, 3], atol=1e-9)
        expected = [weights[np.isclose(values, v)].sum() for v in (-2, 1, 3)]
        np.testing.assert_allclose(found.weights[probe][kept], expected, atol=1e-9)


SPECTRA = {
    "uniform": (np.linspace(0, 1, 150), (-0.1, 0.1, 0.5, 0.9, 1.1)),
    "semicircle": (np.cos(np.linspace(0, np.pi, 150)), (-0.9, 0.0, 0.7, 0.99)),
    "outliers": (
        np.concatenate([[5.0, 4, 3, 2], np.linspace(0, 0.1, 146)]),
        (3.5, 1.0, 0.05, 0.01),
    ),
    "low rank": (np.concatenate([np.geomspace(1, 1e-2, 12), np.zeros(138)]), (0.3, 1e-3, -1e-3)),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", SPECTRA)
def test_intervals_hold_the_counts_for_nearly_all_seeds(kind: str, dtype: torch.dtype) -> None:
    values, thresholds = SPECTRA[kind]
    operator = eb.MatrixOperator(torch.diag(torch.tensor(values)).to(dtype))
    expected = (values[:, None] > np.array(thresholds)).sum(0)
    held, wide = np.zeros(len(thresholds)), np.zeros(len(thresholds))
    for seed in range(25):
        found = eb.spectral_density(operator, probes=5, steps=20, seed=seed)
        band = found.count_above(thresholds)
        held += (band.low <= expected) & (expected <= band.high)
        wide += (band.high - band.low) / 25
        assert (band.low <= band.value).all()
        assert (band.value <= band.high).all()
    assert (held >= 23).all()
    # They say something: twice the 95 % of probes that see their whole spectrum, at most.
    spread = 4 * np.sqrt(2 * expected * (len(values) - expected) / (len(values) * 5))
    assert (wide <= 2 * spread + 4).all()


def test_known_eigenpairs_are_counted_exactly() -> None:
    values, _ = SPECTRA["outliers"]
    operator = symmetric(values)
    pairs = eb.top_eigenpairs(operator, 4)
    found = eb.spectral_density(operator, probes=4, steps=20, eigenpairs=pairs)
    band = found.count_above([4.5, 2.5, 1.0])
    np.testing.assert_array_equal(band.low, [1, 3, 4])
    assert (band.high <= [2, 4, 5]).all()
    assert found.nodes[found.weights > 1e-9].max() < 0.11
    everything = eb.spectral_density(operator, eigenpairs=eb.top_eigenpairs(operator, 150))
    assert everything.products == 0
    assert everything.count_above(1.0).value == 4
    assert everything.moment(1)[0] == pytest.approx(values.mean())


def test_probes_do_not_depend_on_how_many_run_together(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = symmetric(np.linspace(-1, 2, 60))
    whole = eb.spectral_density(operator, probes=5, steps=12)
    monkeypatch.setattr(module, "_BASIS_BYTES", 2 * 12 * 60 * 8)
    parts = eb.spectral_density(operator, probes=5, steps=12)
    np.testing.assert_allclose(parts.diagonals, whole.diagonals, atol=1e-10)
    assert parts.products == whole.products == 60


def test_all_probes_share_the_products_of_a_step() -> None:
    widths = []

    class Watched(eb.MatrixOperator):
        def _product(self, block: torch.Tensor) -> torch.Tensor:
            widths.append(block.shape[1])
            return super()._product(block)

    eb.spectral_density(Watched(torch.diag(torch.linspace(0, 1, 80))), probes=6, steps=9)
    assert widths == [6] * 9


def test_moments_are_the_matrix_own_within_their_errors() -> None:
    values = np.linspace(-1, 3, 400)
    found = eb.spectral_density(symmetric(values), probes=20, steps=8)
    for order in range(1, 6):
        moment, error = found.moment(order)
        assert abs(moment - (values**order).mean()) < 4 * error
        assert error < 0.2 * (values**order).std()


def test_the_smoothed_density_is_the_spectrums_and_integrates_to_one() -> None:
    values = np.linspace(0, 1, 500)
    found = eb.spectral_density(symmetric(values), probes=20, steps=50)
    grid = np.linspace(-1, 2, 3001)
    smooth = found.density(grid, 0.05)
    assert trapezoid(smooth, grid) == pytest.approx(1, abs=1e-6)
    exact = np.exp(-0.5 * ((grid[:, None] - values) / 0.05) ** 2).mean(1) / (
        0.05 * np.sqrt(2 * np.pi)
    )
    assert np.abs(smooth - exact).max() < 0.15


def test_the_cumulative_share_is_one_less_the_count_above() -> None:
    found = eb.spectral_density(symmetric(np.linspace(0, 1, 90)), probes=4, steps=15)
    share, above = found.cumulative([0.2, 0.6]), found.count_above([0.2, 0.6])
    np.testing.assert_allclose(share.value, 1 - above.value / 90)
    np.testing.assert_allclose(share.low, 1 - above.high / 90)
    np.testing.assert_allclose(share.high, 1 - above.low / 90)
    assert found.cumulative(0.5).value.shape == ()
    assert found.count_above(0.5, confidence=0.5).high < found.count_above(0.5).high


@given(st.integers(0, 200), st.integers(1, 200), st.integers(2, 20), st.floats(0.5, 3))
def test_the_score_interval_is_all_counts_that_are_not_refuted(
    count: int, room: int, probes: int, z: float
) -> None:
    d = count + room
    low, high = module._score(count, d, probes, z)
    for c in (low, high):
        if 1e-6 < c < d - 1e-6:
            variance = 2 * c * (d - c) / ((d + 2) * probes)
            assert abs(count - c) == pytest.approx(z * np.sqrt(variance), rel=1e-6, abs=1e-6)
    assert 0 <= low <= count <= high <= d


def test_the_share_of_a_random_direction_has_the_variance_of_the_interval() -> None:
    drawn = np.random.default_rng(0).normal(size=(20_000, 12))
    share = (drawn[:, :3] ** 2).sum(1) / (drawn**2).sum(1)
    assert share.var() == pytest.approx(2 * 3 * 9 / (12**2 * 14), rel=0.05)


@pytest.mark.parametrize("scale", [1e-200, 1e150])
def test_matrices_of_any_size_are_counted(scale: float) -> None:
    operator = eb.MatrixOperator(torch.diag(torch.linspace(0, 1, 100).double() * scale))
    band = eb.spectral_density(operator, probes=5, steps=20).count_above(0.5 * scale)
    assert band.low < 50 < band.high < 80


def test_a_zero_matrix_has_all_its_eigenvalues_at_zero() -> None:
    found = eb.spectral_density(eb.MatrixOperator(torch.zeros(40, 40)), probes=2, steps=5)
    np.testing.assert_array_equal(found.count_above([-1.0, 1.0]).value, [40, 0])
    assert found.moment(1) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probes": 1}, "probes must be an integer of at least 2; got 1"),
        ({"steps": 0}, "steps must be"),
        ({"seed": -1}, "seed must be"),
        ({"progress": 3}, "progress must be"),
    ],
)
def test_unusable_arguments_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(eb.InvalidInputError, match=message):
        eb.spectral_density(eb.MatrixOperator(torch.eye(8)), **options)  # type: ignore[arg-type]


def test_unusable_questions_are_refused() -> None:
    found = eb.spectral_density(eb.MatrixOperator(torch.eye(8)), probes=2)
    with pytest.raises(eb.InvalidInputError, match="t must be finite"):
        found.count_above([0.0, np.nan])
    with pytest.raises(eb.InvalidInputError, match="confidence must be"):
        found.count_above(0.0, confidence=95)
    with pytest.raises(eb.InvalidInputError, match="width must be a number above 0"):
        found.density([0.0], 0.0)
