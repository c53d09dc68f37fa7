"""Settings checked by pydantic; every mistake is one InvalidInputError that names its place."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from eigenboundary.runtime.errors import InvalidInputError

# The name of settings as a whole, which no single place has.
_WHOLE = "settings"


class Settings(BaseModel):
    """Frozen settings without implicit conversions.

    Raises
    ------
    InvalidInputError
        If a setting is unknown, missing or not as described.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    def __init__(self, **values: Any) -> None:
        plain = {k: v.item() if isinstance(v, np.generic) else v for k, v in values.items()}
        try:
            super().__init__(**plain)
        except ValidationError as error:
            raise self._first_mistake(error) from None

    @classmethod
    def _first_mistake(cls, error: ValidationError) -> InvalidInputError:
        first = error.errors(include_url=False)[0]
        place = [str(part) for part in first["loc"]]
        cause = first.get("ctx", {}).get("error")
        if isinstance(cause, InvalidInputError):  # raised by a validator or a nested model
            inner = [] if cause.name in (_WHOLE, *place[-1:]) else [cause.name]
            return cause.renamed(".".join([*place, *inner]))
        if first["type"] in ("extra_forbidden", "missing"):
            state = "missing" if first["type"] == "missing" else "unknown"
            known = ", ".join(field.alias or name for name, field in cls.model_fields.items())
            needed = [name for name, field in cls.model_fields.items() if field.is_required()]
            wanted = f"hold only {known}{', with ' if needed else ''}{' and '.join(needed)}"
            return InvalidInputError(_WHOLE, wanted, because=f"{place[-1]!r} is {state}")
        table = first["type"] in ("dict_type", "model_type")
        wanted = "be a table" if table else first["msg"].removeprefix("Input should ")
        return InvalidInputError(".".join(place), wanted, repr(first["input"]))
