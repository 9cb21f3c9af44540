"""Preference tuning without a reward model."""
