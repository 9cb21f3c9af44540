"""Answers chosen among given ones, by their likelihood."""
