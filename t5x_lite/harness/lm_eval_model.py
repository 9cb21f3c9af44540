"""The model `t5x_lite` of lm-evaluation-harness (Gao et al., EleutherAI), which is imported when it is asked for."""

from __future__ import annotations

import functools
from typing import Any

from t5x_lite.api import load_pretrained
from t5x_lite.console import log
from t5x_lite.errors import InputError
from t5x_lite.harness.requests import Requests

NAME = "t5x_lite"


@functools.cache
def lm_eval_model() -> Any:
    """The class, an `lm_eval.api.model.LM`, which `lm_eval` finds by its name from here on.

    Its arguments (`--model_args`, or keywords):
      pretrained: what `load_pretrained` takes: a directory, the workdir of a run, a hub id.
      adapter, tokenizer, dtype, quantization: as there; "" for none.
      batch_tokens, max_length, max_gen_toks: of `harness.requests.Requests`.
      batch_size, max_batch_size, device: the harness's own, which gives them (1, cuda:0) where nobody does. Not read: a
        batch has so many tokens, and jax chooses the device.

    >>> model = lm_eval_model()(pretrained="nano")                             # doctest: +SKIP
    >>> lm_eval.simple_evaluate(model, tasks=["boolq"])                        # doctest: +SKIP

    Raises:
      InputError: lm_eval is not installed.
    """
    try:
        from lm_eval.api.model import LM
        from lm_eval.api.registry import register_model
    except ImportError as error:
        raise InputError(
            f'lm_eval: cannot be imported ({error}); pip install "t5x-lite[lm_eval]"'
        ) from error

    class Model(Requests, LM):
        """Its answers are those of `Requests`."""

        def __init__(
            self,
            pretrained: str = "",
            *,
            adapter: str = "",
            tokenizer: str = "",
            dtype: str = "float32",
            quantization: str = "none",
            **sizes: Any,
        ):
            if not pretrained:
                raise InputError(
                    "lm_eval: which model? give --model_args pretrained=DIR or a hub id"
                )
            LM.__init__(self)
            t5 = load_pretrained(
                pretrained, dtype=dtype, tokenizer=tokenizer or None, quantization=quantization
            )
            if adapter:
                t5.load_adapter(adapter)
            Requests.__init__(self, t5, **_sizes(sizes))

        @property
        def tokenizer_name(self) -> str:
            """What the harness's cache of requests is told apart by."""
            return f"{NAME}:{self.t5.source}"

    register_model(NAME)(Model)
    return Model


def _sizes(given: dict[str, Any]) -> dict[str, int]:
    """The numbers that `Requests` takes.

    Raises:
      InputError: an argument that is none of the model's, or no whole number.
    """
    sizes = {"batch_tokens": 4096, "max_length": 0, "max_gen_toks": 256}
    size = given.pop("batch_size", None)
    for name in ("max_batch_size", "device"):
        given.pop(name, None)
    if size not in (None, 1, "1", "auto"):
        log.warning(
            "lm_eval: batch_size is not read; a batch has %s=%d encoder tokens, at most",
            *("batch_tokens", given.get("batch_tokens", sizes["batch_tokens"])),
        )
    for name, value in given.items():
        if name not in sizes:
            raise InputError(
                f"lm_eval: --model_args {name}: there is no such argument; there are pretrained, adapter, tokenizer,"
                f" dtype, quantization, {', '.join(sizes)}"
            )
        if type(value) is not int or value < (name != "max_length"):
            raise InputError(f"lm_eval: --model_args {name} must be a whole number, got {value!r}")
        sizes[name] = value
    return sizes
