"""Parameter paths, masks and layouts: pure functions on nested dicts."""
