"""Networks of the experiments as plain torch modules, their initial weights drawn by a seed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from eigenboundary.runtime.arguments import check_choice, check_flag, check_integer, check_seed
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.random_state import preserved_random_state

ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}


def fnn(
    inputs: int,
    classes: int,
    hidden: Sequence[int] = (100, 100),
    activation: str = "relu",
    log_softmax: bool = False,
) -> nn.Sequential:
    """Build a fully connected network with one hidden layer a width in ``hidden``.

    Examples
    --------
    >>> sum(p.numel() for p in fnn(2, 3).parameters())
    10703
    """
    widths = [inputs, *_widths(hidden, "hidden")]
    for width in (*widths, classes):
        check_integer(width, "inputs, classes and hidden")
    check_choice(activation, "activation", tuple(ACTIVATIONS))
    check_flag(log_softmax, "log_softmax")
    layers: list[nn.Module] = []
    for width, following in pairwise(widths):
        layers += [nn.Linear(width, following), ACTIVATIONS[activation]()]
    layers += [nn.Linear(widths[-1], classes), *([nn.LogSoftmax(-1)] if log_softmax else [])]
    return nn.Sequential(*layers)


def _widths(widths: Any, name: str) -> tuple[int, ...]:
    if isinstance(widths, str) or not isinstance(widths, Iterable):
        raise InvalidInputError(name, "be a sequence of integers", repr(widths))
    return tuple(widths)


def cnn(classes: int = 3) -> nn.Sequential:
    """Build the paper's small convolutional network for images (n, 1, 28, 28).

    Examples
    --------
    >>> sum(p.numel() for p in cnn(3).parameters())
    7203
    """
    check_integer(classes, "classes")
    convolutions = _pooled(nn.Conv2d(1, 16, 3), nn.Conv2d(16, 32, 3))
    return nn.Sequential(*convolutions, nn.Linear(32 * 5 * 5, classes))


def _pooled(*convolutions: nn.Module) -> list[nn.Module]:
    """Follow each convolution with ReLU and max-pooling, and flatten the last."""
    layers = [part for each in convolutions for part in (each, nn.ReLU(), nn.MaxPool2d(2))]
    return [*layers, nn.Flatten()]


def digits_cnn(classes: int = 3, channels: Sequence[int] = (8, 16)) -> nn.Sequential:
    """Build a small convolutional network for images (n, 1, 8, 8).

    Examples
    --------
    >>> import torch
    >>> digits_cnn()(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 3])
    """
    widths = _widths(channels, "channels")
    if len(widths) != 2:
        raise InvalidInputError("channels", "be two integers", repr(channels))
    for width in (classes, *widths):
        check_integer(width, "classes and channels")
    first, second = widths
    convolutions = nn.Conv2d(1, first, 3, padding=1), nn.Conv2d(first, second, 3, padding=1)
    return nn.Sequential(*_pooled(*convolutions), nn.Linear(4 * second, classes))


def lenet5(classes: int = 10, channels: int = 3) -> nn.Sequential:
    """Build LeNet-5 for images (n, 3, 32, 32), with ReLU and max-pooling.

    Source: LeCun et al. (1998), in the form that is usual for CIFAR-10.

    Examples
    --------
    >>> sum(p.numel() for p in lenet5().parameters())
    62006
    """
    check_integer(classes, "classes")
    check_integer(channels, "channels")
    convolutions = _pooled(nn.Conv2d(channels, 6, 5), nn.Conv2d(6, 16, 5))
    dense = (nn.Linear(16 * 5 * 5, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU())
    return nn.Sequential(*convolutions, *dense, nn.Linear(84, classes))


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut, which is a 1×1 convolution where shapes change."""

    def __init__(self, channels: int, following: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, following, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(following),
            nn.ReLU(),
            nn.Conv2d(following, following, 3, padding=1, bias=False),
            nn.BatchNorm2d(following),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != following:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, following, 1, stride, bias=False), nn.BatchNorm2d(following)
            )
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        activated: Tensor = self.activation(self.body(x) + self.shortcut(x))
        return activated


def resnet18(classes: int = 10, width: int = 64) -> nn.Sequential:
    """Build ResNet-18 for images (n, 3, 32, 32): a 3×3 first convolution, no pooling after it.

    Source: He et al. (2016), in the form that is usual for CIFAR-10.

    Examples
    --------
    >>> sum(p.numel() for p in resnet18().parameters())
    11173962
    """
    check_integer(classes, "classes")
    check_integer(width, "width")
    stem = [nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    blocks: list[nn.Module] = []
    for stage in range(4):
        before, after = width * 2 ** max(stage - 1, 0), width * 2**stage
        blocks += [ResidualBlock(before, after, 2 if stage else 1), ResidualBlock(after, after, 1)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8 * width, classes)]
    return nn.Sequential(*stem, *blocks, *head)


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    function.__name__: function for function in (fnn, cnn, digits_cnn, lenet5, resnet18)
}


def build(name: str, *, seed: int = 0, **options: object) -> nn.Module:
    """Build a network by its name, with seeded initial weights.

    Parameters
    ----------
    name : {"fnn", "cnn", "digits_cnn", "lenet5", "resnet18"}
    seed : int
        Seed of the initial weights; the caller's random state stays as it is.
    **options
        The arguments of the function of that name.

    Raises
    ------
    InvalidInputError
        If there is no such network, or it does not take these options.

    Examples
    --------
    >>> len(build("fnn", inputs=4, classes=3, hidden=(8,)))
    3
    """
    check_choice(name, "name", tuple(NETWORKS))
    check_seed(seed)
    check_options(name, options)
    with preserved_random_state(seed):
        return NETWORKS[name](**options)


def check_options(name: str, options: dict[str, Any], *, complete: bool = True) -> None:
    """Raise an error for options that a network does not take, and where complete, missing ones."""
    wanted = inspect.signature(NETWORKS[name])
    try:
        (wanted.bind if complete else wanted.bind_partial)(**options)
    except TypeError as error:
        takes = f"be ones that network {name!r} takes, {', '.join(wanted.parameters)}"
        got = f"{', '.join(options) or 'none'} ({error})"
        raise InvalidInputError("options", takes, got) from None
