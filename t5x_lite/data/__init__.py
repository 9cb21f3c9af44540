"""From text to batches: vocabulary, templates, sources, features and the batch plan."""
