"""What others wrote, before it is believed: JSON, names of files, patterns, sizes, texts for a terminal, hashes."""
