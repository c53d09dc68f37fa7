"""How a search for eigenpairs ended, and what to do about it."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

_LESS_ROUNDING = "a larger tolerance accepts them, and dtype='float64' makes them smaller"


class Outcome(str, Enum):
    """How a search for eigenpairs ended.

    The value is the name in lower case, which files keep.

    Attributes
    ----------
    text : str
        What happened; empty for CONVERGED.
    remedy : str
        What to do about it; empty for CONVERGED.

    Examples
    --------
    >>> Outcome("interrupted").remedy
    'start= with this result takes the search up again'
    """

    text: str
    remedy: str

    def __new__(cls, value: str, text: str = "", remedy: str = "") -> Outcome:
        """Make a member of its value, text and remedy."""
        member = str.__new__(cls, value)
        member._value_, member.text, member.remedy = value, text, remedy
        return member

    CONVERGED = "converged"
    INACCURATE = "inaccurate", "the residuals are larger than the tolerance", _LESS_ROUNDING
    INTERRUPTED = "interrupted", "interrupted", "start= with this result takes the search up again"
    BUDGET_SPENT = (
        "budget_spent",
        "max_products was reached",
        "a larger max_products, or start= with this result, may finish them",
    )
    STAGNATED = "stagnated", "the residuals have stopped falling", _LESS_ROUNDING
    BREAKDOWN = (
        "breakdown",
        "the basis cannot be extended",
        "dtype='float64' or method='dense' may finish them",
    )
    NOT_CERTIFIED = (
        "not_certified",
        "it could not be ruled out that one was missed",
        "a larger max_products may rule it out",
    )
    OUT_OF_MEMORY = (
        "out_of_memory",
        "memory_limit holds no more vectors",
        "a larger memory_limit holds more of them",
    )

    @property
    def finished(self) -> bool:
        """Whether the search came to its own end, however accurate its result."""
        return self in (Outcome.CONVERGED, Outcome.INACCURATE)

    def raise_if_interrupted(self) -> None:
        """Raise KeyboardInterrupt where half a result is of no use."""
        if self is Outcome.INTERRUPTED:
            raise KeyboardInterrupt


class Ending(NamedTuple):
    """An outcome with its details in numbers."""

    outcome: Outcome
    details: str = ""


CONVERGED = Ending(Outcome.CONVERGED)
