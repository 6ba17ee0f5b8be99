"""What all tests share."""

from __future__ import annotations

import os
import tempfile

os.environ["SENSORIUM_CACHE"] = tempfile.mkdtemp(prefix="sensorium-cache-")
