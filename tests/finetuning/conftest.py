"""A tiny model to begin with, and labelled texts to learn from."""

import pytest
from finetuning.reviews import write_csv


@pytest.fixture(scope="session")
def base(make_gpt, tmp_path_factory):
    """The folder of a tiny GPT-2."""
    path = tmp_path_factory.mktemp("base")
    make_gpt(scale=0.05).save(path)
    return str(path)


@pytest.fixture
def reviews(tmp_path):
    return write_csv(tmp_path / "reviews.csv")
