"""Analyses read from disk, with their network where it is given."""

from __future__ import annotations

import dataclasses
import glob
from pathlib import Path
from typing import Any

import torch
from torch import nn

from eigenboundary.analysis.result import Analysis
from eigenboundary.analysis.storage import read
from eigenboundary.problem.losses import LOSSES, Loss, PerSampleLoss, as_loss
from eigenboundary.problem.network import UnseenNetwork
from eigenboundary.problem.problem import Problem
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.files import as_path
from eigenboundary.runtime.memory import Memory
from eigenboundary.runtime.records import RecordError, unpack

# Lengths that the parts of an analysis have in common.
_SHARED = ("n", "k", "p")


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
        Device to compute on; default: the model's.

    Returns
    -------
    Analysis

    Raises
    ------
    InvalidInputError
        If the file is missing, damaged or of another kind, or the model is not the one analysed.
    """
    record, arrays = read(as_path(path, "path"))
    try:
        analysis: Analysis = unpack(Analysis, record, arrays, _SHARED)
        _check_counts(analysis)
    except RecordError as error:
        wanted = "be an undamaged analysis file"
        raise InvalidInputError("path", wanted, because=f"in {str(path)!r} {error}") from None
    if model is None:
        return analysis
    if loss is None and analysis.loss not in LOSSES:
        wanted = f"be given to load an analysis made with the custom loss {analysis.loss!r}"
        raise InvalidInputError("loss", wanted)
    names = [glob.escape(name) for name in analysis.parameter_names]
    unseen = UnseenNetwork.of(model, output, names, device, analysis.provenance.dtype)
    network = unseen.known_by(analysis.signature, Memory(device=unseen.device))
    if network.fingerprint() != analysis.provenance.fingerprint:
        because = "its weights differ from those of the analysis"
        raise InvalidInputError("model", "be the network that was analysed", because=because)
    problem = Problem.of(network, as_loss(analysis.loss if loss is None else loss))
    return dataclasses.replace(analysis, attached=problem)


def _check_counts(analysis: Analysis) -> None:
    """Check that the numbers of samples, parameters and classes are those of the arrays."""
    counts = {
        "n_samples": (analysis.n_samples, len(analysis.labels)),
        "n_parameters": (analysis.n_parameters, len(analysis.eigenvectors)),
        "class_names": (len(analysis.class_names) or analysis.n_classes, analysis.n_classes),
    }
    for name, (said, counted) in counts.items():
        if said != counted:
            raise RecordError(f"{name} is {said}, where the arrays have {counted}")
