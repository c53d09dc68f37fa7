"""One pass over the data: every sample, label and output is checked before anything long."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from eigenboundary.checks import check_finite_inputs
from eigenboundary.data import SampleSource
from eigenboundary.errors import InvalidInputError
from eigenboundary.network import Classifier

__all__ = ["Survey", "check_loss", "survey"]


@dataclass(frozen=True)
class Survey:
    """What one pass over the data found."""

    labels: Tensor
    predictions: Tensor
    loss_value: float


def survey(classifier: Classifier, source: SampleSource) -> Survey:
    """Check every sample, its label and the network's output for it.

    Tells the classifier what only data show: its input shape, classes and activations.
    """
    labels, predictions = [], []
    total = 0.0
    seen = False
    for x_all, y_all in source:
        _check_batch(x_all, y_all, classifier.input_shape if seen else None)
        if not seen:
            seen = True
            classifier.input_shape = x_all.shape[1:]
            classifier.n_classes, classifier.activations = _probe(classifier, x_all)
            check_loss(classifier)
        for x, y in _chunks(classifier, x_all, y_all):
            _check_labels(y, classifier.n_classes)
            outputs = classifier.evaluate(x)
            _check_outputs(classifier, outputs, len(x))
            total += float(classifier.loss.per_sample(outputs, y).double().sum())
            labels.append(y.cpu())
            predictions.append(outputs.argmax(-1).cpu())
    if not seen:
        raise InvalidInputError("data must hold at least one sample; got an empty one.")
    all_labels = torch.cat(labels)
    if len(all_labels.unique()) < 2:
        raise InvalidInputError(
            f"data must hold samples of at least two classes; all labels are {int(all_labels[0])}."
        )
    return Survey(all_labels, torch.cat(predictions), total / len(all_labels))


def _chunks(classifier: Classifier, x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    limit = min(classifier.samples_per_chunk(0), classifier.batch_size or len(x))
    for start in range(0, len(x), limit):
        part = slice(start, start + limit)
        yield classifier.to_compute(x[part]), y[part].to(classifier.device, torch.int64)


def _check_batch(x: Tensor, y: Tensor, expected: torch.Size | None) -> None:
    if len(x) == 0 and expected is None:
        raise InvalidInputError("data must hold at least one sample; got an empty one.")
    if len(x) != y.shape[0] or y.ndim != 1:
        raise InvalidInputError(
            f"data must hold one integer label a sample, y of shape ({len(x)},); got y of shape "
            f"{tuple(y.shape)}{' (one-hot labels: pass argmax)' if y.ndim == 2 else ''}."
        )
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise InvalidInputError(
            "data must hold integer class labels; got y of dtype "
            f"{str(y.dtype).removeprefix('torch.')}."
        )
    if expected is not None and x.shape[1:] != expected:
        raise InvalidInputError(
            f"data must hold inputs of one shape, {tuple(expected)}; got {tuple(x.shape[1:])}."
        )
    check_finite_inputs(x, "data")


def _check_labels(y: Tensor, n_classes: int) -> None:
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= n_classes:
        raise InvalidInputError(
            f"data must hold labels from 0 to {n_classes - 1}, for the model's {n_classes} "
            f"outputs; got labels from {low} to {high}."
        )


def _probe(classifier: Classifier, x: Tensor) -> tuple[int, int]:
    """The number of classes, and of activations a sample, from two samples' forward pass."""
    two = classifier.to_compute(x[:2])
    counts: list[int] = []
    hooks = [
        module.register_forward_hook(
            lambda _m, _i, out: counts.append(out.numel() if isinstance(out, Tensor) else 0)
        )
        for module in classifier.module.modules()
        if not any(True for _ in module.children())
    ]
    try:
        outputs = classifier.evaluate(two)
    except Exception as error:
        came = f"{tuple(two.shape)} of {str(two.dtype).removeprefix('torch.')}"
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise InvalidInputError(
            f"model must accept data's inputs; for a batch of shape {came} it raised: {reason}."
        ) from None
    finally:
        for hook in hooks:
            hook.remove()
    if not isinstance(outputs, Tensor) or outputs.ndim != 2 or len(outputs) != len(two):
        came = (
            f"shape {tuple(outputs.shape)}"
            if isinstance(outputs, Tensor)
            else type(outputs).__name__
        )
        raise InvalidInputError(
            f"model must give outputs of shape ({len(two)}, C) for {len(two)} inputs (use the "
            f"output argument to pick them); got {came}."
        )
    n_classes = outputs.shape[1]
    if n_classes < 2:
        raise InvalidInputError(
            "model must have at least two outputs, one a class; got outputs of shape "
            f"{tuple(outputs.shape)}."
        )
    _check_samples_independent(classifier, two, outputs)
    return n_classes, max(1, (sum(counts) + outputs.numel()) // len(two))


def _check_samples_independent(classifier: Classifier, two: Tensor, outputs: Tensor) -> None:
    alone = classifier.evaluate(two[:1])
    scale = float(outputs.abs().max())
    if torch.isfinite(outputs).all() and float((alone - outputs[:1]).abs().max()) > 1e-3 * scale:
        raise InvalidInputError(
            "model must treat samples independently and deterministically in eval mode; the "
            "output for one sample changed when it was computed alone."
        )


def _check_outputs(classifier: Classifier, outputs: Tensor, n: int) -> None:
    if len(outputs) != n or not torch.isfinite(outputs).all():
        raise InvalidInputError(
            f"model must give finite outputs for every input; got NaN or inf among {n} samples."
        )
    if classifier.loss.normalized_outputs:
        off = float(outputs.logsumexp(-1).abs().max())
        if off > 1e-3:
            raise InvalidInputError(
                "loss 'nll' must be given log-probabilities (rows with logsumexp 0); got rows "
                f"with logsumexp up to {off:.3g} (for logits use 'cross_entropy')."
            )


def check_loss(classifier: Classifier) -> None:
    """A user's loss must be per-sample and twice differentiable in the outputs."""
    n_classes = classifier.n_classes
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(3, n_classes, generator=generator).to(classifier.device, classifier.dtype)
    outputs = outputs.log_softmax(-1)
    labels = torch.arange(3, device=classifier.device) % n_classes
    name = classifier.loss.name
    try:
        values = classifier.loss.per_sample(outputs, labels)
        shape = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        first = classifier.loss.per_sample(outputs[:1], labels[:1]) if shape == (3,) else None
    except Exception as error:
        raise InvalidInputError(
            f"loss must map outputs (n, C) and labels (n,) to (n,); {name!r} raised "
            f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        ) from None
    if first is None or not torch.allclose(first, values[:1], rtol=1e-4, atol=1e-6):
        came = f"{shape} for 3 samples" if shape != (3,) else "values that depend on other samples"
        raise InvalidInputError(
            f"loss must give one value a sample, of shape (n,) (reduction='none'); {name!r} gave "
            f"{came}."
        )
    try:
        hessian = classifier.loss.output_hessian(outputs, labels)
        curved = bool(torch.isfinite(hessian).all()) and bool((hessian != 0).any())
        reason = "its second derivative in the outputs is zero or not finite"
    except Exception as error:
        curved, reason = False, (str(error).strip() or type(error).__name__).splitlines()[0]
    if not curved:
        raise InvalidInputError(
            f"loss must be twice differentiable in the outputs; {name!r} is not ({reason})."
        )
