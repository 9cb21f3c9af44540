"""The only room that defines Flax modules."""
