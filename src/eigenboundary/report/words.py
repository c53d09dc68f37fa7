"""What the numbers of an analysis mean, in sentences that claim no more than is known."""

from __future__ import annotations

from eigenboundary.analysis.result import Analysis
from eigenboundary.runtime.formats import format_number, is_narrow, percent

GLOSSARY = {
    "Eigenpair (λᵢ, vᵢ)": "A direction vᵢ in parameter space and the curvature λᵢ of the training "
    "loss along it, sharpest first.",
    "Reinforcing gradient g(x)": "Gradient of the loss at input x with the network's own "
    "prediction as the target; it needs no label.",
    "Alignment Aᵢ(x)": "Cosine between g(x) and vᵢ, from −1 to 1. Its sign flips across the "
    "section of the decision boundary that vᵢ encodes.",
    "Mass": "Mean of Aᵢ(x)² over the training samples, the squared alignment. Over all p "
    "eigenvectors the shares sum to 100 %.",
    "Boundary area": "How large the decision boundary is where the data are: crossings of short "
    "segments near the samples, in units of the data's spread. A plane through the middle of "
    "Gaussian data has 0.4, and four such planes have 1.6.",
    "Boundary dimension, count": "Directions of θ that move the decision boundary. Outputs are "
    "scaled so that the loss of the network's own predictions is L; the count is the number of "
    "eigenvalues of the Gauss–Newton matrix G above L, the dimension counts them smoothly.",
    "Boundary rank": "exp of the entropy of the spectrum of the unit gradients of f_a − f_b at "
    "points of the boundary between classes a and b.",
    "Encoded": "Share of these gradients' squared length that the computed eigenvectors hold, "
    "beside the most that as many directions can hold.",
    "Outliers": "Eigenvalues above ‖H − G‖, the norm of the functional Hessian: the part of the "
    "Hessian that the curvature of the network itself makes, and not a change of its outputs.",
    "Effective number": "exp of the entropy of the shares: the number of eigenvectors over which "
    "the gradients spread.",
    "Participation number": "1 / Σ share²: the same with less weight on small shares.",
    "G_θ at ε": "Share of all p eigenvectors whose mean |Aᵢ| over the training samples exceeds ε; "
    "it does not follow the length of boundaries. At the random level, ε is the mean |A| of a "
    "random direction.",
    "Residual, vector error": "‖H vᵢ − λᵢ vᵢ‖ / |λ₁|, and a bound on the distance of the computed "
    "eigenvector from a true one; at 1 it cannot be told from its neighbours.",
}


def interval(bounds: tuple[float, float]) -> str:
    """Format an interval, e.g. ``[6.27, 16.8]``."""
    return f"[{format_number(bounds[0])}, {format_number(bounds[1])}]"


def count(low: int, high: int) -> str:
    """Format a number that lies between two, e.g. ``11 to 12``."""
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def curvature_name(analysis: Analysis) -> str:
    """Return the name of the analysed matrix."""
    known = {"hessian": "Hessian", "gauss_newton": "Gauss–Newton matrix"}
    return known.get(analysis.curvature, analysis.curvature)


def summary(analysis: Analysis) -> list[str]:
    """Return the findings, a sentence a list entry."""
    parts = (_network, _area, _boundary, _outliers, _effective, _generalization)
    sentences = [sentence for say in parts if (sentence := say(analysis))]
    return [*sentences, *_bulk(analysis), *_sections(analysis)]


def warnings(analysis: Analysis) -> list[str]:
    """Return what a reader must know before trusting the numbers."""
    result = list(analysis.notes)
    unconverged = int((~analysis.converged).sum())
    if unconverged and not any("converge" in note for note in analysis.notes):
        result.append(f"{unconverged} of {analysis.k} eigenpairs did not converge.")
    if unconverged:
        result.append(
            "Pairs that did not converge are marked in the table of eigenpairs; "
            f"{analysis.provenance.outcome.remedy}."
        )
    if not analysis.outlier_count.resolved:
        result.append(
            f"The outlier count, {analysis.outliers}, is only a lower bound: all eigenvalues known "
            "exceed the threshold. A larger k shows more."
        )
    return result


def _network(analysis: Analysis) -> str:
    return (
        f"The network has {analysis.n_parameters:,} parameters and predicts the label of "
        f"{percent(analysis.accuracy)} of the {analysis.n_samples:,} analysed samples of "
        f"{analysis.n_classes} classes, at a loss of {format_number(analysis.loss_value)}."
    )


def _area(analysis: Analysis) -> str:
    found = analysis.boundary_area
    if found is None:
        return ""
    size = format_number(found.value)
    return f"The boundary near the samples has an area of {size}, in {interval(found.interval)}."


def _boundary(analysis: Analysis) -> str:
    found = analysis.boundary_complexity
    if found is None:
        return ""
    moved = f"{format_number(found.dimension)} directions of θ move the boundary"
    sentence = f"At the standard confidence (L = {format_number(found.level)}) {moved}."
    if not len(found.encoded):
        return sentence
    return (
        f"{sentence} The {len(found.encoded)} sharpest eigenvectors hold "
        f"{percent(found.encoded[-1])} of the gradients at its points; at best as many directions "
        f"hold {percent(found.best[-1])}."
    )


def _outliers(analysis: Analysis) -> str:
    found, name = analysis.outlier_count, curvature_name(analysis)
    limit = f"‖H − G‖ = {format_number(found.threshold)}"
    if not found.count:
        return f"No eigenvalue of the {name} exceeds {limit}, what the functional Hessian can make."
    plural, verb = ("", "exceeds") if found.count == 1 else ("s", "exceed")
    many = f"{found.count:,} eigenvalue{plural} of the {name} {verb} {limit}"
    if not found.resolved:
        return f"At least {many}; all known ones do, and a larger k would show more."
    beyond = f" (eigenvectors were computed for {analysis.k} of them)"
    beyond = beyond if found.count > analysis.k else ""
    return f"{many}{beyond}: in as many directions of θ the outputs themselves change the loss."


def _bulk(analysis: Analysis) -> list[str]:
    if analysis.bulk is None:
        return []
    trace = analysis.bulk.trace
    about = f" ± {format_number(trace.error, 1)}" if trace.error else ""
    sentence = (
        f"The trace, the sum of all {analysis.n_parameters:,} eigenvalues, is "
        f"{format_number(trace.value)}{about}; those computed sum to "
        f"{format_number(float(analysis.eigenvalues.sum()))}."
    )
    counts = analysis.counts_above()
    if not counts:
        return [sentence]
    _, low, high = counts[1]
    verb = "exceeds" if (low, high) == (1, 1) else "exceed"
    return [f"{sentence} {count(low, high)} of them {verb} a hundredth of λ₁."]


def _effective(analysis: Analysis) -> str:
    numbers = analysis.complexity
    low, high = numbers.effective_number_interval
    spread = f"at least {format_number(low)} and at most {format_number(high)}"
    if is_narrow((low, high)):
        spread = format_number(numbers.effective_number)
    outside = numbers.mass_outside
    computed = "eigenvector" if analysis.k == 1 else f"{analysis.k} eigenvectors"
    rest = f"{percent(outside)} of the squared alignment lies outside the {computed} computed"
    if outside < 1e-9:
        rest = f"the {computed} computed hold all of the squared alignment"
    return f"The boundary occupies {spread} effective eigenvectors; {rest}."


def _generalization(analysis: Analysis) -> str:
    g = analysis.complexity.generalization(1e-3)
    opening = f"The generalization measure G_θ at ε = 10⁻³ lies in {interval(g.interval)}"
    if is_narrow(g.interval):
        return f"{opening} and so is known well."
    partial = analysis.k < analysis.n_parameters
    cause = f"k = {analysis.k}" if partial else "eigenvectors that are not resolved better"
    if g.interval[1] <= 0.5:
        return f"{opening}: with {cause} it is only bounded."
    advice = "; more eigenvectors would narrow it" if partial else ""
    return f"{opening}: with {cause} it is not determined{advice}."


def _sections(analysis: Analysis) -> list[str]:
    sides = zip("₁₂₃", map(analysis.sides, range(min(3, analysis.k))), strict=False)
    shown = [(f"v{i}", text.replace(" | ", " and ")) for i, text in sides if " | " in text]
    if not shown:
        return []
    (first, classes), *others = shown
    more = "".join(f"; of {name}, {pair}" for name, pair in others)
    said = f"The most aligned samples on the two sides of {first} are of classes {classes}{more}."
    return [said]
