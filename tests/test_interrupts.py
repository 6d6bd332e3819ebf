"""Ctrl-C and SIGTERM where they would be lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Discriminator, Tag

from mmts.interrupts import SignalWatch, Terminated, interrupts_wait


def press_and_tell(value: Any) -> str:
    signal.raise_signal(signal.SIGINT if value == 3 else signal.SIGTERM)
    return type(value).__name__


@pytest.fixture
def watch() -> Iterator[SignalWatch]:
    plain = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, answer) for number, answer in plain.items()}
    try:
        with SignalWatch() as watch:
            yield watch
        assert {number: signal.getsignal(number) for number in plain} == plain
    finally:
        for number, answer in before.items():
            signal.signal(number, answer)


class Choice(BaseModel):
    value: Annotated[
        Annotated[int, Tag("int")] | Annotated[str, Tag("str")], Discriminator(press_and_tell)
    ]


def test_pydantic_loses_what_a_tag_raises_and_waiting_keeps_it() -> None:
    choice = Choice.model_construct(value=3)
    with pytest.warns(UserWarning, match="failed to get discriminator value"):
        assert choice.model_dump() == {"value": 3}
    with pytest.raises(KeyboardInterrupt), interrupts_wait():
        assert choice.model_dump() == {"value": 3}


def test_sigterm_waits_as_well(watch: SignalWatch) -> None:
    choice = Choice.model_construct(value=4)
    with pytest.raises(Terminated), interrupts_wait():
        assert choice.model_dump() == {"value": 4}


def test_sigterm_raises_once_and_what_was_swallowed_is_told_again(watch: SignalWatch) -> None:
    watch.check()
    with pytest.raises(Terminated):
        signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)
    with pytest.raises(Terminated):
        watch.check()


def test_ctrl_c_that_was_swallowed_is_told_again_and_a_second_one_is_raised(
    watch: SignalWatch,
) -> None:
    choice = Choice.model_construct(value=3)
    with pytest.warns(UserWarning, match="failed to get discriminator value"):
        choice.model_dump()
    with pytest.raises(KeyboardInterrupt):
        watch.check()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_where_something_else_answers_sigterm_that_stays() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        with SignalWatch() as watch:
            signal.raise_signal(signal.SIGTERM)
            watch.check()
        assert heard == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_in_another_thread_nothing_is_watched() -> None:
    before = signal.getsignal(signal.SIGTERM)
    answers: list[Any] = []

    def enter() -> None:
        with SignalWatch():
            answers.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert answers == [before]


def press_twice(reached: list[str]) -> None:
    with interrupts_wait():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        reached.append("the end")


def test_ctrl_c_takes_effect_once_and_at_the_end_and_the_handler_is_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    reached: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        press_twice(reached)
    assert reached == ["the end"]
    assert signal.getsignal(signal.SIGINT) is before
    with interrupts_wait():
        pass


def test_what_a_block_raises_is_kept() -> None:
    with pytest.raises(ValueError, match="own"), interrupts_wait():
        raise ValueError("own")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts_wait():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
