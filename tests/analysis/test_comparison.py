from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import eigenboundary as eb
from eigenboundary.analysis.comparison import _recommended
from eigenboundary.problem.network import Network
from tests.references import Golden


def analysis_of(golden: Golden) -> eb.Analysis:
    return eb.analyze(
        golden.model(),
        golden.data,
        dtype="float64",
        grid=0,
        margins=True,
        test_data=(golden["x_test"], golden["y_test"]),
    )


def test_the_normal_network_is_preferred_to_the_adversarial_one(
    gauss_normal: Golden, gauss_adversarial: Golden
) -> None:
    runs = {"normal": gauss_normal, "adversarial": gauss_adversarial}
    comparison = eb.compare({name: analysis_of(golden) for name, golden in runs.items()})
    assert comparison.best == "normal"
    table = comparison.table
    assert list(table.index) == list(runs)
    for name, golden in runs.items():
        row = table.loc[name]
        assert row["smallest_margin"] == pytest.approx(golden["true_margin"].min(), rel=0.01)
        assert row["largest_eigenvalue"] == pytest.approx(golden["eigenvalues"][0], rel=1e-6)
        assert row["eigenvalue_sum"] == pytest.approx(golden["eigenvalues"][:10].sum(), rel=1e-6)
        if name == "normal":  # the other file's alignments carry rounding of confident samples
            aligned = np.square(golden["alignment_top50"][:, :10]).sum(1)
            assert row["mass_outside"] == pytest.approx((1 - aligned).mean(), abs=1e-4)
        predicted = golden.model()(torch.as_tensor(golden["x_test"])).argmax(1).numpy()
        assert row["test_accuracy"] == pytest.approx((predicted == golden["y_test"]).mean())
        low, high = row["effective_number_low"], row["effective_number_high"]
        full = {"normal": 11.9, "adversarial": 349}[name]
        assert low <= full <= high
    assert "normal is the simplest" in comparison.reasons[-1]


def table_of(**rows: tuple[float, float, float]):
    import pandas as pd

    columns = ["accuracy", "mass_outside", "smallest_margin"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


@pytest.mark.parametrize(
    ("rows", "best", "said"),
    [
        ({"a": (1.0, 0.10, 0.2), "b": (1.0, 0.14, 0.5)}, "b", "Wide margin"),
        ({"a": (1.0, 0.10, 0.2), "b": (1.0, 0.16, 0.5)}, "a", "more than five points"),
        ({"a": (0.9, 0.01, 9.0), "b": (1.0, 0.50, 0.1)}, "b", "a left out"),
        ({"a": (0.9, 0.01, 9.0), "b": (1.0, 0.50, 0.1)}, "b", "below the best, 100 %."),
        ({"a": (1.0, 0.01, 9.0), "b": (1.0, 0.505, 0.1)}, "a", "a 1 %, b 50.5 % of the squared"),
        ({"a": (1.0, 0.10, 0.2), "b": (1.0, 0.12, np.nan)}, "a", "margin of b is not known"),
        ({"a": (1.0, 0.12, np.nan), "b": (1.0, 0.10, np.nan)}, "b", "a and b is not known"),
    ],
)
def test_the_rule_is_followed(rows, best: str, said: str) -> None:
    recommended, reasons = _recommended(table_of(**rows), 10)
    assert recommended == best
    assert any(said in reason for reason in reasons)


def test_margins_that_were_saved_are_compared(with_margins, small_model, blobs, tmp_path) -> None:
    with_margins.save(tmp_path / "a.safetensors")
    eb.analyze(small_model, blobs, k=2).save(tmp_path / "b.safetensors")
    runs = {name: eb.load(tmp_path / f"{name}.safetensors") for name in "ab"}
    found = eb.compare(runs)
    assert found.k == 2
    assert found.table.loc["a", "smallest_margin"] == with_margins.smallest_margin.value
    assert np.isnan(found.table.loc["b", "smallest_margin"])
    assert any("Margins are missing" in caveat for caveat in found.caveats)
    # The same eigenvectors of the same network: k is common, so neither looks simpler.
    assert found.table.loc["a", "mass_outside"] == pytest.approx(
        found.table.loc["b", "mass_outside"], abs=1e-6
    )


def test_comparing_evaluates_no_input(small_model: nn.Module, blobs, monkeypatch) -> None:
    runs = {
        name: eb.analyze(small_model, blobs, k=2, grid=0, seed=i) for i, name in enumerate("ab")
    }
    monkeypatch.setattr(Network, "_raw_outputs", None)
    found = eb.compare(runs)
    assert found.table["smallest_margin"].isna().all()
    assert any("find_sections()" in caveat for caveat in found.caveats)
    assert found.analyses == runs


def test_what_makes_margins_less_than_comparable_is_said(with_margins: eb.Analysis) -> None:
    one = with_margins
    boxed = replace(one, sections=replace(one.sections, box=(-9.0, 9.0)))
    said = " ".join(eb.compare({"a": one, "b": boxed}).caveats)
    assert "different boxes" in said
    unsure = replace(one, smallest_margin=replace(one.smallest_margin, converged=False))
    said = " ".join(eb.compare({"a": one, "b": unsure}).caveats)
    assert "smallest margin of b is not certain" in said
    assert eb.compare({"a": one, "b": one}).caveats == ()


def test_margins_in_the_table_are_those_of_sections_that_lead(with_margins) -> None:
    one = with_margins
    first, second, third = one.sections
    led = replace(first, share=0.0), replace(second, share=0.5), replace(third, share=0.5)
    other = replace(one, sections=replace(one.sections, sections=led))
    row = eb.compare({"a": other, "b": one}).table.loc["a"]
    assert row["median_margin"] == np.mean([second.margin, third.margin])
    assert row["unexplained"] == one.sections.unexplained != one.sections.mass_outside


def test_networks_of_integer_inputs_are_compared_without_margins() -> None:
    x = torch.arange(40).reshape(20, 2) % 5
    y = x[:, 0] % 2
    runs = {}
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 2))
        runs[name] = eb.analyze(model, (x, y), k=2)
    found = eb.compare(runs)
    assert found.best in runs
    assert found.table["smallest_margin"].isna().all()


def test_unfair_comparisons_are_named_or_refused(small_model: nn.Module, blobs) -> None:
    analysis = eb.analyze(small_model, blobs, k=2)
    fewer = eb.analyze(small_model, (blobs[0][:20], blobs[1][:20]), k=2)
    assert any("different samples" in c for c in eb.compare({"a": analysis, "b": fewer}).caveats)
    unconverged = replace(analysis, converged=np.array([True, False]))
    found = eb.compare({"a": analysis, "b": unconverged})
    assert any("did not converge" in caveat for caveat in found.caveats)
    gauss_newton = eb.analyze(small_model, blobs, k=2, curvature="gauss_newton")
    for runs, message in (
        ({"a": analysis}, "names to analyses, at least 2; got 1"),
        ([analysis, analysis], "must be a mapping"),
        ({"a": analysis, "b": 3}, "must hold Analysis objects; got int for 'b'"),
        ({"a": analysis, "b": gauss_newton}, "the same curvature"),
    ):
        with pytest.raises(eb.InvalidInputError, match=message):
            eb.compare(runs)
