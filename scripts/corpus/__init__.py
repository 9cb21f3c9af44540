"""The bundled corpus: hand-written material, one module a group of situations, and its engine."""
