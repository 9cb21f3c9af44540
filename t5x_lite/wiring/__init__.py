"""From the sections of a config to living parts, and what all tasks do with them."""
