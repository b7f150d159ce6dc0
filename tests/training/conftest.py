"""What several test files about training runs share."""

import pytest

from nanogpt_np.training import picture


@pytest.fixture
def no_picture(monkeypatch):
    """Drawing takes most of a tiny run's time; test_picture.py and test_runs.py look at what is drawn."""
    monkeypatch.setattr(picture, "save", lambda log, path, title, tokens_per_epoch: None)
