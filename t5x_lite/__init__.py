"""t5x_lite: prompt, fine-tune and RLHF-tune T5 in JAX."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from t5x_lite.api import Pretrained, load_pretrained
    from t5x_lite.embedding.encoder import SentenceEncoder, load_encoder

__all__ = ["Pretrained", "SentenceEncoder", "load_encoder", "load_pretrained"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Late, so that `import t5x_lite` (and `t5x-lite --help`) does not import jax.
    if name in ("SentenceEncoder", "load_encoder"):
        from t5x_lite.embedding import encoder

        return getattr(encoder, name)
    if name in __all__:
        from t5x_lite import api

        return getattr(api, name)
    raise AttributeError(f"module 't5x_lite' has no attribute {name!r}")
