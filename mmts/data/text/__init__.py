"""Prose as numbers."""
