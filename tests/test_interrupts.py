"""Ctrl-C where it would be lost."""

from __future__ import annotations

import signal
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Discriminator, Tag

from mmts.interrupts import interrupts_wait


def press_and_tell(value: Any) -> str:
    signal.raise_signal(signal.SIGINT)
    return type(value).__name__


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
