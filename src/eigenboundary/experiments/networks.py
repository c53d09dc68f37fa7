"""The experiments' networks, as plain torch modules; initial weights by a seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import nn

from eigenboundary import checks
from eigenboundary.data import preserved_random_state
from eigenboundary.errors import InvalidInputError

__all__ = ["NETWORKS", "build", "digits_cnn", "fnn"]


def fnn(
    inputs: int, classes: int, hidden: Sequence[int] = (100, 100), *, seed: int = 0
) -> nn.Sequential:
    """A fully connected ReLU network.

    Examples
    --------
    >>> sum(p.numel() for p in fnn(2, 3).parameters())
    10703
    """
    checks.check_seed(seed)
    for width in (inputs, classes, *hidden):
        checks.check_positive_integer(width, "inputs, classes and hidden")
    widths = [inputs, *hidden]
    layers: list[nn.Module] = []
    with preserved_random_state(seed):
        for width, following in pairwise(widths):
            layers += [nn.Linear(width, following), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(widths[-1], classes))


def digits_cnn(
    classes: int = 3, channels: tuple[int, int] = (8, 16), *, seed: int = 0
) -> nn.Module:
    """A small convolutional network for images (n, 1, 8, 8).

    Examples
    --------
    >>> import torch
    >>> digits_cnn()(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 3])
    """
    checks.check_seed(seed)
    for width in (classes, *channels):
        checks.check_positive_integer(width, "classes and channels")
    first, second = channels
    with preserved_random_state(seed):
        return nn.Sequential(
            nn.Conv2d(1, first, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(first, second, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(4 * second, classes),
        )


NETWORKS: dict[str, Callable[..., nn.Module]] = {"fnn": fnn, "digits_cnn": digits_cnn}


def build(name: str, *, seed: int = 0, **options: object) -> nn.Module:
    """A network by its name, with seeded initial weights.

    Parameters
    ----------
    name : {"fnn", "digits_cnn"}
    seed : int
    **options
        The arguments of :func:`fnn` or :func:`digits_cnn`.

    Raises
    ------
    InvalidInputError
        If there is no such network, or it does not take these options.

    Examples
    --------
    >>> len(build("fnn", inputs=4, classes=3, hidden=(8,)))
    3
    """
    checks.check_choice(name, "name", tuple(NETWORKS))
    try:
        return NETWORKS[name](seed=seed, **options)
    except TypeError as error:
        raise InvalidInputError(
            f"options must be ones that network {name!r} takes; got "
            f"{', '.join(options) or 'none'} ({error})."
        ) from None
