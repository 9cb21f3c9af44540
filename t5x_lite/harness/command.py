"""`t5x-lite lm_eval`: lm-evaluation-harness's own program, which knows the model `t5x_lite`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from unittest import mock

from t5x_lite.errors import InputError
from t5x_lite.harness.lm_eval_model import NAME, lm_eval_model


def run(arguments: Sequence[str]) -> str:
    """Runs `lm_eval run` with this model; it says what it found itself.

    Args:
      arguments: those of `lm_eval run` but `--model`: --model_args pretrained=DIR --tasks NAME,NAME.

    Raises:
      InputError: lm_eval is not installed, or a model is named.
      SystemExit: of `--help`, and of a flag that it does not know.
    """
    if any(argument.split("=")[0] in ("--model", "-M") for argument in arguments):
        raise InputError(
            "lm_eval: --model is this package's own here; say which by --model_args pretrained=DIR"
        )
    lm_eval_model()
    from lm_eval.__main__ import cli_evaluate

    with mock.patch.object(sys, "argv", ["lm_eval", "run", "--model", NAME, *arguments]):
        cli_evaluate()
    return ""
