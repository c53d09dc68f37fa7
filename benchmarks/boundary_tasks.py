"""Classification tasks in the plane whose boundaries are of many kinds and lengths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Array = NDArray[np.float64]
Labels = NDArray[np.int64]
_Labeller = Callable[[Array], Labels]


@dataclass(frozen=True)
class Task:
    """A labelling of the square [-1, 1]² and the share of labels that are drawn anew.

    ``size`` is what the family has more or less of: stripes, cells a side, corners, rings.
    """

    family: str
    size: int
    classes: int = 2
    noise: float = 0.0
    seed: int = 0

    def labels(self, x: Array) -> Labels:
        """Labels without noise."""
        rng = np.random.default_rng([self.seed, 1])
        return _FAMILIES[self.family](self, rng)(x)

    def sample(self, n: int) -> tuple[Array, Labels]:
        """Inputs, uniform on the square, and labels with noise."""
        rng = np.random.default_rng([self.seed, 2])
        x = rng.uniform(-1, 1, (n, 2))
        y = self.labels(x)
        wrong = rng.random(n) < self.noise
        y[wrong] = (y[wrong] + rng.integers(1, self.classes, wrong.sum())) % self.classes
        return x, y


def _turned(x: Array, rng: np.random.Generator) -> Array:
    angle = rng.uniform(0, np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return x @ turn


def _stripes(task: Task, rng: np.random.Generator) -> _Labeller:
    phase, state = rng.random(), rng.integers(2**31)

    def label(x: Array) -> Labels:
        along = _turned(x, np.random.default_rng(state))[:, 0]
        return np.floor((along + 1) / 2 * task.size + phase).astype(np.int64) % task.classes

    return label


def _checkerboard(task: Task, rng: np.random.Generator) -> _Labeller:
    shift = rng.random(2)

    def label(x: Array) -> Labels:
        cells = np.floor((x + 1) / 2 * task.size + shift).astype(np.int64)
        return cells.sum(1) % task.classes

    return label


def _cells(task: Task, rng: np.random.Generator) -> _Labeller:
    centres = rng.uniform(-1, 1, (task.size, 2))
    colours = np.arange(task.size) % task.classes
    tree = cKDTree(centres)
    return lambda x: colours[tree.query(x)[1]].astype(np.int64)


def _blobs(task: Task, rng: np.random.Generator) -> _Labeller:
    """Half-planes, or sectors of equal angle for more than two classes: what noise is added to."""
    start = rng.uniform(0, 2 * np.pi)

    def label(x: Array) -> Labels:
        angle = (np.arctan2(x[:, 1], x[:, 0]) - start) % (2 * np.pi)
        return np.minimum((angle / (2 * np.pi) * task.classes), task.classes - 1).astype(np.int64)

    return label


def _polygon(task: Task, rng: np.random.Generator) -> _Labeller:
    """Inside a regular polygon, or in one of the nested ones for more classes."""
    start, radius = rng.uniform(0, 2 * np.pi), rng.uniform(0.6, 0.8)

    def label(x: Array) -> Labels:
        angle = (np.arctan2(x[:, 1], x[:, 0]) - start) % (2 * np.pi / task.size)
        reach = np.hypot(*x.T) * np.cos(angle - np.pi / task.size) / np.cos(np.pi / task.size)
        inside = (radius * np.arange(1, task.classes) / (task.classes - 1))[:, None] > reach
        return inside.sum(0).astype(np.int64)

    return label


def _star(task: Task, rng: np.random.Generator) -> _Labeller:
    start, depth = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.5)

    def label(x: Array) -> Labels:
        angle = np.arctan2(x[:, 1], x[:, 0]) - start
        edge = 0.6 * (1 + depth * np.cos(task.size * angle))
        inside = edge * (np.arange(1, task.classes) / (task.classes - 1))[:, None] > np.hypot(*x.T)
        return inside.sum(0).astype(np.int64)

    return label


def _rings(task: Task, rng: np.random.Generator) -> _Labeller:
    phase = rng.random()

    def label(x: Array) -> Labels:
        radius = np.hypot(*x.T)
        return np.floor(radius * task.size + phase).astype(np.int64) % task.classes

    return label


_FAMILIES: dict[str, Callable[[Task, np.random.Generator], _Labeller]] = {
    "stripes": _stripes,
    "checkerboard": _checkerboard,
    "cells": _cells,
    "noise": _blobs,
    "polygon": _polygon,
    "star": _star,
    "rings": _rings,
}


def tasks() -> list[Task]:
    """All tasks; those of odd place are for judging, those of even place were for choosing."""
    of_family = {
        "stripes": [(2, 2), (3, 2), (4, 2), (5, 2), (3, 3), (4, 4), (6, 3), (8, 8)],
        "checkerboard": [(1, 2), (2, 2), (3, 2), (4, 2), (2, 3), (3, 4), (4, 3), (3, 2)],
        "cells": [(4, 2), (8, 2), (12, 2), (20, 2), (6, 3), (12, 5), (16, 8), (10, 4)],
        "polygon": [(3, 2), (4, 2), (5, 2), (8, 2), (3, 3), (6, 3), (4, 4), (12, 2)],
        "star": [(3, 2), (4, 2), (5, 2), (6, 2), (7, 2), (3, 3), (5, 3), (4, 4)],
        "rings": [(1, 2), (2, 2), (3, 2), (4, 2), (2, 3), (3, 3), (4, 4), (3, 2)],
    }
    found = [
        Task(family, size, classes, seed=seed)
        for family, sizes in of_family.items()
        for seed, (size, classes) in enumerate(sizes)
    ]
    noises = [(0.0, 2), (0.03, 2), (0.06, 2), (0.1, 2), (0.15, 2), (0.0, 4), (0.05, 4), (0.1, 6)]
    found += [
        Task("noise", 1, classes, noise, seed) for seed, (noise, classes) in enumerate(noises)
    ]
    return found
