"""Forecasting models on several CSV streams at once, each on its own clock."""

__version__ = "0.1.0"
