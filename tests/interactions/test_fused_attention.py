"""Attention goes by torch's fused kernel, whatever its masks are."""

from __future__ import annotations

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from mmts.layers.attention import TimedAttention

FUSED = "aten::_scaled_dot_product_flash_attention_for_cpu"


@pytest.mark.parametrize("bounded", [False, True])
@pytest.mark.parametrize("fades", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_mask_leaves_the_fused_kernel(fades: bool, bounded: bool, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    attention = TimedAttention(
        16, 8, num_heads=2, time_unit=1.0, zero_start=False, fades=fades, bounded=bounded
    )
    query, source = torch.randn(3, 5, 16), torch.randn(3, 7, 8)
    query_time, source_time = torch.randn(3, 5), torch.randn(3, 7)
    visible = torch.rand(3, 5, 7) < 0.5
    with (
        profile(activities=[ProfilerActivity.CPU]) as watched,
        torch.autocast("cpu", dtype, enabled=dtype != torch.float32),
    ):
        attention(query, source, query_time, source_time, visible).float().pow(2).sum().backward()
    names = {event.key for event in watched.key_averages()}
    assert {FUSED, f"{FUSED}_backward"} <= names
    assert not any("attention_math" in name for name in names)
