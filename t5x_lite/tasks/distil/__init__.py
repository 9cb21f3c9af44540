"""Distillation: a small T5 learns from a large one."""
