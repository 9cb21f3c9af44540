"""Checkpoints: what is restored is what was saved, on any mesh; whatever is not is named."""

import os
import pathlib
import resource
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from t5x_lite.checkpoints import manager, manifest, own_part
from t5x_lite.checkpoints.manager import Checkpoints
from t5x_lite.errors import InputError
from t5x_lite.train.state import init_state


def make_state(seed=0, width=8):
    rng = np.random.default_rng(seed)
    params = {
        "encoder": {"kernel": jnp.asarray(rng.normal(size=(16, width)), jnp.float32)},
        "head": {"scale": jnp.asarray(rng.normal(size=width), jnp.bfloat16)},
    }
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3))
    state = init_state(params, optimizer)
    return state.replace(step=jnp.int32(seed))


def abstract(state, mesh=None, *matrix_axes):
    def one(leaf):
        axes = matrix_axes if leaf.ndim == 2 else ()
        sharding = mesh and NamedSharding(mesh, PartitionSpec(*axes))
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    return jax.tree.map(one, state)


def make_mesh(*shape):
    names = ("data", "fsdp", "model")[: len(shape)]
    return jax.make_mesh(shape, names, axis_types=(AxisType.Auto,) * len(shape))


def assert_identical(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert a.dtype == b.dtype
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def flip_a_bit(path, at):
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 4
    path.write_bytes(data)


@pytest.fixture
def open_checkpoints(tmp_path):
    opened = []

    def open_(**settings):
        opened.append(Checkpoints(tmp_path / "checkpoints", **({"keep": 3} | settings)))
        return opened[-1]

    yield open_
    for checkpoints in opened:
        checkpoints.close()


def test_state_and_metadata_come_back_bit_for_bit(open_checkpoints):
    checkpoints = open_checkpoints()
    assert checkpoints.latest_step() is None
    metadata = {"seed": 17, "plan_step": 12, "config_hash": "ab12", "loop": {"best": [1.5, None]}}
    checkpoints.save(1, make_state(1), {"seed": 0})
    checkpoints.save(12, make_state(12), metadata)
    checkpoints.wait()
    assert checkpoints.latest_step() == 12
    again = open_checkpoints()  # as another process would
    state, found = again.restore(abstract(make_state()))
    assert_identical(state, make_state(12))
    assert type(state) is type(make_state())
    assert found == metadata
    assert_identical(again.restore(abstract(make_state()), step=1)[0], make_state(1))


@pytest.mark.parametrize("shape", [(8,), (2, 4), (1, 1, 2)])
def test_a_checkpoint_moves_to_another_mesh(open_checkpoints, shape):
    matrix_axes = {1: ("data",), 2: ("fsdp", "data"), 3: (None, "model")}[len(shape)]
    shardings = jax.tree.map(
        lambda leaf: leaf.sharding, abstract(make_state(), make_mesh(8), "data")
    )
    checkpoints = open_checkpoints()
    checkpoints.save(3, jax.device_put(make_state(3), shardings), {})
    target = abstract(make_state(), make_mesh(*shape), *matrix_axes)
    state, _ = checkpoints.restore(target)
    assert_identical(state, make_state(3))
    assert jax.tree.map(lambda leaf: leaf.sharding, state) == jax.tree.map(
        lambda leaf: leaf.sharding, target
    )


def test_the_state_may_be_donated_as_soon_as_save_returns(open_checkpoints):
    checkpoints = open_checkpoints()
    step = jax.jit(lambda x: jax.tree.map(lambda leaf: leaf + 1, x), donate_argnums=0)
    state = {"w": jnp.arange(1_000_000, dtype=jnp.float32)}
    for number in range(3):
        checkpoints.save(number, state, {})
        state = step(state)
    restored, _ = checkpoints.restore(abstract(state))
    np.testing.assert_array_equal(restored["w"], np.arange(1_000_000, dtype=np.float32) + 2)


def test_save_returns_before_the_files_are_complete(open_checkpoints, monkeypatch):
    checkpoints = open_checkpoints()
    may_finish = threading.Event()
    hashes = manifest._hashes
    monkeypatch.setattr(manifest, "_hashes", lambda *given: may_finish.wait(20) and hashes(*given))
    checkpoints.save(5, make_state(5), {})
    time.sleep(0.3)  # what has not been held up would be there by now
    assert checkpoints.directory.joinpath("5").exists() is False
    may_finish.set()
    checkpoints.wait()
    assert_identical(checkpoints.restore(abstract(make_state()))[0], make_state(5))


def state_files(directory):
    """Every file that the manifest covers, and the manifest."""
    return sorted(
        path.relative_to(directory)
        for path in directory.rglob("*")
        if path.is_file() and path.name not in ("_CHECKPOINT_METADATA", "commit_success.txt")
    )


def test_a_flipped_bit_in_any_file_is_found_and_named(open_checkpoints):
    checkpoints = open_checkpoints()
    checkpoints.save(5, make_state(5), {"seed": 1})
    checkpoints.wait()
    directory = pathlib.Path(checkpoints.directory / "5")
    files = state_files(directory)
    assert len(files) > 6
    for number, file in enumerate(files):
        whole = (directory / file).read_bytes()
        for at in (0, len(whole) // 2, len(whole) - 1 - number):
            flip_a_bit(directory / file, at)
            with pytest.raises(
                InputError, match=rf"5: damaged: .*{file.name}.*; use another step \(\[5\]\)"
            ):
                checkpoints.restore(abstract(make_state()), step=5)
            (directory / file).write_bytes(whole)
    assert_identical(checkpoints.restore(abstract(make_state()), step=5)[0], make_state(5))


def test_orbax_itself_can_read_on_over_a_flipped_bit(open_checkpoints, monkeypatch):
    """Why there is a manifest. Should this fail, orbax has learned to notice, and ours may go."""
    checkpoints = open_checkpoints()
    state = {"w": jnp.asarray(np.random.default_rng(0).integers(0, 2**31 - 1, 100_000), jnp.int32)}
    checkpoints.save(5, state, {})
    checkpoints.wait()
    files = sorted(pathlib.Path(checkpoints.directory / "5").rglob("d/*"), key=os.path.getsize)
    flip_a_bit(files[-1], os.path.getsize(files[-1]) // 2)
    monkeypatch.setattr(manager, "damage_of", lambda place, wanted: "")
    restored, _ = checkpoints.restore(abstract(state))
    assert not np.array_equal(restored["w"], state["w"])


def test_missing_and_additional_files_are_named(open_checkpoints):
    checkpoints = open_checkpoints()
    checkpoints.save(5, make_state(5), {})
    checkpoints.wait()
    directory = pathlib.Path(checkpoints.directory / "5")
    (directory / "state" / "stray").write_text("?")
    (directory / "state" / "_METADATA").rename(directory.parent / "elsewhere")
    expected = r"damaged: missing: state/_METADATA; not part of it: state/stray"
    with pytest.raises(InputError, match=expected):
        checkpoints.restore(abstract(make_state()), step=5)
    (directory / "manifest.json").unlink()
    with pytest.raises(InputError, match="damaged: manifest.json is missing or unreadable"):
        checkpoints.restore(abstract(make_state()), step=5)


def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(open_checkpoints, caplog):
    checkpoints = open_checkpoints()
    for step in (1, 2, 3):
        checkpoints.save(step, make_state(step), {"plan_step": step})
    checkpoints.wait()
    for step in (2, 3):
        flip_a_bit(pathlib.Path(checkpoints.directory / str(step) / "state" / "manifest.ocdbt"), 9)
    state, metadata = checkpoints.restore(abstract(make_state()))
    assert_identical(state, make_state(1))
    assert metadata == {"plan_step": 1}
    assert [record.getMessage().count("state/manifest.ocdbt") for record in caplog.records] == [
        1,
        1,
    ]
    names = {path.name for path in checkpoints.directory.iterdir()}
    assert names == {"1", "damaged-2", "damaged-3"}
    assert checkpoints.latest_step() == 1
    checkpoints.save(2, make_state(2), {})  # the run goes on from there
    assert_identical(checkpoints.restore(abstract(make_state()))[0], make_state(2))
    for step in (1, 2):
        (checkpoints.directory / str(step) / "manifest.json").unlink()
    with pytest.raises(InputError, match="every checkpoint is damaged"):
        checkpoints.restore(abstract(make_state()))


def test_a_checkpoint_of_another_state_is_refused_before_it_is_read(open_checkpoints, monkeypatch):
    checkpoints = open_checkpoints()
    checkpoints.save(5, make_state(5), {})
    checkpoints.wait()
    monkeypatch.setattr(manifest, "_hashes", lambda *given: pytest.fail("slow work first"))
    other = make_state()
    other = other.replace(params=other.params | {"decoder": {"kernel": jnp.ones(3)}})
    other.params.pop("head")
    with pytest.raises(
        InputError,
        match="only in the state: params/decoder/kernel; only in the checkpoint: params/head/scale$",
    ):
        checkpoints.restore(abstract(other))
    message = r"params/encoder/kernel \[\[16, 4\], 'float32'\] against \[\[16, 8\], 'float32'\]"
    with pytest.raises(InputError, match=message):
        checkpoints.restore(abstract(make_state(width=4)))
    halves = make_state()
    halves.params["encoder"]["kernel"] = halves.params["encoder"]["kernel"].astype(jnp.bfloat16)
    with pytest.raises(InputError, match="'bfloat16'.* against .*'float32'"):
        checkpoints.restore(abstract(halves))
    assert (checkpoints.directory / "5").exists()  # a wrong config is no damage


def test_the_newest_and_the_best_are_kept(open_checkpoints):
    checkpoints = open_checkpoints(keep=2, keep_best=1, best_metric="loss", best_mode="min")
    for step, loss in ((1, 3.0), (2, 1.0), (3, 2.0), (4, 4.0)):
        checkpoints.save(step, make_state(step), {"metrics": {"loss": loss}})
    checkpoints.save(5, make_state(5), {})  # not evaluated
    checkpoints.wait()
    assert {path.name for path in checkpoints.directory.iterdir()} == {"2", "4", "5"}
    assert_identical(checkpoints.restore(abstract(make_state()), step=2)[0], make_state(2))


def test_so_many_of_the_best_and_every_so_manieth_are_kept(open_checkpoints):
    """Also by a run that goes on; a number that is none is never best."""
    scores = [0.1, 0.9, 0.3, float("nan"), 0.8, 0.2, 0.4, 0.5]
    for begin, end in ((0, 4), (4, 8)):
        checkpoints = open_checkpoints(keep=1, keep_every=3, keep_best=2, best_metric="score")
        for step in range(begin + 1, end + 1):
            checkpoints.save(step, make_state(step), {"metrics": {"score": scores[step - 1]}})
        checkpoints.wait()
    assert {path.name for path in checkpoints.directory.iterdir()} == {"2", "3", "5", "6", "8"}
    assert_identical(checkpoints.restore(abstract(make_state()), step=3)[0], make_state(3))


def test_a_metric_that_no_evaluation_has_is_named(open_checkpoints):
    checkpoints = open_checkpoints(keep=1, keep_best=1, best_metric="rouge")
    checkpoints.save(1, make_state(1), {})  # not evaluated
    with pytest.raises(
        InputError, match="checkpoint.best_metric 'rouge': no evaluation has it; there are a, b"
    ):
        checkpoints.save(2, make_state(2), {"metrics": {"a": 1.0, "b": 2.0}})


def hashed_names(monkeypatch, module):
    names = []
    sha256 = module.sha256_of
    monkeypatch.setattr(module, "sha256_of", lambda path: names.append(str(path)) or sha256(path))
    return names


def test_what_a_process_writes_is_hashed_while_it_is_written(open_checkpoints, monkeypatch):
    """Before the manifest is, which hashes what is left: what joins the parts of the processes."""
    own, rest = (hashed_names(monkeypatch, module) for module in (own_part, manifest))
    checkpoints = open_checkpoints()
    noise = jnp.asarray(np.random.default_rng(0).normal(size=300_000), jnp.float32)
    checkpoints.save(1, {"noise": noise}, {})
    checkpoints.wait()
    sizes = {
        str(path.relative_to(checkpoints.directory / "1")): path.stat().st_size
        for path in pathlib.Path(checkpoints.directory / "1").rglob("*")
        if path.is_file()
    }
    hashed = [[name.rpartition("tmp/")[2] for name in names] for names in (own, rest)]
    assert not set(hashed[0]) & set(hashed[1])
    assert sum(sizes[f"state/{name}"] for name in hashed[0] if "ocdbt" in name) > 1_000_000, sizes
    checkpoints.restore({"noise": jax.ShapeDtypeStruct(noise.shape, noise.dtype)}, step=1)


def test_a_full_disk_costs_the_save_and_nothing_else(open_checkpoints):
    checkpoints = open_checkpoints()
    checkpoints.save(1, make_state(1), {})
    checkpoints.wait()
    noise = jnp.asarray(np.random.default_rng(0).normal(size=300_000), jnp.float32)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(
            InputError,
            match=r"step 2 could not be written \(a file is larger than may be\); earlier ones are kept \(of step 1\);",
        ) as error:
            checkpoints.save(2, {"noise": noise}, {})
            checkpoints.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400
    assert checkpoints.latest_step() == 1
    assert_identical(checkpoints.restore(abstract(make_state()))[0], make_state(1))
    checkpoints.save(2, make_state(2), {})
    assert_identical(checkpoints.restore(abstract(make_state()))[0], make_state(2))


def test_what_an_interrupted_save_left_is_no_checkpoint(open_checkpoints):
    checkpoints = open_checkpoints()
    checkpoints.save(1, make_state(1), {})
    checkpoints.wait()
    left = [pathlib.Path(checkpoints.directory / f"{step}.orbax-checkpoint-tmp") for step in (2, 7)]
    for directory in left:
        (directory / "state").mkdir(parents=True)
    again = open_checkpoints()
    assert again.latest_step() == 1
    again.save(2, make_state(2), {})
    assert_identical(again.restore(abstract(make_state()))[0], make_state(2))
    assert not any(directory.exists() for directory in left)


def test_misuse_takes_one_line(open_checkpoints, tmp_path):
    checkpoints = open_checkpoints()
    with pytest.raises(InputError, match="no checkpoint; the directory has none"):
        checkpoints.restore(abstract(make_state()))
    checkpoints.save(5, make_state(5), {})
    checkpoints.save(5, make_state(5), {})  # the same once more: nothing to do
    with pytest.raises(InputError, match=r"no checkpoint of step 4; the directory has steps \[5\]"):
        checkpoints.restore(abstract(make_state()), step=4)
    for again, step in ((checkpoints, 4), (open_checkpoints(), 5)):
        with pytest.raises(InputError, match=f"step {step} cannot be saved over .* step 5"):
            again.save(step, make_state(step), {})
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot keep checkpoints there"):
        Checkpoints(tmp_path / "file" / "checkpoints", keep=1)
    with pytest.raises(InputError, match="checkpoint.keep must be at least 1"):
        open_checkpoints(keep=0)
