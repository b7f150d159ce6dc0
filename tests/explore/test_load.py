"""Many clients at once, for a few seconds here and for half a minute among the slow tests; load.py has the long run."""

import asyncio

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from explore import load, serving

from nanogpt_np import GPT
from nanogpt_np.explore.api import Api, make_app
from nanogpt_np.explore.guard import guarded


def run(port, gpt, n_tasks, n_clients, seconds, **how):
    wanted = load.tasks(n_tasks, seed=3, **how)
    expected = [load.alone(gpt, task) for task in wanted]
    return wanted, expected, load.together(port, wanted, n_clients, seconds, seed=5)


def test_eight_clients_for_two_seconds():
    """Of four rows, so that some wait; every text is its own, or the beginning of it where its client hung up."""
    gpt = GPT.from_pretrained("stories", ops="numpy")
    api = Api(gpt, "stories", n_rows=4)
    with serving.Running(guarded(make_app(api))) as running:
        wanted, expected, work = run(running.port, gpt, 12, 8, 2, most=12)
        found, refused, _ = asyncio.run(work)
        serving.until(lambda: not api.batcher.live)
    assert not refused and len(found) >= 8 and load.differing(found, wanted, expected) == []
    whole = [answer for answer in found if answer.is_whole]
    assert whole and all(0 < answer.first <= answer.seconds and answer.n_tokens >= 1 for answer in whole)


def test_a_text_that_differs_is_found():
    wanted = [load.Task({}, None), load.Task({}, 2)]
    expected = ["one day", "one day"]

    def differs(task, text, is_whole):
        return bool(load.differing([load.Answer(task, 0.1, 0.2, 3, text, is_whole)], wanted, expected))

    assert not differs(0, "one day", True) and not differs(1, "one", False) and not differs(1, "one day", True)
    assert differs(0, "one bay", True) and differs(0, "one", False) and differs(1, "own", False)
    assert load.growth([100, 110, 90, 105, 110, 121, 121, 121, 121]) == pytest.approx(0.1)


@pytest.mark.slow
def test_sixty_four_clients_for_half_a_minute():
    """The real command, compiled, in a process of its own: no text differs, memory stays, rows are given back."""
    pytest.importorskip("numba")
    gpt = GPT.from_pretrained("stories", ops="numba")
    with load.Server(load.ours(64, "numba")) as server:
        wanted, expected, warm = run(server.port, gpt, 60, 64, 5)
        asyncio.run(warm)
        watch = lambda: load.memory_of(server.process.pid)  # noqa: E731
        found, refused, seen = asyncio.run(load.together(server.port, wanted, 64, 20, 7, watch))
    assert not refused and len(found) >= 64 and load.differing(found, wanted, expected) == []
    assert load.growth(seen) < 0.05, "the limit that the issue of the server sets"
