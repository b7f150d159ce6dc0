"""Pictures of a plan look as they did: each is compared with its image in baseline/; see tests/looks.py."""

import pytest
from looks import LOOK, only_compared

from nanogpt_np import planning


@pytest.fixture(autouse=True)
def compared(request):
    only_compared(request)


@pytest.mark.mpl_image_compare(**LOOK)
def test_a_small_model_on_a_fast_machine_looks_as_before():
    """Points that lie close to each other, and the whole row of panels."""
    return planning.draw_plan(planning.plan("gpt2", "a100"))


@pytest.mark.mpl_image_compare(**LOOK)
def test_a_roofline_looks_as_before():
    return planning.draw_roofline(planning.plan("gpt3-small", "m2", planning.Options(dtype="int4")))


@pytest.mark.mpl_image_compare(**LOOK)
def test_scaling_laws_look_as_before():
    """A model far from what any law calls best."""
    return planning.draw_scaling(planning.plan("gpt3-175b", "h100"))
