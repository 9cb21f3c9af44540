"""Generation: settings, logit processors, greedy, sampling and beam search over a key/value cache."""
