from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from torch import nn

import eigenboundary as eb
from eigenboundary.analysis.storage import FORMAT_VERSION

Blobs = tuple[np.ndarray, np.ndarray]


@pytest.fixture
def analysis(small_model: nn.Module, blobs: Blobs) -> eb.Analysis:
    return eb.analyze(small_model, blobs, k=4, grid=9, controls=("random_directions",))


@pytest.fixture
def path(analysis: eb.Analysis, tmp_path: Path) -> Path:
    target = tmp_path / "run.safetensors"
    analysis.save(target)
    return target


def assert_equal(first: object, second: object) -> None:
    if isinstance(first, np.ndarray):
        assert isinstance(second, np.ndarray)
        assert first.dtype == second.dtype
        np.testing.assert_array_equal(first, second)
    elif isinstance(first, dict):
        assert isinstance(second, dict)
        assert set(first) == set(second)
        for key in first:
            assert_equal(first[key], second[key])
    elif isinstance(first, tuple):
        assert isinstance(second, tuple)
        for ours, theirs in zip(first, second, strict=True):
            assert_equal(ours, theirs)
    elif dataclasses.is_dataclass(first):
        assert type(first) is type(second)
        for item in dataclasses.fields(first):
            assert_equal(getattr(first, item.name), getattr(second, item.name))
    else:
        assert first == second


def test_a_saved_analysis_loads_as_it_was(analysis: eb.Analysis, path: Path) -> None:
    loaded = eb.load(path)
    for item in dataclasses.fields(analysis):
        if item.name != "attached":
            assert_equal(getattr(analysis, item.name), getattr(loaded, item.name))
    assert str(loaded) == str(analysis)
    assert loaded.summary() == analysis.summary()


def test_a_loaded_analysis_with_its_model_aligns_new_inputs(
    analysis: eb.Analysis, path: Path, small_model: nn.Module
) -> None:
    x = np.random.default_rng(5).normal(size=(7, 2))
    loaded = eb.load(path, model=small_model)
    np.testing.assert_allclose(loaded.alignment(x), analysis.alignment(x), atol=1e-12)


def test_a_loaded_analysis_without_its_model_says_what_it_needs(path: Path) -> None:
    with pytest.raises(eb.InvalidInputError, match="pass model= to load"):
        eb.load(path).alignment(np.ones((1, 2)))


def test_another_networks_weights_are_refused(path: Path, small_model: nn.Module) -> None:
    small_model[0].weight.data[0, 0] += 1e-9
    with pytest.raises(eb.InvalidInputError, match="weights differ"):
        eb.load(path, model=small_model)


def test_an_analysis_of_some_parameters_loads_with_the_whole_model(
    small_model: nn.Module, blobs: Blobs, tmp_path: Path
) -> None:
    part = eb.analyze(small_model, blobs, k=3, parameters="2.*", grid=0)
    part.save(tmp_path / "part.safetensors")
    loaded = eb.load(tmp_path / "part.safetensors", model=small_model)
    np.testing.assert_allclose(loaded.alignment(blobs[0]), part.alignment(blobs[0]), atol=1e-12)


def test_an_analysis_with_a_custom_loss_needs_it_again(
    small_model: nn.Module, blobs: Blobs, tmp_path: Path
) -> None:
    loss = nn.CrossEntropyLoss(reduction="none")
    own = eb.analyze(small_model, blobs, k=3, loss=loss, grid=0)
    own.save(tmp_path / "own.safetensors")
    with pytest.raises(eb.InvalidInputError, match="loss must be given"):
        eb.load(tmp_path / "own.safetensors", model=small_model)
    loaded = eb.load(tmp_path / "own.safetensors", model=small_model, loss=loss)
    np.testing.assert_allclose(loaded.alignment(blobs[0]), own.alignment(blobs[0]), atol=1e-12)


def test_the_file_is_safetensors_with_json_and_its_version(path: Path) -> None:
    with safe_open(path, framework="np") as stored:
        header = json.loads(stored.metadata()["eigenboundary"])
        assert "eigenvectors" in stored.keys()  # noqa: SIM118
    assert header["format"] == FORMAT_VERSION
    assert header["analysis"]["provenance"]["versions"]["eigenboundary"] == eb.__version__


def test_nothing_is_overwritten_unless_asked(analysis: eb.Analysis, path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(eb.InvalidInputError, match="must not exist yet"):
        analysis.save(path)
    assert path.read_bytes() == before
    analysis.save(path, overwrite=True)
    assert eb.load(path).k == 4
    assert [f.name for f in path.parent.iterdir()] == [path.name]


def test_others_may_read_the_file_as_the_umask_says(path: Path) -> None:
    other = path.with_name("other")
    other.touch()
    assert path.stat().st_mode == other.stat().st_mode


def test_a_path_that_is_none_is_refused(analysis: eb.Analysis) -> None:
    with pytest.raises(eb.InvalidInputError, match="path must be a path; got None"):
        eb.load(None)  # type: ignore[arg-type]
    with pytest.raises(eb.InvalidInputError, match="path must be a path; got 3"):
        analysis.save(3)  # type: ignore[arg-type]


def test_parameter_names_with_brackets_load_again(blobs: Blobs, tmp_path: Path) -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ParameterDict({"w[0]": torch.ones(2, 3), "w0": torch.ones(3)})

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.parts["w[0]"] + self.parts["w0"]

    network = Named().double()
    found = eb.analyze(network, blobs, k=2, grid=0)
    found.save(tmp_path / "named.safetensors")
    again = eb.load(tmp_path / "named.safetensors", model=network)
    np.testing.assert_array_equal(again.alignment(blobs[0]), found.alignment(blobs[0]))


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def of_another_kind(path: Path) -> None:
    save_file({"x": np.zeros(3)}, path)


def of_a_later_version(path: Path) -> None:
    save_file({"x": np.zeros(3)}, path, metadata={"eigenboundary": json.dumps({"format": 99})})


def lacking_arrays(path: Path) -> None:
    save_file(
        {"x": np.zeros(3)},
        path,
        metadata={
            "eigenboundary": json.dumps({"format": FORMAT_VERSION, "analysis": {"loss": "mse"}})
        },
    )


def with_wrong_shapes(path: Path) -> None:
    with safe_open(path, framework="np") as stored:
        arrays = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        metadata = stored.metadata()
    save_file({**arrays, "eigenvectors": np.zeros((5, 4))}, path, metadata=metadata)


def with_another_header(path: Path) -> None:
    save_file({"x": np.zeros(3)}, path, metadata={"eigenboundary": "[1, 2]"})


def missing(path: Path) -> None:
    path.unlink()


def no_file(path: Path) -> None:
    path.write_text("hello")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncated, "damaged"),
        (of_another_kind, "written by Analysis.save"),
        (of_a_later_version, rf"format version {FORMAT_VERSION}; .* version 99"),
        (lacking_arrays, r"undamaged analysis file; .* the record is not of fields eigenvalues, "),
        (with_wrong_shapes, "n_parameters is 39, where the arrays have 5"),
        (with_another_header, f"format version {FORMAT_VERSION}"),
        (missing, "existing analysis file"),
        (no_file, "damaged"),
    ],
)
def test_an_unusable_file_is_refused_in_one_sentence(
    damage: object, message: str, path: Path
) -> None:
    damage(path)  # type: ignore[operator]
    with pytest.raises(eb.InvalidInputError, match=message) as caught:
        eb.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["missing/run.safetensors", "."])
def test_a_place_that_cannot_be_written_is_refused(
    analysis: eb.Analysis, tmp_path: Path, name: str
) -> None:
    with pytest.raises(eb.InvalidInputError, match="path must"):
        analysis.save(tmp_path / name)


def test_a_fingerprint_tells_weights_and_buffers_apart(blobs: Blobs) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    first = eb.Problem(model, blobs).network.fingerprint()
    assert eb.Problem(model, blobs).network.fingerprint() == first
    model[1].running_mean += 1
    assert eb.Problem(model, blobs).network.fingerprint() != first


def test_sections_are_those_of_the_twenty_sharpest_eigenvectors(
    small_model: nn.Module, blobs, tmp_path: Path
) -> None:
    analysis = eb.analyze(small_model, blobs, k=25, margins=True, grid=0)
    assert analysis.sections is not None
    assert len(analysis.sections) == 20
    analysis.save(tmp_path / "a.safetensors")
    loaded = eb.load(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(loaded.sections.alignment, analysis.sections.alignment)
    assert loaded.smallest_margin.value == analysis.smallest_margin.value
    assert loaded.boundary_area.interval == analysis.boundary_area.interval
    assert loaded.n_test_samples == 0
