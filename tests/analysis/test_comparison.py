from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import eigenboundary as eb
from eigenboundary.analysis.comparison import _best, _reasons
from eigenboundary.analysis.qualities import (
    BOUNDARY,
    HELD_OUT,
    better_altogether,
    front_of,
    of_smallest_margin,
    with_interval,
)
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


def test_the_normal_network_is_simpler_than_the_adversarial_one(
    gauss_normal: Golden, gauss_adversarial: Golden
) -> None:
    runs = {"normal": gauss_normal, "adversarial": gauss_adversarial}
    comparison = eb.compare({name: analysis_of(golden) for name, golden in runs.items()})
    table = comparison.table
    assert list(table.index) == list(runs)
    for name, golden in runs.items():
        row, true = table.loc[name], golden["true_margin"]
        assert row["smallest_margin"] == pytest.approx(true.min(), rel=0.01)
        assert row["median_margin"] == pytest.approx(np.median(true), rel=0.01)
        assert row["five_percent_margin"] == pytest.approx(np.quantile(true, 0.05), rel=0.01)
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
    better = comparison.differences.set_index("number")["better"]
    assert better["boundary_area"] == better["median_margin"] == "normal"
    assert better["smallest_margin"] == ""  # one sample each
    assert better["test_accuracy"] == ""  # 90 test samples tell no difference of two points
    assert comparison.best == "normal"
    assert comparison.front == ("normal",)
    assert str(comparison).startswith("Better altogether: normal")


def numbers_of(area: float, median: float, accuracy: float, smallest: float = 0.1) -> dict:
    """The numbers of a network, each within a tenth."""
    named = {
        "boundary_area": area,
        "median_margin": median,
        "test_accuracy": accuracy,
        "accuracy": accuracy,
        "smallest_margin": smallest,
        "five_percent_margin": 2 * smallest,
    }
    ends = {f"{n}_low": 0.9 * v for n, v in named.items()}
    return named | ends | {f"{n}_high": 1.1 * v for n, v in named.items()}


@pytest.mark.parametrize(
    ("one", "other", "best", "front"),
    [
        ((1.0, 0.5, 0.7), (2.0, 0.3, 0.7), "one", ["one"]),  # simpler and wider
        ((1.0, 0.5, 0.7), (2.0, 0.5, 0.71), "one", ["one"]),  # simpler, nothing else certain
        ((1.0, 0.5, 0.7), (1.1, 0.5, 0.7), None, ["one", "other"]),  # nothing is certain
        ((1.0, 0.5, 0.5), (2.0, 0.3, 0.9), None, ["one", "other"]),  # simpler and often wrong
        ((1.0, 0.3, 0.7), (2.0, 0.5, 0.7), None, ["one", "other"]),  # simpler and narrower
        ((2.0, 0.5, 0.9), (2.0, 0.5, 0.5), "one", ["one"]),  # more often right
    ],
)
def test_the_rule_is_followed(one, other, best, front) -> None:
    numbers = {"one": numbers_of(*one), "other": numbers_of(*other)}
    qualities = [HELD_OUT, *BOUNDARY]
    assert _best(numbers, qualities) == best
    assert list(front_of(numbers, qualities)) == front
    reasons = " ".join(_reasons(numbers, qualities, best))
    assert ("clearly worse than another network" in reasons) == (best is not None)


def test_a_circle_of_networks_is_on_the_front_together() -> None:
    within = {n: {"accuracy": (0.5, 0.9), "area": (0.5, 2.0), "median": (0.1, 0.9)} for n in "abcd"}
    within["a"]["area"], within["b"]["area"] = (0.5, 0.6), (0.9, 2.0)  # a is better than b
    within["b"]["median"], within["c"]["median"] = (0.8, 0.9), (0.1, 0.2)  # b than c
    within["c"]["accuracy"], within["a"]["accuracy"] = (0.8, 0.9), (0.5, 0.6)  # c than a
    within["d"] = {"accuracy": (0.7, 0.75), "area": (3.0, 4.0), "median": (0.3, 0.7)}
    names = {"accuracy": "test_accuracy", "area": "boundary_area", "median": "median_margin"}
    numbers = {
        network: {
            k: v for n, ends in found.items() for k, v in with_interval(names[n], 0.5, ends).items()
        }
        for network, found in within.items()
    }
    qualities = [HELD_OUT, BOUNDARY[0], BOUNDARY[1]]
    assert better_altogether(numbers["a"], numbers["b"], qualities)
    assert better_altogether(numbers["b"], numbers["c"], qualities)
    assert better_altogether(numbers["c"], numbers["a"], qualities)
    assert front_of(numbers, qualities) == ("a", "b", "c")


@given(st.lists(st.tuples(*[st.integers(0, 5)] * 6), min_size=1, max_size=5))
def test_the_front_is_never_empty(ends) -> None:
    names = ("test_accuracy", "boundary_area", "median_margin")
    numbers = {}
    for i, six in enumerate(ends):
        pairs = [sorted(six[2 * j : 2 * j + 2]) for j in range(3)]
        parts = [with_interval(n, 0.0, tuple(p)) for n, p in zip(names, pairs, strict=True)]
        numbers[str(i)] = parts[0] | parts[1] | parts[2]
    qualities = [HELD_OUT, BOUNDARY[0], BOUNDARY[1]]
    front = front_of(numbers, qualities)
    assert front
    for name in front:
        above = [o for o in numbers if better_altogether(numbers[o], numbers[name], qualities)]
        assert len(numbers) > 2 or not above


def test_every_clear_difference_is_said() -> None:
    accuracy = {"a": (0.95, (0.5, 1.0)), "b": (0.9, (0.85, 0.95)), "c": (0.5, (0.45, 0.55))}
    numbers = {n: with_interval("test_accuracy", *found) for n, found in accuracy.items()}
    (first, _) = _reasons(numbers, [HELD_OUT], None)
    assert first == "Held-out accuracy: a 95 %, b 90 %, c 50 %; b is clearly better than c."


def test_a_network_without_a_boundary_leaves_the_others_compared(with_margins) -> None:
    area = with_margins.boundary_area
    larger = replace(area, value=3 * area.value, interval=(2.9 * area.value, 3.1 * area.value))
    runs = {
        "simple": with_margins,
        "winding": replace(with_margins, boundary_area=larger),
        "none": replace(with_margins, boundary_area=None),
    }
    found = eb.compare(runs)
    better = found.differences.set_index(["number", "one", "other"])["better"]
    assert better["boundary_area", "simple", "winding"] == "simple"
    assert better["boundary_area", "simple", "none"] == ""
    assert "The boundary area of none is not known." in found.caveats


def test_margins_in_different_norms_are_not_compared(with_margins) -> None:
    other = replace(with_margins, sections=replace(with_margins.sections, norm=float("inf")))
    found = eb.compare({"a": with_margins, "b": other})
    assert not any("margin" in name for name in found.differences["number"])
    assert any("different norms" in caveat for caveat in found.caveats)


def test_of_three_networks_one_must_be_better_than_each_other_one() -> None:
    numbers = {
        "a": numbers_of(1.0, 0.5, 0.7),
        "b": numbers_of(3.0, 0.3, 0.7),
        "c": numbers_of(1.05, 0.5, 0.7),
    }
    assert _best(numbers, [HELD_OUT, *BOUNDARY]) is None  # a and c are alike
    assert _best({n: numbers[n] for n in "ab"}, [HELD_OUT, *BOUNDARY]) == "a"


def test_a_network_that_learnt_nothing_is_not_better_for_its_simple_boundary(blobs) -> None:
    torch.manual_seed(0)
    x, y = torch.as_tensor(blobs[0]).float(), torch.as_tensor(blobs[1])
    trained, untrained = nn.Linear(2, 3), nn.Linear(2, 3)
    optimizer = torch.optim.Adam(trained.parameters(), lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        nn.functional.cross_entropy(trained(x), y).backward()
        optimizer.step()
    runs = {"trained": trained, "untrained": untrained}
    found = eb.compare({n: eb.analyze(m, (x, y), k=2, grid=0) for n, m in runs.items()})
    assert found.best != "untrained"
    assert "trained" in found.front
    assert any("No held-out accuracy" in caveat for caveat in found.caveats)


def test_a_smallest_margin_that_is_an_upper_bound_decides_nothing(with_margins) -> None:
    least = with_margins.smallest_margin
    tiny = replace(least, value=least.value / 1000)
    narrow = replace(with_margins, smallest_margin=tiny)
    partly = replace(with_margins, smallest_margin=replace(least, n_samples=10**6))
    found = eb.compare({"wide": with_margins, "narrow": narrow}).differences
    assert found.set_index("number").loc["smallest_margin", "better"] == "wide"
    compared = eb.compare({"wide": partly, "narrow": narrow})
    assert compared.differences.set_index("number").loc["smallest_margin", "better"] == ""
    assert any("of wide is an upper bound" in caveat for caveat in compared.caveats)


def test_margins_that_were_saved_are_compared(with_margins, small_model, blobs, tmp_path) -> None:
    with_margins.save(tmp_path / "a.safetensors")
    eb.analyze(small_model, blobs, k=2).save(tmp_path / "b.safetensors")
    runs = {name: eb.load(tmp_path / f"{name}.safetensors") for name in "ab"}
    found = eb.compare(runs)
    assert found.k == 2
    assert found.table.loc["a", "smallest_margin"] == with_margins.smallest_margin.value
    assert np.isnan(found.table.loc["b", "smallest_margin"])
    assert any("Margins are missing" in caveat for caveat in found.caveats)
    assert not any("margin" in reason for reason in found.reasons)  # of one network alone
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
    assert row["section_margin"] == np.mean([second.margin, third.margin])
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
    assert found.best is None
    assert "None is better altogether; on the front: a and b" in str(found)
    assert found.table["boundary_area"].isna().all()
    assert found.table["smallest_margin"].isna().all()


def test_unfair_comparisons_are_named_or_refused(small_model: nn.Module, blobs) -> None:
    analysis = eb.analyze(small_model, blobs, k=2)
    fewer = eb.analyze(small_model, (blobs[0][:20], blobs[1][:20]), k=2)
    assert any(
        "different samples or labels" in c for c in eb.compare({"a": analysis, "b": fewer}).caveats
    )
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


def test_the_interval_of_a_smallest_margin_holds_its_mean_in_95_percent_of_draws() -> None:
    rng, n = np.random.default_rng(0), 200
    mean = 1 / n  # of the least of n distances that are uniform from 0 to 1, but for 1 in n + 1
    held = 0
    for _ in range(2000):
        found = of_smallest_margin(float(rng.uniform(size=n).min()), certain=True)
        held += found["smallest_margin_low"] <= mean <= found["smallest_margin_high"]
    assert 0.93 <= held / 2000 <= 0.97
