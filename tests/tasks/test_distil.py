"""The task `distil`: what its student learns from, what is refused, and a run that is stopped and goes on."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from etils import epath

from t5x_lite import load_pretrained, streams
from t5x_lite.config import load_config
from t5x_lite.data.buckets import Shape
from t5x_lite.data.features import Examples, Ragged
from t5x_lite.data.plan import Plan
from t5x_lite.decoding.generate import Generator
from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.errors import InputError
from t5x_lite.interop.hf import open_hf
from t5x_lite.interop.opened import spread
from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.init import init_params
from t5x_lite.models.t5 import T5
from t5x_lite.parallel.mesh import make_mesh, on_mesh
from t5x_lite.parallel.own_rows import OwnRows
from t5x_lite.params.paths import flatten
from t5x_lite.tasks.distil import run as distil
from t5x_lite.tasks.distil import teacher as teachers
from t5x_lite.tasks.distil import word as words
from t5x_lite.tasks.distil.lessons import lessons_of
from t5x_lite.train.distil_step import LABEL_WEIGHTS, TEACHER
from t5x_lite.train.state import TrainState
from t5x_lite.wiring.model import Loaded

TINY = {
    "model.architecture.d_model": "16",
    "model.architecture.d_kv": "8",
    "model.architecture.d_ff": "32",
    "data.encoder_length": "32",
    "data.train.limit": "16",
    "train.steps": "4",
    "evaluation.every_steps": "4",
    "checkpoint.every_steps": "2",
    "evaluation.bootstrap_samples": "20",
    "logging.tensorboard": "False",
    "optimizer.name": "adamw",
    "comparison.rows": "()",
}
# Every kind at once: the teacher's texts as targets, its distributions, the student's own texts.
ALL = {
    "distillation.targets": "teacher",
    "distillation.own_texts": "0.5",
    "distillation.kind": "jsd",
    "distillation.top_k": "8",
}
NANO = 1_640_832  # parameters
RESULTS = ("texts.jsonl", "samples.jsonl", "teacher/samples.jsonl", "model/model.safetensors")


def tiny(changes=None):
    return load_config("distil.py:runlocal", TINY | (changes or {}))


def metrics_of(folder):
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if not k.startswith("time/")} for r in records]


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distil") / "run"
    distil.run(tiny(ALL), str(folder))
    return folder


@pytest.mark.slow
def test_runlocal_runs_to_its_report(whole_run):
    steps = [r for r in metrics_of(whole_run) if "divergence" in r]
    assert len(steps) == 4 and all(r["divergence"] > 0 and not r["skipped"] for r in steps)
    report = json.loads((whole_run / "report.json").read_text())
    assert [row["system"] for row in report["summary"]] == ["teacher", "student"]
    assert report["comparison_differences"][0]["difference"] == "student minus teacher"
    student, teacher = report["sizes and speed"]
    assert teacher["parameters"] == NANO > 10 * student["parameters"] > 0
    assert (student["model"], teacher["model"]) == ("student", "teacher")
    assert teacher["tokens a second"] > 0
    texts = [json.loads(line) for line in (whole_run / "texts.jsonl").open()]
    assert [t["row"] for t in texts] == list(range(16)) and any(t["output"] for t in texts)
    # The student is a model of its own, with its teacher's tokenizer.
    t5, nano = load_pretrained(whole_run), load_pretrained("nano")
    assert t5.config.d_model == 16 and t5.config.vocab_size == nano.config.vocab_size
    assert t5.tokenizer.tokenizer.get_vocab() == nano.tokenizer.tokenizer.get_vocab()


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_to_the_bit(whole_run, tmp_path, monkeypatch, stopped_at):
    with stopped_at(3):
        distil.run(tiny(ALL), str(tmp_path))
    with monkeypatch.context() as patch:  # the teacher writes once

        def never(*_):
            raise AssertionError("the teacher writes again")

        patch.setattr(teachers, "_decoder", lambda *_: never)
        distil.run(tiny(ALL), str(tmp_path))
    assert metrics_of(tmp_path) == metrics_of(whole_run)
    for name in RESULTS:
        assert (tmp_path / name).read_bytes() == (whole_run / name).read_bytes(), name


@pytest.fixture(scope="module")
def mesh():
    return make_mesh({"slice": 1, "data": -1, "fsdp": 1, "model": 1})


def random_model(width, seed):
    config = T5Config(
        vocab_size=2048, d_model=width, d_kv=4, d_ff=8, num_encoder_layers=1, num_decoder_layers=1,
        num_heads=1, tie_word_embeddings=True, scale_decoder_outputs=True, dropout_rate=0.0,
    )  # fmt: skip
    t5 = T5(config, Execution())
    make = jax.jit(lambda key: jax.tree.map(lambda leaf: 3 * leaf, init_params(t5, key)))
    return t5, make(jax.random.key(seed))


@pytest.fixture(scope="module")
def taught(mesh):
    """A tiny student and teacher, a plan of 11 targets in batches of 8, and the config that they are taught by."""
    (student, params), (t5, theirs) = random_model(8, 0), random_model(12, 1)
    loaded = Loaded(t5, None, lambda: theirs)
    teacher = teachers.Teacher("nowhere", loaded, load_pretrained("nano").tokenizer, mesh)
    rng = np.random.default_rng(0)
    sides = [
        Ragged.from_lists(
            [[*rng.integers(3, 2000, n).tolist(), 1] for n in rng.integers(1, most, 11)]
        )
        for most in (6, 4)
    ]
    source = Examples(*sides)
    plans = [
        Plan(source, (Shape(8, 8, 8),), seed=seed, pack=False, pad_id=0, decoder_start_id=0)
        for seed in (0, None)
    ]
    return student, params, teacher, plans


def test_own_texts_are_what_the_student_samples(taught, mesh):
    student, params, teacher, (_, plan) = taught
    config = tiny({"distillation.own_texts": "1.0", "distillation.teacher_weight": "1.0"})
    state = TrainState(step=np.int32(0), params=params, opt_state=(), adapters={})
    with on_mesh(mesh):
        planned = OwnRows(mesh).read(plan, 1)  # 3 examples, 5 rows that fill it
        lessons = lessons_of(config, student, teacher)
        lesson = lessons(state, 7, planned)
        generator = Generator(student.config, student.execution, teacher.vocabulary)
        settings = GenerationSettings(do_sample=True, top_k=0, max_new_tokens=8)
        alone = generator.generate(
            params,
            planned["encoder_input_tokens"],
            settings,
            streams.key(config.seed, "own_tokens", 7),
        )
    targets, weights = (
        np.asarray(lesson[f"decoder_{n}"]) for n in ("target_tokens", "loss_weights")
    )
    np.testing.assert_array_equal(targets, alone.tokens)
    assert not np.array_equal(targets, planned["decoder_target_tokens"])
    np.testing.assert_array_equal(lesson["decoder_input_tokens"][:, 1:], targets[:, :-1])
    assert not np.any(lesson["decoder_input_tokens"][:, 0])
    filled = np.asarray(planned["decoder_loss_weights"]).any(axis=1)
    assert filled.sum() == 3
    counts = np.arange(8)[None] < np.asarray(alone.lengths)[:, None]
    np.testing.assert_array_equal(weights, counts & filled[:, None])
    assert not np.any(lesson[LABEL_WEIGHTS]) and lesson[TEACHER] is teacher.params
    # A step that is taught by the plan has the same arrays, of the same shapes and places: one program serves both.
    by_plan = dataclasses.replace(lessons, share=0.0)(state, 7, planned)
    np.testing.assert_array_equal(by_plan[LABEL_WEIGHTS], planned["decoder_loss_weights"])
    for name in (*planned, LABEL_WEIGHTS):
        expected = by_plan[name]
        assert lesson[name].sharding.is_equivalent_to(expected.sharding, 2), name
        assert (lesson[name].shape, lesson[name].dtype) == (expected.shape, expected.dtype)
    for name in planned:
        assert by_plan[name] is planned[name]


def test_a_share_of_the_steps_is_the_students(taught):
    student, _, teacher, _ = taught
    lessons = lessons_of(tiny({"distillation.own_texts": "0.25"}), student, teacher)
    own = [lessons.is_own(step) for step in range(1, 1001)]
    assert 200 < sum(own) < 300 and own == [lessons.is_own(step) for step in range(1, 1001)]


def test_the_teachers_word_is_kept_and_asked_for_once(taught, mesh, tmp_path, monkeypatch):
    _, _, teacher, (plan, reading) = taught
    config = tiny({"distillation.top_k": "4", "distillation.cache": "True"})
    folder = epath.Path(tmp_path)
    with on_mesh(mesh):
        fresh = words.with_word(config, plan, reading, teacher, folder)
        monkeypatch.setattr(words, "_ask", None)
        again = words.with_word(config, plan, reading, teacher, folder)
    batch = fresh.batch(0)
    for name, array in again.batch(0).items():
        np.testing.assert_array_equal(array, batch[name])
    tokens = batch["encoder_input_tokens"], batch["decoder_input_tokens"]
    logits = jax.jit(teacher.loaded.model.apply)({"params": teacher.params}, *tokens)
    logprobs = np.asarray(jax.nn.log_softmax(logits / config.distillation.temperature))
    counts = batch["decoder_loss_weights"] > 0
    chosen = np.take_along_axis(logprobs, batch["teacher_tokens"], -1)
    np.testing.assert_allclose(
        batch["teacher_logprobs"][..., :4][counts], chosen[counts], rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(chosen[counts], -np.sort(-logprobs[counts])[..., :4], atol=1e-5)
    np.testing.assert_allclose(np.exp(batch["teacher_logprobs"][counts]).sum(-1), 1, rtol=1e-5)
    # Damaged, or of other targets, it is asked for again.
    monkeypatch.setattr(words, "_ask", lambda *_: "asked")
    assert words._read(folder / "teacher_word.npz", "other examples") is None
    (folder / "teacher_word.npz").write_bytes(b"PK\x03\x04 and then nothing")
    assert words._read(folder / "teacher_word.npz", "any") is None


def test_a_student_of_some_layers_has_their_weights(tmp_path):
    assert spread(3, 12) == [0, 5, 11] and spread(2, 6) == [0, 5] and spread(4, 4) == [0, 1, 2, 3]
    nano = load_pretrained("nano")
    fewer = open_hf("nano").with_layers(2, 1)
    assert (fewer.config.num_encoder_layers, fewer.config.num_decoder_layers) == (2, 1)
    params, whole = flatten(fewer.read("float32")), flatten(nano.params)
    place = {"encoder/layers_1": "encoder/layers_2"}
    for path, leaf in params.items():
        layer = "/".join(path.split("/")[:2])
        np.testing.assert_array_equal(leaf, whole[path.replace(layer, place.get(layer, layer))])
    kept = ("encoder/layers_0", "encoder/layers_2", "decoder/layers_0")
    others = [path for path in whole if "/layers_" not in path or path.startswith(kept)]
    assert len(params) == len(others)
    with pytest.raises(InputError, match="model.layers: 4 layers are to be kept of the decoder"):
        open_hf("nano").with_layers(1, 4)


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"distillation.own_texts": "0.5", "distillation.teacher_weight": "0"},
            "distillation.own_texts",
        ),
        ({"distillation.cache": "True"}, "distillation.cache: what is kept"),
        (
            {
                "distillation.cache": "True",
                "distillation.top_k": "4",
                "distillation.own_texts": "0.5",
            },
            "distillation.cache: the student's own",
        ),
        ({"model.layers": "(1, 1)"}, "model.layers: random weights"),
        (
            {"model.layers": "(1,)", "model.source": "teacher"},
            r"config.model.layers must be \(\) or two",
        ),
        ({"distillation.temperature": "0"}, "distillation.temperature must be a number > 0"),
        (
            {"distillation.own_texts": "0.5", "distillation.sampling": "{'num_beams': 2}"},
            "config.distillation.sampling: a row gets one text",
        ),
        ({"distillation.sampling": "{'top': 2}"}, "config.distillation.sampling"),
        ({"distillation.writing": "{'top': 2}"}, "config.distillation.writing"),
        ({"model.architecture.vocab_size": "2000"}, "2048"),
        (
            {"model.architecture.vocab_size": "4096"},
            "the student's vocab_size is 4096, its teacher's 2048",
        ),
        (
            {
                "model.source": "teacher",
                "model.layers": "(2, 1)",
                "adapter": "{'method': 'soft_prompt', 'length': 2, 'init_from': 'normal'}",
                "train.trainable": "adapters",
            },
            "config.adapter: the base of an adapter",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_the_run_begins(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        distil.run(tiny(changes), str(tmp_path / "run"))
    assert not (tmp_path / "run" / "config.json").exists()


def test_another_tokenizer_is_refused_by_its_first_token(tmp_path):
    nano = load_pretrained("nano")
    other = tmp_path / "other"
    nano.tokenizer.save(other)
    file = other / "tokenizer.json"
    content = json.loads(file.read_text())
    pieces = content["model"]["vocab"]
    pieces[300], pieces[301] = pieces[301], pieces[300]
    file.write_text(json.dumps(content))
    with pytest.raises(
        InputError, match=r"config.model.source: .*id 30[01] there and id 30[01] here"
    ):
        teachers.check_shared_ids(nano.tokenizer, str(other), "config.model.source")
    teachers.check_shared_ids(nano.tokenizer, "nano", "config.model.source")


def test_another_teacher_is_not_gone_on_with(taught, tmp_path):
    _, _, teacher, _ = taught
    folder = epath.Path(tmp_path)
    teachers.recognise(teacher, folder)
    teachers.recognise(teacher, folder)
    t5, others = random_model(12, 2)
    other = dataclasses.replace(teacher, loaded=Loaded(t5, None, lambda: others))
    with pytest.raises(
        InputError, match="config.teacher.source: the weights of nowhere are not those"
    ):
        teachers.recognise(other, folder)
