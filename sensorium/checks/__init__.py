"""Correctness as a product: the design's invariants, run on the user's own recipe and data, in seconds, on a CPU.

for verdict in run_checks(sensorium.recipe("demo")):
    print(verdict)
"""

from __future__ import annotations

from sensorium.checks.check import Verdict, check_names, check_title, run_checks

__all__ = ["Verdict", "check_names", "check_title", "run_checks"]
