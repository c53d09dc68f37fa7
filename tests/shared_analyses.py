"""Analyses that several tests look at, computed once a process: results are frozen."""

from __future__ import annotations

from functools import cache
from typing import Any

import eigenboundary as eb
from tests.references import Golden


@cache
def analysis_of(golden: Golden, **options: Any) -> eb.Analysis:
    """An analysis of a reference network on its data, without a grid."""
    return eb.analyze(golden.model(), golden.data, **{"k": 10, "grid": 0, **options})


@cache
def sections_of(golden: Golden) -> eb.BoundarySections:
    """The five first sections of a reference network, from 300 points of its boundary."""
    return eb.boundary_sections(analysis_of(golden, k=5, dtype="float64"), n_points=300)
