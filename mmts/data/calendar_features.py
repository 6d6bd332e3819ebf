"""Stub."""

from __future__ import annotations

from typing import Any


def calendar_columns(features: Any) -> Any: ...
def vocabularies(features: Any) -> Any: ...
def build_calendar(*a: Any) -> Any: ...
