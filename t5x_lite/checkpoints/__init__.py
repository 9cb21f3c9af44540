"""Training checkpoints: written by orbax in the background, atomically, with our own hashes of every file."""
