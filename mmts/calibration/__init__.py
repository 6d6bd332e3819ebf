"""Quantiles set right by how often the truth lay beyond them on the validation split."""
