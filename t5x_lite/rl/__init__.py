"""Rewards, rollout, advantages, losses and the loop of reinforcement learning from rewards."""
