"""Sections, their planes and the smallest margin as plain arrays and JSON, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eigenboundary.boundary.planes import InputPlane
from eigenboundary.boundary.points import BoundaryPoints
from eigenboundary.boundary.sections import BoundarySections, Section
from eigenboundary.boundary.smallest_margin import SmallestMargin
from eigenboundary.curvature.spectrum.bulk import Bulk
from eigenboundary.curvature.spectrum.density import SpectralDensity
from eigenboundary.curvature.spectrum.trace import TraceEstimate

_DENSITY_ARRAYS = ("known", "diagonals", "offdiagonals")


Arrays = dict[str, NDArray[Any]]
Record = dict[str, Any]
_SECTION_ARRAYS = ("boundary_point", "nearest_points", "samples")
# What earlier versions did not save.
_LATER_ARRAYS = ("samples",)
_PLANE_ARRAYS = ("first", "second", "outputs", "alignment", "origin", "axes", "points", "inside")
_POINTS = tuple(item.name for item in dataclasses.fields(BoundaryPoints))
_SMALLEST_ARRAYS = ("boundary_point", "examined", "distances")


def sections_record(sections: BoundarySections) -> tuple[Arrays, Record]:
    """Arrays by name, and the rest as JSON takes it; NaN stands as None."""
    arrays = {f"points.{name}": getattr(sections.points, name) for name in _POINTS}
    arrays["alignment"] = sections.alignment
    for name in _SECTION_ARRAYS:
        every = [getattr(section, name) for section in sections]
        if all(array is not None for array in every):
            arrays[name] = np.stack(every)
    return arrays, {
        "norm": str(sections.norm),
        "box": sections.box,
        "rows": [_scalars(s, _SECTION_ARRAYS) for s in sections],
    }


def sections_from(arrays: Mapping[str, NDArray[Any]], record: Record) -> BoundarySections:
    """What :func:`sections_record` took apart."""
    held = [name for name in _SECTION_ARRAYS if name not in _LATER_ARRAYS or name in arrays]
    rows = [
        Section(**_revived(row), **{name: arrays[name][i] for name in held})
        for i, row in enumerate(record["rows"])
    ]
    points = BoundaryPoints(**{name: arrays[f"points.{name}"] for name in _POINTS})
    box = record.get("box")
    return BoundarySections(
        tuple(rows),
        points,
        arrays["alignment"],
        float(record["norm"]),
        None if box is None else (float(box[0]), float(box[1])),
    )


def planes_record(planes: Sequence[InputPlane]) -> tuple[Arrays, list[int | None]]:
    """Arrays by number and name, and the planes' eigenvectors."""
    arrays = {
        f"{number}.{name}": getattr(plane, name)
        for number, plane in enumerate(planes)
        for name in _PLANE_ARRAYS
    }
    return arrays, [plane.eigenvector for plane in planes]


def planes_from(
    arrays: Mapping[str, NDArray[Any]], record: Sequence[int | None]
) -> tuple[InputPlane, ...]:
    """What :func:`planes_record` took apart."""
    return tuple(
        InputPlane(
            **{name: arrays[f"{number}.{name}"] for name in _PLANE_ARRAYS}, eigenvector=eigenvector
        )
        for number, eigenvector in enumerate(record)
    )


def smallest_record(found: SmallestMargin) -> tuple[Arrays, Record]:
    """Arrays by name, and the rest as JSON takes it; NaN stands as None."""
    arrays = {name: np.asarray(getattr(found, name)) for name in _SMALLEST_ARRAYS}
    return arrays, _scalars(found, _SMALLEST_ARRAYS)


def smallest_from(arrays: Mapping[str, NDArray[Any]], record: Record) -> SmallestMargin:
    """What :func:`smallest_record` took apart."""
    fields: dict[str, Any] = {name: arrays[name] for name in _SMALLEST_ARRAYS}
    return SmallestMargin(**_revived(record), **fields)


def _scalars(item: Any, left_out: tuple[str, ...]) -> Record:
    names = [entry.name for entry in dataclasses.fields(item) if entry.name not in left_out]
    return {name: _finite(getattr(item, name)) for name in names}


def _finite(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and np.isnan(value) else value


def _revived(record: Record) -> Record:
    return {name: _number(value) for name, value in record.items()}


def _number(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_number(entry) for entry in value)
    return float("nan") if value is None else value


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
