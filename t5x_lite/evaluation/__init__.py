"""How good a model is: teacher-forced loss, ROUGE with intervals, and the baselines a score must beat."""
