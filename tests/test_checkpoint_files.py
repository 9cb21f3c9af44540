"""What else may lie among checkpoints: links, files of the system, folders that are none, manifests that are none."""

import errno
import json
import os
import pathlib
import resource
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from t5x_lite.checkpoints import manifest
from t5x_lite.checkpoints.manager import Checkpoints
from t5x_lite.checkpoints.trouble import storage_trouble_is_named
from t5x_lite.errors import InputError

ABSTRACT = {"w": jax.ShapeDtypeStruct((100,), jnp.float32)}


def state_of(step: int):
    return {"w": jnp.arange(100, dtype=jnp.float32) + step}


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    """Checkpoints of steps 3 and 6."""
    place = tmp_path / "checkpoints"
    checkpoints = Checkpoints(place, keep=3)
    for step in (3, 6):
        checkpoints.save(step, state_of(step), {})
    checkpoints.close()
    return place


def restored(folder) -> int:
    """The step of what a run would go on from; one later is saved, too."""
    checkpoints = Checkpoints(folder, keep=3)
    try:
        state, _ = checkpoints.restore(ABSTRACT)
        step = int(state["w"][0])
        np.testing.assert_array_equal(state["w"], state_of(step)["w"])
        checkpoints.save(9, state_of(9), {})
        checkpoints.wait()
        assert int(checkpoints.restore(ABSTRACT)[0]["w"][0]) == 9
        return step
    finally:
        checkpoints.close()


@pytest.mark.parametrize("name", [".DS_Store", "._d", "Thumbs.db", "desktop.ini", ".nfs00000001"])
@pytest.mark.parametrize("where", ["", "6", "6/state"])
def test_files_of_the_system_are_no_damage(folder, name: str, where: str):
    (folder / where / name).write_text("of Finder, Explorer or NFS")
    assert restored(folder) == 6


def test_files_of_the_system_that_came_while_saving_may_go(folder, tmp_path):
    (folder / "6" / ".DS_Store").write_text("?")
    manifest.write_manifest(folder / "6", manifest.describe(ABSTRACT))
    (folder / "6" / ".DS_Store").unlink()
    assert restored(folder) == 6


@pytest.mark.parametrize("name", ["x[1]", "*", "what?", "[", "a b'\"c"])
def test_a_folder_may_be_called_like_a_pattern(tmp_path, name: str):
    for step in (3, 6):
        checkpoints = Checkpoints(tmp_path / name / "checkpoints", keep=1)
        checkpoints.save(step, state_of(step), {})
        checkpoints.close()
    assert os.listdir(tmp_path / name / "checkpoints") == ["6"], "the one before is removed"
    assert restored(tmp_path / name / "checkpoints") == 6


def test_a_bucket_may_not(bucket):
    with pytest.raises(
        InputError, match=r"x\[1\]/checkpoints: .* of a remote folder; give a --workdir"
    ):
        Checkpoints(f"{bucket}/x[1]/checkpoints", keep=1)


STRANGE = {
    "a step that no run has": "99999999999999999999999",
    "digits of another script": "\N{ARABIC-INDIC DIGIT SEVEN}",
    "a digit that is no number": "\N{SUPERSCRIPT TWO}",
}


@pytest.mark.parametrize("name", STRANGE.values(), ids=STRANGE)
def test_a_folder_that_is_no_checkpoint_is_put_aside(folder, name: str, caplog):
    (folder / name).mkdir()
    assert Checkpoints(folder, keep=3).latest_step() == 6
    assert f"no checkpoint of a run; moved to damaged-{name}" in caplog.text
    assert (folder / f"damaged-{name}").is_dir() and restored(folder) == 6


def test_a_file_that_is_called_as_a_step_is_put_aside(folder, caplog):
    (folder / "8").write_text("?")
    (folder / "damaged-8").write_text("of another time")
    assert restored(folder) == 6
    assert (folder / "damaged-8").read_text() == "?" and "8: no checkpoint of a run" in caplog.text


@pytest.mark.parametrize("name", ["foo_7", "007", "-7", "7.5", "notes", "latest"])
def test_other_folders_are_left_alone(folder, name: str):
    (folder / name).mkdir()
    assert restored(folder) == 6 and (folder / name).is_dir()


@pytest.mark.parametrize(
    "content", ["", "[]", "null", '{"item_handlers": [1]}', '{"metrics": 3}', "{\x00", "[" * 5000, "\xff"]
)  # fmt: skip
def test_notes_of_the_storage_library_may_be_damaged(folder, content: str, caplog):
    """They hold nothing of the state, and the library fails over them where a type is another one."""
    (folder / "6" / "_CHECKPOINT_METADATA").write_text(content)
    assert restored(folder) == 6
    assert "6/_CHECKPOINT_METADATA: damaged, and removed" in caplog.text


def test_an_empty_folder_is_a_damaged_checkpoint(folder):
    (folder / "8").mkdir()
    (folder / "damaged-8").symlink_to("nowhere")
    assert restored(folder) == 6
    assert (folder / "damaged-8").is_dir() and not (folder / "damaged-8").is_symlink()


@pytest.mark.parametrize("target", ["6", "nowhere", "../elsewhere"])
def test_a_link_in_place_of_a_checkpoint_is_refused(folder, target: str):
    """orbax would take it, and fail to remove it when its time comes."""
    (folder.parent / "elsewhere").mkdir()
    (folder / "7").symlink_to(target)
    with pytest.raises(
        InputError, match=r"checkpoints/7: a link in place of a checkpoint; put .* or remove"
    ) as error:
        Checkpoints(folder, keep=3)
    assert "\n" not in str(error.value)
    (folder / "7").unlink()
    (folder / "latest").symlink_to(target)  # orbax looks at no other names
    assert restored(folder) == 6


def test_all_checkpoints_may_lie_behind_a_link(folder, tmp_path):
    (tmp_path / "other_disk").mkdir()
    there = folder.rename(tmp_path / "other_disk" / "checkpoints")
    folder.symlink_to(there)
    assert restored(folder) == 6 and (there / "9").is_dir()


@pytest.mark.parametrize("target", [".", "/nowhere", "../3"])
def test_a_link_within_a_checkpoint_is_no_part_of_it(folder, target: str, caplog):
    """Also one that leads in a circle."""
    (folder / "6" / "state" / "link").symlink_to(target)
    assert restored(folder) == 3
    assert "6: damaged: not part of it: state/link; moved to damaged-6" in caplog.text


def test_a_file_may_have_become_a_link_to_the_same_bytes(folder, tmp_path):
    file = folder / "6" / "state" / "_METADATA"
    file.symlink_to(file.rename(tmp_path / "kept"))
    assert restored(folder) == 6


def own(content: dict) -> str:
    """A manifest whose own hash is right."""
    return json.dumps(content | {"sha256": manifest._content_hash(content)})


TREE = manifest.describe(ABSTRACT)
MANIFESTS = {
    "a list": "[]",
    "nothing": "null",
    "a number of 6,000 digits": "9" * 6000,
    "deep": "[" * 100_000 + "]" * 100_000,
    "deep, and ended": '{"sha256": ' * 900 + "1" + "}" * 900,
    "files as a list": own({"files": ["state/_METADATA"], "tree": TREE}),
    "tree as a list": own({"files": {}, "tree": [1]}),
    "no UTF-8": b"\xff\xfe{}",
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_that_is_none_is_damage(folder, name: str, caplog):
    content = MANIFESTS[name]
    (folder / "6" / "manifest.json").write_bytes(
        content if isinstance(content, bytes) else content.encode()
    )
    assert restored(folder) == 3
    assert "6: damaged: manifest.json" in caplog.text


def test_a_folder_in_place_of_the_manifest_is_damage(folder):
    (folder / "6" / "manifest.json").unlink()
    (folder / "6" / "manifest.json").mkdir()
    assert restored(folder) == 3


# A full disk

# What tensorstore makes of it, cut short: its message names the whole spec of the array, for each array.
PAGE = (
    "INTERNAL: Error writing local file: No space left on device [os_error_code='28'] "
    + "[tensorstore_spec='{context:{}}'] " * 400
    + "\nsecond line"
)


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        (ValueError(PAGE), "the disk is full"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "the disk is full"),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), "the quota is used up"),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES)), "permission denied"),
        (OSError(errno.EIO, "x" * 3000 + "\ny"), "x" * 200),
    ],
)
def test_trouble_with_the_storage_is_one_line(folder, cause: Exception, reason: str):
    with pytest.raises(InputError) as error, storage_trouble_is_named(epath.Path(folder), 9):
        try:
            raise cause
        except Exception as first:
            raise RuntimeError("saving failed") from first
    assert str(error.value) == (
        f"{folder}: the checkpoint of step 9 could not be written ({reason}); earlier ones are kept (of step 3, 6);"
        " put that right, and the same command goes on"
    )


def test_other_faults_are_not_said_to_be_of_the_storage(folder):
    with pytest.raises(ZeroDivisionError), storage_trouble_is_named(epath.Path(folder), 9):
        raise ZeroDivisionError


OUT_OF_DISK = """
import os, resource, sys
import jax.numpy as jnp
from t5x_lite import console
from t5x_lite.checkpoints.manager import Checkpoints
from t5x_lite.errors import InputError
console.setup()
checkpoints = Checkpoints(sys.argv[1], keep=1)
resource.setrlimit(resource.RLIMIT_FSIZE, (60, resource.RLIM_INFINITY))
try:
    checkpoints.save(1, {"w": jnp.arange(400.0)}, {})
    checkpoints.wait()
except InputError as error:
    os.write(2, f"told: {error}\\n".encode())
    os._exit(1)  # orbax's threads may wait for minutes for the rest of the save
"""


def test_a_program_says_no_more_than_that_line(tmp_path):
    """The storage library's threads would log a page of their own before."""
    run = subprocess.run(
        [sys.executable, "-c", OUT_OF_DISK, str(tmp_path / "checkpoints")],
        cwd=pathlib.Path(__file__).resolve().parents[1],
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.stderr.startswith("told: ") and run.stderr.count("\n") == 1, run.stderr


@pytest.mark.parametrize("limit", [0, 60, 300, 1000, 3000])
def test_a_save_that_fails_anywhere_is_told(tmp_path, limit: int):
    """No file may be larger than so many bytes: it fails with the first file, or with the manifest alone."""
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=1)
    state = {f"layer_{number}": jnp.arange(400.0) for number in range(8)}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    told = False
    try:
        checkpoints.save(1, state, {})
        checkpoints.wait()
        checkpoints.close()
    except InputError as error:
        told = (
            "step 1 could not be written (a file is larger than may be); there is no earlier one"
            in str(error)
        )
        assert told, error
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    again = Checkpoints(tmp_path / "checkpoints", keep=1)
    assert (again.latest_step() == 1) == (not told), "what is not told is there"
    again.close()
