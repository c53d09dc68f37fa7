"""What the Hessian of a classifier's loss knows about its decision boundary.

The top eigenvectors of the training loss' Hessian encode the decision boundary
(arXiv:2306.07104). :func:`analyze` computes them for any PyTorch classifier and says how complex
the boundary is, with error bounds and pictures.

A name is imported when it is first used (PEP 562).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from eigenboundary.runtime import hooks

if TYPE_CHECKING:
    from eigenboundary.alignment import Complexity, Generalization, alignments
    from eigenboundary.analysis import (
        Analysis,
        Comparison,
        Provenance,
        analyze,
        boundary_sections,
        compare,
        input_plane,
        load,
        smallest_margin,
    )
    from eigenboundary.boundary import (
        BoundaryDistance,
        BoundaryMotion,
        BoundaryPoints,
        BoundaryProjection,
        BoundarySections,
        InputPlane,
        PlaneGrid,
        Section,
        SectionMargins,
        SmallestMargin,
        boundary_along,
        boundary_distance,
        boundary_points,
        paper_margins,
        project_to_boundary,
    )
    from eigenboundary.curvature import (
        Band,
        Bulk,
        Eigenpairs,
        GaussNewtonOperator,
        HessianOperator,
        MatrixOperator,
        OutlierCount,
        SpectralDensity,
        SymmetricOperator,
        TraceEstimate,
        control_vectors,
        count_outliers,
        estimate_trace,
        spectral_density,
        top_eigenpairs,
    )
    from eigenboundary.displays import (
        AlignmentDisplay,
        BoundaryMotionDisplay,
        ClassPairDisplay,
        ComparisonDisplay,
        ControlsDisplay,
        DecisionBoundaryDisplay,
        DensityDisplay,
        EmbeddingDisplay,
        InputPlaneDisplay,
        LossCurveDisplay,
        LossSurfaceDisplay,
        MarginDisplay,
        MassDisplay,
        SectionDisplay,
        SpectrumDisplay,
    )
    from eigenboundary.experiments import datasets, networks, training
    from eigenboundary.landscape import (
        LandscapeValues,
        LossCurve,
        LossPlane,
        LowLossCurve,
        layer_normalized,
        loss_along,
        loss_at,
        loss_between,
        loss_plane,
        low_loss_curve,
        plane_through,
        random_alphas,
        reparametrize,
    )
    from eigenboundary.problem import Loss, Problem
    from eigenboundary.runtime import InvalidInputError
    from eigenboundary.runtime.version import __version__

#: Public names by the room that holds them.
_ROOMS = {
    "alignment": ("Complexity", "Generalization", "alignments"),
    "analysis": (
        "Analysis",
        "Comparison",
        "Provenance",
        "analyze",
        "boundary_sections",
        "compare",
        "input_plane",
        "load",
        "smallest_margin",
    ),
    "boundary": (
        "BoundaryDistance",
        "BoundaryMotion",
        "BoundaryPoints",
        "BoundaryProjection",
        "BoundarySections",
        "InputPlane",
        "PlaneGrid",
        "Section",
        "SectionMargins",
        "SmallestMargin",
        "boundary_along",
        "boundary_distance",
        "boundary_points",
        "paper_margins",
        "project_to_boundary",
    ),
    "curvature": (
        "Band",
        "Bulk",
        "Eigenpairs",
        "GaussNewtonOperator",
        "HessianOperator",
        "MatrixOperator",
        "OutlierCount",
        "SpectralDensity",
        "SymmetricOperator",
        "TraceEstimate",
        "control_vectors",
        "count_outliers",
        "estimate_trace",
        "spectral_density",
        "top_eigenpairs",
    ),
    "displays": (
        "AlignmentDisplay",
        "BoundaryMotionDisplay",
        "ClassPairDisplay",
        "ComparisonDisplay",
        "ControlsDisplay",
        "DecisionBoundaryDisplay",
        "DensityDisplay",
        "EmbeddingDisplay",
        "InputPlaneDisplay",
        "LossCurveDisplay",
        "LossSurfaceDisplay",
        "MarginDisplay",
        "MassDisplay",
        "SectionDisplay",
        "SpectrumDisplay",
    ),
    "experiments": ("datasets", "networks", "training"),
    "landscape": (
        "LandscapeValues",
        "LossCurve",
        "LossPlane",
        "LowLossCurve",
        "layer_normalized",
        "loss_along",
        "loss_at",
        "loss_between",
        "loss_plane",
        "low_loss_curve",
        "plane_through",
        "random_alphas",
        "reparametrize",
    ),
    "problem": ("Loss", "Problem"),
    "runtime": ("InvalidInputError",),
    "runtime.version": ("__version__",),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [
    "AlignmentDisplay",
    "Analysis",
    "Band",
    "BoundaryDistance",
    "BoundaryMotion",
    "BoundaryMotionDisplay",
    "BoundaryPoints",
    "BoundaryProjection",
    "BoundarySections",
    "Bulk",
    "ClassPairDisplay",
    "Comparison",
    "ComparisonDisplay",
    "Complexity",
    "ControlsDisplay",
    "DecisionBoundaryDisplay",
    "DensityDisplay",
    "Eigenpairs",
    "EmbeddingDisplay",
    "GaussNewtonOperator",
    "Generalization",
    "HessianOperator",
    "InputPlane",
    "InputPlaneDisplay",
    "InvalidInputError",
    "LandscapeValues",
    "Loss",
    "LossCurve",
    "LossCurveDisplay",
    "LossPlane",
    "LossSurfaceDisplay",
    "LowLossCurve",
    "MarginDisplay",
    "MassDisplay",
    "MatrixOperator",
    "OutlierCount",
    "PlaneGrid",
    "Problem",
    "Provenance",
    "Section",
    "SectionDisplay",
    "SectionMargins",
    "SmallestMargin",
    "SpectralDensity",
    "SpectrumDisplay",
    "SymmetricOperator",
    "TraceEstimate",
    "__version__",
    "alignments",
    "analyze",
    "boundary_along",
    "boundary_distance",
    "boundary_points",
    "boundary_sections",
    "compare",
    "control_vectors",
    "count_outliers",
    "datasets",
    "estimate_trace",
    "input_plane",
    "layer_normalized",
    "load",
    "loss_along",
    "loss_at",
    "loss_between",
    "loss_plane",
    "low_loss_curve",
    "networks",
    "paper_margins",
    "plane_through",
    "project_to_boundary",
    "random_alphas",
    "reparametrize",
    "smallest_margin",
    "spectral_density",
    "top_eigenpairs",
    "training",
]


hooks.register("notebook", "eigenboundary.report.notebook:analysis_html")
hooks.register("report", "eigenboundary.report:write_report")


def __getattr__(name: str) -> Any:
    """Import a public name from its room."""
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_ROOM_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted({*globals(), *__all__})
