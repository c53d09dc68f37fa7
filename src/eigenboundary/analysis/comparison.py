r"""Several trained networks side by side: what is certain of them, and which is better altogether.

Networks are compared by held-out accuracy, by the area of the boundary, and by the median, the 5 %
and the smallest margin (:mod:`~eigenboundary.analysis.qualities`). A network is recommended only
where it is better altogether than each other one; what no interval tells apart decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from eigenboundary.analysis.qualities import (
    BOUNDARY,
    HELD_OUT,
    TRAINING,
    Quality,
    better_altogether,
    front_of,
    of_smallest_margin,
    with_interval,
    without,
)
from eigenboundary.analysis.result import Analysis
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.formats import format_number, percent
from eigenboundary.runtime.hooks import reach


@dataclass(frozen=True, eq=False)
class Comparison:
    """Several networks side by side, and the network that is better altogether, if there is one.

    Attributes
    ----------
    table : DataFrame
        One row a network; NaN where a number is not known, and ``_low``, ``_high`` for the ends of
        intervals. The boundary: ``boundary_area``, ``boundary_dimension``, ``boundary_count``,
        ``boundary_rank``, ``encoded``. Margins: ``smallest_margin``, ``median_margin`` and
        ``five_percent_margin`` of samples, ``section_margin`` (median of its sections),
        ``unexplained`` share of the boundary. Alignment: ``mass_outside`` the common k
        eigenvectors, ``effective_number``, ``participation_number``, ``generalization``,
        ``outliers``. Flatness: ``largest_eigenvalue``, ``eigenvalue_sum`` of the common k. And
        ``loss``, ``accuracy``, ``test_accuracy``.
    differences : DataFrame
        One row a quality and pair of networks, ``one`` and ``other``: which is ``better``, empty
        where the intervals overlap.
    front : tuple of str
        Networks that no other one is better than altogether.
    best : str or None
        The network that is better altogether than each other one.
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
    differences: pd.DataFrame = field(repr=False)
    front: tuple[str, ...]
    best: str | None
    reasons: tuple[str, ...]
    caveats: tuple[str, ...]
    k: int
    analyses: Mapping[str, Analysis] = field(repr=False)

    @property
    def verdict(self) -> str:
        """The network that is better altogether, or those of the front, in words."""
        if self.best is not None:
            return f"Better altogether: {self.best}"
        return f"None is better altogether; on the front: {_listed(self.front)}"

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
        lines = [self.verdict, *(f"  {reason}" for reason in self.reasons)]
        return "\n".join(lines + [f"  Note: {caveat}" for caveat in self.caveats])


def compare(analyses: Mapping[str, Analysis]) -> Comparison:
    """Compare analyses of trained networks, and say which is better altogether, if one is.

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
    >>> x = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    >>> straight = torch.nn.Linear(2, 2)
    >>> straight.weight.data, straight.bias.data = torch.eye(2), torch.zeros(2)
    >>> class Striped(torch.nn.Linear):
    ...     def forward(self, x):
    ...         return super().forward((3 * x).sin())
    >>> striped = Striped(2, 2)
    >>> runs = {"straight": straight, "striped": striped}
    >>> comparison = eb.compare(
    ...     {n: eb.analyze(m, (x, x.argmax(1)), k=3, grid=0) for n, m in runs.items()}
    ... )
    >>> comparison.best
    'straight'
    """
    check_analyses(analyses, 2)
    for what in ("curvature", "loss", "n_classes", "input_shape"):
        values = {getattr(analysis, what) for analysis in analyses.values()}
        if len(values) > 1:
            raise InvalidInputError("analyses", f"all have the same {what}", f"{sorted(values)}")
    k = min(analysis.k for analysis in analyses.values())
    numbers = {str(name): _numbers(analysis, k) for name, analysis in analyses.items()}
    accuracy = TRAINING if without(HELD_OUT, numbers) else HELD_OUT
    norms = {a.sections.norm for a in analyses.values() if a.sections is not None}
    margins = [quality for quality in BOUNDARY if "margin" in quality.name]
    qualities = [q for q in (accuracy, *BOUNDARY) if len(norms) < 2 or q not in margins]
    best = _best(numbers, qualities)
    return Comparison(
        table=pd.DataFrame.from_dict(numbers, orient="index"),
        differences=_differences(numbers, qualities),
        front=front_of(numbers, qualities),
        best=best,
        reasons=tuple(_reasons(numbers, qualities, best)),
        caveats=tuple(_caveats(analyses, numbers, qualities)),
        k=k,
        analyses=analyses,
    )


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


def _numbers(analysis: Analysis, k: int) -> dict[str, float]:
    """Return the numbers of an analysis, of its first k eigenvectors where these are compared."""
    numbers, sections, count = analysis.complexity, analysis.sections, analysis.outlier_count
    inside = np.square(analysis.training_alignment[:, :k]).sum(1)
    margins = [s.margin for s in sections or () if s.share > 0 and not math.isnan(s.margin)]
    return {
        **_boundary(analysis),
        **_margins(analysis),
        "section_margin": float(np.median(margins)) if margins else math.nan,
        "unexplained": math.nan if sections is None else sections.unexplained,
        "mass_outside": float((1 - inside).clip(0).mean()),
        **_known_within(numbers, "effective_number"),
        **_known_within(numbers, "participation_number"),
        "generalization": numbers.generalization("random").value,
        **with_interval("outliers", count.count, count.interval),
        "largest_eigenvalue": float(analysis.eigenvalues[0]),
        "eigenvalue_sum": float(analysis.eigenvalues[:k].sum()),
        "loss": analysis.loss_value,
        **_share("accuracy", analysis.accuracy, analysis.n_samples),
        **_share("test_accuracy", analysis.test_accuracy, analysis.n_test_samples),
    }


def _boundary(analysis: Analysis) -> dict[str, float]:
    """Return area, dimension, count, rank and encoded share of the boundary."""
    area, found = analysis.boundary_area, analysis.boundary_complexity
    numbers = _missing("boundary_area")
    if area is not None:
        numbers = with_interval("boundary_area", area.value, area.interval)
    for name in ("dimension", "count", "rank"):
        known_one = found is not None and not math.isnan(getattr(found, name))
        of_name = _known_within(found, name) if known_one else _missing(name)
        numbers |= {f"boundary_{key}": value for key, value in of_name.items()}
    encoded = np.zeros(0) if found is None else found.encoded
    return {**numbers, "encoded": float(encoded[-1]) if len(encoded) else math.nan}


def _margins(analysis: Analysis) -> dict[str, float]:
    """Return smallest, median and 5 % margin."""
    smallest, of_samples = analysis.smallest_margin, analysis.sample_margins
    numbers = _missing("smallest_margin")
    if smallest is not None:
        certain = smallest.complete and smallest.converged
        numbers = of_smallest_margin(smallest.value, certain=certain)
    for name, share in (("median_margin", 0.5), ("five_percent_margin", 0.05)):
        numbers |= (
            _missing(name)
            if of_samples is None
            else with_interval(
                name, of_samples.quantile(share), of_samples.quantile_interval(share)
            )
        )
    return numbers


def _known_within(found: Any, name: str) -> dict[str, float]:
    return with_interval(name, getattr(found, name), getattr(found, f"{name}_interval"))


def _missing(name: str) -> dict[str, float]:
    return with_interval(name, math.nan, (math.nan, math.nan))


def _share(name: str, share: float | None, n: int) -> dict[str, float]:
    """Return a share of n samples with Wilson's 95 % interval; 0 to 1 where n is not known."""
    if share is None:
        return _missing(name)
    if not n:
        return with_interval(name, share, (0.0, 1.0))
    found = binomtest(round(share * n), n).proportion_ci(method="wilson")
    return with_interval(name, share, (found.low, found.high))


def _differences(numbers: Mapping[str, Any], qualities: list[Quality]) -> pd.DataFrame:
    rows = []
    for quality in qualities:
        for one, other in combinations(numbers, 2):
            better = {1: one, 0: "", -1: other}[quality.better(numbers[one], numbers[other])]
            rows.append((quality.name, one, other, better))
    return pd.DataFrame(rows, columns=["number", "one", "other", "better"])


def _best(numbers: Mapping[str, Any], qualities: list[Quality]) -> str | None:
    """Return the network that is better altogether than each other one, if there is one."""
    for name, own in numbers.items():
        others = [of_other for other, of_other in numbers.items() if other != name]
        if all(better_altogether(own, of_other, qualities) for of_other in others):
            return name
    return None


def _reasons(numbers: Mapping[str, Any], qualities: list[Quality], best: str | None) -> list[str]:
    reasons = []
    for quality in qualities:
        unknown = without(quality, numbers)
        values = {n: of_n[quality.name] for n, of_n in numbers.items() if n not in unknown}
        if len(values) < 2:
            continue
        order = sorted(values, key=lambda name: values[name], reverse=quality.more_is_better)
        write = percent if quality in (HELD_OUT, TRAINING) else format_number
        shown = ", ".join(f"{name} {write(values[name])}" for name in order)
        clear = [
            f"{name} is clearly better than {_listed(worse)}"
            for name in order
            if (worse := [o for o in order if quality.better(numbers[name], numbers[o]) > 0])
        ]
        said = "; ".join(clear) or "no clear difference"
        reasons.append(f"{quality.text[0].upper()}{quality.text[1:]}: {shown}; {said}.")
    if best is not None:
        reasons.append(f"In none of these is {best} clearly worse than another network.")
    else:
        reasons.append(
            "No network is clearly better than every other one without being clearly worse in "
            "something."
        )
    return reasons


def _caveats(
    analyses: Mapping[str, Analysis], numbers: Mapping[str, Any], qualities: list[Quality]
) -> list[str]:
    every = list(analyses.values())
    margins = {name: a.smallest_margin for name, a in analyses.items()}
    uncertain = [name for name, found in margins.items() if found and not found.converged]
    partly = [n for n, found in margins.items() if found and found.converged and not found.complete]
    no_area = without(BOUNDARY[0], numbers)
    norms = {a.sections.norm for a in every if a.sections is not None}
    caveats = {  # each with whether it holds
        "No held-out accuracy is known of all (test_data= of eb.analyze): a simple boundary with a "
        "wide margin may still be a wrong one.": HELD_OUT not in qualities,
        "The networks were analysed on different samples or labels; margins, areas and alignments "
        "then differ by the data too.": any(
            not np.array_equal(a.labels, every[0].labels) for a in every
        ),
        "The networks differ in size, and so in how their gradients can spread.": (
            len({a.n_parameters for a in every}) > 1
        ),
        "Some eigenpairs did not converge.": not all(a.converged.all() for a in every),
        f"The boundary area of {_listed(no_area)} is not known.": bool(no_area),
        "Margins were measured in different norms: they are not compared.": len(norms) > 1,
        "Margins were searched for in different boxes, or in one and in none: a box can only widen "
        "a margin.": len({a.sections.box for a in every if a.sections is not None}) > 1,
        f"The smallest margin of {_listed(uncertain)} is not certain: searches that did not "
        "converge came nearer, or all failed.": bool(uncertain),
        f"The smallest margin of {_listed(partly)} is an upper bound: not all samples were "
        "examined.": bool(partly),
        "Margins are missing where an analysis has none (analysis.find_sections() searches for "
        "them), or no search converged.": any(found is None for found in margins.values())
        or any(found is not None and math.isnan(found.value) for found in margins.values()),
    }
    return [caveat for caveat, holds in caveats.items() if holds]


def _listed(names: Any) -> str:
    names = [str(name) for name in names]
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
