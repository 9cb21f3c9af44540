"""A model under others' evaluation: lm-evaluation-harness."""
