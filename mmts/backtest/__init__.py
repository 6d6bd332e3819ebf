"""Forecasting again from a row of past moments, as it would have been done then."""
