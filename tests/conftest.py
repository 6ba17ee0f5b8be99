"""What all tests share."""

from __future__ import annotations

import multiprocessing
import os

import pytest

multiprocessing.set_forkserver_preload(["pytest", "torch", "sensorium.model"])  # so that workers begin in no time


@pytest.fixture(scope="session", autouse=True)
def indexes(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Indexes of files are kept where they go with the tests' other files."""
    os.environ["SENSORIUM_CACHE"] = str(tmp_path_factory.mktemp("cache"))
