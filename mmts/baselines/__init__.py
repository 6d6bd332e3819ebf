"""Simple forecasts that every model is measured against; they read the model's own windows."""
