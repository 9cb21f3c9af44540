"""Where a run that diverged went back to, in a file of its workdir; and which batches its steps take since then."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from etils import epath

from t5x_lite.errors import InputError
from t5x_lite.parallel.processes import from_process_zero, is_process_zero, wait_for_all

ROLLBACKS_FILE = "rollbacks.json"


@dataclasses.dataclass(frozen=True)
class Rollback:
    """One return. to: the checkpoint's step; came_from: the step after which the run had diverged; why: in words."""

    to: int
    came_from: int
    why: str


class Rollbacks:
    """The returns of a run, oldest first. Of several processes, 0 reads and writes.

    Raises:
      InputError: the file is there, and cannot be read.
    """

    def __init__(self, folder: epath.Path):
        self._file = folder / ROLLBACKS_FILE
        self.all = [Rollback(**one) for one in from_process_zero(self._read)]

    def add(self, rollback: Rollback) -> None:
        """Notes one more return."""
        self.all.append(rollback)
        if is_process_zero():
            fresh = self._file.with_name(f"{ROLLBACKS_FILE}.new")
            content = [dataclasses.asdict(one) for one in self.all]
            fresh.write_text(json.dumps(content, indent=2) + "\n")
            fresh.replace(self._file)
        wait_for_all()

    def led_to(self, step: int) -> bool:
        """Whether the run was rolled back to this step."""
        return any(one.to == step for one in self.all)

    def batch(self, step: int) -> int:
        """Which batch of the plan (from 0) the step (from 1) takes: those between a checkpoint and a divergence are
        passed over.
        """
        return step - 1 + sum(one.came_from - one.to for one in self.all if step > one.to)

    def _read(self) -> list[dict[str, Any]]:
        if not self._file.exists():
            return []
        try:
            content = json.loads(self._file.read_text())
            return [
                {"to": int(one["to"]), "came_from": int(one["came_from"]), "why": str(one["why"])}
                for one in content
            ]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(
                f"{self._file}: cannot be read ({type(error).__name__}); it says which batches the run passed over:"
                " put it back, or take another folder"
            ) from error
