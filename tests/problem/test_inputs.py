"""Inputs of several named tensors, by a small classifier of sentences with padding."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import eigenboundary as eb
from eigenboundary.alignment.reinforcing_gradients import training_alignment
from eigenboundary.curvature.operators import products
from eigenboundary.problem.inputs import Layout
from eigenboundary.runtime.records import pack, unpack
from tests.references import (
    alignment_from_residual,
    dense_gauss_newton,
    dense_hessian,
)

N, LENGTH = 14, 5
KINDS = {"hessian": eb.HessianOperator, "gauss_newton": eb.GaussNewtonOperator}
DENSE = {"hessian": dense_hessian, "gauss_newton": dense_gauss_newton}


class Reader(nn.Module):
    """One attention layer over the tokens that are there, and their mean, scaled."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.scale = nn.Embedding(6, 4), nn.Linear(1, 4)
        self.layer = nn.TransformerEncoderLayer(4, 2, 3, dropout=0.1, batch_first=True)
        self.last = nn.Linear(4, 3)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, importance: Tensor, labels: Any = None
    ) -> dict[str, Tensor]:
        assert labels is None
        assert attention_mask.dtype == torch.bool
        hidden = self.layer(self.words(input_ids), src_key_padding_mask=~attention_mask)
        there = attention_mask.unsqueeze(2).to(hidden.dtype)
        mean = (hidden * there).sum(1) / there.sum(1)
        return self.last(mean * self.scale(importance.unsqueeze(1)).tanh())


class AtIndex(nn.Module):
    """The same network as a function of a sample's number, for references."""

    def __init__(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.model, self.inputs = model, inputs

    def forward(self, index: Tensor) -> Tensor:
        with nn.attention.sdpa_kernel(nn.attention.SDPBackend.MATH):
            return self.model(**{name: tensor[index] for name, tensor in self.inputs.items()})


class Rows(Dataset[Any]):
    """Samples one by one, as pairs or as mappings that hold their label."""

    def __init__(self, pairs: bool) -> None:
        self.pairs, (self.inputs, self.y) = pairs, sentences()

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> Any:
        row = {name: tensor[index] for name, tensor in self.inputs.items()}
        return (row, self.y[index]) if self.pairs else row | {"labels": self.y[index]}


def sentences() -> tuple[dict[str, Tensor], Tensor]:
    """The first ones have no padding, and so no mask that hides anything."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(2, LENGTH + 1, (N,), generator=generator)
    lengths[:5] = LENGTH
    inputs = {
        "input_ids": torch.randint(6, (N, LENGTH), generator=generator),
        "attention_mask": torch.arange(LENGTH) < lengths.unsqueeze(1),
        "importance": torch.rand(N, generator=generator, dtype=torch.float64) * 3,
    }
    return inputs, torch.arange(N) % 3


@pytest.fixture
def reader() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        return Reader().double().eval()


def some_vectors(problem: eb.Problem) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.randn(problem.n_parameters, 3, generator=generator, dtype=torch.float64)


# ------------------------------------------------------------------------------------ packing


@hypothesis.given(
    n=st.integers(1, 4),
    parts=st.lists(
        st.tuples(
            st.lists(st.integers(1, 3), max_size=2),
            st.sampled_from([torch.int64, torch.uint8, torch.bool, torch.float32, torch.float64]),
        ),
        min_size=1,
        max_size=4,
    ),
    seed=st.integers(0, 2**31),
)
def test_named_tensors_are_what_they_were_once_unpacked(
    n: int, parts: list[tuple[list[int], torch.dtype]], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    named = {
        f"part {i}": (1e3 * torch.randn(n, *shape, generator=generator)).abs().to(dtype)
        for i, (shape, dtype) in enumerate(parts)
    }
    layout = Layout.of(named, "data")
    packed = layout.pack(named, "data")
    assert len(packed) == n
    for name, tensor in layout.unpack(packed, torch.float64).items():
        assert torch.equal(tensor.double(), named[name].double())
        if not tensor.is_floating_point():
            assert tensor.dtype == named[name].dtype
    assert unpack(Layout, pack(layout, {}), {}) == layout


# -------------------------------------------------------------------------------- derivatives


@pytest.mark.parametrize(
    ("kind", "streamed"), [("hessian", False), ("hessian", True), ("gauss_newton", True)]
)
def test_products_by_every_route_are_the_dense_matrix(
    reader: nn.Module, kind: str, streamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, y = sentences()
    data = DataLoader(Rows(pairs=True), batch_size=4) if streamed else (inputs, y)
    problem = eb.Problem(reader, data, cache_bytes=0, batch_size=4)
    assert problem.samples.in_memory is not streamed
    vectors = some_vectors(problem)
    expected = DENSE[kind](AtIndex(reader, inputs), torch.arange(N), y) @ vectors
    operator = KINDS[kind](problem)
    routes = []
    for cost in (1e30, 1e30, 0.0):
        monkeypatch.setattr(products, "_WORK_PER_OPERATION", cost)
        torch.testing.assert_close(operator @ vectors, expected, rtol=1e-9, atol=1e-11)
        routes.append(operator.record.route)
    keeps = kind == "hessian" and not streamed
    assert routes == ["recomputed", "double backward" if keeps else "recomputed", "linearized"]
    assert not problem.network.reverse_only


def test_alignments_are_the_cosines_of_per_sample_gradients(reader: nn.Module) -> None:
    inputs, y = sentences()
    problem = eb.Problem(reader, (inputs, y))
    vectors = some_vectors(problem)
    network = AtIndex(reader, inputs)
    outputs = network(torch.arange(N)).detach()
    residual = outputs.softmax(1) - nn.functional.one_hot(outputs.argmax(1), 3)
    expected = alignment_from_residual(network, torch.arange(N), residual, vectors)
    torch.testing.assert_close(training_alignment(problem, vectors).cosines, expected)
    some = {name: tensor[3:9] for name, tensor in inputs.items()}
    torch.testing.assert_close(eb.alignments(problem, some, vectors), expected[3:9])


def test_a_word_list_that_is_read_and_predicted_counts_once() -> None:
    class Next(nn.Module):
        """As GPT-2 ties them: a parameter under two names."""

        def __init__(self) -> None:
            super().__init__()
            self.words, self.head = nn.Embedding(3, 4), nn.Linear(4, 3, bias=False)
            self.head.weight = self.words.weight

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            hidden = self.words(input_ids) * attention_mask.unsqueeze(2)
            return self.head(hidden.sum(1).tanh())

    torch.manual_seed(0)
    model, y = Next().double(), sentences()[1]
    inputs = {name: sentences()[0][name] for name in ("input_ids", "attention_mask")}
    inputs["input_ids"] = inputs["input_ids"] % 3
    problem = eb.Problem(model, (inputs, y))
    assert problem.n_parameters == 12
    expected = dense_hessian(AtIndex(model, inputs), torch.arange(N), y)
    torch.testing.assert_close(eb.HessianOperator(problem).to_dense(), expected)


def test_frozen_parameters_are_left_out(reader: nn.Module) -> None:
    inputs, y = sentences()
    full = dense_hessian(AtIndex(reader, inputs), torch.arange(N), y)
    kept = torch.cat(
        [
            torch.full((p.numel(),), name.startswith(("last", "scale")))
            for name, p in reader.named_parameters()
        ]
    )
    for name, parameter in reader.named_parameters():
        parameter.requires_grad_(name.startswith(("last", "scale")))
    problem = eb.Problem(reader, (inputs, y))
    assert problem.n_parameters == int(kept.sum()) == 23
    torch.testing.assert_close(eb.HessianOperator(problem).to_dense(), full[kept][:, kept])


# --------------------------------------------------------------------------------------- data


def test_every_way_to_give_named_inputs_gives_the_same_samples(reader: nn.Module) -> None:
    inputs, y = sentences()
    lists = {name: tensor.tolist() for name, tensor in inputs.items()}
    ways: list[Any] = [
        (inputs, y),
        (inputs | {"labels": y}, y),
        inputs | {"labels": y},
        lists | {"label": y.tolist()},
        Rows(pairs=True),
        Rows(pairs=False),
        DataLoader(Rows(pairs=False), batch_size=3, shuffle=True),
    ]
    with torch.no_grad():
        outputs = AtIndex(reader, inputs)(torch.arange(N))
    loss = float(nn.functional.cross_entropy(outputs, y))
    for data in ways:
        problem = eb.Problem(reader, data)
        assert problem.loss_value == pytest.approx(loss, rel=1e-12)
        assert torch.equal(problem.labels, y)
        assert torch.equal(problem.predictions, outputs.argmax(1))


def test_logits_are_picked_and_a_hook_goes_before() -> None:
    class Returned(nn.Linear):
        def forward(self, input: Tensor) -> Any:
            class Output:
                logits, twice = super(Returned, self).forward(input), input

            return Output

    x, y = torch.randn(9, 2), torch.arange(9) % 3
    model = Returned(2, 3)
    expected = model(x).logits.argmax(1)
    assert torch.equal(eb.Problem(model, (x, y)).predictions, expected)
    hooked = eb.Problem(model, (x, y), output=lambda o: -o.logits)
    assert torch.equal(hooked.predictions, model(x).logits.argmin(1))


def _without(name: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in sentences()[0].items() if key != name}


class Ragged(Rows):
    """Sentences that are as long as they are."""

    def __getitem__(self, index: int) -> Any:
        row, y = super().__getitem__(index)
        return {name: t[: 3 + index // 7] if t.ndim else t for name, t in row.items()}, y


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (sentences()[0], "data must be a pair .* or hold the labels under 'labels'; got a mapping"),
        ({"labels": sentences()[1]}, "data must hold inputs by their names; got only labels"),
        (({"a": None}, [0]), r"data\['a'\] must hold numeric arrays or tensors; got NoneType"),
        (({"a": [[1], [1, 2]]}, [0, 1]), r"data\['a'\] must hold numeric arrays"),
        (({"a": torch.tensor(1.0)}, [0]), "with a row a sample; got a of shape \\(\\)"),
        (
            (sentences()[0] | {"importance": torch.full((N,), torch.nan)}, sentences()[1]),
            "data must be finite; importance holds NaN or inf",
        ),
        (
            (sentences()[0] | {"importance": torch.ones(3)}, sentences()[1]),
            r"importance of shape \(14,\); got \(3,\)",
        ),
        ((sentences()[0], sentences()[1][:5]), "as many labels as inputs"),
        ((_without("importance"), sentences()[1]), "model must accept the inputs"),
        (
            DataLoader(Ragged(pairs=True), batch_size=7),
            r"input_ids of shape \(7, 3\); got \(7, 4\) \(pad all of them to one length\)",
        ),
    ],
)
def test_unusable_named_inputs_are_refused_in_one_sentence(
    reader: nn.Module, data: Any, message: str
) -> None:
    with pytest.raises(eb.InvalidInputError, match=message):
        eb.Problem(reader, data)


def test_inputs_unlike_the_training_inputs_are_refused(reader: nn.Module) -> None:
    inputs, y = sentences()
    problem = eb.Problem(reader, (inputs, y))
    for x, message in (
        (inputs["input_ids"], "x must hold input_ids, .* by their names.*; got Tensor"),
        (_without("importance"), "in every batch; got input_ids, attention_mask"),
        (inputs | {"input_ids": torch.rand(N, LENGTH)}, "must hold integers for input_ids"),
    ):
        with pytest.raises(eb.InvalidInputError, match=message):
            eb.alignments(problem, x, some_vectors(problem))


# --------------------------------------------------------------------------------- end to end


def test_an_analysis_is_complete_saved_and_loaded(reader: nn.Module, tmp_path: Path) -> None:
    inputs, y = sentences()
    analysis = eb.analyze(reader, (inputs, y), k=3, test_data=inputs | {"labels": y})
    assert analysis.converged.all()
    expected = torch.linalg.eigvalsh(dense_hessian(AtIndex(reader, inputs), torch.arange(N), y))
    np.testing.assert_allclose(analysis.eigenvalues, expected.flip(0)[:3], rtol=1e-8)
    assert analysis.test_accuracy == analysis.accuracy
    assert analysis.inputs.shape == (N, 2 * LENGTH + 1)
    np.testing.assert_array_equal(analysis.inputs[:, :LENGTH], inputs["input_ids"])
    np.testing.assert_allclose(analysis.inputs[:, -1], inputs["importance"], rtol=1e-6)
    assert any("input_ids (5,), attention_mask (5,), importance ()" in n for n in analysis.notes)
    analysis.save(tmp_path / "run.safetensors")
    analysis.report(tmp_path / "run.html")
    loaded = eb.load(tmp_path / "run.safetensors", model=reader)
    np.testing.assert_allclose(loaded.alignment(inputs), analysis.training_alignment, atol=1e-12)


def test_no_boundary_is_looked_for_between_named_inputs(reader: nn.Module) -> None:
    inputs, y = sentences()
    problem = eb.Problem(reader, (inputs, y))
    for search in (
        lambda: eb.analyze(reader, (inputs, y), k=2, margins=True),
        lambda: eb.boundary_points(problem),
        lambda: eb.boundary_points(reader, (inputs, y)),
        lambda: eb.boundary_distance(problem, inputs),
        lambda: eb.boundary_distance(reader, inputs),
    ):
        with pytest.raises(eb.InvalidInputError, match="must hold floating-point inputs, between"):
            search()


def test_a_single_named_tensor_is_as_good_as_the_tensor(
    blobs: tuple[np.ndarray, np.ndarray], small_model: nn.Module
) -> None:
    x, y = blobs
    plain = eb.analyze(small_model, (x, y), k=2, grid=5)
    named = eb.analyze(small_model, {"input": x, "labels": y}, k=2, grid=5)
    np.testing.assert_array_equal(named.eigenvalues, plain.eigenvalues)
    assert named.grid is not None
    assert plain.grid is not None
    np.testing.assert_array_equal(named.grid.outputs, plain.grid.outputs)
    problem = eb.Problem(small_model, {"input": x, "labels": y})
    far = eb.boundary_distance(problem, {"input": x}).value
    np.testing.assert_array_equal(far, eb.boundary_distance(problem, x).value)
    np.testing.assert_array_equal(named.alignment({"input": x}), plain.alignment(x))


# ------------------------------------------------------------------------- vision transformers


class Patches(nn.Module):
    """A small Vision Transformer: patches, a class token, positions, attention layers."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 4, 2, stride=2)
        self.token, self.places = (nn.Parameter(torch.randn(1, k, 4)) for k in (1, 5))
        layer = nn.TransformerEncoderLayer(
            4, 2, 6, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.last = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), patches], dim=1) + self.places
        return self.last(self.layers(tokens)[:, 0])


def test_a_vision_transformer_has_the_right_hessian_and_a_boundary() -> None:
    torch.manual_seed(5)
    model = Patches().double().eval()
    x, y = torch.randn(12, 1, 4, 4, dtype=torch.float64), torch.arange(12) % 3
    problem = eb.Problem(model, (x, y))
    v = some_vectors(problem)[:, 0]
    v /= v.norm()
    product = eb.HessianOperator(problem) @ v

    def gradient(step: float) -> Tensor:
        nn.utils.vector_to_parameters(problem.network.theta + step * v, model.parameters())
        model.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    differences = (gradient(1e-4) - gradient(-1e-4)) / 2e-4
    assert float((product - differences).norm()) < 1e-6 * float(product.norm())
    nn.utils.vector_to_parameters(problem.network.theta, model.parameters())
    analysis = eb.analyze(model, (x, y), k=2, curvature="gauss_newton")
    assert analysis.converged.all()
    assert np.isfinite(eb.boundary_distance(problem, x[:2]).value).all()
    assert not problem.network.reverse_only
