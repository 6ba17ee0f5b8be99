"""What all tests share."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def indexes(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Indexes of files are kept where they go with the tests' other files."""
    os.environ["SENSORIUM_CACHE"] = str(tmp_path_factory.mktemp("cache"))
