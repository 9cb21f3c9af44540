"""A step compiled for TPUs that are not there."""
