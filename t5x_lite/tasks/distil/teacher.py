"""The teacher: the model, that it and its student mean the same by a token, and the texts that it writes as targets."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from t5x_lite import streams
from t5x_lite.console import log
from t5x_lite.data.plan import Plan
from t5x_lite.data.sources import Row
from t5x_lite.data.templates import find_template
from t5x_lite.data.vocabulary import Vocabulary, load_vocabulary
from t5x_lite.decoding.checkpoint_settings import checkpoint_settings
from t5x_lite.decoding.generate import Generator
from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.errors import InputError
from t5x_lite.evaluation.generative import Predictions, generate_texts, own_batches
from t5x_lite.foreign.json_files import read_object
from t5x_lite.interop.hub import model_directory
from t5x_lite.interop.t5x import is_t5x
from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.sections import QuantizableModelSettings
from t5x_lite.parallel.processes import check_same, wait_for_all
from t5x_lite.params.fingerprint import fingerprint
from t5x_lite.params.gather import whole
from t5x_lite.params.sections import NoAdapter
from t5x_lite.tasks.distil.sections import Config
from t5x_lite.wiring.model import RANDOM, Loaded, load_model
from t5x_lite.wiring.scoring import Ready
from t5x_lite.wiring.text import OF_THE_MODEL, known_vocabulary

# The teacher as a source of the student's weights, and the field of a row that holds what it wrote.
TEACHER = "teacher"
TEXT_FIELD = "teacher_text"
_TEXTS, _KNOWN = "texts.jsonl", "teacher.json"


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A teacher whose weights are read when they are first asked for. source: the directory or id that was loaded."""

    source: str
    loaded: Loaded
    vocabulary: Vocabulary
    mesh: Mesh

    @property
    def config(self) -> T5Config:
        return self.loaded.model.config

    @functools.cached_property
    def params(self) -> Any:
        return self.loaded.make()

    def release(self) -> None:
        """Lets go of the weights: they are read again when they are asked for again."""
        self.__dict__.pop("params", None)

    @property
    def ready(self) -> Ready:
        return Ready(self.loaded.model, self.params, self.vocabulary, self.mesh)


def load_teacher(config: Config, source: str, mesh: Mesh) -> Teacher:
    """The model of the section `teacher`, by the tokenizer that it shares with its student; no weight is read yet.

    Raises:
      InputError: no such model, or another tokenizer than its own.
    """
    section = config.teacher
    vocabulary = known_vocabulary(config.tokenizer.source, source)
    if config.tokenizer.source != OF_THE_MODEL and not is_t5x(source):
        check_shared_ids(vocabulary, source, "config.teacher.source")
    settings = QuantizableModelSettings(
        source=source,
        architecture={},
        dtype=section.dtype,
        param_dtype=section.param_dtype,
        quantization=section.quantization,
        attention="auto",
    )
    execution = Execution(dtype=section.dtype)
    loaded = load_model(settings, execution, vocabulary, mesh, config.seed)
    return Teacher(source, loaded, vocabulary, mesh)


def before_loading(config: Config) -> Config:
    """The config as far as it can be checked before the teacher is there: a student of its weights is any student.

    Raises:
      InputError: an adapter on a student that no file holds.
    """
    if config.model.layers and not isinstance(config.adapter, NoAdapter):
        raise InputError(
            "config.adapter: the base of an adapter must lie in files of its own, and a student of some of the"
            " layers of another model does not; set adapter.method to 'none', or model.layers to ()"
        )
    if config.model.source != TEACHER:
        return config
    return dataclasses.replace(
        config, model=dataclasses.replace(config.model, source=RANDOM, layers=())
    )


def student_of(config: Config, teacher: Teacher) -> Config:
    """The config with the student as it is built: its teacher's weights and number of ids where it asks for them."""
    model = config.model
    if model.source == TEACHER:
        model = dataclasses.replace(model, source=teacher.source)
    if model.source == RANDOM and model.architecture.get("vocab_size") == 0:
        size = {"vocab_size": teacher.config.vocab_size}
        model = dataclasses.replace(model, architecture={**model.architecture, **size})
    return dataclasses.replace(config, model=model)


def check_student(config: Config, student: T5Config, teacher: Teacher) -> None:
    """Sees that both mean the same by every token id.

    Raises:
      InputError: they do not.
    """
    for name in ("vocab_size", "pad_token_id", "eos_token_id", "decoder_start_token_id"):
        ours, theirs = getattr(student, name), getattr(teacher.config, name)
        if ours != theirs:
            raise InputError(
                f"config.model: the student's {name} is {ours}, its teacher's {theirs}; a student learns its"
                " teacher's distributions over the same token ids: take a student of the same vocabulary, or a random"
                " one (config.model.source=random, architecture.vocab_size=0)"
            )
    source = config.model.source
    if source not in (RANDOM, teacher.source) and not is_t5x(source):
        check_shared_ids(teacher.vocabulary, source, "config.model.source")


def check_shared_ids(vocabulary: Vocabulary, source: str, where: str) -> None:
    """Sees that the tokenizer that lies beside a model has the same ids as the one that is used.

    Raises:
      InputError: a token has another id there, with the field `where` that named the model.
    """
    ours = vocabulary.tokenizer.get_vocab()
    theirs = load_vocabulary(model_directory(source)).tokenizer.get_vocab()
    if ours == theirs:
        return
    token = min(
        token for token in ours.keys() | theirs.keys() if ours.get(token) != theirs.get(token)
    )
    raise InputError(
        f"{where}: {source} has another tokenizer than this run: {token!r} is {_id_of(theirs, token)} there and"
        f" {_id_of(ours, token)} here; teacher and student must share their ids"
    )


def _id_of(ids: dict[str, int], token: str) -> str:
    return f"id {ids[token]}" if token in ids else "no token"


def recognise(teacher: Teacher, folder: epath.Path) -> None:
    """Notes the teacher's weights in the folder, or sees that they are those that its run began with.

    Raises:
      InputError: they are others.
    """
    weights = fingerprint(teacher.params, rounded=False)
    check_same("teacher's weights", weights)
    file = folder / _KNOWN
    known = read_object(file).get("weights") if file.exists() else weights
    wait_for_all()  # all have looked
    if known != weights:
        raise InputError(
            f"config.teacher.source: the weights of {teacher.source} are not those that the run in {folder} began with:"
            " put the teacher back, or take another --workdir"
        )
    if jax.process_index() == 0:
        file.write_text(json.dumps({"weights": weights}) + "\n")


def writing_settings(config: Config, source: str) -> GenerationSettings:
    """How the teacher writes targets: `distillation.writing` over the settings that it came with.

    Raises:
      InputError: a setting that there is not, or several texts a row.
    """
    where = "config.distillation.writing"
    settings = checkpoint_settings(source).updated(config.distillation.writing, where=where)
    settings.new_tokens()
    if settings.num_return_sequences != 1:
        raise InputError(f"{where}.num_return_sequences: a row has one target; leave it out")
    return settings


def with_teacher_texts(
    config: Config, rows: list[Row], teacher: Teacher, plan: Plan, folder: epath.Path
) -> list[Row]:
    """The rows with what the teacher writes for each in the field `TEXT_FIELD`.

    The texts are kept in the folder as they come, so that a run that goes on has those that it began with.

    plan: of the rows' inputs, unshuffled.
    """
    asked = json.dumps([config.data.template, config.distillation.writing], sort_keys=True)
    fields = find_template(config.data.template).fields
    digests = {
        number: hashlib.sha256(json.dumps([asked, *(row[f] for f in fields)]).encode()).hexdigest()
        for number, row in enumerate(rows)
    }
    file = Predictions(folder / _TEXTS, {n: row["id"] for n, row in enumerate(rows)}, digests)
    if len(file.done) < len(rows):
        log.info("the teacher writes targets, %d of %d", len(rows) - len(file.done), len(rows))
    texts = generate_texts(
        _decoder(config, teacher),
        teacher.vocabulary,
        own_batches(plan, teacher.mesh),
        len(rows),
        on_text=file.write,
        done=dict(file.done),
    )
    file.finish()
    return [{**row, TEXT_FIELD: text} for row, text in zip(rows, texts, strict=True)]


def _decoder(config: Config, teacher: Teacher) -> Any:
    settings = writing_settings(config, teacher.source)
    model = teacher.loaded.model
    generator = Generator(model.config, model.execution, teacher.vocabulary)
    rng = streams.key(config.seed, "decode")

    def decode(tokens: jax.Array, indices: np.ndarray) -> np.ndarray:
        row_ids = np.maximum(indices, 0)
        return whole(
            generator.generate(teacher.params, tokens, settings, rng, row_ids=row_ids).tokens
        )

    return decode
