from __future__ import annotations

import json
import pickle

import pytest

from eigenboundary.curvature import Outcome


@pytest.mark.parametrize("outcome", Outcome)
def test_an_outcome_is_kept_as_its_name_in_lower_case(outcome: Outcome) -> None:
    assert outcome == outcome.name.lower()
    assert Outcome(json.loads(json.dumps(outcome))) is outcome
    assert pickle.loads(pickle.dumps(outcome)) is outcome


@pytest.mark.parametrize("outcome", list(Outcome)[1:])
def test_every_end_but_convergence_has_its_text_and_remedy(outcome: Outcome) -> None:
    assert outcome.text
    assert outcome.remedy


def test_only_an_interrupt_is_raised_again() -> None:
    for outcome in set(Outcome) - {Outcome.INTERRUPTED}:
        outcome.raise_if_interrupted()
    with pytest.raises(KeyboardInterrupt):
        Outcome.INTERRUPTED.raise_if_interrupted()
