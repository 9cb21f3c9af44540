"""Denoising of plain texts."""
