"""Runs side by side, over the rows they share."""
