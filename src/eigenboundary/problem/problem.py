r"""The training loss of a classifier: a network, a per-sample loss and the data.

.. math:: L(\theta) = \frac1n \sum_s \ell(f_\theta(x_s), y_s)
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from eigenboundary.problem.inputs import Layout, as_tensor
from eigenboundary.problem.losses import Loss, PerSampleLoss, as_loss
from eigenboundary.problem.module import check_finite_inputs
from eigenboundary.problem.network import Network, Signature, UnseenNetwork
from eigenboundary.problem.samples import CACHE_BYTES, Samples, own_part
from eigenboundary.problem.survey import look, survey, survey_again
from eigenboundary.runtime.arguments import check_seed
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.memory import Memory, as_bytes
from eigenboundary.runtime.precision import full_precision
from eigenboundary.runtime.processes import Processes, current


class HasProblem(Protocol):
    """What a problem can be taken from: an analysis, or the problem itself."""

    @property
    def problem(self) -> Problem:
        """The problem."""


class Problem:
    r"""A classifier's training loss as a function of one flat parameter vector.

    Parameters
    ----------
    model : torch.nn.Module
        The trained classifier; ``model(x)`` gives outputs of shape (n, C), or something with such
        ``.logits``. It is copied, the copy is put in eval mode, and the original is left as it was.
    data : (x, y), Dataset or DataLoader
        The samples the loss is averaged over; y holds integer class labels. Where x is a mapping of
        named tensors (token ids, attention masks), all of one length, ``model(**x)`` is called.
        A mapping alone, as Hugging Face's data sets yield, holds y under "labels"; the model
        is never given that.
    loss : {"cross_entropy", "nll", "mse"} or callable
        "cross_entropy" takes logits, "nll" log-probabilities, "mse" compares the outputs with
        one-hot targets (mean over classes). A callable maps ``(outputs (n, C), labels (n,))`` to
        one loss per sample, (n,).
    output : callable, optional
        Turns what the model returns into the (n, C) outputs, e.g. ``lambda o: o["scores"]``.
    parameters : str or sequence of str, optional
        Glob patterns of the parameter names θ consists of; default: all that require a gradient.
    device, dtype : optional
        Where and in what precision to compute; default: the model's own. Neither TF32 nor autocast
        takes the place of float32.
    batch_size : int, optional
        Most samples to push through the model at once; default: chosen by memory.
    cache_bytes : int
        A Dataset or DataLoader up to this size is kept in memory, a larger one is streamed.
    memory_limit : int or str, optional
        Most that this process may hold in all, in bytes or like "2 GB"; on a GPU, most that torch
        may allocate there. Then the data are taken in smaller chunks, less is kept, and searches
        for eigenpairs restart sooner: the same numbers to rounding, in more time.
    seed : int
        Seeds whatever randomness the dataset has.

    Raises
    ------
    InvalidInputError
        If an argument is not as described.

    Examples
    --------
    >>> import torch
    >>> import eigenboundary as eb
    >>> model = torch.nn.Linear(2, 3)
    >>> problem = eb.Problem(model, (torch.randn(12, 2), torch.arange(12) % 3))
    >>> problem.n_parameters, problem.n_samples, problem.n_classes
    (9, 12, 3)
    """

    network: Network
    loss: Loss
    seed: int
    _samples: Samples | None

    def __init__(
        self,
        model: nn.Module,
        data: Any,
        loss: str | PerSampleLoss | Loss = "cross_entropy",
        *,
        output: Callable[[Any], Tensor] | None = None,
        parameters: str | Sequence[str] | None = None,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        batch_size: int | None = None,
        cache_bytes: int = CACHE_BYTES,
        memory_limit: int | str | None = None,
        seed: int = 0,
    ) -> None:
        processes = current()
        processes.agree(lambda: check_seed(seed))
        limit = processes.agree(lambda: as_bytes(memory_limit))
        self.loss = processes.agree(lambda: as_loss(loss))
        self.seed = seed
        unseen = processes.agree(
            lambda: UnseenNetwork.of(model, output, parameters, device, dtype, batch_size)
        )
        memory = processes.agree(lambda: Memory(limit, unseen.device))
        if memory.free is not None:  # all must come to the same decisions
            free = torch.tensor([memory.free], device=unseen.device)
            memory.free = int(processes.gather(lambda: (free,))[0].min())
        if cache_bytes and unseen.device.type == "cpu":  # else the limit is on another memory
            cache_bytes = memory.at_most(cache_bytes)
        with full_precision():
            source, part = own_part(unseen, data, cache_bytes, seed, memory, processes)
            self.network, found = survey(unseen, self.loss, part, memory, processes)
            self._samples = Samples(self.network, source, part, processes, *vars(found).values())

    @classmethod
    def of(
        cls, network: Network, loss: Loss, samples: Samples | None = None, seed: int = 0
    ) -> Problem:
        """Put a problem together from its parts; without samples it has no loss value."""
        problem = cls.__new__(cls)
        problem.network, problem.loss, problem.seed = network, loss, seed
        problem._samples = None if samples is None else replace(samples, network=network)
        return problem

    @property
    def samples(self) -> Samples:
        """The labelled samples; a problem without any raises InvalidInputError."""
        if self._samples is None:
            wanted = "be given where training samples are needed"
            raise InvalidInputError("data", wanted, "a network without")
        return self._samples

    @property
    def has_samples(self) -> bool:
        """Whether there are labelled samples."""
        return self._samples is not None

    @property
    def signature(self) -> Signature:
        """What is known of the network's inputs, classes and costs."""
        return self.network.signature

    @property
    def n_parameters(self) -> int:
        """The length p of θ."""
        return self.network.n_parameters

    @property
    def n_classes(self) -> int:
        """The number C of classes."""
        return self.signature.n_classes

    @property
    def n_samples(self) -> int:
        """The number n of samples."""
        return len(self.samples)

    @property
    def labels(self) -> Tensor:
        """Labels of the samples, shape (n,)."""
        return self.samples.labels

    @property
    def predictions(self) -> Tensor:
        """Predicted classes of the samples, shape (n,)."""
        return self.samples.predictions

    @property
    def loss_value(self) -> float:
        """The loss L(θ)."""
        return self.samples.loss_value

    @property
    def accuracy(self) -> float:
        """Share of samples whose predicted class is their label."""
        return self.samples.accuracy

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Names of the parameters, in the order in which they are flattened."""
        return self.network.parameter_names

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the numbers should know (e.g. that eval mode was used)."""
        return self.network.notes

    @property
    def device(self) -> torch.device:
        """Device that the problem computes on."""
        return self.network.device

    @property
    def dtype(self) -> torch.dtype:
        """Precision that the problem computes in."""
        return self.network.dtype

    @property
    def processes(self) -> Processes:
        """The processes among which the samples are divided."""
        return self.samples.processes

    @property
    def problem(self) -> Problem:
        """The problem itself, as an analysis has it under this name."""
        return self

    @full_precision()
    def with_data(self, data: Any) -> Problem:
        """Return the loss of the same network, computed in the same way, over other samples.

        Raises
        ------
        InvalidInputError
            If the samples do not fit the network.
        """
        processes, network = current(), self.network
        source, part = own_part(network, data, CACHE_BYTES, self.seed, network.memory, processes)
        found = survey_again(network, self.loss, part, processes)
        samples = Samples(network, source, part, processes, *vars(found).values())
        return Problem.of(network, self.loss, samples, self.seed)


#: Keyword arguments of :class:`Problem`.
OPTIONS = tuple(inspect.signature(Problem).parameters)[2:]
#: What public functions are asked about.
Model = nn.Module | HasProblem


def as_problem(model: Model, data: Any = None, **options: Any) -> Problem:
    """Return the problem that a public function is asked about.

    A module comes with data, and with options of :class:`Problem`, where None stands for the
    default. A Problem or an Analysis has its own; data or options then raise InvalidInputError.
    """
    held = getattr(model, "problem", None)
    if isinstance(held, Problem):
        _checked(model, data, options)
        return held if data is None else held.with_data(data)
    # A mistake in one process is raised in all: the others would wait for it.
    given = current().agree(lambda: _checked(model, data, options))
    return Problem(model, data, **given)  # type: ignore[arg-type]


def _checked(model: Any, data: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that are given, if model and data go together."""
    if isinstance(model, nn.Module):
        if data is None:
            wanted = "be given for a model that is a torch.nn.Module"
            raise InvalidInputError("data", wanted, "None")
    elif _problem_of(model).has_samples and data is not None:
        raise InvalidInputError("data", _left_out(model), type(data).__name__)
    return _given(model, options)


def problem_at(
    model: Model, x: Any, name: str = "x", *, floating: bool = False, **options: Any
) -> tuple[Problem, Tensor]:
    """Return the problem that a public function is asked about, and inputs that it takes.

    A module is looked at with these inputs, without labels, as ``floating``-point numbers if so
    asked; options are as for :func:`as_problem`.
    """
    given = _given(model, options)
    if not isinstance(model, nn.Module):
        problem = _problem_of(model)
        return problem, problem.network.prepare(x, name)
    loss = as_loss(given.pop("loss", "cross_entropy"))
    limit = as_bytes(given.pop("memory_limit", None))
    for unused in ("cache_bytes", "seed"):
        given.pop(unused, None)
    unseen = UnseenNetwork.of(model, **given)
    layout = Layout.of(x, name) if isinstance(x, Mapping) else None
    first = as_tensor(x, name) if layout is None else layout.pack(x, name)
    if first.ndim < 2 or not len(first):
        wanted = "have shape (n, ...) with at least one input"
        raise InvalidInputError(name, wanted, str(tuple(first.shape)))
    if floating and layout is None:
        first = first.to(unseen.dtype)
    check_finite_inputs(first, name)
    network = look(unseen, first, layout, Memory(limit, unseen.device))
    return Problem.of(network, loss), network.prepare(x, name)


def _problem_of(model: Any) -> Problem:
    problem = getattr(model, "problem", None)
    if not isinstance(problem, Problem):
        wanted = "be a torch.nn.Module, a Problem or an Analysis"
        raise InvalidInputError("model", wanted, type(model).__name__)
    return problem


def _left_out(model: Any) -> str:
    kind = type(model).__name__
    article = "an" if kind[0] in "AEIOU" else "a"
    return f"be left out for a model that is {article} {kind}, which has its own"


def _given(model: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that are not None, if the model is one that takes them."""
    given = {name: value for name, value in options.items() if value is not None}
    for name, value in given.items():
        if name not in OPTIONS:
            raise InvalidInputError("options", f"be among {', '.join(OPTIONS)}", repr(name))
        if not isinstance(model, nn.Module) and name != "seed":
            raise InvalidInputError(name, _left_out(model), repr(value))
    return given
