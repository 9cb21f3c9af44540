"""The scores of a model as it is."""
