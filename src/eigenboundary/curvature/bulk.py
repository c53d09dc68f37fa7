"""What an analysis says of the eigenvalues that it does not compute: their sum, their spread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from eigenboundary.curvature.density import SpectralDensity, spectral_density
from eigenboundary.curvature.eigenpairs import Eigenpairs
from eigenboundary.curvature.operators import SymmetricOperator
from eigenboundary.curvature.trace import TraceEstimate, estimate_trace

__all__ = ["Bulk", "bulk_from", "bulk_record", "estimate_bulk"]

_TRACE_PRODUCTS = 60
_PROBES, _STEPS = 10, 60
# Matrices like the random vectors of a trace that there are at once.
_TRACE_COPIES = 6
# Shares of the largest eigenvalue above which eigenvalues are counted.
_THRESHOLDS = (0.1, 0.01, 0.001)
_DENSITY_ARRAYS = ("known", "diagonals", "offdiagonals")


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
        """Threshold, least and greatest number of eigenvalues above it, with 95 % confidence.

        The thresholds are a tenth, a hundredth and a thousandth of the largest eigenvalue; none
        where that is not positive.
        """
        if not largest > 0:
            return []
        thresholds = largest * np.array(_THRESHOLDS)
        band = self.density.count_above(thresholds)
        return [
            (float(t), int(low), int(high))
            for t, low, high in zip(thresholds, band.low, band.high, strict=True)
        ]

    def summary(self, eigenvalues: NDArray[np.float64]) -> dict[str, Any]:
        """The headline numbers as plain Python values, beside the eigenvalues computed."""
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
        """The same as lines of text."""
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
    """Trace and density of an operator, some of whose eigenpairs are known: 660 products.

    Fewer where a memory limit leaves no room for their vectors: then intervals are wider.
    """
    room = operator.memory.room(torch.finfo(operator.dtype).bits // 8 * operator.size)
    products, steps = _TRACE_PRODUCTS, _STEPS
    if room is not None:
        products = min(products, max(4, 2 * (room // _TRACE_COPIES)))
        steps = min(steps, max(4, room // 2))
    trace = estimate_trace(operator, products=products, eigenpairs=eigenpairs, seed=seed)
    density = spectral_density(
        operator,
        probes=_PROBES,
        steps=steps,
        eigenpairs=eigenpairs,
        seed=seed,
        progress=progress,
    )
    return Bulk(trace, density)


def bulk_record(bulk: Bulk) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Arrays by name, and the rest as JSON takes it."""
    density = bulk.density
    arrays = {name: getattr(density, name) for name in _DENSITY_ARRAYS}
    return arrays, {
        "trace": asdict(bulk.trace),
        "size": density.size,
        "uncertainty": density.uncertainty,
        "products": density.products,
    }


def bulk_from(arrays: Mapping[str, NDArray[Any]], record: Mapping[str, Any]) -> Bulk:
    """What :func:`bulk_record` took apart."""
    fields: dict[str, Any] = {name: arrays[name] for name in _DENSITY_ARRAYS}
    fields |= {name: record[name] for name in ("size", "uncertainty", "products")}
    density = SpectralDensity(**fields)
    return Bulk(TraceEstimate(**record["trace"]), density)
