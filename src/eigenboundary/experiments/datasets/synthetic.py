"""Points on the line and in the plane, drawn by a seed with the parameters of arXiv:2306.07104."""

from __future__ import annotations

import numbers
from collections.abc import Sequence

import numpy as np
import torch

from eigenboundary.experiments.datasets.split import FEWEST, DataSplit, Labels, split_by_class
from eigenboundary.runtime.arguments import (
    check_choice,
    check_flag,
    check_integer,
    check_number,
    check_seed,
)
from eigenboundary.runtime.errors import InvalidInputError

Plane = tuple[float, float]

# Blobs: the mean, the standard deviation, the label.
_GAUSSIANS = (
    ((2.0, -1.0), (0.5, 0.5), 0),
    ((-2.0, 0.0), (0.5, 1.0), 1),
    ((0.0, 2.0), (0.5, 0.5), 2),
)
_HIERARCHY_MEANS = ((2.0, -1.0), (2.0, 1.0), (-2.0, 1.0), (-2.0, -1.0))
_HIERARCHY_DEVIATION = (0.5, 0.55)
_HIERARCHY_NAMES = {
    2: ("right", "left"),
    4: ("lower right", "upper right", "upper left", "lower left"),
}
_CHECKERBOARD_FIRST = {"separable": 0.8, "noisy": 0.5}
_CHECKERBOARD_SECOND = ((-3.0, 1.0), (-1.0, 3.0))
_CHECKERBOARD_DEVIATION = (0.3, 0.1)
_CIRCLES_FACTOR = 0.5
_MOST_NOISE, _MOST_SAMPLES = 10**6, 10**7


def toy_1d(*, seed: int = 0) -> DataSplit:
    """Return six points on the line, of which the three in the middle make a class.

    They are not split: ``train`` holds all six, in order, and ``validation`` and ``test`` hold
    none. The seed has no effect.

    Examples
    --------
    >>> x, y = toy_1d().train
    >>> x.flatten(), y
    (tensor([0.5000, 1.0000, 1.1000, 1.3000, 1.4000, 1.4500]), tensor([0, 1, 1, 1, 0, 0]))
    """
    check_seed(seed)
    x = torch.tensor([[0.5], [1.0], [1.1], [1.3], [1.4], [1.45]])
    y = torch.tensor([0, 1, 1, 1, 0, 0])
    none = x[:0], y[:0]
    return DataSplit((x, y), none, none, ("outside", "inside"))


def gaussian_blobs(*, seed: int = 0, noise: float = 1.0, samples: int = 300) -> DataSplit:
    """Draw three Gaussians in the plane: the paper's `gauss` data.

    Parameters
    ----------
    seed : int
    noise : float
        Factor of the standard deviations. A network with a wide margin is first fitted to a
        noisier version, and then trained on the data themselves.
    samples : int
        Number of samples, shared out evenly.

    Examples
    --------
    >>> x, y = gaussian_blobs().train
    >>> x.shape, y.bincount()
    (torch.Size([150, 2]), tensor([50, 50, 50]))
    """
    return _mixture(_GAUSSIANS, ("lower right", "left", "top"), seed, noise, samples)


def hierarchical(
    seed: int = 0, *, classes: int = 4, noise: float = 1.0, samples: int = 300
) -> DataSplit:
    """Draw four Gaussians at (±2, ±1): two pairs far apart, the two of a pair close together.

    Four classes are told apart in two steps, left from right and then upper from lower. Two
    classes need only the first step: blobs on one side of the second axis share a label.

    Parameters
    ----------
    seed : int
    classes : {4, 2}
        Every blob is a class, or every pair.
    noise, samples
        As for :func:`gaussian_blobs`.

    Examples
    --------
    >>> hierarchical().class_names
    ('lower right', 'upper right', 'upper left', 'lower left')
    >>> hierarchical(classes=2).train[1].bincount()
    tensor([75, 75])
    """
    if not isinstance(classes, numbers.Integral) or classes not in _HIERARCHY_NAMES:
        raise InvalidInputError("classes", "be 2 or 4", repr(classes))
    blobs = [
        (mean, _HIERARCHY_DEVIATION, position * int(classes) // len(_HIERARCHY_MEANS))
        for position, mean in enumerate(_HIERARCHY_MEANS)
    ]
    return _mixture(blobs, _HIERARCHY_NAMES[int(classes)], seed, noise, samples)


def checkerboard(
    *,
    seed: int = 0,
    version: str = "separable",
    noise: float = 1.0,
    samples: int = 400,
    redraw: bool = True,
) -> DataSplit:
    """Draw four flat Gaussians, one above the other, which belong to the two classes in turn.

    The first coordinate alone separates the classes, by a straight line with a narrow margin.
    The second separates them by stripes, which are less simple but leave a far wider margin.

    Parameters
    ----------
    seed : int
    version : {"separable", "noisy"}
        Means of ±0.8 or ±0.5 in the first coordinate, positive for class 0.
    noise, samples
        As for :func:`gaussian_blobs`.
    redraw : bool
        Whether samples of the separable version that fall across the line between the classes
        are drawn again, so that there is a line for every seed. This departs from the paper,
        whose blobs are plain Gaussians: at ±0.8 four samples in a thousand fall across, one or
        two in 400. False gives the paper's draws. It has no effect on the noisy version.

    Examples
    --------
    >>> x, y = checkerboard().train
    >>> bool(((x[:, 0] < 0) == (y == 1)).all())
    True
    """
    check_choice(version, "version", tuple(_CHECKERBOARD_FIRST))
    check_flag(redraw, "redraw")
    first = _CHECKERBOARD_FIRST[version]
    blobs = [
        ((side * first, second), _CHECKERBOARD_DEVIATION, label)
        for label, side in enumerate((1, -1))
        for second in _CHECKERBOARD_SECOND[label]
    ]
    one_sided = redraw and version == "separable"
    return _mixture(blobs, ("right", "left"), seed, noise, samples, one_sided)


def circles(*, seed: int = 0, noise: float = 0.1, samples: int = 200) -> DataSplit:
    """Draw a circle of radius one around another of half that radius.

    Parameters
    ----------
    seed : int
    noise : float
        Standard deviation of the noise on each coordinate.
    samples : int
        Number of samples.

    Examples
    --------
    >>> x, y = circles(noise=0).train
    >>> x[y == 1].norm(dim=1).unique().round(decimals=3).unique()
    tensor([0.5000])
    """
    from sklearn.datasets import make_circles

    rng = _checked(seed, noise, samples, blobs=2)
    seed = int(rng.integers(2**32))  # scikit-learn takes seeds of 32 bits only
    x, y = make_circles(int(samples), noise=noise, random_state=seed, factor=_CIRCLES_FACTOR)
    return split_by_class(x, y, rng, ("outer", "inner"))


def half_moons(*, seed: int = 0, noise: float = 0.1, samples: int = 200) -> DataSplit:
    """Draw two half circles of radius one, each reaching into the other.

    The parameters are those of :func:`circles`.

    Examples
    --------
    >>> half_moons().train[0].shape, half_moons().class_names
    (torch.Size([100, 2]), ('upper', 'lower'))
    """
    from sklearn.datasets import make_moons

    rng = _checked(seed, noise, samples, blobs=2)
    x, y = make_moons(int(samples), noise=noise, random_state=int(rng.integers(2**32)))
    return split_by_class(x, y, rng, ("upper", "lower"))


def _checked(seed: int, noise: float, samples: int, blobs: int) -> np.random.Generator:
    check_seed(seed)
    check_number(noise, "noise", at_least=0, at_most=_MOST_NOISE)
    check_integer(samples, "samples", FEWEST * blobs, _MOST_SAMPLES)
    return np.random.default_rng(seed)


def _mixture(
    blobs: Sequence[tuple[Plane, Plane, int]],
    class_names: tuple[str, ...],
    seed: int,
    noise: float,
    samples: int,
    one_sided: bool = False,
) -> DataSplit:
    rng = _checked(seed, noise, samples, len(blobs))
    x, counts = [], [len(share) for share in np.array_split(np.arange(samples), len(blobs))]
    for (mean, deviation, _), count in zip(blobs, counts, strict=True):
        scale = noise * np.array(deviation)
        x.append(rng.normal(mean, scale, (count, 2)))
        while one_sided and (across := x[-1][:, 0] * mean[0] <= 0).any():
            x[-1][across] = rng.normal(mean, scale, (int(across.sum()), 2))
    y: Labels = np.repeat([label for _, _, label in blobs], counts)
    return split_by_class(np.concatenate(x), y, rng, class_names)
