"""Damaged files of every format that the data engine reads: each is read or refused, and nothing else ever happens.

Run `python benchmarks/fuzz.py [--files 10000] [--seed 0] [--json FILE]`. Each file is read in a worker process with
little memory, under a watchdog, the way that training reads it. A process that dies, one that takes too long, a lack of
memory and any exception but a DataError are failures: the exit code is 1, and each is printed with its index, from
which `--seed S --keep FOLDER --only INDEX` makes the file again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # others reserve more addresses than are allowed here
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from specimens import FORMATS, Format, damaged, layout, sealed

from sensorium.errors import DataError

MEMORY = 2 << 30
"""Bytes of addresses that a worker may take beside those it begins with; the largest picture takes half of them."""
PATIENCE = 30.0
"""Seconds after which a file counts as a hang, on a machine that others use."""
FAILURES = ("crash", "hang", "memory", "exception")
OUR_FAULT = (AttributeError, TypeError, NameError, LookupError, AssertionError, ArithmeticError)
"""Errors that are a mistake of the program if our own code raises them, even where they became a DataError."""


@dataclass(frozen=True)
class Result:
    """What happened to a file. `damage` says what was done to it; `detail` what was said."""

    index: int
    format: str
    damage: str
    outcome: str
    detail: str


@cache
def specimens(name: str) -> list[bytes]:
    return next(format for format in FORMATS if format.name == name).make()


def make_file(seed: int, index: int) -> tuple[Format, str, bytes, str]:
    """File `index` of a seed: its format, the ending of its name, its bytes, and how they were damaged."""
    dice, format = random.Random(f"{seed}/{index}"), FORMATS[index % len(FORMATS)]
    data = dice.choice(specimens(format.name))
    ending = format.name
    if dice.random() < 0.1:
        ending = dice.choice(FORMATS).name
        if dice.random() < 0.5:
            return format, ending, data, "renamed"
    donors = [specimens(dice.choice(FORMATS).name)[0]]
    broken, damage = damaged(data, donors, dice)
    if dice.random() < 0.5:
        broken, damage = sealed(format.name, broken), f"{damage}+sealed"
    return format, ending, broken, damage


def judge(format: Format, file: Path) -> tuple[str, str]:
    """Read a file: the outcome, and what was said. A file is refused if anything in it is."""
    try:
        refused = format.read(file)
    except MemoryError:
        return "memory", traceback.format_exc(limit=-4)
    except DataError as error:
        refused = [error]
    except BaseException:
        return "exception", traceback.format_exc(limit=-6)
    found = [_refusal(error) for error in refused]
    return min(found, key=lambda one: one[0] == "refused", default=("read", ""))


def _refusal(error: DataError) -> tuple[str, str]:
    """Whether a refusal is one, or hides what must not happen."""
    chain = list(_causes(error))
    if any(isinstance(cause, MemoryError) or "allocate memory" in str(cause) for cause in chain):
        return "memory", str(error)
    if any(isinstance(cause, OUR_FAULT) and _is_ours(cause) for cause in chain):
        return "exception", "".join(traceback.format_exception(error, limit=-4))
    return "refused", str(error)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_ours(error: BaseException) -> bool:
    """Whether the code that raised an error is this project's."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and f"{os.sep}sensorium{os.sep}" in frames[-1].filename


def serve(seed: int, indices: Sequence[int], there: Connection) -> None:
    """The life of a worker: says what it begins, and what came of it."""
    sys.stderr = os.fdopen(os.dup(2), "w")  # for tracebacks of this file's own mistakes
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libtiff and libmpg123 tell the world what they dislike
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    layout()
    for format in FORMATS:
        specimens(format.name)
    limit = MEMORY + resource.getpagesize() * int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with tempfile.TemporaryDirectory() as folder:
        for index in indices:
            format, ending, data, damage = make_file(seed, index)
            file = Path(folder) / f"file.{ending}"
            file.write_bytes(data)
            there.send(index)
            there.send(Result(index, format.name, damage, *judge(format, file)))
            file.unlink(missing_ok=True)


class Worker:
    """A process that works through its indices; it is replaced when it dies, and goes on after the file it died of."""

    def __init__(self, seed: int, indices: Sequence[int]) -> None:
        self.seed, self.indices = seed, list(indices)
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.here, there = context.Pipe(duplex=False)
        self.process: Any = context.Process(target=serve, args=(self.seed, self.indices, there), daemon=True)
        self.process.start()
        there.close()
        self.begun: int | None = None
        self.since = time.monotonic()

    def receive(self) -> Result | None:
        """What the worker has to tell, or what became of it."""
        try:
            said = self.here.recv()
        except (EOFError, OSError):
            self.process.join()
            return self._lost("crash", f"exit code {self.process.exitcode}")
        self.since = time.monotonic()
        if isinstance(said, Result):
            self.indices.remove(said.index)
            self.begun = None
            return said
        self.begun = said
        return None

    def check(self) -> Result | None:
        """A hang, if there is one."""
        if self.begun is None or time.monotonic() - self.since < PATIENCE:
            return None
        self.process.kill()
        self.process.join()
        return self._lost("hang", f"more than {PATIENCE:g} s")

    def _lost(self, outcome: str, detail: str) -> Result:
        index = self.begun
        if index is None:
            raise RuntimeError(f"a worker ended between files: {detail}")
        self.indices.remove(index)
        format, _, _, damage = make_file(self.seed, index)
        if self.indices:
            self._start()
        return Result(index, format.name, damage, outcome, detail)


def fuzz(seed: int, indices: Sequence[int], workers: int) -> Iterator[Result]:
    """The result of every file, in the order in which they are known."""
    workers = max(1, min(workers, len(indices) // 100))
    running = [Worker(seed, indices[number::workers]) for number in range(workers)]
    while running := [worker for worker in running if worker.indices]:
        ready = wait([worker.here for worker in running], timeout=1)
        for worker in running:
            result = worker.receive() if worker.here in ready else worker.check()
            if result is not None:
                yield result


def report(results: Sequence[Result], seed: int) -> dict[str, Any]:
    """Counts by format, and all of each failure. Every file that was given is in one count."""
    counts = {format.name: Counter(r.outcome for r in results if r.format == format.name) for format in FORMATS}
    failures = [asdict(result) for result in sorted(results, key=lambda r: r.index) if result.outcome in FAILURES]
    return {"seed": seed, "files": len(results), "formats": counts, "failures": failures}


def table(found: dict[str, Any]) -> str:
    """The counts of a report, a line for each format."""
    columns = ("read", "refused", *FAILURES)
    rows = [f"{'format':10}" + "".join(f"{column:>10}" for column in columns)]
    for name, counts in found["formats"].items():
        rows.append(f"{name:10}" + "".join(f"{counts[column]:10}" for column in columns))
    return "\n".join(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, action="append", help="the index of a file, to read it again")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--keep", type=Path, help="folder for the files that failed, and those of --only")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    indices = given.only or range(given.files)
    results = []
    for result in fuzz(given.seed, indices, given.workers):
        results.append(result)
        if result.outcome in FAILURES:
            print(f"{result.index} {result.format} {result.damage}: {result.outcome}: {result.detail}\n", flush=True)
    found = report(results, given.seed)
    print(table(found))
    for index in {*(failure["index"] for failure in found["failures"]), *(given.only or ())} if given.keep else ():
        given.keep.mkdir(parents=True, exist_ok=True)
        _, ending, data, _ = make_file(given.seed, index)
        (given.keep / f"{given.seed}-{index}.{ending}").write_bytes(data)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))
    return int(bool(found["failures"]) or len(results) != len(indices))


if __name__ == "__main__":
    sys.exit(main())
