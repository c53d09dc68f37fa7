"""The paper's claims: how they are measured, and how a verdict comes about."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau
from typer.testing import CliRunner

import eigenboundary as eb
from eigenboundary.analysis.qualities import of_smallest_margin, with_interval
from eigenboundary.cli import app
from eigenboundary.cli.experiments import claims_table
from eigenboundary.curvature.eigensolvers import krylov
from eigenboundary.experiments import claims, parse_config, train_experiment
from eigenboundary.experiments.claims import Threshold, bootstrap_interval, study, verdict
from eigenboundary.experiments.claims import measures as measured_by
from eigenboundary.experiments.claims.measures import MEASURES, Subject
from eigenboundary.landscape.reparametrization import random_alphas
from eigenboundary.runtime import version
from tests.references import dense_hessian

QUICK = """
[dataset]
name = "gaussian_blobs"
samples = 60
[network]
name = "fnn"
hidden = [5, 4]
[training]
epochs = 300
learning_rate = 0.1
"""


@pytest.fixture(scope="module")
def subject() -> Subject:
    """A small trained network."""
    (trained,) = train_experiment(parse_config(QUICK, "quick"), [2])
    return Subject(trained)


def reference_hessian(subject: Subject) -> np.ndarray:
    model = copy.deepcopy(subject.trained.model).double()
    x, y = subject.trained.data.train
    return dense_hessian(model, x.double(), y).numpy()


# ------------------------------------------------------------------------------------- statistics


def test_the_interval_is_that_of_resampled_means():
    effects = np.random.default_rng(0).normal(2.0, 1.0, 12)
    rng = np.random.default_rng(1)
    means = rng.choice(effects, (40_000, 12)).mean(1)
    np.testing.assert_allclose(
        bootstrap_interval(effects), np.quantile(means, [0.025, 0.975]), atol=0.02
    )


def test_the_interval_holds_the_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(200):
        low, high = bootstrap_interval(rng.normal(0.0, 1.0, 20))
        held += low <= 0 <= high
    assert 170 <= held <= 200


def test_two_seeds_decide_nothing():
    assert bootstrap_interval([1.0, 1.0]) == (-math.inf, math.inf)
    assert verdict(bootstrap_interval([5.0, 6.0]), Threshold(0, "above")) == "undecided"


def test_effects_that_are_no_numbers_are_refused():
    with pytest.raises(eb.InvalidInputError, match="effects must be finite numbers"):
        bootstrap_interval([1.0, math.nan, 2.0])


def test_an_interval_that_ends_at_the_threshold_holds_no_more_than_it():
    above, below = Threshold(0.5, "above"), Threshold(0.5, "below")
    low, high = (0.2, 0.5), (0.5, 0.9)
    assert [verdict(low, above), verdict(high, above)] == ["not supported", "undecided"]
    assert [verdict(high, below), verdict(low, below)] == ["not supported", "undecided"]


@given(
    st.floats(-1e3, 1e3),
    st.floats(0, 1e3),
    st.floats(-1e3, 1e3),
    st.sampled_from(["above", "below"]),
)
def test_a_verdict_is_for_intervals_wholly_on_one_side(low, width, value, side):
    found = verdict((low, low + width), Threshold(value, side))
    if found == "undecided":
        assert low <= value <= low + width
    elif found == "supported":
        assert (low > value) if side == "above" else (low + width < value)
    else:
        assert (low + width <= value) if side == "above" else (low >= value)


# --------------------------------------------------------------------------------------- measures


def test_mass_at_the_boundary_is_that_of_the_dense_eigenvectors(subject, monkeypatch):
    monkeypatch.setattr(measured_by, "_TOP", 4)  # the tenth lowest is null in this network
    numbers = measured_by.boundary_mass(subject)
    hessian = reference_hessian(subject)
    vectors = np.linalg.eigh(hessian)[1]
    points = subject.points
    cosines = eb.alignments(subject.problem, points, vectors[:, ::-1].copy()).numpy()
    mass = np.square(cosines).mean(0)
    assert numbers["top"] == pytest.approx(mass[:4].sum(), rel=1e-4)
    assert numbers["lowest"] == pytest.approx(mass[-4:].sum(), rel=1e-4)
    assert 0 <= numbers["random_directions"] <= 1
    assert numbers["top"] > numbers["random_directions"]


def test_boundary_points_of_a_subject_lie_on_the_boundary(subject):
    outputs = subject.problem.network.predict(subject.points).topk(2, dim=1).values
    scale = float(subject.problem.network.predict(subject.trained.data.train[0]).abs().max())
    assert float((outputs[:, 0] - outputs[:, 1]).max()) < 1e-6 * scale


def test_complexity_is_that_of_the_dense_hessian(subject):
    numbers = measured_by.complexity(subject)
    values = np.linalg.eigvalsh(reference_hessian(subject))
    assert numbers["trace"] == pytest.approx(values.sum(), rel=1e-8)
    assert numbers["largest_eigenvalue"] == pytest.approx(values[-1], rel=1e-8)
    vectors = np.linalg.eigh(reference_hessian(subject))[1][:, ::-1].copy()
    cosines = eb.alignments(subject.problem, subject.points, vectors).numpy()
    held = np.cumsum(np.square(cosines).mean(0))
    assert numbers["eigenvectors_for_95"] == 1 + int((held < 0.95).sum())
    assert numbers["generalization_low"] <= numbers["generalization"]
    assert numbers["generalization"] <= numbers["generalization_high"]


def test_only_layer_normalised_numbers_survive_reparametrization(subject):
    numbers = measured_by.reparametrization(subject)
    for name in ("generalization", "effective_number", "trace", "largest_eigenvalue"):
        assert numbers[f"normalized_{name}"] == pytest.approx(1.0, abs=1e-6)
    assert numbers["largest_eigenvalue"] > 1.5
    assert numbers["trace"] > 1.5


def test_trace_and_largest_eigenvalue_under_reparametrization_are_the_dense_hessian_s(subject):
    numbers = measured_by.reparametrization(subject)
    x, y = subject.trained.data.train
    original = copy.deepcopy(subject.trained.model).double()
    draws = range(measured_by._DRAWS * subject.seed, measured_by._DRAWS * (subject.seed + 1))
    models = [eb.reparametrize(original, random_alphas(3, 0.1, 10.0, seed=draw)) for draw in draws]
    hessians = [dense_hessian(model, x.double(), y).numpy() for model in (original, *models)]
    traces = [hessian.trace() for hessian in hessians]
    largest = [np.linalg.eigvalsh(hessian)[-1] for hessian in hessians]
    assert numbers["trace"] == pytest.approx(max(traces) / min(traces), rel=1e-6)
    assert numbers["largest_eigenvalue"] == pytest.approx(max(largest) / min(largest), rel=1e-6)


def test_margins_rank_samples_by_their_distance(subject):
    numbers = measured_by.margins(subject)
    distances = subject.distances
    x, _ = subject.trained.data.train
    vectors = np.linalg.eigh(reference_hessian(subject))[1][:, : -measured_by._TOP - 1 : -1].copy()
    cosines = eb.alignments(subject.problem, x.double(), vectors).numpy()
    narrower = [min(distances[c.argmax()], distances[c.argmin()]) for c in cosines.T]
    assert numbers["order"] == pytest.approx(kendalltau(range(len(narrower)), narrower).statistic)
    outputs = subject.problem.network.predict(x.double()).sort(dim=1).values
    chosen = {
        "eigenvector": np.abs(cosines[:, 0]).argmax(),
        "logit_gap": int((outputs[:, -1] - outputs[:, -2]).argmin()),
    }
    for name, row in chosen.items():
        nearer = sorted(distances).index(distances[row])
        assert numbers[f"rank_{name}"] == pytest.approx(nearer / len(distances))
    assert 0 <= numbers["rank_gradient"] < 1


def test_the_loss_changes_by_half_the_curvature_for_small_steps_at_a_minimum():
    # A quadratic loss has no other terms, once its gradient is zero.
    x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0)).double()
    y = (x[:, 0] + 0.3 * x[:, 1] > 0).long()
    design = torch.cat([x, torch.ones(40, 1, dtype=torch.float64)], 1)
    solved = torch.linalg.lstsq(design, torch.nn.functional.one_hot(y).double()).solution
    model = torch.nn.Linear(2, 2).double()
    model.weight.data, model.bias.data = solved[:2].T.clone(), solved[2].clone()

    class Minimum:
        problem = eb.Problem(model, (x, y), "mse")
        operator = eb.HessianOperator(problem)

    for value in measured_by.loss_change(Minimum()).values():
        assert value < 1e-8


def test_a_minimum_is_judged_on_fresh_samples_of_its_data(subject):
    numbers = measured_by.minimum(subject)
    fresh = eb.datasets.load("gaussian_blobs", seed=10**6 + subject.seed, samples=20_000)
    parts = (fresh.train, fresh.validation, fresh.test)
    x, y = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    hits = subject.trained.model(x).argmax(1) == y
    assert len(y) == 20_000
    assert numbers["accuracy"] == pytest.approx(float(hits.double().mean()), abs=1e-12)
    assert numbers["smallest_margin"] == subject.distances.min()
    assert numbers["median_margin"] == pytest.approx(np.median(subject.distances))
    area = eb.boundary_area(subject.problem, seed=subject.seed)
    assert numbers["boundary_area"] == area.value
    assert (numbers["boundary_area_low"], numbers["boundary_area_high"]) == area.interval


# ----------------------------------------------------------------------------------------- claims


def numbers_of(**values):
    return {key: {name: float(v) for name, v in found.items()} for key, found in values.items()}


def claim(number, dataset, part=""):
    (found,) = (
        c
        for c in claims.CLAIMS
        if c.number == number and c.dataset == dataset and part in c.measure + c.statement
    )
    return found


def test_every_claim_names_measures_and_configurations_that_exist():
    assert {c.number for c in claims.CLAIMS} == set(range(1, 9))
    for c in claims.CLAIMS:
        for measure, config in c.needs:
            assert config in MEASURES[measure][1]


def test_the_controls_effect_is_the_largest_of_them():
    found = claim(1, "iris-normal", "largest mass")
    key = ("boundary_mass", "iris-normal")
    measured = {key: {"top": 0.9, "lowest": 0.2, "random_eigenvectors": 0.3, "other": 0.1}}
    assert found.effect(measured) == 0.3


def test_complexity_rises_by_binary_orders():
    found = claim(2, "blobs-normal → blobs-large-norm", "effective number")
    keys = [("complexity", f"blobs-{kind}") for kind in ("normal", "large-norm")]
    measured = {key: {"effective_number": n} for key, n in zip(keys, (5.0, 20.0), strict=True)}
    assert found.effect(measured) == 2.0


def test_counts_are_compared_with_one_added_for_they_may_be_zero():
    found = claim(2, "blobs-normal → blobs-large-norm", "ratio of outliers")
    keys = [("complexity", f"blobs-{kind}") for kind in ("normal", "large-norm")]
    measured = {key: counted(n) for key, n in zip(keys, (0.0, 3.0), strict=True)}
    assert found.effect(measured) == 2.0


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        # The one with the smaller area and the wider margin is right more often, or less often.
        ((0.5, 0.9, 0.99), (1.5, 0.5, 0.90), 1.0),
        ((0.5, 0.9, 0.90), (1.5, 0.5, 0.99), 0.0),
        # Areas that no interval tells apart: the margin decides.
        ((0.5, 0.1, 0.90), (0.52, 0.5, 0.99), 1.0),
        # The smaller area has the narrower margin: none is preferred, which is no evidence.
        ((0.5, 0.1, 0.99), (1.5, 0.5, 0.90), math.nan),
        # As right as each other.
        ((0.5, 0.9, 0.9), (1.5, 0.5, 0.9), 0.5),
    ],
)
def test_the_preferred_minimum_has_the_smaller_area_or_the_wider_margin(first, second, expected):
    found = claim(8, "blobs")
    measured = {
        ("minimum", config): {
            **with_interval("boundary_area", area, (0.9 * area, 1.1 * area)),
            **with_interval("median_margin", margin, (0.9 * margin, 1.1 * margin)),
            **with_interval("five_percent_margin", 0.2, (0.1, 0.3)),
            **of_smallest_margin(0.1, certain=True),
            "accuracy": accuracy,
        }
        for config, (area, margin, accuracy) in (
            ("blobs-normal", first),
            ("blobs-adversarial", second),
        )
    }
    np.testing.assert_equal(found.effect(measured), expected)


def test_an_area_of_which_no_crossing_was_seen_has_no_ratio():
    found = claim(2, "blobs-normal → blobs-large-norm", "ratio of the boundary's area")
    keys = [("complexity", f"blobs-{kind}") for kind in ("normal", "large-norm")]
    for areas in ((0.0, 0.5), (0.5, 0.0)):
        measured = {key: {"boundary_area": a} for key, a in zip(keys, areas, strict=True)}
        assert math.isnan(found.effect(measured))


def counted(outliers: float, resolved: float = 1.0) -> dict[str, float]:
    return {"outliers": outliers, "outliers_resolved": resolved}


@pytest.mark.parametrize(
    ("number", "dataset", "measure"),
    [
        (2, "blobs-normal → blobs-large-norm", "ratio of outliers"),
        (3, "hierarchical-two → circles-normal", "difference in outliers"),
    ],
)
def test_seeds_whose_outliers_are_only_bounded_are_left_out(number, dataset, measure):
    found = claim(number, dataset, measure)
    first, second = found.needs
    known = [{first: counted(7.0), second: counted(3.0)} for _ in range(4)]
    bounded = [{first: counted(9.0, 0.0), second: counted(3.0)}]
    bounded += [{first: counted(9.0), second: counted(1.0, 0.0)}]
    result = claims.judge(found, known + bounded)
    assert result.effects == claims.judge(found, known).effects
    nothing = claims.judge(found, bounded)
    assert (nothing.effects, nothing.verdict) == ((), "undecided")
    row = nothing.to_dict()
    assert (row["effect"], row["interval"], row["n_seeds"]) == (None, [None, None], 0)
    assert "| — |" in claims_table([nothing]).markdown()


def test_a_judgement_counts_its_seeds_and_states_its_interval():
    found = claim(3, "hierarchical-two → circles-normal", "difference in outliers")
    keys = [("outliers", config) for config in ("circles-normal", "hierarchical-two")]
    measured = [{keys[0]: counted(5.0 + seed % 2), keys[1]: counted(2.0)} for seed in range(8)]
    result = claims.judge(found, measured)
    assert (result.effect, result.verdict, len(result.effects)) == (3.5, "supported", 8)
    row = result.to_dict()
    assert set(row) >= {"claim", "dataset", "effect", "interval", "n_seeds", "verdict"}
    assert json.loads(json.dumps(row)) == row
    assert "| 3.5 |" in claims_table([result]).markdown()


# ------------------------------------------------------------------------------------- the study


@pytest.fixture
def quick_study(monkeypatch):
    """One measure of one configuration, trained for a moment; counts its calls."""
    calls = []

    def measure(subject):
        calls.append(subject.seed)
        return {"value": float(subject.seed)}

    config = "blobs-normal"
    monkeypatch.setitem(MEASURES, "quick", (measure, (config,)))
    monkeypatch.setattr(study, "load_config", lambda name: parse_config(QUICK, name))
    made = claims.Claim(
        1,
        "seeds are positive",
        config,
        "seed",
        (("quick", config),),
        lambda m: m["quick", config]["value"],
        Threshold(-1.0, "above"),
    )
    return made, calls


def test_a_study_trains_measures_and_judges_and_takes_up_what_is_there(quick_study, tmp_path):
    made, calls = quick_study
    (result,) = claims.check_claims(3, folder=tmp_path, claims=[made])
    assert (result.effects, result.verdict) == ((0.0, 1.0, 2.0), "supported")
    assert calls == [0, 1, 2]
    (again,) = claims.check_claims([1, 2, 3, 4], folder=tmp_path, claims=[made])
    assert again.effects == (1.0, 2.0, 3.0, 4.0)
    assert calls == [0, 1, 2, 3, 4]
    (tmp_path / "measures" / "quick-blobs-normal-1.safetensors").write_text("{")
    claims.check_claims([1], folder=tmp_path, claims=[made])
    assert calls[-1] == 1


@pytest.mark.parametrize("measure", ["outliers", "margins"])
def test_an_interrupted_search_for_eigenvectors_is_not_measured(measure, tmp_path, monkeypatch):
    wide = parse_config(QUICK.replace("[5, 4]", "[40, 20]"), "wide")  # too large to be dense
    (network,) = train_experiment(wide, [0])

    def interrupted(search):
        search.subspace.include(torch.randn(search.subspace.operator.size, 40).double())
        raise KeyboardInterrupt

    monkeypatch.setattr(krylov._Search, "_iterate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        study._measure_one(network, [measure], tmp_path)
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize("algorithm", ["ANALYSIS_ALGORITHM", "MEASURES_ALGORITHM"])
def test_measures_of_other_weights_or_by_other_algorithms_are_taken_again(
    quick_study, tmp_path, monkeypatch, algorithm
):
    made, calls = quick_study
    claims.check_claims([1], folder=tmp_path, claims=[made])
    (file,) = (tmp_path / "networks").glob("*-1.safetensors")
    file.unlink()
    other = QUICK.replace("epochs = 300", "epochs = 200")
    monkeypatch.setattr(study, "load_config", lambda name: parse_config(other, name))
    claims.check_claims([1], folder=tmp_path, claims=[made])
    assert calls == [1, 1]
    monkeypatch.setattr(version, algorithm, -1)
    claims.check_claims([1], folder=tmp_path, claims=[made])
    assert calls == [1, 1, 1]


def test_a_study_of_no_or_equal_seeds_is_refused(quick_study, tmp_path):
    for seeds, said in (
        (0, "seeds must be an integer"),
        (3.5, "seeds must be an integer"),
        ("3", "seeds must be an integer"),
        ([1, 1], "different integers"),
    ):
        with pytest.raises(eb.InvalidInputError, match=said):
            claims.check_claims(seeds, folder=tmp_path)


def test_the_command_prints_rows_as_json_and_leaves_tables(quick_study, tmp_path, monkeypatch):
    made, _ = quick_study
    monkeypatch.setattr("eigenboundary.cli.experiments.check_claims", _with(made))
    arguments = ["claims", "--seeds", "3", "--jobs", "1", "-o", str(tmp_path)]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.stdout)
    assert row["verdict"] == "supported"
    assert row["n_seeds"] == 3
    assert "seeds are positive" in (tmp_path / "claims.md").read_text()
    shown = CliRunner().invoke(app, arguments).stdout
    assert "supported" in shown
    assert "seeds" in shown.splitlines()[0]


def _with(made):
    return lambda seeds, **options: claims.check_claims(seeds, claims=[made], **options)
