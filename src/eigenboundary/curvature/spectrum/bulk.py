"""The trace and density of a spectrum, which describe the eigenvalues that are not computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eigenboundary.curvature.eigensolvers.eigenpairs import Eigenpairs
from eigenboundary.curvature.operators.base import SymmetricOperator
from eigenboundary.curvature.spectrum.density import SpectralDensity, spectral_density
from eigenboundary.curvature.spectrum.trace import TraceEstimate, estimate_trace

_TRACE_PRODUCTS = 60
_PROBES, _STEPS = 10, 60
# Matrices of the size of a trace's random vectors that exist at once.
_TRACE_COPIES = 6
# Shares of the largest eigenvalue above which eigenvalues are counted.
_THRESHOLDS = (0.1, 0.01, 0.001)


@dataclass(frozen=True)
class Bulk:
    """The spectrum as a whole, estimated with error bars.

    Attributes
    ----------
    trace : TraceEstimate
    density : SpectralDensity
    """

    trace: TraceEstimate
    density: SpectralDensity

    def counts_above(self, largest: float) -> list[tuple[float, int, int]]:
        """Return thresholds, each with the interval of the number of eigenvalues above it.

        The thresholds are a tenth, a hundredth and a thousandth of the largest eigenvalue, if it is
        positive; the confidence is 95 %.
        """
        if not largest > 0:
            return []
        thresholds = largest * np.array(_THRESHOLDS)
        band = self.density.count_above(thresholds)
        rows = zip(thresholds, band.low, band.high, strict=True)
        return [(float(t), int(low), int(high)) for t, low, high in rows]

    def summary(self, eigenvalues: NDArray[np.float64]) -> dict[str, Any]:
        """Return the headline numbers as plain Python values."""
        return {
            "trace": self.trace.value,
            "trace_error": self.trace.error,
            "counts_above": [
                {"threshold": t, "interval": [low, high]}
                for t, low, high in self.counts_above(float(eigenvalues[0]))
            ],
            "products": self.trace.products + self.density.products,
        }

    def lines(self, eigenvalues: NDArray[np.float64]) -> list[str]:
        """Return the headline numbers as lines of text."""
        counts = ", ".join(
            f"{low if low == high else f'{low} to {high}'} above {t:.2g}"
            for t, low, high in self.counts_above(float(eigenvalues[0]))
        )
        return [
            f"  trace            {self.trace.value:.4g} ± {self.trace.error:.1g}, of which these "
            f"{len(eigenvalues)} are {eigenvalues.sum():.4g}",
            *([f"  eigenvalues      {counts}"] if counts else []),
        ]


def estimate_bulk(
    operator: SymmetricOperator,
    eigenpairs: Eigenpairs,
    *,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> Bulk:
    """Estimate the trace and density of an operator with known eigenpairs, by 660 products.

    Fewer products, where a memory limit has no room for their vectors, give wider intervals.
    """
    room = operator.memory.room(operator.dtype.itemsize * operator.size)
    products, steps = _TRACE_PRODUCTS, _STEPS
    if room is not None:
        products = min(products, max(4, 2 * (room // _TRACE_COPIES)))
        steps = min(steps, max(4, room // 2))
    known: dict[str, Any] = {"eigenpairs": eigenpairs, "seed": seed}
    trace = estimate_trace(operator, products=products, **known)
    density = spectral_density(operator, probes=_PROBES, steps=steps, progress=progress, **known)
    return Bulk(trace, density)
