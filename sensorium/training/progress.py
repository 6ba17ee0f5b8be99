"""Live progress: a bar with rate and time left, a JSONL log, TensorBoard."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LOG = "log.jsonl"


class Log:
    """Every step as a line of `log.jsonl`, as TensorBoard scalars where TensorBoard is installed, and on the bar.

    `done` steps are behind the run; what an earlier attempt logged beyond them is cut off, for it is run again.
    """

    def __init__(self, out: Path, title: str, quiet: bool, done: int = 0) -> None:
        cut_back(out / LOG, done)
        self.file = (out / LOG).open("a")
        self.board = _tensorboard(out, done)
        self.bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            disable=quiet,
        )
        self.title, self.task, self.started = title, TaskID(0), time.perf_counter()

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()
        self.file.close()
        if self.board is not None:
            self.board.close()

    def stage(self, name: str, steps: int, done: int) -> None:
        self.task = self.bar.add_task(f"{self.title} {name}", total=steps, completed=done, note="")

    def step(self, record: dict[str, Any]) -> None:
        self.file.write(json.dumps(record) + "\n")
        self.file.flush()
        if self.board is not None:
            for key, value in record.items():
                if isinstance(value, int | float) and key != "step":
                    self.board.add_scalar(key, value, record["step"])
        bad = f" bad {record['bad_samples']}" if record["bad_samples"] else ""
        note = f"loss {record['loss']:.3f}  {record['tokens_per_second']:,.0f} tok/s{bad}"
        self.bar.update(self.task, advance=1, note=note)


def cut_back(file: Path, steps: int) -> None:
    """Cut a log of one step a line back to its first `steps` steps, and drop a last line that a kill cut short."""
    if not file.exists():
        return
    kept = 0
    with file.open("rb") as lines:
        for line in lines:
            if _step(line) > steps:
                break
            kept += len(line)
    os.truncate(file, kept)


def _step(line: bytes) -> float:
    """The step of a line; infinity if the line is not whole."""
    try:
        return json.loads(line)["step"] if line.endswith(b"\n") else math.inf
    except ValueError:
        return math.inf


def _tensorboard(out: Path, done: int) -> Any | None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(out / "tensorboard"), purge_step=done + 1)
