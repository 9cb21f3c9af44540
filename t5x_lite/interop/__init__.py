"""Weights and configs of other projects, in and out."""
