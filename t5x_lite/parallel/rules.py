"""THE table: which mesh axis each logical axis is laid over. Nothing else decides a layout."""

from __future__ import annotations

MESH_AXES = ("data", "fsdp", "model")

# First match wins, and a mesh axis is used once per array: an embedding [vocab, embed] takes "model" and "fsdp".
RULES: tuple[tuple[str, str | tuple[str, ...] | None], ...] = (
    ("batch", ("data", "fsdp")),
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
