"""The paper's figures: their numbers, and that their files are written."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import eigenboundary as eb
from eigenboundary.cli import app
from eigenboundary.experiments.figures import (
    FIGURES,
    GROUPS,
    directions,
    figure_names,
    landscapes,
    margins,
    motion,
    page,
    reproduce,
    rows,
    toy,
    workshop,
)
from eigenboundary.experiments.figures.encoding import jumps, weighted_sum
from eigenboundary.experiments.figures.gradients import logit_gradients
from eigenboundary.experiments.figures.toy import first_that_learns
from eigenboundary.experiments.figures.workshop import PARTS, Workshop
from eigenboundary.experiments.unit_gradients import loss_gradients
from eigenboundary.runtime import version

COARSE = 12
#: Data sets, and what else their small configurations have.
SMALL = {
    "toy-1d": ("toy_1d", "", ""),
    "blobs-normal": ("gaussian_blobs", "samples = 60", ""),
    "blobs-mse": ("gaussian_blobs", "samples = 60", 'loss = "mse"'),
    "blobs-nll": ("gaussian_blobs", "samples = 60", ""),
    "blobs-sigmoid": ("gaussian_blobs", "samples = 60", ""),
    "blobs-adam": ("gaussian_blobs", "samples = 60", 'optimizer = "adam"'),
    "blobs-robust": ("gaussian_blobs", "samples = 60", "attack_radius = 0.5\nattack_steps = 2"),
    "blobs-dynamics": ("gaussian_blobs", "samples = 60", "checkpoints = [0, 2, 60]"),
    "blobs-random-labels": ("gaussian_blobs", "samples = 60", ""),
    "blobs-adversarial": ("gaussian_blobs", "samples = 60", ""),
    "blobs-large-norm": ("gaussian_blobs", "samples = 60", ""),
    "circles-normal": ("circles", "samples = 60", ""),
    "half-moons-normal": ("half_moons", "samples = 60", ""),
    "hierarchical-two": ("hierarchical", "samples = 60\nclasses = 2", ""),
    "hierarchical-four": ("hierarchical", "samples = 60", ""),
    "iris-normal": ("iris", "", ""),
    "checkerboard-normal": ("checkerboard", "samples = 16", ""),
    "checkerboard-wide": ("checkerboard", "samples = 16", ""),
    "digits-normal": ("digits", "classes = [0, 1, 7]", ""),
    "digits-adversarial": ("digits", "classes = [0, 1, 7]", ""),
}
PARENTS = {
    "blobs-random-labels": 'regime = "random_labels"',
    "blobs-adversarial": 'regime = "adversarial"\nfrom = "blobs-random-labels"',
    "blobs-large-norm": 'regime = "large_norm"\nfrom = "blobs-random-labels"',
}


def small_config(name: str) -> str:
    dataset, options, training = SMALL[name]
    network = (
        'name = "digits_cnn"\nchannels = [2, 3]'
        if dataset == "digits"
        else 'name = "fnn"\nhidden = [7]'
    )
    network += '\nactivation = "sigmoid"' if "sigmoid" in name else ""
    network += "\nlog_softmax = true" if "nll" in name else ""
    return f"""
title = "{name}, small"
[dataset]
name = "{dataset}"
{options}
[network]
{network}
[start]
{PARENTS.get(name, "")}
[training]
epochs = {5 if dataset == "digits" else 60}
learning_rate = 0.1
{training}
"""


@pytest.fixture(scope="module")
def configs(tmp_path_factory):
    """Small configurations in place of all that the figures need."""
    folder = tmp_path_factory.mktemp("configs")
    for name in SMALL:
        (folder / f"{name}.toml").write_text(small_config(name))
    return folder


@pytest.fixture(scope="module", autouse=True)
def low_resolution():
    """Pixels and steps are not what is tested."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "_DPI", 40)
        patch.setitem(page._PAGE_STYLE, "pdf.fonttype", 3)
        patch.setattr(rows, "_VECTORS", 2)
        patch.setattr(directions, "_SHOWN", 2)
        patch.setattr(motion, "_PANELS", 3)
        patch.setattr(landscapes, "_ITERATIONS", 30)
        patch.setattr(motion, "_FRAMES", 3)
        patch.setattr(margins, "_POINTS", 20)
        patch.setattr(margins, "_STEPS", 5)
        patch.setattr(margins, "_MEASURED", 3)
        patch.setattr(toy, "_SEEDS", 2)
        patch.setattr(toy, "_ROUNDS", 2)
        yield


@pytest.fixture(scope="module")
def at_work(configs, tmp_path_factory):
    """A workshop that the tests share, as the figures share their networks."""
    return Workshop(tmp_path_factory.mktemp("figures"), configs=configs, resolution=COARSE)


@pytest.fixture(scope="module")
def numbers(at_work):
    """The numbers of a figure by its name, each computed once."""
    return functools.cache(lambda name: FIGURES[name].compute(at_work))


# --------------------------------------------------------------------------------- which figures


def test_all_is_every_figure_and_the_appendix_those_after_the_sixth():
    assert figure_names(["all"]) == list(FIGURES)
    assert [name for name in FIGURES if name.startswith("fig")] == [f"fig{i}" for i in range(1, 7)]
    assert len(GROUPS["appendix"]) == len(FIGURES) - 6
    assert figure_names(["appendix", "fig3", "fig1"])[:2] == ["fig1", "fig3"]


def test_an_unknown_figure_is_one_sentence(tmp_path):
    with pytest.raises(eb.InvalidInputError, match=r"figure must be one of fig1.*; got 'fig7'\.$"):
        reproduce(["fig7"], tmp_path)
    result = CliRunner().invoke(app, ["reproduce", "fig7", "-o", str(tmp_path)])
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: FIGURE must be one of fig1, fig2")
    assert result.stderr.count("\n") == 1


def test_a_folder_that_cannot_be_written_to_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(eb.InvalidInputError, match="folder must be one that can be written to"):
        reproduce(["fig2"], tmp_path / "file")


@pytest.mark.parametrize("resolution", [0, 1])
def test_a_plane_of_fewer_than_two_points_is_refused(resolution, tmp_path):
    with pytest.raises(eb.InvalidInputError, match="resolution must be"):
        reproduce(["fig2"], tmp_path, resolution=resolution)


def test_a_directory_without_mnist_is_one_sentence(tmp_path):
    with pytest.raises(eb.InvalidInputError, match=r"^directory must "):
        reproduce(["fig6"], tmp_path, directory=tmp_path)


# ------------------------------------------------------------------------------------- the files


@pytest.mark.parametrize("name", list(FIGURES))
def test_each_figure_writes_its_png_and_its_pdf(name, numbers, tmp_path, monkeypatch):
    known = numbers(name)
    monkeypatch.setitem(FIGURES, name, replace(FIGURES[name], compute=lambda _: known))
    (made,) = reproduce([name], tmp_path)
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    assert {tmp_path / f"{name}.png", tmp_path / f"{name}.pdf"} <= set(made.files)
    assert all(file.exists() for file in made.files)
    assert set(made.seconds) == set(PARTS)
    assert made.seconds["drawing"] > 0
    animated = [file for file in made.files if file.suffix == ".gif"]
    assert len(animated) == (3 if name == "appendix-motion" else 0)
    assert not list(tmp_path.glob(".*partial"))


def test_the_same_call_takes_networks_and_analyses_from_the_folder(configs, tmp_path, monkeypatch):
    first = reproduce(["fig2"], tmp_path, configs=configs, resolution=COARSE)
    picture = (tmp_path / "fig2.png").read_bytes()

    def never(*_, **__):
        raise AssertionError("made anew")

    monkeypatch.setattr(workshop, "analyze", never)
    monkeypatch.setattr("eigenboundary.experiments.train.train_many", never)
    second = reproduce(["fig2"], tmp_path, configs=configs, resolution=COARSE)
    assert second[0].files == first[0].files
    assert (tmp_path / "fig2.png").read_bytes() == picture
    with pytest.raises(AssertionError, match="made anew"):
        reproduce(["fig2"], tmp_path, configs=configs, resolution=COARSE, overwrite=True)


def test_what_is_forced_starts_anew_also_where_its_training_was_interrupted(configs, tmp_path):
    def interrupt(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Workshop(tmp_path, configs=configs, progress=interrupt).network("blobs-adversarial")
    (state,) = (tmp_path / "networks").iterdir()
    assert state.name == ".blobs-random-labels-seeds-0.state.safetensors"
    stages = []
    at_work = Workshop(
        tmp_path, configs=configs, overwrite=True, progress=lambda *s: stages.append(s)
    )
    at_work.network("blobs-adversarial")
    parents = [done for _, stage, done, _ in stages if stage.startswith("training blobs-random")]
    assert parents[0] == 10
    assert not list((tmp_path / "networks").glob(".*"))
    stages.clear()
    at_work.network("blobs-large-norm")  # its start is not trained a second time
    assert {stage for _, stage, *_ in stages} == {"training blobs-large-norm, small"}


def test_an_analysis_of_another_network_is_made_anew(configs, tmp_path):
    workshop_ = Workshop(tmp_path, configs=configs)
    network = workshop_.network("blobs-normal")
    before = workshop_.analysis(network, 4, grid=False)
    file = tmp_path / "analyses" / "blobs-normal-0-4.safetensors"
    assert file.exists()
    with torch.no_grad():
        next(network.model.parameters()).add_(0.1)
    after = Workshop(tmp_path, configs=configs).analysis(network, 4, grid=False)
    assert after.provenance.fingerprint != before.provenance.fingerprint
    file.write_bytes(b"damaged")
    again = Workshop(tmp_path, configs=configs).analysis(network, 4, grid=False)
    np.testing.assert_array_equal(again.eigenvalues, after.eigenvalues)


def test_an_analysis_by_other_code_or_of_another_grid_is_made_anew(configs, tmp_path, monkeypatch):
    network = Workshop(tmp_path, configs=configs).network("blobs-normal")
    made = []

    def counted(*arguments, **options):
        made.append(options["grid"])
        return eb.analyze(*arguments, **options)

    monkeypatch.setattr(workshop, "analyze", counted)
    for resolution in (5, 5, 6):
        analysis = Workshop(tmp_path, configs=configs, resolution=resolution).analysis(network, 2)
        assert len(analysis.grid.first) == resolution
    assert made == [5, 6]
    monkeypatch.setattr(version, "ANALYSIS_ALGORITHM", -1)
    Workshop(tmp_path, configs=configs, resolution=6).analysis(network, 2)
    assert made == [5, 6, 6]


def test_an_interrupted_analysis_is_not_kept(configs, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    at_work = Workshop(tmp_path, configs=configs)
    network = at_work.network("blobs-normal")
    monkeypatch.setattr(workshop, "analyze", interrupted)
    with pytest.raises(KeyboardInterrupt):
        at_work.analysis(network, 4)
    assert not list((tmp_path / "analyses").iterdir())


def test_seconds_inside_a_part_are_not_counted_twice(configs, tmp_path):
    at_work = Workshop(tmp_path, configs=configs)
    with at_work.timed("drawing"), at_work.timed("analysis"):
        sum(range(10**6))
    assert at_work.seconds["drawing"] < at_work.seconds["analysis"]


def test_the_command_names_the_files_and_ends_with_a_table_of_seconds(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "eigenboundary.experiments.figures.workshop.load_config",
        lambda name, **_: eb.experiments.parse_config(small_config(name), name),
    )
    result = CliRunner().invoke(app, ["reproduce", "fig1", "-o", str(tmp_path)])
    assert result.exit_code == 0, result.stderr
    assert f"fig1: {tmp_path}/fig1.png (pdf)" in result.stderr.replace("\n", "")
    for word in ("fig1", "training", "analysis", "drawing", "all"):
        assert word in result.stdout


# ----------------------------------------------------------------------------------- the numbers


def test_without_mnist_the_images_are_digits_and_the_figure_says_so(numbers):
    data = numbers("fig6")
    assert "scikit-learn" in data.note
    assert "MNIST" in data.note
    assert [row.name for row in data.rows] == ["normal", "adversarial"]
    assert all(row.analysis.input_shape == (1, 8, 8) for row in data.rows)
    np.testing.assert_array_equal(data.rows[0].embedding, data.rows[1].embedding)


def test_the_embedding_follows_the_seed(configs, tmp_path, monkeypatch):
    seeds = []

    def embed(inputs, method, seed):
        seeds.append(seed)
        return inputs[:, :2].astype(float)

    monkeypatch.setattr(rows, "embed", embed)
    FIGURES["fig6"].compute(Workshop(tmp_path, seed=3, configs=configs))
    assert seeds == [3]


def test_the_toy_takes_the_first_seed_that_learns_all_points(at_work, numbers):
    network, tried, learnt = first_that_learns(at_work, seeds=2, rounds=2)
    assert tried in (2, 4)
    if learnt:
        assert network.seed == learnt[0]
        assert network.result.accuracy == 1.0
    else:
        assert tried == 4
    data = numbers("fig1")
    outputs = data.probability > 0.5
    assert len(data.boundary) == np.abs(np.diff(outputs.astype(int))).sum()
    assert data.analysis.k == data.analysis.n_parameters
    # A unit gradient's share in a plane is at most one.
    assert (np.linalg.norm(data.gradients, axis=1) <= 1 + 1e-9).all()
    middle = data.plane.loss[30, 30]
    assert middle == pytest.approx(data.analysis.loss_value)


def test_the_weighted_sum_is_the_papers_and_jumps_do_not_depend_on_signs(numbers):
    data = numbers("fig2")
    values = data.analysis.eigenvalues[:5]
    expected = np.einsum("ijk,k->ij", data.grid.alignment[..., :5].astype(float), values)
    np.testing.assert_allclose(data.composed, expected / np.abs(expected).max(), atol=1e-6)
    flipped = replace(data.grid, alignment=-data.grid.alignment)
    np.testing.assert_array_equal(jumps(flipped, 5), data.jump)
    np.testing.assert_allclose(weighted_sum(flipped, values), -data.composed)
    assert 0 <= data.jump.min() <= data.jump.max() <= 1 + 1e-6


def test_the_trace_of_each_regime_is_that_of_its_hessian(at_work, numbers):
    regimes = numbers("fig3")
    assert [regime.name for regime in regimes] == ["normal", "adversarial", "large norm"]
    for regime, config in zip(
        regimes, ("blobs-normal", "blobs-adversarial", "blobs-large-norm"), strict=True
    ):
        problem = at_work.problem(at_work.network(config))
        exact = eb.HessianOperator(problem).trace()
        assert regime.analysis.eigenvalues.sum() == pytest.approx(exact, rel=1e-6, abs=1e-9)
        generalization = regime.analysis.complexity.generalization("random")
        low, high = generalization.interval
        assert low <= generalization.value <= high


def test_margins_are_distances_of_the_training_samples(numbers):
    for found in numbers("fig5"):
        at = found.constrained.samples
        # Two searches: neither finds less than the other but for the tolerance of each.
        np.testing.assert_allclose(
            found.constrained.refined_margin, found.distance.value[at], rtol=1e-3
        )
        assert found.distance.value[found.nearest] == found.distance.value.min()
        assert (found.constrained.gap < 1e-4).all()


def test_the_robust_network_is_another_one_on_the_same_samples(at_work, numbers):
    normal, robust = (row.analysis for row in numbers("appendix-robust").rows)
    np.testing.assert_array_equal(normal.inputs, robust.inputs)
    assert at_work.network("blobs-robust").config.training.attack_radius == 0.5
    assert np.abs(normal.eigenvalues[0] / robust.eigenvalues[0] - 1) > 1e-3


def test_the_hessian_of_two_classes_is_that_of_their_samples(at_work, numbers):
    found = numbers("appendix-subsets").rows
    assert len(found) == 4
    network = at_work.network("blobs-normal")
    x, y = network.data.train
    kept = y != 2
    pairs = eb.top_eigenpairs(
        eb.HessianOperator(eb.Problem(network.model, (x[kept], y[kept]), dtype="float64")), 3
    )
    np.testing.assert_allclose(found[1].analysis.eigenvalues[:3], pairs.values, rtol=1e-8)
    # All rows show the same part of the plane.
    assert {(row.grid or row.analysis.grid).first[0] for row in found} == {
        found[0].analysis.grid.first[0]
    }


def test_control_directions_are_those_of_the_library(numbers):
    data = numbers("appendix-directions")
    assert list(data.planes) == ["top", "lowest", "random_eigenvectors", "random_directions"]
    np.testing.assert_allclose(
        data.alignment["top"], data.analysis.training_alignment[:, :10], atol=1e-8
    )
    assert np.abs(data.alignment["lowest"]).max() < np.abs(data.alignment["top"]).max()


def test_gradients_of_losses_and_logits_are_those_of_autograd(at_work):
    network = at_work.network("blobs-normal")
    problem = at_work.problem(network)
    model = problem.network.module
    x, y = network.data.train[0].double()[:1], network.data.train[1][:1]

    def flat(value):
        parts = torch.autograd.grad(value, list(model.parameters()))
        vector = torch.cat([part.reshape(-1) for part in parts])
        return vector / vector.norm()

    for parameter in model.parameters():
        parameter.requires_grad_(True)
    loss = torch.nn.functional.cross_entropy(model(x), y)
    torch.testing.assert_close(loss_gradients(problem)[0], flat(loss))
    torch.testing.assert_close(logit_gradients(problem)[1, 0], flat(model(x)[0, 1]))


def test_coherence_is_a_matrix_of_cosines_sorted_by_class(numbers):
    for coherence in numbers("appendix-coherence"):
        assert (np.diff(coherence.labels) >= 0).all()
        np.testing.assert_allclose(np.diag(coherence.loss), 1)
        np.testing.assert_allclose(coherence.loss, coherence.loss.T, atol=1e-12)
        assert coherence.logits.shape == (3, *coherence.loss.shape)


def test_dynamics_has_an_analysis_of_each_checkpoint_that_ends_with_the_network(at_work, numbers):
    data = numbers("appendix-dynamics")
    assert list(data) == [0, 2, 60]
    final = at_work.problem(at_work.network("blobs-dynamics"))
    assert data[60].provenance.fingerprint == final.network.fingerprint()
    assert data[60].loss_value < data[0].loss_value


def test_the_boundary_moves_along_each_eigenvector_until_the_loss_has_risen_by_one(
    at_work, numbers
):
    data = numbers("appendix-motion")
    values = at_work.analysis(at_work.network("blobs-normal")).eigenvalues
    for moved, value in zip(data.motions, values, strict=False):
        assert 0.5 * value * moved.steps[-1] ** 2 == pytest.approx(1.0)
        assert moved.steps[len(moved.steps) // 2] == 0


def test_landscapes_begin_and_end_at_the_networks(at_work, numbers):
    data = numbers("appendix-landscape")
    problem = at_work.problem(at_work.network("blobs-normal"))
    assert data.along["$v_1$"].loss[40] == pytest.approx(problem.loss_value, rel=1e-4)
    assert data.between.segment.loss[0] == pytest.approx(problem.loss_value, rel=1e-4)
    np.testing.assert_allclose(data.path[[0, -1]], data.plane.points[:2], atol=1e-3)
