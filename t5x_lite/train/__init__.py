"""State, one pure train step, one loop shared by all supervised tasks."""
