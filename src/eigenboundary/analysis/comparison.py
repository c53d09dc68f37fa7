r"""Several trained networks side by side: which has little mass outside and a wide margin.

The rule, stated beforehand:

1. Networks that fit the training data worse than the best by more than a point of accuracy are
   left out: a network that has learnt nothing has the simplest boundary of all.
2. The simplest boundary is the one of whose squared alignment the least lies outside the same
   number of eigenvectors; networks within five points of it count as equally simple.
3. The network among them with the widest smallest margin is recommended.

Simplicity comes first because a margin is local, and complexity is of the boundary as a whole
(arXiv:2306.07104). The mass outside hardly follows the length of boundaries that are known: its
Kendall's τ is 0.11 (docs/complexity.md), so the rule is the paper's and is not validated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eigenboundary.analysis.result import Analysis
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.formats import percent
from eigenboundary.runtime.hooks import reach

#: How much worse than the best a network may fit, and how much larger the share of its squared
#: alignment outside the eigenvectors may be than that of the simplest network.
_AS_ACCURATE = 0.01
_AS_SIMPLE = 0.05


@dataclass(frozen=True, eq=False)
class Comparison:
    """Several networks side by side, and the recommended network.

    Attributes
    ----------
    table : DataFrame
        One row a network: complexity (``mass_outside``, ``effective_number`` and
        ``participation_number`` with their intervals, ``generalization``, ``outliers``), margins
        (``smallest_margin``, ``median_margin`` of its sections, ``unexplained`` share of the
        boundary), flatness (``largest_eigenvalue``, ``eigenvalue_sum`` of the common k), and
        ``loss``, ``accuracy``, ``test_accuracy``. NaN where a number is not known.
    best : str
        The recommended network.
    reasons : tuple of str
        How the rule came to it.
    caveats : tuple of str
        What makes the comparison less than fair.
    k : int
        Eigenvectors that are compared: as many as all have.
    analyses : mapping of str to Analysis
        The analyses compared, by name.
    """

    table: pd.DataFrame = field(repr=False)
    best: str
    reasons: tuple[str, ...]
    caveats: tuple[str, ...]
    k: int
    analyses: Mapping[str, Analysis] = field(repr=False)

    @property
    def plot(self) -> Any:
        """Pictures of the comparison: ``plot()`` shows the networks side by side."""
        return reach("comparison plot")(self).plot

    def report(
        self, path: str | Path, *, title: str | None = None, overwrite: bool = False
    ) -> None:
        """Write a self-contained HTML page with the networks side by side.

        Raises
        ------
        InvalidInputError
            If the file exists and ``overwrite`` is not set.
        """
        reach("report")(self.analyses, path, title=title, overwrite=overwrite)

    def __str__(self) -> str:
        lines = [f"Recommended: {self.best}", *(f"  {reason}" for reason in self.reasons)]
        return "\n".join(lines + [f"  Note: {caveat}" for caveat in self.caveats])


def compare(analyses: Mapping[str, Analysis]) -> Comparison:
    """Compare analyses of trained networks and recommend one, with reasons.

    Parameters
    ----------
    analyses : mapping of str to Analysis
        At least two, by name, of the same curvature and loss. Margins are compared where all
        have them: see ``margins=True`` of :func:`~eigenboundary.analyze`, and
        :meth:`Analysis.find_sections`.

    Returns
    -------
    Comparison

    Raises
    ------
    InvalidInputError
        If there are fewer than two analyses, or they are of another curvature, loss, number of
        classes or shape of inputs.

    Examples
    --------
    >>> import torch
    >>> import eigenboundary as eb
    >>> x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    >>> y = x.argmax(1)
    >>> straight, shifted = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    >>> for model, offset in ((straight, 0.0), (shifted, 0.5)):
    ...     model.weight.data, model.bias.data = torch.eye(2), torch.tensor([offset, 0.0])
    >>> runs = {"straight": straight, "shifted": shifted}
    >>> comparison = eb.compare({n: eb.analyze(m, (x, y), k=3, grid=0) for n, m in runs.items()})
    >>> comparison.best
    'straight'
    """
    check_analyses(analyses, 2)
    for what in ("curvature", "loss", "n_classes", "input_shape"):
        values = {getattr(analysis, what) for analysis in analyses.values()}
        if len(values) > 1:
            raise InvalidInputError("analyses", f"all have the same {what}", f"{sorted(values)}")
    k = min(analysis.k for analysis in analyses.values())
    rows = {str(name): _row(analysis, k) for name, analysis in analyses.items()}
    table = pd.DataFrame.from_dict(rows, orient="index")
    best, reasons = _recommended(table, k)
    return Comparison(table, best, tuple(reasons), tuple(_caveats(analyses, table)), k, analyses)


def check_analyses(analyses: Any, at_least: int) -> None:
    """Check that analyses are given by name, and how many."""
    if not isinstance(analyses, Mapping) or len(analyses) < at_least:
        came = f"{len(analyses)}" if isinstance(analyses, Mapping) else type(analyses).__name__
        wanted = f"be a mapping of names to analyses, at least {at_least}"
        raise InvalidInputError("analyses", wanted, came)
    for name, analysis in analyses.items():
        if not isinstance(analysis, Analysis):
            came = f"{type(analysis).__name__} for {name!r}"
            raise InvalidInputError("analyses", "hold Analysis objects", came)


def _row(analysis: Analysis, k: int) -> dict[str, float]:
    """Return the numbers of an analysis, of its first k eigenvectors where these are compared."""
    numbers, sections, smallest = analysis.complexity, analysis.sections, analysis.smallest_margin
    spread: dict[str, float] = {}
    for name in ("effective_number", "participation_number"):
        low, high = getattr(numbers, f"{name}_interval")
        spread |= {name: getattr(numbers, name), f"{name}_low": low, f"{name}_high": high}
    inside = np.square(analysis.training_alignment[:, :k]).sum(1)
    margins = [s.margin for s in sections or () if s.share > 0 and not math.isnan(s.margin)]
    return {
        "mass_outside": float((1 - inside).clip(0).mean()),
        **spread,
        "generalization": numbers.generalization("random").value,
        "outliers": analysis.outliers,
        "smallest_margin": math.nan if smallest is None else smallest.value,
        "median_margin": float(np.median(margins)) if margins else math.nan,
        "unexplained": math.nan if sections is None else sections.unexplained,
        "largest_eigenvalue": float(analysis.eigenvalues[0]),
        "eigenvalue_sum": float(analysis.eigenvalues[:k].sum()),
        "loss": analysis.loss_value,
        "accuracy": analysis.accuracy,
        "test_accuracy": math.nan if analysis.test_accuracy is None else analysis.test_accuracy,
    }


def _recommended(table: pd.DataFrame, k: int) -> tuple[str, list[str]]:
    fitted = table[table["accuracy"] >= table["accuracy"].max() - _AS_ACCURATE]
    reasons = []
    if len(fitted) < len(table):
        left_out = [name for name in table.index if name not in fitted.index]
        reasons.append(
            f"{_listed(left_out)} left out: the training accuracy is more than a point below the "
            f"best, {percent(table['accuracy'].max())}."
        )
    outside = fitted["mass_outside"]
    simple = fitted[outside <= outside.min() + _AS_SIMPLE]
    simplest_first = outside.sort_values().items()
    shares = ", ".join(f"{name} {percent(value)}" for name, value in simplest_first)
    reasons.append(
        f"Mass outside: {shares} of the squared alignment lies outside the {k} sharpest "
        "eigenvectors. The rule takes less for simpler, although this share hardly follows the "
        "length of boundaries that are known (Kendall's τ 0.11)."
    )
    known = simple["smallest_margin"].dropna()
    if len(simple) == 1:
        best = str(simple.index[0])
        margin = f"; its smallest margin is {known.iloc[0]:.4g}" if len(known) else ""
        reasons.append(f"{best} is the simplest, by more than five points{margin}.")
    elif len(known) < len(simple):
        best = str(simple["mass_outside"].idxmin())
        unknown = [name for name in simple.index if name not in known.index]
        reasons.append(
            f"{_listed(list(simple.index))} are equally simple, but the margin of "
            f"{_listed(unknown)} is not known: the simplest is taken."
        )
    else:
        best = str(known.idxmax())
        widest_first = known.sort_values(ascending=False).items()
        widths = ", ".join(f"{name} {value:.4g}" for name, value in widest_first)
        reasons.append(f"Wide margin among the equally simple: the smallest margins are {widths}.")
    return best, reasons


def _caveats(analyses: Mapping[str, Analysis], table: pd.DataFrame) -> list[str]:
    every = list(analyses.values())
    margins = {name: a.smallest_margin for name, a in analyses.items()}
    uncertain = [name for name, found in margins.items() if found and not found.converged]
    caveats = {  # each with whether it holds
        "The networks were analysed on different samples; margins and alignments then differ by "
        "the data too.": any(not np.array_equal(a.labels, every[0].labels) for a in every),
        "The networks differ in size, and so in how their gradients can spread.": (
            len({a.n_parameters for a in every}) > 1
        ),
        "Some eigenpairs did not converge.": not all(a.converged.all() for a in every),
        "Margins were searched for in different boxes, or in one and in none: a box can only widen "
        "a margin.": len({a.sections.box for a in every if a.sections is not None}) > 1,
        f"The smallest margin of {_listed(uncertain)} is not certain: searches that did not "
        "converge came nearer, or all failed.": bool(uncertain),
        "Margins are missing where an analysis has none (analysis.find_sections() searches for "
        "them), or no search converged.": bool(table["smallest_margin"].isna().any()),
    }
    return [caveat for caveat, holds in caveats.items() if holds]


def _listed(names: list[Any]) -> str:
    names = [str(name) for name in names]
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
