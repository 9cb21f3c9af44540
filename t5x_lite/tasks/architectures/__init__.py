"""Encoder-only, encoder-decoder and decoder-only stacks, trained alike and compared."""
