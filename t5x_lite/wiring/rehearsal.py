"""A rehearsal of a run (`--dry_run`): all that is read and checked before its first step, and nothing of what follows.

Whatever a task does before `claim_workdir` reads, checks and works out shapes; there a rehearsal ends. What it came by
on its way is noted, and told at the end. Nothing is compiled, and nothing written but to a temporary folder.
"""

from __future__ import annotations

import contextlib
import importlib
import tempfile
from collections.abc import Iterator
from typing import Any, NoReturn

import jax
from etils import epath

from t5x_lite.foreign.sizes import in_words
from t5x_lite.parallel.memory import bytes_each
from t5x_lite.sections import Config

_Notes = dict[str, str]
_rehearsals: list[_Notes] = []  # under way: one may rehearse what it trains first


class Rehearsed(Exception):
    """Raised where a run would begin."""


def rehearse(config: Config, workdir: str) -> str:
    """What a run of this config would be, a line a fact, found without compiling or writing anything.

    Raises:
      InputError: whatever is wrong with the input of the run.
    """
    notes: _Notes = {}
    _rehearsals.append(notes)
    try:
        importlib.import_module(f"t5x_lite.tasks.{config.task}.run").run(config, workdir)
    except Rehearsed:
        pass
    finally:
        _rehearsals.pop()
    width = max(map(len, notes), default=0)
    lines = [f"  {name:<{width}}  {words}\n" for name, words in notes.items()]
    return f"nothing is wrong with its input (task {config.task})\n{''.join(lines)}"


def is_rehearsal() -> bool:
    """Whether the run under way is only rehearsed."""
    return bool(_rehearsals)


def end_rehearsal() -> NoReturn:
    """Ends the rehearsal under way: all that can be told is known."""
    raise Rehearsed


def note(name: str, words: str) -> None:
    """Keeps a fact for the end of a rehearsal; does nothing where a run is meant."""
    if _rehearsals:
        before = _rehearsals[-1].get(name)
        several = before is not None and words not in before.split(", ")
        _rehearsals[-1][name] = f"{before}, {words}" if several else words


def note_memory(name: str, abstract: Any) -> None:
    """`note` of what a tree of `jax.ShapeDtypeStruct` with shardings takes on each device."""
    if _rehearsals and all(leaf.sharding is not None for leaf in jax.tree.leaves(abstract)):
        note(f"memory, {name}", f"{in_words(bytes_each(abstract))} on each device")


def note_lengths(name: str, examples: Any) -> None:
    """`note` of how long examples are. examples: a `data.features.ExampleSource`."""
    if _rehearsals:
        sides = (("encoder", examples.encoder_lengths), ("decoder", examples.decoder_lengths))
        note(
            f"tokens, {name}",
            "; ".join(
                f"{side} {lengths.mean():.0f} on average, {lengths.max()} at most"
                for side, lengths in sides
            ),
        )


def note_batches(name: str, plan: Any) -> None:
    """`note` of the shapes of a plan's batches. plan: a `data.plan.Plan`."""
    if _rehearsals:
        shapes = ", ".join(
            f"{s.encoder_length} x {s.decoder_length} x {s.rows}" for s in plan.shapes
        )
        note(
            f"batches, {name}",
            f"{plan.steps_per_epoch:,} an epoch; encoder x decoder x rows: {shapes}",
        )


@contextlib.contextmanager
def own_folder(folder: epath.Path) -> Iterator[epath.Path]:
    """The folder of a run, or in a rehearsal one that is gone afterwards."""
    if not _rehearsals:
        yield folder
        return
    with tempfile.TemporaryDirectory() as directory:
        yield epath.Path(directory)
