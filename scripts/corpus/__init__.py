"""The bundled corpus: its written material, one module a group of situations, and its engine."""
