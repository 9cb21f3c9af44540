"""Mesh, the table of logical axis rules, shardings of state and batch."""
