from __future__ import annotations

import threading
from functools import partial
from types import SimpleNamespace

import pytest

from eigenboundary.runtime.precision import Switch


def a_switch(backend: SimpleNamespace) -> Switch:
    def change(switch: Switch) -> None:
        for name in vars(backend):
            switch.set(partial(setattr, backend, name), getattr(backend, name), "within")

    return Switch(change)


def test_what_is_changed_is_set_back_by_the_last_to_leave() -> None:
    backend = SimpleNamespace(one=1, two=2)
    switch = a_switch(backend)
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with switch:
            entered.set()
            leave.wait(60)

    thread = threading.Thread(target=other, daemon=True)
    with switch:
        thread.start()
        assert entered.wait(60)
        with switch:
            assert vars(backend) == {"one": "within", "two": "within"}
    assert vars(backend) == {"one": "within", "two": "within"}
    leave.set()
    thread.join()
    assert vars(backend) == {"one": 1, "two": 2}


def test_it_is_set_back_after_an_error_within() -> None:
    backend = SimpleNamespace(one=1)
    with pytest.raises(ZeroDivisionError), a_switch(backend):
        raise ZeroDivisionError
    assert backend.one == 1


def test_a_change_that_fails_half_way_leaves_nothing_changed_and_can_be_tried_again() -> None:
    backend, fails = SimpleNamespace(one=1, two=2), [True]

    def change(switch: Switch) -> None:
        switch.set(partial(setattr, backend, "one"), 1, "within")
        if fails.pop():
            raise ZeroDivisionError
        switch.set(partial(setattr, backend, "two"), 2, "within")

    switch = Switch(change)
    with pytest.raises(ZeroDivisionError), switch:
        pass
    assert vars(backend) == {"one": 1, "two": 2}
    fails.append(False)
    with switch:
        assert vars(backend) == {"one": "within", "two": "within"}
    assert vars(backend) == {"one": 1, "two": 2}


def test_one_setting_that_cannot_be_set_back_does_not_keep_the_others_from_it() -> None:
    backend = SimpleNamespace(one=1, two=2)

    def stubborn(value: object) -> None:
        if value == 1:
            raise ValueError("not any more")

    def change(switch: Switch) -> None:
        switch.set(stubborn, 1, "within")
        switch.set(partial(setattr, backend, "two"), 2, "within")

    with Switch(change):
        assert backend.two == "within"
    assert backend.two == 2
