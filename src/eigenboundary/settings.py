"""What an analysis is asked to compute, checked before anything is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eigenboundary import checks
from eigenboundary.controls import CONTROLS
from eigenboundary.curvature import CURVATURES
from eigenboundary.curvature.solve import METHODS
from eigenboundary.errors import InvalidInputError
from eigenboundary.target import Target

__all__ = ["Settings", "target_of"]

_EPSILON = 1e-3


@dataclass(frozen=True)
class Settings:
    """What to compute of a problem, as :func:`~eigenboundary.analyze` was asked."""

    k: int | None
    curvature: str
    method: str
    tolerance: float | None
    max_products: int | None
    target: Target | None
    controls: Sequence[str]
    grid: int
    bulk: bool
    seed: int

    def check(self) -> None:
        """Raise InvalidInputError unless each is as described."""
        checks.check_flag(self.bulk, "bulk")
        checks.check_choice(self.curvature, "curvature", tuple(CURVATURES))
        checks.check_choice(self.method, "method", METHODS)
        if self.method == "gram" and self.curvature != "gauss_newton":
            raise InvalidInputError("method 'gram' needs curvature 'gauss_newton'; got 'hessian'.")
        checks.check_seed(self.seed)
        checks.check_tolerance(self.tolerance)
        checks.check_positive_integer(self.max_products, "max_products", optional=True)
        checks.check_positive_integer(self.k, "k", optional=True)
        if self.target is not None:
            self.target.check()
            if self.method == "krylov":
                raise InvalidInputError(
                    "method must be 'auto' or 'range' with complexity_tolerance; got 'krylov'."
                )
        if not isinstance(self.controls, list | tuple | set):
            raise InvalidInputError(f"controls must be a sequence of names; got {self.controls!r}.")
        for kind in self.controls:
            checks.check_choice(kind, "controls", CONTROLS)
        grid = self.grid
        if not isinstance(grid, int) or isinstance(grid, bool) or grid < 0 or grid == 1:
            raise InvalidInputError(f"grid must be 0 or an integer of at least 2; got {grid!r}.")


def target_of(width: float | None, epsilon: float | None, k: int | None) -> Target | None:
    """The width asked of the interval of G_θ, if one is."""
    if width is None:
        if epsilon is not None:
            raise InvalidInputError(
                f"complexity_tolerance must be given with epsilon; got epsilon={epsilon!r} alone."
            )
        return None
    return Target(_EPSILON if epsilon is None else epsilon, width, k or 1)
