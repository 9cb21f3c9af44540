"""From a config to a model with parameters on the mesh: random, or read from a checkpoint."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from t5x_lite import streams
from t5x_lite.data.vocabulary import Vocabulary, tell_differing_ids
from t5x_lite.errors import InputError
from t5x_lite.interop.opened import OpenedModel
from t5x_lite.interop.pretrained import open_pretrained
from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.encoder_config import EncoderConfig
from t5x_lite.models.init import Params, abstract_params, init_params, logical_axes
from t5x_lite.models.sections import ModelSettings, QuantizableModelSettings, StudentModelSettings
from t5x_lite.models.t5 import T5
from t5x_lite.parallel.memory import refuse_beyond_memory
from t5x_lite.parallel.shardings import param_shardings, with_shardings
from t5x_lite.params.integers import Quantized, is_quantized
from t5x_lite.params.overview import count
from t5x_lite.params.paths import flatten, map_with_path
from t5x_lite.params.quantized import quantize_leaf, quantize_params
from t5x_lite.params.stacking import stack
from t5x_lite.sections import at_place
from t5x_lite.wiring.rehearsal import note, note_memory

RANDOM = "random"
_SIZES = "config.model.architecture, or config.json"
# What the vocabulary decides, and not `model.architecture`.
_SPECIAL_TOKENS = ("pad_token_id", "eos_token_id", "decoder_start_token_id")


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A model whose parameters are known by shape, type and sharding; a run that is resumed never makes them.

    abstract: the parameter tree (stacked if `model.execution.scan_layers`), a `jax.ShapeDtypeStruct` with its
      sharding a leaf.
    make: makes the parameters so.
    source: where its files are; "" of random weights, or of shapes alone.
    """

    model: T5
    abstract: Any
    make: Callable[[], Params]
    source: str = ""


def load_model(
    section: ModelSettings, execution: Execution, vocabulary: Vocabulary, mesh: Mesh, seed: int
) -> Loaded:
    """The model of `model.source`: "random", a Hugging Face id or directory, or a t5x checkpoint. Nothing is compiled
    or read yet.

    Raises:
      InputError: no such model, one of another architecture, or one that fits neither vocabulary nor mesh.
    """
    bits = section.quantization if isinstance(section, QuantizableModelSettings) else "none"
    if section.source == RANDOM:
        config = architecture_of(section.architecture, vocabulary)
        random = functools.partial(_random, T5(config, Execution()), section.param_dtype, seed)

        def read(shardings: Any) -> Params:
            return quantize_params(random(shardings), bits)

    else:
        opened = _opened(section)
        config = opened.config
        read = functools.partial(opened.read, section.param_dtype, quantization=bits)
    if config.vocab_size < vocabulary.size:
        raise InputError(
            f"the model embeds {config.vocab_size} tokens, but the tokenizer has {vocabulary.size}:"
            " config.tokenizer.source must be the one the model was trained with"
        )
    tell_differing_ids(
        vocabulary,
        pad_token_id=config.pad_token_id,
        eos_token_id=config.eos_token_id,
        model=section.source,
    )
    # Read and drawn in the unrolled layout: scanned and unrolled runs start from the same weights.
    floats = _placed(
        T5(config, dataclasses.replace(execution, scan_layers=False)), section.param_dtype, mesh
    )
    unrolled = _in_integers(floats, bits)
    refuse_beyond_memory(unrolled, f"the model {section.source!r} ({_SIZES} of it)")
    kept = section.param_dtype if bits == "none" else bits
    note("parameters", f"{count(unrolled):,} in {kept}")
    note_memory("parameters", unrolled)
    model = T5(config, execution)
    abstract = unrolled
    if execution.scan_layers:
        abstract = _stacked_integers(_placed(model, section.param_dtype, mesh), unrolled)

    def make() -> Params:
        params = jax.device_put(read(shardings_of(floats)), shardings_of(unrolled))
        if execution.scan_layers:
            params = jax.jit(stack, out_shardings=shardings_of(abstract))(params)
        return params

    return Loaded(model, abstract, make, "" if section.source == RANDOM else section.source)


def _opened(section: ModelSettings) -> OpenedModel:
    opened = open_pretrained(section.source)
    if isinstance(section, StudentModelSettings) and section.layers:
        return opened.with_layers(*section.layers)
    return opened


def _in_integers(abstract: Params, bits: str) -> Params:
    """What `quantize_params` makes of unrolled weights, as shapes: integers lie as the weights do, and their scales."""

    def one(path: str, leaf: jax.ShapeDtypeStruct) -> Any:
        shapes = quantize_leaf(path, jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), bits)
        return _laid_out(shapes, leaf) if is_quantized(shapes) else leaf

    return map_with_path(one, abstract)


def _stacked_integers(abstract: Params, unrolled: Params) -> Params:
    """The same of the stacked layout. abstract: floats; unrolled: of `_in_integers`."""
    shapes = flatten(jax.eval_shape(stack, unrolled))

    def one(path: str, leaf: jax.ShapeDtypeStruct) -> Any:
        return _laid_out(shapes[path], leaf) if is_quantized(shapes[path]) else leaf

    return map_with_path(one, abstract)


def _laid_out(shapes: Quantized, weight: jax.ShapeDtypeStruct) -> Quantized:
    assert isinstance(weight.sharding, NamedSharding)
    spec = [*weight.sharding.spec, *[None] * len(weight.shape)]
    shared = PartitionSpec(
        *(
            over if size == whole else None
            for size, whole, over in zip(shapes.scale.shape, weight.shape, spec, strict=False)
        )
    )
    sharding = NamedSharding(weight.sharding.mesh, shared)
    return Quantized(
        jax.ShapeDtypeStruct(weight.shape, shapes.values.dtype, sharding=weight.sharding),
        jax.ShapeDtypeStruct(shapes.scale.shape, shapes.scale.dtype, sharding=sharding),
    )


class SpecialTokens(Protocol):
    """What the architecture of a new model takes from its vocabulary."""

    @property
    def padded_size(self) -> int: ...
    @property
    def pad_id(self) -> int: ...
    @property
    def eos_id(self) -> int: ...


def architecture_of(architecture: Mapping[str, Any], vocabulary: SpecialTokens) -> T5Config:
    """The architecture of a model with random weights; a vocab_size of 0 takes the tokenizer's, padded.

    Raises:
      InputError: fields that a T5 does not have, or lacks, or values that no T5 has.
    """
    fields = dict(architecture)
    _refuse_unknown(fields, T5Config, _SPECIAL_TOKENS)
    if fields.get("vocab_size") == 0:
        fields["vocab_size"] = vocabulary.padded_size
    with _in_config():
        return T5Config(
            **fields,
            pad_token_id=vocabulary.pad_id,
            eos_token_id=vocabulary.eos_id,
            decoder_start_token_id=vocabulary.pad_id,
        )


@contextlib.contextmanager
def _in_config() -> Iterator[None]:
    """Within, what an architecture says of its fields names their place in the config."""
    where = "config.model.architecture"
    try:
        yield
    except TypeError as error:  # a field is missing
        raise InputError(f"{where}: {error}") from error
    except InputError as error:
        raise at_place(error, "model", where) from error


def encoder_of(
    architecture: Mapping[str, Any],
    vocabulary: SpecialTokens,
    max_length: int,
    labels: tuple[str, ...],
) -> EncoderConfig:
    """The architecture of an encoder classifier with random weights, for texts of at most `max_length` tokens.

    Raises:
      InputError: fields that it does not have, or lacks, or values that it cannot have.
    """
    fields = dict(architecture)
    derived = ("labels", "pad_token_id", "max_positions", "problem_type", "model_type")
    _refuse_unknown(fields, EncoderConfig, derived)
    if fields.get("vocab_size") == 0:
        fields["vocab_size"] = vocabulary.padded_size
    # RoBERTa's first rows stand for no token.
    unused = vocabulary.pad_id + 1 if fields["family"] == "roberta" else 0
    with _in_config():
        return EncoderConfig(
            **fields,
            labels=labels,
            pad_token_id=vocabulary.pad_id,
            max_positions=max_length + unused,
        )


def _refuse_unknown(fields: Mapping[str, Any], kind: type, derived: tuple[str, ...]) -> None:
    """derived: fields of the dataclass `kind` that are not the user's to set."""
    known = {field.name for field in dataclasses.fields(kind)} - set(derived)
    if unknown := sorted(set(fields) - known):
        raise InputError(
            f"config.model.architecture: there is no such field as {', '.join(unknown)}; there are"
            f" {', '.join(sorted(known))}"
        )


def random_model(model: Any, dtype: str, mesh: Mesh, seed: int) -> Loaded:
    """A model of `models.architectures` (or a T5, unrolled) with random weights."""
    abstract = _placed(model, dtype, mesh)
    return Loaded(
        model, abstract, functools.partial(_random, model, dtype, seed, shardings_of(abstract))
    )


def _random(model: Any, dtype: str, seed: int, shardings: Any) -> Params:
    """Random parameters, made shard by shard: no device holds them whole."""

    def make(rng: jax.Array) -> Params:
        return jax.tree.map(lambda leaf: leaf.astype(dtype), init_params(model, rng))

    return jax.jit(make, out_shardings=shardings)(streams.key(seed, "init"))


def _placed(model: Any, dtype: str, mesh: Mesh) -> Any:
    abstract = abstract_params(model)
    shardings = param_shardings(abstract, logical_axes(model), mesh)
    return with_shardings(abstract, shardings, dtype)


def shardings_of(abstract: Any) -> Any:
    """The sharding of each leaf of a tree of `jax.ShapeDtypeStruct`."""
    return jax.tree.map(lambda leaf: leaf.sharding, abstract)
