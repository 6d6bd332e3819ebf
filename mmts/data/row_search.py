"""Finding how many rows of an item lie up to a moment, for many items and moments at once."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class RowSearch:
    """One search serves all items: rows are keyed by place of their item and rank of their moment.

    moments: (moment,) int64, the distinct ones in order. keys: (row,) int64, ascending.
    segments: (segment,) int64, where the rows of items begin.
    latest: (row,) int64, for rows sorted by their moment within the item: the row after the latest
        of all up to there; empty where rows are in that order as they stand.
    """

    moments: Tensor
    keys: Tensor
    segments: Tensor
    latest: Tensor

    @classmethod
    def over(cls, moments: Tensor, begin: Tensor, in_order: bool) -> RowSearch:
        """Prepare the search over a moment per row, (row,) int64.

        begin: (item,) int64, the first row of each item. in_order: whether moments ascend within
        each item; else rows count as reached when they, or a later row of the item, are.
        """
        rows = torch.arange(len(moments), device=moments.device)
        segments = torch.unique(begin)
        segment = torch.searchsorted(segments, rows, right=True)
        latest = rows[:0]
        if not in_order:
            by_moment = torch.argsort(moments, stable=True)
            order = by_moment[torch.argsort(segment[by_moment], stable=True)]
            moments, latest = moments[order], torch.cummax(order, dim=0).values + 1
        distinct = torch.unique(moments)
        keys = segment * (len(distinct) + 1) + torch.searchsorted(distinct, moments)
        return cls(distinct, keys, segments, latest)

    def to(self, device: torch.device) -> RowSearch:
        """Return the search on another device."""
        return RowSearch(*(getattr(self, field.name).to(device) for field in fields(self)))

    def row_after(self, begin: Tensor, end: Tensor, moment: Tensor) -> Tensor:
        """Return the row after the last one whose moment is reached, (window,) int64.

        begin, end: (window,), the rows of each window's item. moment: (window,) int64.
        """
        rank = torch.searchsorted(self.moments, moment.contiguous(), right=True)
        segment = torch.searchsorted(self.segments, begin.contiguous(), right=True)
        found = torch.searchsorted(self.keys, segment * (len(self.moments) + 1) + rank)
        found = torch.clamp(found, begin, end)
        if not len(self.latest):
            return found
        return torch.where(found > begin, self.latest[(found - 1).clamp(min=0)], begin)
