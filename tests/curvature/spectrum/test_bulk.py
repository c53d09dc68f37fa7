"""The bulk of the spectrum in an analysis: against dense eigenvalues, saved, shown."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn
from typer.testing import CliRunner

import eigenboundary as eb
from eigenboundary.analysis import builder
from eigenboundary.cli import app
from eigenboundary.report.words import summary
from tests.analysis.test_storage import assert_equal
from tests.references import Golden, dense_hessian

Blobs = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> eb.Analysis:
    golden = np.load(Path(__file__).parents[2] / "data" / "gauss_normal.npz")
    model = Golden("gauss_normal", dict(golden)).model()
    return eb.analyze(model, (golden["x"], golden["y"]), k=6, bulk=True, grid=0)


def test_trace_and_counts_are_those_of_the_dense_eigenvalues(
    analysis: eb.Analysis, gauss_normal: Golden
) -> None:
    assert analysis.bulk is not None
    values, trace, density = gauss_normal["eigenvalues"], analysis.bulk.trace, analysis.bulk.density
    assert abs(trace.value - float(gauss_normal["trace"])) < 3 * trace.error
    assert trace.error < 0.1 * trace.value
    thresholds = values[0] * np.array([0.5, 0.1, 1e-2, 2e-3, 1e-3, -1e-3, -5e-3, -1e-2])
    band = density.count_above(thresholds, confidence=0.999)
    expected = (values[:, None] > thresholds).sum(0)
    assert (band.low <= expected).all()
    assert (expected <= band.high).all()
    assert (band.high - band.low <= 0.7 * np.minimum(expected, len(values) - expected) + 8).all()
    # The squared Frobenius norm is the second moment.
    second, error = density.moment(2)
    frobenius = (values**2).sum() / len(values)
    assert abs(second - frobenius) < 3 * error + 1e-3 * frobenius
    counts = analysis.counts_above()
    assert [low <= (values > t).sum() <= high for t, low, high in counts] == [True] * 3


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_small_networks_bulk_is_exact_in_its_trace(
    small_model: nn.Module, blobs: Blobs, dtype: str
) -> None:
    found = eb.analyze(small_model, blobs, k=3, bulk=True, dtype=dtype)
    assert found.bulk is not None
    values = np.linalg.eigvalsh(dense_hessian(small_model, *map(torch.tensor, blobs)).numpy())
    assert found.bulk.trace.value == pytest.approx(values.sum(), rel=1e-5)
    assert found.bulk.trace.error == 0
    for t, low, high in found.counts_above():
        assert low <= (values > t).sum() <= high


def test_an_analysis_has_no_bulk_unless_asked(small_model: nn.Module, blobs: Blobs) -> None:
    found = eb.analyze(small_model, blobs, k=2)
    assert found.bulk is None
    assert found.summary()["bulk"] is None
    assert found.counts_above() == []
    with pytest.raises(eb.InvalidInputError, match="bulk=True"):
        eb.DensityDisplay.from_analysis(found)
    with pytest.raises(eb.InvalidInputError, match="bulk must be True or False"):
        eb.analyze(small_model, blobs, k=2, bulk=1)  # type: ignore[arg-type]


def test_the_bulk_is_saved_and_loaded(analysis: eb.Analysis, tmp_path: Path) -> None:
    analysis.save(tmp_path / "run.safetensors")
    loaded = eb.load(tmp_path / "run.safetensors")
    assert_equal(loaded.bulk, analysis.bulk)
    assert loaded.summary() == analysis.summary()
    assert str(loaded) == str(analysis)


def test_the_report_and_the_summary_say_what_the_bulk_is(
    analysis: eb.Analysis, tmp_path: Path
) -> None:
    assert analysis.bulk is not None
    (sentence,) = (s for s in summary(analysis) if s.startswith("The trace"))
    assert "0.16" in sentence
    _, low, high = analysis.counts_above()[1]
    assert f"{low} to {high} of them exceed" in sentence or f"{low} of them exceed" in sentence
    analysis.report(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "The whole spectrum" in page
    assert sentence in page
    found = analysis.summary()["bulk"]
    assert found["trace"] == analysis.bulk.trace.value
    assert found["counts_above"][1]["interval"] == [low, high]


def test_the_picture_shows_the_density_and_the_counts(analysis: eb.Analysis) -> None:
    assert analysis.bulk is not None
    display = eb.DensityDisplay.from_analysis(analysis, ax=Figure())
    t, value = display.counts_["above"].get_data()
    np.testing.assert_allclose(value, analysis.bulk.density.count_above(t).value.clip(0.5))
    t, value = display.counts_["below"].get_data()
    below = analysis.n_parameters - analysis.bulk.density.count_above(-t).value
    np.testing.assert_allclose(value, below.clip(0.5))
    assert display.ticks_ is not None
    np.testing.assert_allclose(display.ticks_.get_xdata(), analysis.eigenvalues)
    with pytest.raises(eb.InvalidInputError, match="not zero"):
        eb.DensityDisplay(eb.spectral_density(eb.MatrixOperator(torch.zeros(9, 9))))


def test_an_interrupt_while_the_bulk_is_estimated_keeps_the_rest(
    small_model: nn.Module, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(builder, "estimate_bulk", interrupted)
    found = eb.analyze(small_model, blobs, k=2, bulk=True, margins=True)
    assert (found.bulk, found.sections) == (None, None)
    assert found.converged.all()
    assert found.provenance.outcome is eb.Outcome.INTERRUPTED
    assert any("while the bulk was estimated: it is missing" in note for note in found.notes)


def test_the_command_line_estimates_the_bulk(
    small_model: nn.Module, blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bulk_model.py").write_text("import torch\nmodel = torch.nn.Linear(2, 3)\n")
    np.savez(tmp_path / "train.npz", x=blobs[0], y=blobs[1])
    asked = ["analyze", "bulk_model:model", "--data", "train.npz", "--k", "2", "--bulk", "-q"]
    table = CliRunner().invoke(app, asked)
    assert table.exit_code == 0, table.output
    assert "trace" in table.stdout
    assert "of which these" in table.stdout
    found = json.loads(CliRunner().invoke(app, [*asked, "--json"]).stdout)
    assert found["bulk"]["trace"] > sum(found["eigenvalues"])
