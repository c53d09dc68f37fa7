"""Errors that name the argument, what was wanted and what came."""

from __future__ import annotations


class InvalidInputError(ValueError):
    """A user's input that cannot be used: "k must be an integer of at least 1; got 0."

    Parameters
    ----------
    name : str
        The argument, as the user gave it.
    wanted : str
        What it must do or be, after "must".
    got : str, optional
        What came, after "got".
    because : str, optional
        In the place of ``got``, a clause of its own: "'fc1.weight' holds NaN".

    Attributes
    ----------
    name, wanted, got, because
        As given; a caller who knows the input by another name raises ``error.renamed(name)``.

    Examples
    --------
    >>> error = InvalidInputError("k", "be an integer of at least 1", repr(0))
    >>> print(error)
    k must be an integer of at least 1; got 0.
    >>> print(error.renamed("--k"))
    --k must be an integer of at least 1; got 0.
    """

    def __init__(
        self, name: str, wanted: str, got: str | None = None, *, because: str | None = None
    ) -> None:
        self.name, self.wanted, self.got, self.because = name, wanted, got, because
        came = because if got is None else f"got {got}"
        super().__init__(f"{name} must {wanted}{'' if came is None else f'; {came}'}.")

    def renamed(self, name: str) -> InvalidInputError:
        """Say the same of another name."""
        return type(self)(name, self.wanted, self.got, because=self.because)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by the fields, so that the error crosses processes whole."""
        return _restored, (type(self), self.name, self.wanted, self.got, self.because)


def _restored(
    kind: type[InvalidInputError], name: str, wanted: str, got: str | None, because: str | None
) -> InvalidInputError:
    return kind(name, wanted, got, because=because)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its kind where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
