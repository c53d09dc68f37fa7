"""What the Hessian of a classifier's loss knows about its decision boundary.

The top eigenvectors of the training loss' Hessian encode the decision boundary
(arXiv:2306.07104). :func:`analyze` computes them for any PyTorch classifier, and says how large the
boundary is near the data and in how many directions it can be moved, with error bounds and
pictures.

A name is imported when it is first used (PEP 562).
"""

from __future__ import annotations

from eigenboundary.runtime import hooks

TYPE_CHECKING = False  # typing takes longer to import than all else here
if TYPE_CHECKING:
    from typing import Any

    from eigenboundary.alignment import *  # noqa: F403
    from eigenboundary.analysis import *  # noqa: F403
    from eigenboundary.boundary import *  # noqa: F403
    from eigenboundary.curvature import *  # noqa: F403
    from eigenboundary.displays import *  # noqa: F403
    from eigenboundary.experiments import *  # noqa: F403
    from eigenboundary.landscape import *  # noqa: F403
    from eigenboundary.problem import *  # noqa: F403
    from eigenboundary.runtime import *  # noqa: F403
    from eigenboundary.runtime.version import __version__ as __version__

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
        "BoundaryArea",
        "BoundaryComplexity",
        "BoundaryDistance",
        "BoundaryMotion",
        "BoundaryPoints",
        "BoundaryProjection",
        "BoundaryRank",
        "BoundarySections",
        "ComplexityAtLevel",
        "Plane",
        "SampleMargins",
        "Section",
        "SectionMargins",
        "SmallestMargin",
        "boundary_along",
        "boundary_area",
        "boundary_complexity",
        "boundary_distance",
        "boundary_points",
        "boundary_rank",
        "paper_margins",
        "project_to_boundary",
    ),
    "curvature": (
        "Band",
        "Bulk",
        "Eigenpairs",
        "FunctionalHessianOperator",
        "GaussNewtonOperator",
        "HessianOperator",
        "MatrixOperator",
        "Outcome",
        "OutlierCount",
        "SpectralDensity",
        "SymmetricOperator",
        "TraceEstimate",
        "control_vectors",
        "count_outliers",
        "estimate_trace",
        "spectral_density",
        "spectral_norm",
        "top_eigenpairs",
    ),
    "displays": (
        "AlignmentDisplay",
        "BoundaryMotionDisplay",
        "ClassPairDisplay",
        "ComparisonDisplay",
        "ControlsDisplay",
        "DensityDisplay",
        "EmbeddingDisplay",
        "LossCurveDisplay",
        "LossSurfaceDisplay",
        "MarginDisplay",
        "MassDisplay",
        "PlaneDisplay",
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

__all__ = [*_ROOM_OF]  # noqa: PLE0604


hooks.register("comparison plot", "eigenboundary.displays.comparison:ComparisonDisplay")
hooks.register("notebook", "eigenboundary.report.pictures:analysis_html")
hooks.register("plot", "eigenboundary.displays.accessor:AnalysisPlots")
hooks.register("report", "eigenboundary.report:write_report")


def __getattr__(name: str) -> Any:
    """Import a public name from its room."""
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"{__name__}.{_ROOM_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted({*globals(), *__all__})
