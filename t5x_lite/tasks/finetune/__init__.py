"""Fine-tuning: all weights, some, or an adapter."""
