"""Many clients at once, who come, ask, wait, and sometimes hang up in the middle: is every text still its own?

    python tests/explore/load.py --seconds 300 --clients 64
    python tests/explore/load.py --seconds 300 --clients 64 --peer-python .venv-bench/bin/python

The first asks `nanogpt-np serve` alone; the second asks llama.cpp's server, too, through the library xllamacpp of
another Python, on the same model as float32, in turns within one run. Printed: texts that differ from what the model
gives one client alone (gpt.generate), the median time to the first token, tokens per second, the server's memory.
"""

import argparse
import asyncio
import json
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

WORDS = "Once upon a time there was a little girl who had a big red ball and her dog Max liked to play".split()
PEER = """
import sys
import xllamacpp

path, n_texts, n_ctx, n_threads = sys.argv[1], *map(int, sys.argv[2:])
params = xllamacpp.CommonParams()
params.model.path, params.n_parallel, params.n_ctx = path, n_texts, n_texts * n_ctx
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = n_threads
params.cache_ram_mib, params.verbosity, params.n_threads_http = 0, -1, n_texts + 4
server = xllamacpp.Server(params)
print("answers at", server.listening_address, flush=True)
sys.stdin.read()
"""


class Task(NamedTuple):
    """What is asked, and behind how many pieces the client hangs up (None: never)."""

    body: dict[str, Any]
    leaves: int | None


class Answer(NamedTuple):
    """What came of a task: seconds to the first piece and in all, tokens, the text, and whether all of it came."""

    task: int
    first: float
    seconds: float
    n_tokens: int
    text: str
    is_whole: bool


def tasks(n, seed, most=60, ignore_eos=False):
    """So many different tasks: lengths, ways to choose, and a fifth of them with a client that hangs up."""
    chance, found = random.Random(seed), []
    for i in range(n):
        body = {
            "prompt": " ".join(chance.choices(WORDS, k=chance.randint(1, 30))), "max_tokens": chance.randint(1, most),
            "temperature": chance.choice([0, 0.7, 1.0]), "top_p": chance.choice([0.9, 1.0]), "seed": i,
            "top_k": 0, "ignore_eos": ignore_eos, "stream": True, "stream_options": {"include_usage": True},
        }  # fmt: skip
        found.append(Task(body, chance.randint(1, body["max_tokens"]) if chance.random() < 0.2 else None))
    return found


def alone(gpt, task):
    """What the model gives one client that nobody is beside."""
    body = task.body
    return gpt.generate(
        body["prompt"], body["max_tokens"], temperature=body["temperature"], top_p=body["top_p"], top_k=body["top_k"],
        seed=body["seed"], ignore_eos=body["ignore_eos"],
    )  # fmt: skip


async def ask(port, number, task):
    """Ask one task over a line of its own -> an Answer, or the status where it is no 200."""
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        raw = json.dumps(task.body).encode()
        writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                     b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(raw) + raw)  # fmt: skip
        status = int((await reader.readline()).split()[1])
        while (await reader.readline()).strip():
            pass
        if status != 200:
            return status
        return await _listen(reader, number, task, began)
    finally:
        writer.close()


async def _listen(reader, number, task, began):
    first, pieces, n_tokens, is_whole = None, [], None, False
    async for event in _events(reader):
        if event == "[DONE]":
            is_whole = True
            break
        part = json.loads(event)
        if "error" in part:
            raise RuntimeError(part["error"]["message"])
        if part.get("usage"):
            n_tokens = part["usage"]["completion_tokens"]
        for choice in part["choices"]:
            if choice["text"]:
                first = first or time.perf_counter()
                pieces.append(choice["text"])
        if task.leaves is not None and len(pieces) >= task.leaves:
            break
    now = time.perf_counter()
    n_tokens = len(pieces) if n_tokens is None else n_tokens
    return Answer(number, (first or now) - began, now - began, n_tokens, "".join(pieces), is_whole)


async def _events(reader):
    """What stands behind `data: ` on each line; the sizes of HTTP's chunks stand on lines of their own."""
    async for line in reader:
        if line.startswith(b"data: "):
            yield line[6:].strip().decode()


async def client(port, wanted, chance, end, found, refused):
    """One client, until the end: wait a little, ask something, and again."""
    while (now := time.monotonic()) < end:
        await asyncio.sleep(min(chance.expovariate(10), max(end - now, 0)))
        number = chance.randrange(len(wanted))
        answer = await ask(port, number, wanted[number])
        if isinstance(answer, Answer):
            found.append(answer)
        else:
            refused.append(answer)
            await asyncio.sleep(0.5)


async def together(port, wanted, n_clients, seconds, seed, watch=lambda: None):
    """So many clients for so many seconds -> their Answers, the statuses of those refused, what `watch` saw."""
    found, refused, seen, end = [], [], [], time.monotonic() + seconds

    async def look():
        while time.monotonic() < end:
            seen.append(watch())
            await asyncio.sleep(0.5)
        seen.append(watch())

    clients = [client(port, wanted, random.Random(f"{seed} {i}"), end, found, refused) for i in range(n_clients)]
    await asyncio.gather(look(), *clients)
    return found, refused, seen


def differing(found, wanted, expected):
    """The Answers that are not the text that is given alone, or the beginning of it where a client hung up."""
    return [
        answer for answer in found
        if (answer.text != expected[answer.task] if answer.is_whole else
            wanted[answer.task].leaves is None or not expected[answer.task].startswith(answer.text))
    ]  # fmt: skip


def memory_of(pid):
    """Bytes of memory that a process holds."""
    pages = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", pages)[1]) << 10


def growth(seen):
    """How much more memory at the end than in the first third, as a share."""
    return statistics.median(seen[-3:]) / max(seen[: max(len(seen) // 3, 1)]) - 1


class Server:
    """A server in a process of its own, as long as a `with` lasts; it says where it answers on a line."""

    def __init__(self, command):
        self.command = command

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True)  # fmt: skip
        for line in self.process.stdout:
            if found := re.search(r"answers at http://[^ /]+:(\d+)", line):
                self.port = int(found[1])
                return self
        raise RuntimeError(f"it ended before it answered: {self.command}")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.communicate(timeout=60)


def ours(n_rows, ops):
    """The command of our server."""
    return [sys.executable, "-m", "nanogpt_np", "serve", "--port", "0", "--rows", str(n_rows), "--ops", ops]


def report(name, found, refused, seconds):
    """One line of figures -> median seconds to the first token, tokens per second."""
    first, rate = statistics.median(a.first for a in found), sum(a.n_tokens for a in found) / seconds
    left = sum(not a.is_whole for a in found)
    print(f"{name}: {len(found)} texts, {left} clients hung up, {len(refused)} refused; first token after "
          f"{first * 1e3:.1f} ms (median), {rate:,.0f} tokens/s", flush=True)  # fmt: skip
    return first, rate


def main(argv=None):
    """Run it; exit status 1 where a text differs, or memory grew by more than 5 %."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=60)
    options.add_argument("--clients", type=int, default=64)
    options.add_argument("--tasks", type=int, default=300)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--ops", default="numba")
    options.add_argument("--rounds", type=int, default=2, help="turns of each server, where there are two")
    options.add_argument("--threads", type=int, default=2, help="of the peer; ours: NUMBA_NUM_THREADS")
    options.add_argument("--peer-python")
    args = options.parse_args(argv)

    from nanogpt_np import GPT

    gpt = GPT.from_pretrained("stories", ops=args.ops)
    wanted = tasks(args.tasks, args.seed, ignore_eos=args.peer_python is not None)
    expected = [alone(gpt, task) for task in wanted]
    with tempfile.TemporaryDirectory() as folder, Server(ours(args.clients, args.ops)) as server:
        asyncio.run(together(server.port, wanted, args.clients, min(args.seconds / 10, 10), args.seed + 1))  # warm
        if args.peer_python is None:
            return alone_in_the_room(server, wanted, expected, args)
        path = Path(folder) / "stories.gguf"
        convert = [sys.executable, "-m", "nanogpt_np", "convert", "stories", str(path), "--to", "gguf"]
        subprocess.run(convert, check=True)
        shape = (str(args.clients), str(gpt.config.n_ctx), str(args.threads))
        with Server([args.peer_python, "-c", PEER, str(path), *shape]) as peer:
            return in_turns(server, peer, wanted, expected, args)


def alone_in_the_room(server, wanted, expected, args):
    """Our server alone."""
    watch = lambda: memory_of(server.process.pid)  # noqa: E731
    run = together(server.port, wanted, args.clients, args.seconds, args.seed, watch)
    found, refused, seen = asyncio.run(run)
    report("nanogpt-np", found, refused, args.seconds)
    return judge(found, wanted, expected, seen)


def in_turns(server, peer, wanted, expected, args):
    """Both, a part of the time each, in turns; ratios of medians over the turns."""
    seconds, ratios, all_found, all_seen = args.seconds / args.rounds, [], [], []
    watch = lambda: memory_of(server.process.pid)  # noqa: E731
    for turn in range(args.rounds):
        seed = args.seed + 10 * turn
        found, refused, seen = asyncio.run(together(server.port, wanted, args.clients, seconds, seed, watch))
        first, rate = report("nanogpt-np", found, refused, seconds)
        others, refused, _ = asyncio.run(together(peer.port, wanted, args.clients, seconds, seed))
        of_peer = report("llama.cpp ", others, refused, seconds)
        ratios.append((of_peer[0] / first, rate / of_peer[1]))
        all_found += found
        all_seen += seen
    first, rate = (statistics.median(pair[i] for pair in ratios) for i in (0, 1))
    print(f"nanogpt-np is at the first token {first:.2f} x as soon, and makes {rate:.2f} x as many tokens a second")
    return judge(all_found, wanted, expected, all_seen)


def judge(found, wanted, expected, seen):
    """What must hold -> an exit status."""
    wrong, more = differing(found, wanted, expected), growth(seen)
    print(f"{len(wrong)} of {len(found)} texts differ from what one client is given alone; memory {seen[-1] / 1e6:.0f} "
          f"MB, {more:+.1%} since the first third")  # fmt: skip
    for answer in wrong[:3]:
        print(f"  expected {expected[answer.task]!r}\n  got      {answer.text!r}")
    return 1 if wrong or more > 0.05 else 0


if __name__ == "__main__":
    sys.exit(main())
