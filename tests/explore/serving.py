"""What several files of tests/explore share: a server in a thread of its own, on a port that is free."""

import threading
import time

from nanogpt_np.explore import guard
from nanogpt_np.explore.connections import server


class Running:
    """An app behind uvicorn, as long as a `with` lasts; `url` is where it answers."""

    def __init__(self, app, most=256):
        self.listener, self.server = guard.listen("127.0.0.1", 0), server(app, most)
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listener]}, daemon=True)

    def __enter__(self):
        self.thread.start()
        until(lambda: self.server.started)
        return self

    def __exit__(self, *_):
        self.server.should_exit = True
        self.thread.join(60)
        assert not self.thread.is_alive()


def until(is_so, seconds=60):
    """Wait for something that another thread brings about."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.005)
