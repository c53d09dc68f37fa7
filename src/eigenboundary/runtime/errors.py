"""Errors that name the argument, the wanted value and the value that came."""

from __future__ import annotations

from functools import partial


class InvalidInputError(ValueError):
    """An invalid input, as in "k must be an integer of at least 1; got 0."

    Parameters
    ----------
    name : str
        The argument, as the user gave it.
    wanted : str
        The requirement, after "must".
    got : str, optional
        The value that came, after "got".
    because : str, optional
        A clause in place of ``got``: "'fc1.weight' holds NaN".

    Attributes
    ----------
    name, wanted, got, because
        The parameters. A caller that knows the input by another name raises
        ``error.renamed(name)``.

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
        """Return the error for another name of the argument."""
        return type(self)(name, self.wanted, self.got, because=self.because)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by the fields, so that the error crosses processes whole."""
        build = partial(type(self), because=self.because)
        return build, (self.name, self.wanted, self.got)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its kind where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
