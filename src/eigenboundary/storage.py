"""Analyses on disk: one safetensors file, its header carrying versioned JSON. No pickle."""

from __future__ import annotations

import dataclasses
import glob
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import nn

from eigenboundary.analysis import Analysis, Provenance
from eigenboundary.boundary.records import (
    planes_from,
    planes_record,
    sections_from,
    sections_record,
    smallest_from,
    smallest_record,
)
from eigenboundary.classifier import Classifier
from eigenboundary.curvature.bulk import bulk_from, bulk_record
from eigenboundary.errors import InvalidInputError
from eigenboundary.grid import PlaneGrid
from eigenboundary.inputs import Layout
from eigenboundary.losses import LOSSES, Loss, PerSampleLoss
from eigenboundary.outliers import OutlierCount

__all__ = ["FORMAT_VERSION", "load", "new_file", "new_folder", "replaced_when_complete", "save"]

#: Raised by one with every change that an older reader would misread.
FORMAT_VERSION = 2
_KEY = "eigenboundary"

_ARRAYS = (
    "eigenvalues",
    "residuals",
    "converged",
    "eigenvectors",
    "vector_errors",
    "next_eigenvalues",
    "training_alignment",
    "alignment_errors",
    "log_gradient_norms",
    "labels",
    "predictions",
    "inputs",
    "input_indices",
)
_SCALARS = (
    "loss_value",
    "accuracy",
    "n_parameters",
    "n_samples",
    "n_classes",
    "curvature",
    "loss",
    "parameter_names",
    "input_shape",
    "notes",
)
_GRID = tuple(item.name for item in dataclasses.fields(PlaneGrid))


def new_file(path: str | Path, *, overwrite: bool, name: str = "path") -> Path:
    """The path, if a file may be written there.

    Raises
    ------
    InvalidInputError
        If the file exists and may not be overwritten, or its folder does not exist.
    """
    target = _as_path(path, name)
    if target.exists() and not overwrite:
        raise InvalidInputError(
            f"{name} must not exist yet, or overwriting be allowed; {str(target)!r} exists."
        )
    if target.is_dir():
        raise InvalidInputError(f"{name} must be a file; {str(target)!r} is a folder.")
    if not target.absolute().parent.is_dir():
        raise InvalidInputError(
            f"{name} must be in an existing folder; {str(target.parent)!r} does not exist."
        )
    if not os.access(target.absolute().parent, os.W_OK):
        raise InvalidInputError(
            f"{name} must be in a folder that can be written to; {str(target.parent)!r} cannot."
        )
    return target


def new_folder(path: str | Path, *, overwrite: bool, name: str = "folder") -> Path:
    """The path of a folder, made if need be, where files may be written.

    Raises
    ------
    InvalidInputError
        If it holds files and may not be written over, or cannot be made.
    """
    target = _as_path(path, name)
    if target.exists() and not target.is_dir():
        raise InvalidInputError(f"{name} must be a folder; {str(target)!r} is a file.")
    if target.is_dir() and any(target.iterdir()) and not overwrite:
        raise InvalidInputError(
            f"{name} must be a new or empty folder, or overwriting be allowed; {str(target)!r} "
            "holds files."
        )
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInputError(
            f"{name} must be a folder that can be made; {str(target)!r} could not be "
            f"({type(error).__name__})."
        ) from None
    return target


@contextmanager
def replaced_when_complete(target: Path, name: str = "path") -> Iterator[Path]:
    """A file to write to, which takes the target's place once all of it is there.

    Raises
    ------
    InvalidInputError
        If the file cannot be written.
    """
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.chmod(0o666 & ~_umask())  # safetensors makes files that only the owner reads
        os.replace(partial, target)
    except (OSError, SafetensorError) as error:
        raise InvalidInputError(
            f"{name} must be a place that can be written to; {str(target)!r} could not be "
            f"({type(error).__name__})."
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _as_path(path: Any, name: str) -> Path:
    try:
        return Path(path)
    except TypeError:
        raise InvalidInputError(
            f"{name} must be a path; got {path!r} of type {type(path).__name__}."
        ) from None


def save(analysis: Analysis, path: str | Path, *, overwrite: bool = False) -> None:
    """Write an analysis (see :meth:`Analysis.save`)."""
    target = new_file(path, overwrite=overwrite)
    arrays = {name: np.ascontiguousarray(getattr(analysis, name)) for name in _ARRAYS}
    if analysis.grid is not None:
        arrays |= {
            f"grid.{name}": np.ascontiguousarray(getattr(analysis.grid, name)) for name in _GRID
        }
    arrays |= {f"controls.{k}": np.ascontiguousarray(v) for k, v in analysis.controls.items()}
    parts = _parts_record(analysis, arrays)
    header: dict[str, Any] = {
        "format": FORMAT_VERSION,
        **{name: getattr(analysis, name) for name in _SCALARS},
        "test_accuracy": analysis.test_accuracy,
        **parts,
        "outlier_count": dataclasses.asdict(analysis.outlier_count),
        "provenance": dataclasses.asdict(analysis.provenance),
        "activations": analysis.classifier.activations if analysis.classifier else 1,
        "floating_inputs": analysis.classifier.floating_inputs if analysis.classifier else True,
        "named_inputs": _layout_record(analysis.classifier),
    }
    with replaced_when_complete(target) as partial:
        save_file(arrays, partial, metadata={_KEY: json.dumps(header)})


def _layout_record(classifier: Classifier | None) -> list[Any] | None:
    layout = None if classifier is None else classifier.layout
    return None if layout is None else layout.to_record()


def _parts_record(analysis: Analysis, arrays: dict[str, Any]) -> dict[str, Any]:
    """What was asked for besides: its arrays are added, what is left is the header's."""
    header: dict[str, Any] = {}
    for name, record in (
        ("planes", analysis.planes and planes_record(analysis.planes)),
        ("sections", analysis.sections and sections_record(analysis.sections)),
        ("bulk", analysis.bulk and bulk_record(analysis.bulk)),
        ("smallest_margin", analysis.smallest_margin and smallest_record(analysis.smallest_margin)),
    ):
        if record:
            found, header[name] = record
            arrays |= {f"{name}.{key}": np.ascontiguousarray(v) for key, v in found.items()}
    return header


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
            f"path must be a complete analysis file; {str(path)!r} lacks {error}."
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
        raise InvalidInputError(f"path must be an existing analysis file; {str(path)!r} is none.")
    try:
        with safe_open(path, framework="np") as stored:
            metadata = stored.metadata() or {}
            if _KEY not in metadata:
                raise InvalidInputError(
                    f"path must be a file written by Analysis.save; {str(path)!r} is another kind "
                    "of safetensors file."
                )
            arrays = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        header = json.loads(metadata[_KEY])
    except InvalidInputError:
        raise
    except (SafetensorError, ValueError, OSError) as error:
        raise InvalidInputError(
            f"path must be a file written by Analysis.save; {str(path)!r} is not, or is damaged "
            f"({type(error).__name__})."
        ) from None
    if not isinstance(header, dict) or header.get("format") != FORMAT_VERSION:
        header = header if isinstance(header, dict) else {}
        raise InvalidInputError(
            f"path must be of format version {FORMAT_VERSION}; {str(path)!r} is of version "
            f"{header.get('format')!r} (use the eigenboundary that wrote it)."
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
                f"path must be an undamaged analysis file; in {str(path)!r} {name} must have "
                f"shape {wanted}, and has {came}."
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
            f"loss must be given to load an analysis made with the custom loss {analysis.loss!r}."
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
            "model must be the network that was analysed; its weights differ from those of the "
            "analysis."
        )
    classifier.input_shape = torch.Size(analysis.input_shape)
    classifier.n_classes = analysis.n_classes
    return classifier
