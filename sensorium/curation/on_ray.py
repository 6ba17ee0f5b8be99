"""Scoring on Ray Data: `Workers` does what `map` does, on the processors of this machine or of a cluster."""

from __future__ import annotations

import importlib
import json
import logging
import os
from collections.abc import Generator, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self

from sensorium import errors
from sensorium.assets import need
from sensorium.curation.ray_worker import Worker, forget, packed
from sensorium.errors import ConfigError, DataError

if TYPE_CHECKING:
    from sensorium.curation.run import Work

ADDRESS = "RAY_ADDRESS"
MEMORY = 128 << 20
"""Bytes of the object store of a Ray that is begun here: all that goes through it is numbers of chunks."""
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
BLOCKS = 10_000
"""Into how many tasks chunks are divided at most, for the driver holds them all."""


class Workers:
    """`number` workers that each take one processor.

    Ray is begun when work first comes, unless the program has begun it, and ended on leaving: the cluster that
    $RAY_ADDRESS names, or one of this machine alone with as many processors as workers.
    """

    def __init__(self, number: int) -> None:
        need("ray", "ray", "scoring on Ray")
        self.number, self.begun = number, False
        self.running: Generator[tuple[int, list[str]]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.running:
            self.running.close()  # before its Ray goes
        if self.begun:
            _ray().shutdown()

    def __call__(self, work: Work, starts: Sequence[int]) -> Iterable[tuple[int, list[str]]]:
        """What `map(work, starts)` gives, in the order in which it is done."""
        self.running = self._run(work, starts)
        return self.running

    def _run(self, work: Work, starts: Sequence[int]) -> Generator[tuple[int, list[str]]]:
        data = self._begin()
        forget(work.folder)
        chunks = data.from_items([{"start": one} for one in starts], override_num_blocks=min(len(starts), BLOCKS))
        chunks.context.enable_progress_bars = False
        pool = data.ActorPoolStrategy(size=min(self.number, len(starts)))
        done = chunks.map_batches(Worker, batch_size=1, compute=pool, fn_constructor_args=packed(work))
        try:
            for row in done.iter_rows():
                if row["error"]:
                    raise getattr(errors, row["error"], DataError)(row["told"])
                yield int(row["samples"]), json.loads(row["told"])
        except _ray().exceptions.RayError as error:  # not ours: those of workers come as rows
            raise DataError(f"Ray has given up, and what is scored is kept; mend it and go on: {error}") from None
        finally:
            forget(work.folder)

    def _begin(self) -> Any:
        """Ray Data, once there is a Ray."""
        ray, data = _ray(), importlib.import_module("ray.data")
        if ray.is_initialized():
            return data
        self.begun = True
        for handler in logging.getLogger("ray.data").handlers:
            if isinstance(handler, logging.StreamHandler):  # its files stay as they are
                handler.setLevel(logging.CRITICAL)
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if not (address := os.environ.get(ADDRESS)):
            bounds = {"num_cpus": self.number, "object_store_memory": MEMORY, "include_dashboard": False}
            ray.init(address="local", **bounds, **quiet)
            return data
        try:
            ray.init(**quiet)
        except ConnectionError as error:
            hint = f"start it, unset {ADDRESS}, or set RAY_AUTH_MODE=token if it wants one"
            raise ConfigError(f"{ADDRESS}={address}: {error}; {hint}") from None
        return data


def _ray() -> Any:
    return importlib.import_module("ray")
