"""Searching for rows: what is prepared once serves wherever the series lie."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch

from mmts.data.row_search import RowSearch


@pytest.mark.parametrize("in_order", [True, False])
def test_a_search_moves_to_a_device_with_all_it_holds(in_order: bool) -> None:
    search = RowSearch.over(torch.tensor([3, 1, 2]), torch.tensor([0]), in_order)
    moved = search.to(torch.device("meta"))
    assert {getattr(moved, field.name).device.type for field in fields(moved)} == {"meta"}
