"""A run may be killed at any moment: the next one ends as if nothing had happened, and leaves nothing over."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")


def places_with_flaws(folder, every):
    """-> what kills.py says of each place where something is wrong, and how many places there are."""
    command = [sys.executable, str(Path(__file__).parent / "kills.py"), str(folder), str(every)]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # threads do not survive a fork
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    *flaws, last = done.stdout.splitlines()
    return flaws, int(last.removesuffix(" places"))


def test_a_kill_at_some_file_operations(tmp_path):
    flaws, n_places = places_with_flaws(tmp_path, every=11)
    assert flaws == [] and n_places > 60


@pytest.mark.slow
def test_a_kill_at_every_file_operation(tmp_path):
    flaws, _ = places_with_flaws(tmp_path, every=1)
    assert flaws == []
