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


@pytest.mark.parametrize("in_order", [True, False])
def test_an_item_without_rows_has_none_whatever_the_others_have(in_order: bool) -> None:
    begin, end = torch.tensor([0, 2, 2, 4]), torch.tensor([2, 2, 4, 4])
    search = RowSearch.over(torch.tensor([5, 6, 5, 6]), begin, in_order)
    found = [search.row_after(begin, end, torch.full_like(begin, at)).tolist() for at in (4, 5, 6)]
    assert found == [[0, 2, 2, 4], [1, 2, 3, 4], [2, 2, 4, 4]]


def test_rows_out_of_order_are_reached_when_a_later_one_is() -> None:
    begin, end = torch.tensor([0, 3]), torch.tensor([3, 6])
    search = RowSearch.over(torch.tensor([7, 9, 8, 9, 7, 8]), begin, in_order=False)
    found = [search.row_after(begin, end, torch.full_like(begin, at)).tolist() for at in (6, 7, 8)]
    assert found == [[0, 3], [1, 5], [3, 6]]
