"""The pod check: programs compiled for TPUs that are not there."""
