"""The model that a run begins from, beside what was trained of it: `comparison.original`."""

from __future__ import annotations

from etils import epath

from t5x_lite.tasks.finetune.sections import Config

ORIGINAL = "original"
# Not compared; read anew from where it came; the very model that training changed (lab 2's quirk).
_BEFORE, _AFTER = "before", "after"


def is_scored(config: Config) -> bool:
    """Whether the model is to be read anew and scored as it was, in folder/`ORIGINAL`."""
    return config.comparison.original == _BEFORE


def originals(config: Config, folder: epath.Path) -> list[tuple[str, str]]:
    """The model among the runs to compare with: none, or its name and where its texts are."""
    # After training, what was the original writes what the trained model does.
    places = {_BEFORE: folder / ORIGINAL, _AFTER: folder}
    place = places.get(config.comparison.original)
    return [] if place is None else [(ORIGINAL, str(place))]


def note_on(config: Config) -> str:
    """What a reader of the comparison is to know."""
    if config.comparison.original != _AFTER:
        return ""
    return (
        f" {ORIGINAL!r} is the model that training changed in place, as in the lab's notebook, so it writes what"
        f" {config.comparison.name!r} writes; comparison.original={_BEFORE} compares with the model as it was."
    )
