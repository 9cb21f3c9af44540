"""The generation defaults that come with a checkpoint, as its files say them: read here, judged by `decoding`."""

from __future__ import annotations

import os
from typing import Any

from t5x_lite.foreign.json_files import read_object
from t5x_lite.interop.hub import model_directory
from t5x_lite.interop.t5x import is_t5x

FILE = "generation_config.json"
# Before there was that file, config.json held these. transformers reads them from there where the file is missing.
_LEGACY = (
    *(
        "max_length",
        "max_new_tokens",
        "min_length",
        "min_new_tokens",
        "early_stopping",
        "max_time",
        "stop_strings",
    ),
    *(
        "do_sample",
        "num_beams",
        "num_beam_groups",
        "penalty_alpha",
        "dola_layers",
        "diversity_penalty",
    ),
    *(
        "temperature",
        "top_k",
        "top_p",
        "min_p",
        "top_h",
        "typical_p",
        "epsilon_cutoff",
        "eta_cutoff",
    ),
    *("repetition_penalty", "encoder_repetition_penalty", "length_penalty", "no_repeat_ngram_size"),
    *(
        "encoder_no_repeat_ngram_size",
        "bad_words_ids",
        "force_words_ids",
        "constraints",
        "renormalize_logits",
    ),
    *(
        "forced_bos_token_id",
        "forced_eos_token_id",
        "remove_invalid_values",
        "exponential_decay_length_penalty",
    ),
    *(
        "suppress_tokens",
        "begin_suppress_tokens",
        "sequence_bias",
        "guidance_scale",
        "watermarking_config",
    ),
    *(
        "num_return_sequences",
        "pad_token_id",
        "bos_token_id",
        "eos_token_id",
        "decoder_start_token_id",
    ),
)


def generation_defaults(source: str | os.PathLike[str]) -> tuple[dict[str, Any], str]:
    """The fields of a checkpoint's generation_config.json, or else the old ones of its config.json; and which file.

    Args:
      source: whatever names a model: a directory, a hub id, a workdir; a t5x checkpoint has none.

    Raises:
      InputError: no such model, or a file that is no JSON object.
    """
    if is_t5x(source):
        return {}, ""
    directory = model_directory(source)
    file = directory / FILE
    if file.is_file():
        fields = read_object(file)
    else:
        file = directory / "config.json"
        said = read_object(file) if file.is_file() else {}
        fields = {name: said[name] for name in _LEGACY if said.get(name) is not None}
    # As in transformers, whatever config.json says.
    start = fields.get("decoder_start_token_id")
    if start is None and fields.get("bos_token_id") is not None:
        fields["decoder_start_token_id"] = fields["bos_token_id"]
    return fields, str(file)
