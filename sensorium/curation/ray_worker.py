"""What a worker of Ray Data does: `Work`, a chunk at a time, with whatever goes wrong told in words. Needs no Ray."""

from __future__ import annotations

import json
import os
import pickle
import socket
import sys
import traceback
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sensorium.curation.columns import key_of
from sensorium.errors import DataError, SensoriumError

if TYPE_CHECKING:
    from sensorium.curation.run import Work

TRIES = 3
"""How often a chunk that has ended its worker is tried; Ray itself would go on for ever."""


def packed(work: Work) -> tuple[bytes, str, list[str]]:
    """What a `Worker` is made of: the work, and the folder and paths of modules of the process that gives it."""
    return pickle.dumps(work), os.getcwd(), sys.path


def _here() -> str:
    return f"Ray's worker on {socket.gethostname()}"


class Worker:
    """`Work` as Ray Data calls it: a batch of one chunk to what came of it, or to the error that ends all.

    The work comes packed, from `packed`, so that what prevents it from being unpacked can be told as well.
    """

    def __init__(self, held: bytes, folder: str, paths: Sequence[str]) -> None:
        self.held, self.folder, self.paths = held, folder, paths

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        start = int(batch["start"][0])
        try:
            samples, reasons = self._tried(start)
        except SensoriumError as error:
            return {"samples": [0], "told": [str(error)], "error": [type(error).__name__]}
        except Exception:
            told = f"{_here()} failed:\n{traceback.format_exc().strip()}"
            return {"samples": [0], "told": [told], "error": [DataError.__name__]}
        return {"samples": [samples], "told": [json.dumps(reasons)], "error": [""]}

    @cached_property
    def work(self) -> Work:
        """The work, in the folder that its paths are relative to, once it is known to be the same here."""
        try:
            os.chdir(self.folder)
        except OSError as error:
            raise DataError(f"{_here()}: {error}; begin in a folder that all machines share") from None
        sys.path += [path for path in self.paths if path not in sys.path]
        try:
            work: Work = pickle.loads(self.held)  # from our own driver
        except (ImportError, AttributeError) as error:
            hint = "a part belongs into a module that is installed there as well, or into a file of --parts"
            raise DataError(f"{_here()} does not know a part: {error}; {hint}") from None
        if not work.folder.is_dir():
            raise DataError(f"{_here()} has no folder {work.folder}; give one that all machines share")
        if key_of(*work.configs)[1] != work.columns.about.key:
            raise DataError(f"{_here()} has other data, weights or another version than here; make them the same")
        return work

    def _tried(self, start: int) -> tuple[int, list[str]]:
        mark = self.work.folder / f".{start:010}.begun"
        with mark.open("a") as opened:
            opened.write(".")
        try:
            if mark.stat().st_size > TRIES:
                raise self._deadly(start)
            return self.work(start)
        finally:
            mark.unlink(missing_ok=True)

    def _deadly(self, start: int) -> DataError:
        about = self.work.columns.about
        end = min(start + about.chunk, about.length) - 1
        return DataError(
            f"scoring the samples {start} to {end} has ended {TRIES} workers of Ray, by a crash or a lack of memory; "
            "use fewer workers, or score without --ray to see at which sample it happens"
        )


def forget(folder: Path) -> None:
    """Which chunks an attempt that has ended had begun."""
    for mark in folder.glob(".*.begun"):
        mark.unlink(missing_ok=True)
