"""Analyses on disk: one safetensors file, its header carrying versioned JSON. No pickle."""

from __future__ import annotations

import dataclasses
import glob
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from eigenboundary.analysis.provenance import Provenance
from eigenboundary.analysis.records import (
    bulk_from,
    planes_from,
    sections_from,
    smallest_from,
)
from eigenboundary.analysis.result import _ARRAYS, _GRID, _KEY, _SCALARS, FORMAT_VERSION, Analysis
from eigenboundary.boundary.planes import PlaneGrid
from eigenboundary.curvature.spectrum.outliers import OutlierCount
from eigenboundary.problem.classifier import Classifier
from eigenboundary.problem.inputs import Layout
from eigenboundary.problem.losses import LOSSES, Loss, PerSampleLoss
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.files import _as_path


def _parts_from(arrays: dict[str, Any], header: dict[str, Any]) -> dict[str, Any]:
    read: dict[str, Any] = {}
    revive: dict[str, Callable[..., Any]] = {
        "planes": planes_from,
        "sections": sections_from,
        "smallest_margin": smallest_from,
        "bulk": bulk_from,
    }
    for name, build in revive.items():
        if header.get(name) is not None:
            prefix = f"{name}."
            own = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
            read[name] = build(own, header[name])
    return read


def load(
    path: str | Path,
    model: nn.Module | None = None,
    *,
    loss: str | PerSampleLoss | Loss | None = None,
    output: Any = None,
    device: str | torch.device | None = None,
) -> Analysis:
    """Read an analysis; with its model, alignments of new inputs can be computed.

    Parameters
    ----------
    path : path
        A file that :meth:`Analysis.save` wrote.
    model : torch.nn.Module, optional
        The network that was analysed, with the same weights.
    loss, output : optional
        As given to :func:`analyze`, where they were callables.
    device : optional
        Where to compute; default: the model's.

    Raises
    ------
    InvalidInputError
        If the file is missing, damaged or of another kind, or the model is not the one analysed.
    """
    arrays, header = _read(_as_path(path, "path"))
    try:
        grid = (
            PlaneGrid(**{name: arrays[f"grid.{name}"] for name in _GRID})
            if "grid.x" in arrays
            else None
        )
        header["parameter_names"] = tuple(header["parameter_names"])
        header["input_shape"] = tuple(header["input_shape"])
        header["notes"] = tuple(header["notes"])
        analysis = Analysis(
            **{name: arrays[name] for name in _ARRAYS},
            **{name: header[name] for name in _SCALARS},
            outlier_count=OutlierCount(**header["outlier_count"]),
            provenance=Provenance(**header["provenance"]),
            test_accuracy=header.get("test_accuracy"),
            **_parts_from(arrays, header),
            grid=grid,
            controls={
                name.removeprefix("controls."): array
                for name, array in arrays.items()
                if name.startswith("controls.")
            },
        )
    except (KeyError, TypeError) as error:
        raise InvalidInputError(
            "path", "be a complete analysis file", because=f"{str(path)!r} lacks {error}"
        ) from None
    _check_shapes(analysis, path)
    if model is None:
        return analysis
    classifier = _attach(analysis, model, loss, output, device)
    classifier.activations = int(header.get("activations", 1))
    classifier.floating_inputs = bool(header.get("floating_inputs", True))
    named = header.get("named_inputs")
    classifier.layout = None if named is None else Layout.from_record(named)
    return dataclasses.replace(analysis, classifier=classifier)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    if not path.is_file():
        raise InvalidInputError(
            "path", "be an existing analysis file", because=f"{str(path)!r} is none"
        )
    try:
        with safe_open(path, framework="np") as stored:
            metadata = stored.metadata() or {}
            if _KEY not in metadata:
                raise InvalidInputError(
                    "path",
                    "be a file written by Analysis.save",
                    because=f"{str(path)!r} is another kind of safetensors file",
                )
            arrays = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        header = json.loads(metadata[_KEY])
    except InvalidInputError:
        raise
    except (SafetensorError, ValueError, OSError) as error:
        raise InvalidInputError(
            "path",
            "be a file written by Analysis.save",
            because=f"{str(path)!r} is not, or is damaged ({type(error).__name__})",
        ) from None
    if not isinstance(header, dict) or header.get("format") != FORMAT_VERSION:
        header = header if isinstance(header, dict) else {}
        raise InvalidInputError(
            "path",
            f"be of format version {FORMAT_VERSION}",
            because=f"{str(path)!r} is of version {header.get('format')!r} (use the eigenboundary "
            "that wrote it)",
        )
    return arrays, header


def _check_shapes(analysis: Analysis, path: str | Path) -> None:
    """Every array has the shape that n, k, p and C ask for."""
    n, k, p = analysis.n_samples, len(analysis.eigenvalues), analysis.n_parameters
    expected: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
        "eigenvalues": (analysis.eigenvalues.shape, (k,)),
        "residuals": (analysis.residuals.shape, (k,)),
        "converged": (analysis.converged.shape, (k,)),
        "eigenvectors": (analysis.eigenvectors.shape, (p, k)),
        "vector_errors": (analysis.vector_errors.shape, (k,)),
        "training_alignment": (analysis.training_alignment.shape, (n, k)),
        "alignment_errors": (analysis.alignment_errors.shape, (n, k)),
        "log_gradient_norms": (analysis.log_gradient_norms.shape, (n,)),
        "labels": (analysis.labels.shape, (n,)),
        "predictions": (analysis.predictions.shape, (n,)),
        **{f"controls.{name}": (a.shape, (n, k)) for name, a in analysis.controls.items()},
    }
    if analysis.grid is not None:
        rows = (len(analysis.grid.y), len(analysis.grid.x))
        outputs = (*rows, analysis.n_classes)
        expected["grid.outputs"] = (analysis.grid.outputs.shape, outputs)
        expected["grid.alignment"] = (analysis.grid.alignment.shape, (*rows, k))
    if analysis.sections is not None:
        m = len(analysis.sections.points)
        expected["sections.alignment"] = (analysis.sections.alignment.shape, (m, k))
        expected["sections.rows"] = ((len(analysis.sections),), (k,))
    for number, plane in enumerate(analysis.planes):
        size = (len(plane.second), len(plane.first))
        expected[f"planes.{number}.outputs"] = (plane.outputs.shape, (*size, analysis.n_classes))
        expected[f"planes.{number}.alignment"] = (plane.alignment.shape[:2], size)
    for name, (came, wanted) in expected.items():
        if came != wanted:
            raise InvalidInputError(
                "path",
                "be an undamaged analysis file",
                because=f"in {str(path)!r} {name} must have shape {wanted}, and has {came}",
            )


def _attach(
    analysis: Analysis,
    model: nn.Module,
    loss: str | PerSampleLoss | Loss | None,
    output: Any,
    device: str | torch.device | None,
) -> Classifier:
    if loss is None and analysis.loss not in LOSSES:
        raise InvalidInputError(
            "loss", f"be given to load an analysis made with the custom loss {analysis.loss!r}"
        )
    classifier = Classifier(
        model,
        analysis.loss if loss is None else loss,
        output=output,
        parameters=[glob.escape(name) for name in analysis.parameter_names],
        device=device,
        dtype=analysis.provenance.dtype,
    )
    if classifier.fingerprint() != analysis.provenance.fingerprint:
        raise InvalidInputError(
            "model",
            "be the network that was analysed",
            because="its weights differ from those of the analysis",
        )
    classifier.input_shape = torch.Size(analysis.input_shape)
    classifier.n_classes = analysis.n_classes
    return classifier
