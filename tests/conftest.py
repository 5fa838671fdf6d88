"""Shared fixtures."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def find_real_data():
    """Folder of real recordings: ``$NEUROBRAID_DATA``, else ``../shared/data`` beside the project."""
    named = os.environ.get("NEUROBRAID_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def real_data():
    """Return the folder of real recordings, or skip the test with the reason."""
    folder = find_real_data()
    if folder is None:
        pytest.skip("real recordings not found: set NEUROBRAID_DATA to their folder")
    return folder
