"""Sentence encoders: texts to vectors, and how well those find what belongs to a query."""
