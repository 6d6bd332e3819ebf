"""Searching for settings: studies of many trainings, chosen on the validation split."""
