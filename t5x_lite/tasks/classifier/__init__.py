"""Text classifiers: trained, and judged on texts of their own and of another kind."""
