"""The user's network and functions by name, `module:function`, weights and samples from files."""

from __future__ import annotations

import difflib
import importlib
import logging
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from eigenboundary.cli.tabular import Samples, from_object, load_csv, load_npz
from eigenboundary.cli.terminal import options_named
from eigenboundary.runtime.errors import InvalidInputError, first_line

_log = logging.getLogger(__name__)

_MODEL = "MODULE:FUNCTION"
# Keys under which checkpoints hold the state dict.
_NESTED = ("state_dict", "model_state_dict", "model")
# Prefixes that DistributedDataParallel and torch.compile put before every parameter's name.
_WRAPPERS = ("module.", "_orig_mod.")
_SHOWN = 4


@contextmanager
def current_folder_importable() -> Iterator[None]:
    """Search the current folder first on imports, as ``python -m`` does."""
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(folder)


def _check_is_file(path: Path, name: str) -> None:
    if not path.is_file():
        raise InvalidInputError(name, "be an existing file", because=f"{str(path)!r} is none")


def resolve(reference: str, option: str) -> Any:
    """Return the object that `module:name` stands for.

    Examples
    --------
    >>> resolve("math:pi", "--loss")
    3.141592653589793
    """
    module_name, _, path = reference.partition(":")
    if not module_name or not path:
        wanted = "be given as module:function, e.g. my_model:build"
        raise InvalidInputError(option, wanted, repr(reference))
    found = _import(module_name, option)
    for name in path.split("."):
        if not hasattr(found, name):
            known = [known for known in vars(found) if not known.startswith("_")]
            close = difflib.get_close_matches(name, known, n=1)
            because = f"it has no {name!r}" + (f" (there is {close[0]!r})" if close else "")
            raise InvalidInputError(option, f"name something in {module_name!r}", because=because)
        found = getattr(found, name)
    return found


def _import(name: str, option: str) -> Any:
    wanted = "name a module that can be imported"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        because = f"{name!r} itself imports {missing!r}, which is not installed"
        if name == missing or name.startswith(f"{missing}."):
            wanted = "name a module in the current folder or an installed one"
            hint = f" (without the .py: {name[:-3]!r})" if name.endswith(".py") else ""
            because = f"there is no {name!r}{hint}"
    except (Exception, SystemExit) as error:
        because = f"{name!r} {_raised(error)}"
    raise InvalidInputError(option, wanted, because=because)


def _call(found: Any, reference: str, option: str) -> Any:
    try:
        return found()
    except (Exception, SystemExit) as error:
        because = f"{reference!r} {_raised(error)}"
    raise InvalidInputError(option, "work when called without arguments", because=because)


def _raised(error: BaseException) -> str:
    """Return what the user's code raised, and where; the whole traceback goes to the log."""
    _log.info("the traceback of this error:", exc_info=error)
    message = first_line(error)
    if isinstance(error, SyntaxError) and error.filename:
        return f"has a SyntaxError: {message}"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"raised {type(error).__name__}: {message} ({Path(frame.filename).name}:{frame.lineno})"


def load_model(reference: str) -> nn.Module:
    """Return the network that a module, or the function or class in it, stands for."""
    found, wanted, came = resolve(reference, _MODEL), "be a function or a torch.nn.Module", "is"
    if callable(found) and not isinstance(found, nn.Module):
        found, wanted, came = (
            _call(found, reference, _MODEL),
            "return a torch.nn.Module",
            "returned",
        )
    if not isinstance(found, nn.Module):
        because = f"{reference!r} {came} {_article(found)}"
        raise InvalidInputError(_MODEL, wanted, because=because)
    return found


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a state dict into the model, in place; no pickled code is run."""
    _check_is_file(path, "--weights")
    state, wanted = _state_dict(path), model.state_dict()
    for wrapper in _WRAPPERS:
        if all(name.startswith(wrapper) for name in state) and not set(state) & set(wanted):
            state = {name.removeprefix(wrapper): tensor for name, tensor in state.items()}
    problems: list[str] = []
    for name, own in wanted.items():
        given = state.get(name, own)
        if not isinstance(own, Tensor) or len(problems) == _SHOWN:
            continue
        if given.shape != own.shape:
            shapes = f"{tuple(given.shape)} where the model's has {tuple(own.shape)}"
            problems.append(f"{name} has shape {shapes}")
        elif given.is_floating_point() != own.is_floating_point():
            kinds = [str(tensor.dtype).removeprefix("torch.") for tensor in (given, own)]
            problems.append(f"{name} holds {kinds[0]} where the model's holds {kinds[1]}")
    if missing := [name for name in wanted if name not in state]:
        problems.append(f"lacks {_listed(missing)}")
    if unexpected := [name for name in state if name not in wanted]:
        problems.append(f"has {_listed(unexpected)} that the model has not")
    if problems:
        because = f"{str(path)!r}: {', '.join(problems)}"
        raise InvalidInputError("--weights", "fit the model", because=because)
    model.load_state_dict(state)


def _state_dict(path: Path) -> dict[str, Tensor]:
    kind = "a .safetensors file" if path.suffix == ".safetensors" else "a file of torch.save"
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        reason = first_line(error)
    except Exception as error:  # torch.load raises many kinds for a damaged file
        reason = f"{type(error).__name__}: {first_line(error)}"
        if "weights only" in str(error).lower().replace("_", " "):
            reason = "it holds more than tensors; save model.state_dict() alone"
    else:
        for key in _NESTED:
            if isinstance(stored, Mapping) and isinstance(stored.get(key), Mapping):
                stored = stored[key]
                break
        if isinstance(stored, Mapping) and all(isinstance(t, Tensor) for t in stored.values()):
            return dict(stored)
        reason = f"it holds {_article(stored)} with other things than tensors"
    because = f"{str(path)!r} cannot be read as one ({reason})"
    raise InvalidInputError("--weights", f"be {kind} with a state dict", because=because)


def _listed(names: list[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _article(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def load_data(source: str, option: str = "--data", class_names: tuple[str, ...] = ()) -> Samples:
    """Read samples from an .npz or .csv file, or from `module:function`."""
    path = Path(source)
    suffix = path.suffix.lower()
    with options_named(data=option):
        if suffix in (".npz", ".csv"):
            _check_is_file(path, "data")
            return (load_npz if suffix == ".npz" else load_csv)(path, class_names)
        if ":" not in source or path.exists():
            wanted = "be a .npz file, a .csv file or module:function"
            raise InvalidInputError("data", wanted, repr(source))
        found = resolve(source, option)
        is_function = callable(found) and not hasattr(found, "__getitem__")
        if is_function or isinstance(found, type):
            found = _call(found, source, option)
        return from_object(found, class_names)
