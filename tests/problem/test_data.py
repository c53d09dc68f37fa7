from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    SubsetRandomSampler,
    TensorDataset,
)

import eigenboundary as eb
from eigenboundary.problem.data import LoaderSource, TensorSource, as_source
from eigenboundary.runtime.random_state import preserved_random_state

X = torch.arange(22.0).reshape(11, 2)
Y = torch.arange(11) % 2


def collect(source: object) -> tuple[torch.Tensor, torch.Tensor]:
    xs, ys = zip(*source, strict=True)  # type: ignore[call-overload]
    return torch.cat(xs), torch.cat(ys)


@pytest.mark.parametrize("cache_bytes", [0, 2**20])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("batch_size", [1, 3, 11, 64])
def test_every_pass_over_a_loader_gives_the_dataset_in_its_own_order(
    cache_bytes: int, shuffle: bool, batch_size: int
) -> None:
    loader = DataLoader(TensorDataset(X, Y), batch_size=batch_size, shuffle=shuffle)
    source = as_source(loader, cache_bytes=cache_bytes, seed=0)
    assert isinstance(source, TensorSource if cache_bytes else LoaderSource)
    for _ in range(2):
        x, y = collect(source)
        assert torch.equal(x, X)
        assert torch.equal(y, Y)


def test_a_subset_sampler_keeps_its_subset_in_every_pass() -> None:
    loader = DataLoader(TensorDataset(X, Y), batch_size=2, sampler=SubsetRandomSampler([1, 4, 7]))
    source = as_source(loader, cache_bytes=0, seed=0)
    first, second = collect(source)[0], collect(source)[0]
    assert torch.equal(first, second)
    assert sorted(first[:, 0].tolist()) == [2.0, 8.0, 14.0]


def test_the_last_incomplete_batch_of_a_loader_is_not_dropped() -> None:
    loader = DataLoader(TensorDataset(X, Y), batch_size=4, drop_last=True, shuffle=True)
    assert len(collect(as_source(loader, cache_bytes=0, seed=0))[0]) == 11


class Noisy(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Augments at random, from torch's, NumPy's or Python's generator."""

    def __init__(self, draw: object) -> None:
        self.draw = draw

    def __len__(self) -> int:
        return 11

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return X[index] + self.draw(), Y[index]  # type: ignore[operator]


@pytest.mark.parametrize("draw", [lambda: torch.rand(()), np.random.rand, random.random])
def test_seeded_augmentation_is_replayed_in_every_pass(draw: object) -> None:
    source = as_source(Noisy(draw), cache_bytes=0, seed=0)
    assert torch.equal(collect(source)[0], collect(source)[0])


def test_samples_that_change_between_passes_are_refused() -> None:
    counter = iter(range(1000))
    with pytest.raises(eb.InvalidInputError, match="same samples in every pass"):
        as_source(Noisy(lambda: float(next(counter))), cache_bytes=0, seed=0)


class Broken(Noisy):
    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        raise OSError("sample 3 cannot be read")


def test_a_dataset_that_cannot_be_read_is_refused_in_one_sentence() -> None:
    with pytest.raises(eb.InvalidInputError, match="OSError: sample 3 cannot be read"):
        eb.analyze(torch.nn.Linear(2, 2), Broken(None), k=2)


def test_a_samplers_own_generator_is_left_alone() -> None:
    generator = torch.Generator().manual_seed(3)
    before = generator.get_state()
    sampler = torch.utils.data.WeightedRandomSampler([1.0] * 11, 8, generator=generator)
    as_source(DataLoader(TensorDataset(X, Y), sampler=sampler), cache_bytes=0, seed=0)
    assert torch.equal(before, generator.get_state())


class Stream(IterableDataset[tuple[torch.Tensor, torch.Tensor]]):
    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return iter(zip(X, Y, strict=True))


def test_an_iterable_dataset_is_streamed() -> None:
    source = as_source(DataLoader(Stream(), batch_size=4), cache_bytes=0, seed=0)
    assert torch.equal(collect(source)[0], X)


def test_streaming_gives_the_same_numbers_as_arrays(
    small_model: torch.nn.Module, blobs: tuple[np.ndarray, np.ndarray]
) -> None:
    x, y = torch.tensor(blobs[0]), torch.tensor(blobs[1])
    whole = eb.analyze(small_model, blobs, k=4, grid=0)
    loader = DataLoader(TensorDataset(x, y), batch_size=7, shuffle=True)
    streamed = eb.analyze(small_model, loader, k=4, grid=0, cache_bytes=0, batch_size=5)
    np.testing.assert_allclose(streamed.eigenvalues, whole.eigenvalues, rtol=1e-10)
    np.testing.assert_allclose(streamed.training_alignment, whole.training_alignment, atol=1e-8)
    np.testing.assert_array_equal(streamed.inputs, whole.inputs)


def test_random_states_are_left_alone(blobs: tuple[np.ndarray, np.ndarray]) -> None:
    loader = DataLoader(Noisy(np.random.rand), batch_size=4, shuffle=True)
    model = torch.nn.Linear(2, 2)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    eb.analyze(model, loader, k=2, grid=0)
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()
    assert before[2] == random.getstate()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((X,), "pair"),
        (X, "pair"),
        ((X, Y[:5]), "as many labels"),
        ((X, Y.float()), "integer class labels"),
        ((X, Y.bool()), "integer class labels"),
        ((X, torch.nn.functional.one_hot(Y)), "one-hot labels"),
        ((X, Y - 1), "labels from 0 to 1"),
        ((X, Y + 1), "labels from 0 to 1"),
        ((X, Y * 0), "at least two classes"),
        ((X[:0], Y[:0]), "at least one sample"),
        ((X.clone().fill_(float("nan")), Y), "finite"),
        ((X.index_fill(0, torch.tensor([3]), float("inf")), Y), "1 input"),
        ((["a", "b"], [0, 1]), "numeric"),
        (TensorDataset(X), "pair"),
        (DataLoader(TensorDataset(X, Y.float())), "integer class labels"),
        ((X[:, :1], Y), "accept the inputs"),
    ],
)
def test_unusable_data_is_refused_in_one_sentence(data: object, message: str) -> None:
    with pytest.raises(eb.InvalidInputError, match=message) as caught:
        eb.analyze(torch.nn.Linear(2, 2), data, k=2)
    assert "\n" not in str(caught.value)
    assert str(caught.value).split()[0] in ("data", "each", "model")


def test_the_seed_of_gpus_that_were_not_in_use_is_the_programs_again_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seeds: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    torch.manual_seed(123)
    with preserved_random_state(7):
        assert seeds[-1] == 7
    assert seeds[-1] == 123
    with pytest.raises(ZeroDivisionError), preserved_random_state(7):
        raise ZeroDivisionError
    assert seeds[-1] == 123
    abandoned = iter(LoaderSource(DataLoader(Numbers(), batch_size=2), seed=7))
    next(abandoned)
    assert seeds[-1] == 7
    abandoned.close()
    assert seeds[-1] == 123


class Numbers(Dataset[tuple[torch.Tensor, int]]):
    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.full((2,), float(index)), index % 2
