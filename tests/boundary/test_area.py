from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import eigenboundary as eb


def plane_through_the_middle(d: int) -> nn.Module:
    model = nn.Linear(d, 2).double()
    model.weight.data = torch.zeros(2, d, dtype=torch.float64)
    model.weight.data[0, 0] = 1.0
    model.bias.data = torch.zeros(2, dtype=torch.float64)
    return model


def gaussian(n: int, d: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    return x, (x[:, 0] < 0).long()


def area_of_a_plane(scale: float) -> float:
    # Ends of a segment correlate by 1 / (1 + η²): Sheppard's formula for a change of sign.
    chance = math.acos(1 / (1 + scale**2)) / math.pi
    return chance * math.sqrt(math.pi) / (2 * scale)


@pytest.mark.parametrize("d", [2, 10])
@pytest.mark.parametrize("scale", [0.1, 0.3, 1.0])
def test_a_plane_through_gaussian_data_has_the_area_of_the_closed_form(d, scale) -> None:
    found = eb.boundary_area(
        plane_through_the_middle(d), gaussian(4000, d, 0), scale=scale, segments=20_000
    )
    half = (found.interval[1] - found.interval[0]) / 2
    assert half < 0.15 * found.value
    assert found.value == pytest.approx(area_of_a_plane(scale), abs=1.5 * half)
    assert found.value == pytest.approx(
        found.changes.mean() * math.sqrt(math.pi) / (2 * scale), rel=1e-12
    )


@pytest.mark.parametrize(("n", "segments"), [(2000, 2000), (150, 6000)])
def test_intervals_hold_the_closed_form_in_ninety_percent_of_draws(n: int, segments: int) -> None:
    truth, held = area_of_a_plane(0.3), 0
    for seed in range(100):
        model, data = plane_through_the_middle(2), gaussian(n, 2, seed)
        low, high = eb.boundary_area(model, data, segments=segments, seed=seed).interval
        held += low <= truth <= high
    assert held >= 90


def test_linear_transforms_of_inputs_and_factors_on_outputs_change_nothing(
    small_model: nn.Module, blobs
) -> None:
    x, y = torch.as_tensor(blobs[0]), blobs[1]
    plain = eb.boundary_area(small_model, (x, y), dtype="float64")
    transform = torch.tensor([[3.0, 1.0], [-2.0, 0.5]], dtype=torch.float64)
    back = nn.Linear(2, 2, bias=False).double()
    back.weight.data = torch.linalg.inv(transform)
    last = nn.Linear(3, 3, bias=False).double()
    last.weight.data = 100 * torch.eye(3, dtype=torch.float64)
    moved = nn.Sequential(back, small_model, last)
    found = eb.boundary_area(moved, (x.double() @ transform.T, y))
    np.testing.assert_array_equal(found.changes, plain.changes)
    assert found.value > 0


def test_a_seed_gives_one_answer_and_bad_input_one_error(small_model: nn.Module, blobs) -> None:
    first, again, limited = (
        eb.boundary_area(small_model, blobs, seed=3, **options)
        for options in ({}, {}, {"memory_limit": "1 GB"})
    )
    np.testing.assert_array_equal(first.changes, again.changes)
    np.testing.assert_array_equal(first.changes, limited.changes)
    assert len(first.changes) == 2000
    for options, message in (
        ({"scale": 0}, "scale must be"),
        ({"segments": 1}, "segments must be"),
        ({"seed": -1}, "seed must be"),
    ):
        with pytest.raises(eb.InvalidInputError, match=message):
            eb.boundary_area(small_model, blobs, **options)
    constant = nn.Linear(2, 3)
    constant.weight.data.zero_()
    with pytest.raises(eb.InvalidInputError, match="different classes"):
        eb.boundary_area(constant, blobs)


def test_no_crossing_is_an_upper_bound_not_a_zero() -> None:
    x = torch.tensor([[-1.0, 0.0], [1.0, 0.0]]).repeat(50, 1)
    model = plane_through_the_middle(2).float()
    found = eb.boundary_area(model, (x, (x[:, 0] < 0).long()), scale=0.01)
    assert found.value == 0.0
    assert found.interval[0] == 0.0 < found.interval[1]


class Stripes(nn.Module):
    """cos(nπx): n parallel boundaries inside the unit square, none at its edges."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([float(n)]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wave = torch.cos(self.weight * math.pi * x[..., 0])
        return torch.stack([wave, -wave], dim=-1)


def test_parallel_stripes_add_up() -> None:
    x = torch.rand(3000, 2, generator=torch.Generator().manual_seed(0))
    data = x, torch.arange(3000) % 2
    two, four, eight = (
        eb.boundary_area(Stripes(n), data, scale=0.1, segments=12_000).value for n in (2, 4, 8)
    )
    assert four / two == pytest.approx(2, rel=0.15)
    assert eight / two == pytest.approx(4, rel=0.15)


def test_every_boundary_on_a_segment_counts() -> None:
    # Planes 1/2 apart: area 2 a spread. Half of the segments meet several of them.
    x, y = gaussian(4000, 2, 0)
    found = eb.boundary_area(Stripes(2).double(), (x, y), segments=8000)
    assert (found.changes > 1).mean() > 0.05
    assert found.value == pytest.approx(2.0, rel=0.05)
