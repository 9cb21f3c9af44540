"""Prompts and settings, scored and side by side."""
