"""A folder a `config.task`: the straight line from a config to a report."""
