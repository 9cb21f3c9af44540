"""Models on their way out: Hugging Face directories with a model card, CTranslate2, StableHLO."""
