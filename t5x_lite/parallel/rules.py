"""THE table: which mesh axis each logical axis is laid over. Nothing else decides a layout."""

from __future__ import annotations

# `slice` goes from TPU slice to TPU slice, over a slow network: only the batch is laid over it, and between slices go
# the sums of gradients alone.
MESH_AXES = ("slice", "data", "fsdp", "model")
SLOW_AXIS = "slice"

# First match wins, and a mesh axis is used once per array: an embedding [vocab, embed] takes "model" and "fsdp".
RULES: tuple[tuple[str, str | tuple[str, ...] | None], ...] = (
    ("batch", ("slice", "data", "fsdp")),
    ("vocab", "model"),
    ("heads", "model"),
    ("mlp", "model"),
    ("embed", "fsdp"),
    ("length", None),
    ("kv", None),
    ("relpos_buckets", None),
    ("layers", None),
    ("lora_rank", None),
)
