"""PPO, RLOO and GRPO against a reward."""
