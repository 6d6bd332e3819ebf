"""The linear part of a forecast: one map from all that a window holds, found in closed form."""
