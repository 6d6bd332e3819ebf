"""A trained model as MLflow keeps, registers and serves it."""
