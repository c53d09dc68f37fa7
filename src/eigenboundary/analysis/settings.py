"""Settings of an analysis, checked before anything is computed."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from eigenboundary.alignment.complexity import Complexity, Generalization
from eigenboundary.alignment.error_bounds import mixture_errors
from eigenboundary.alignment.reinforcing_gradients import training_alignment
from eigenboundary.analysis.enough import FIRST
from eigenboundary.curvature import CURVATURES
from eigenboundary.curvature.eigensolvers.range_finder import Enough, LeadingPairs
from eigenboundary.curvature.eigensolvers.solve import METHODS, check_k, wanted_number
from eigenboundary.curvature.spectrum.controls import CONTROLS
from eigenboundary.problem.network import Signature
from eigenboundary.problem.problem import Problem
from eigenboundary.runtime.arguments import (
    check_choice,
    check_flag,
    check_integer,
    check_number,
    check_seed,
    check_tolerance,
)
from eigenboundary.runtime.errors import InvalidInputError

_log = logging.getLogger(__name__)

_EPSILON = 1e-3


@dataclass(frozen=True)
class Settings:
    """What :func:`~eigenboundary.analyze` was asked to compute."""

    k: int | None
    automatic: bool  # whether k is only the number to begin with
    curvature: str
    method: str
    tolerance: float | None
    max_products: int | None
    target: Target | None
    controls: Sequence[str]
    grid: int
    bulk: bool
    class_names: tuple[str, ...]
    feature_names: tuple[str, ...]
    seed: int

    @classmethod
    def of(cls, asked: Mapping[str, Any]) -> Settings:
        """Return the checked settings among the arguments of :func:`~eigenboundary.analyze`."""
        automatic = isinstance(asked["k"], str) and asked["k"] == "auto"
        k = FIRST if automatic else _number(asked["k"])
        target = _target_of(asked["complexity_tolerance"], asked["epsilon"], k)
        names = {name: _as_names(asked[name], name) for name in ("class_names", "feature_names")}
        same = {item.name: asked[item.name] for item in fields(cls) if item.name in asked}
        settings = cls(**(same | names | {"k": k, "automatic": automatic, "target": target}))
        settings._check()
        return settings

    def _check(self) -> None:
        check_flag(self.bulk, "bulk")
        check_choice(self.curvature, "curvature", tuple(CURVATURES))
        check_choice(self.method, "method", METHODS)
        if self.method == "gram" and self.curvature != "gauss_newton":
            raise InvalidInputError("curvature", "be 'gauss_newton' for method 'gram'", "'hessian'")
        check_seed(self.seed)
        check_tolerance(self.tolerance)
        check_integer(self.max_products, "max_products", optional=True)
        if self.target is not None:
            self.target.check()
            if self.method == "krylov":
                wanted = "be 'auto' or 'range' with complexity_tolerance"
                raise InvalidInputError("method", wanted, "'krylov'")
        if not isinstance(self.controls, list | tuple | set):
            raise InvalidInputError("controls", "be a sequence of names", repr(self.controls))
        for kind in self.controls:
            check_choice(kind, "controls", CONTROLS)
        check_grid(self.grid)

    def for_parameters(self, p: int) -> Settings:
        """Return the settings for p parameters, or raise InvalidInputError if k is too large."""
        if self.automatic and self.k is not None and self.k > p:
            return replace(self, k=p)
        check_k(self.k, p)
        return self

    def check_names(self, signature: Signature) -> None:
        """Raise InvalidInputError unless there is a name for each class and entry, or none."""
        for name, names, wanted in (
            ("class_names", self.class_names, signature.n_classes),
            ("feature_names", self.feature_names, math.prod(signature.input_shape)),
        ):
            if names and len(names) != wanted:
                raise InvalidInputError(name, f"be {wanted} names", str(len(names)))


def check_grid(grid: Any) -> None:
    """Raise InvalidInputError unless a plane can have so many points a side, or none."""
    if not isinstance(grid, int) or isinstance(grid, bool) or grid < 0 or grid == 1:
        raise InvalidInputError("grid", "be 0 or an integer of at least 2", repr(grid))


def _number(k: Any) -> int | None:
    try:
        return wanted_number(k)
    except InvalidInputError as error:
        wanted = error.wanted.replace(" or 'all'", ", 'all' or 'auto'")
        raise InvalidInputError("k", wanted, error.got) from None


def _as_names(value: Any, name: str) -> tuple[str, ...]:
    """Return names, which must differ, as a tuple; empty for None."""
    if value is None:
        return ()
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise InvalidInputError(name, "be a sequence of names", repr(value))
    names = tuple(str(item) for item in value)
    if len(set(names)) < len(names):
        raise InvalidInputError(name, "be different from one another", ", ".join(names))
    return names


def _target_of(width: float | None, epsilon: float | None, k: int | None) -> Target | None:
    """Return the width that is asked of the interval of G_θ, if any."""
    if width is None:
        if epsilon is not None:
            wanted = "be given with epsilon"
            raise InvalidInputError("complexity_tolerance", wanted, f"epsilon={epsilon!r} alone")
        return None
    return Target(_EPSILON if epsilon is None else epsilon, width, k or 1)


@dataclass(frozen=True)
class Target:
    """Largest width that the interval of G_θ at an ε shall have.

    Attributes
    ----------
    epsilon : float
    width : float
        Width of the interval, as a share of p; 0 for a closed interval.
    least : int
        Least number of eigenpairs to find.
    """

    epsilon: float
    width: float
    least: int = 1

    def check(self) -> None:
        """Raise InvalidInputError unless both are numbers in their ranges."""
        check_number(self.width, "complexity_tolerance", at_least=0, below=1)
        check_number(self.epsilon, "epsilon", above=0, below=1)

    def reached(self, found: Generalization) -> bool:
        """Tell whether an interval is as narrow as asked."""
        low, high = found.interval
        return high - low <= self.width

    def missed_by(self, complexity: Complexity, dtype: torch.dtype) -> list[str]:
        """Return a note, if the interval of G_θ is wider than asked for."""
        found = complexity.generalization(self.epsilon)
        if self.reached(found):
            return []
        low, high = found.interval
        why = "" if dtype == torch.float64 else " (dtype='float64' may see more)"
        note = (
            f"The interval of G_θ at {self.epsilon:g}, {low:.3g} to {high:.3g}, is wider than "
            f"the {self.width:g} asked for{why}."
        )
        _log.warning("%s", note)
        return [note]

    def enough(self, problem: Problem) -> Enough:
        """Return the test by which a search for eigenpairs knows that G_θ is sure enough."""
        in_basis = torch.zeros(problem.n_samples, 0, dtype=torch.float64)
        rounding = 10 * torch.finfo(problem.dtype).eps

        def asked(leading: LeadingPairs) -> bool:
            nonlocal in_basis
            new = leading.basis[:, in_basis.shape[1] :]
            aligned = training_alignment(problem, new).cosines.double().cpu()
            in_basis = torch.cat([in_basis, aligned], dim=1)
            alignment = (in_basis @ leading.coefficients).numpy()
            errors = mixture_errors(alignment, leading.values, leading.norms, leading.rest)
            complexity = Complexity(alignment, problem.n_parameters, errors + rounding)
            found = complexity.generalization(self.epsilon)
            _log.info("G at %g from %d eigenpairs: %s", self.epsilon, len(errors.T), found.interval)
            return len(leading.values) >= self.least and self.reached(found)

        return asked
