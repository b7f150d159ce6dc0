"""llama.cpp, through the library xllamacpp: the GGUF file that it reads, and the engine.

Enter: the settings of a worker, with "gguf", the file's path. Leave: that file; ids and seconds. Next: bench/large.py.
"""

import http.client
import json
import re
from importlib.metadata import version

from ..storage import checkpoint
from ..storage.gguf import save_gguf

# what a user of xllamacpp would write, for the time from command to first token
START_SCRIPT = """
import sys
import xllamacpp

path, threads, prompt = sys.argv[1:]
params = xllamacpp.CommonParams()
params.model.path = path
params.cpuparams.n_threads = int(threads)
server = xllamacpp.Server(params)
said = server.handle_completions({"prompt": prompt, "max_tokens": 1, "temperature": 0})
print(prompt + said["choices"][0]["text"])
"""


# ---------------------------------------------------------------- the file


class GGUFMaker:
    """Writes a model as GGUF."""

    about = "gguf.GGUFWriter"

    def __init__(self, engine, settings):
        self.kind, self.directory, self.path = engine.split()[1], settings["directory"], settings["gguf"]

    def run(self, request):
        """{} -> {}"""
        save_gguf(self.path, *checkpoint.load(self.directory), self.kind)
        return {}


# ---------------------------------------------------------------- the engine


class Llama:
    """llama.cpp's server inside this process.

    `settings`: "n_ctx", how long a text gets; "n_texts", how many at once, each in a slot of its own.
    F32 is float32, but for GELU, which llama.cpp looks up in a table of half-precision numbers. With flash attention,
    its default, it multiplies keys and values in half precision too, whatever they are kept in, and what it says is no
    longer near ours. Q8_0 and Q4_0 run with its defaults.
    """

    def __init__(self, engine, settings):
        import xllamacpp

        kind = engine.split()[1]  # "llama.cpp Q8_0" -> "Q8_0"
        params = xllamacpp.CommonParams()
        params.model.path = settings["gguf"]
        params.n_parallel = settings.get("n_texts", 1)
        params.n_ctx = params.n_parallel * settings["n_ctx"]
        params.n_batch = max(params.n_batch, params.n_ctx)  # all prompts in the first step
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings["threads"]
        params.cache_ram_mib = 0  # keep no copies of earlier prompts
        params.verbosity = -1
        if kind == "F32":
            params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
            params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.server = xllamacpp.Server(params)
        cache = "keys and values float32, no flash attention" if kind == "F32" else "its default cache and attention"
        built = compiled_for(xllamacpp.get_system_info(), settings.get("isa", "native"))
        self.about = f"llama.cpp in xllamacpp {version('xllamacpp')}; all matrices {kind}, output too; {cache}; {built}"

    def run(self, request):
        """Greedy, end of text never said. The seconds are llama.cpp's own, which HTTP and JSON do not count among.

        It says how long the prompt took with its first new token, and how long all later ones together.
        """
        if "prompts" in request:
            return self.run_batch(request["prompts"], request["n_new"])
        said = self._complete(request["ids"], request["n_new"])
        first, later = (said["timings"][name] / 1e3 for name in ("prompt_ms", "predicted_ms"))
        n_later = request["n_new"] - 1
        return {"ids": said["tokens"], "seconds": [first, *(later / n_later for _ in range(n_later))]}

    def run_batch(self, prompts, n_new):
        """All texts in one request. The server begins with all of them in one step: the slowest one tells the time."""
        said = self._complete(prompts, n_new)
        slowest = max(one["timings"]["prompt_ms"] + one["timings"]["predicted_ms"] for one in said)
        return {"texts": [one["tokens"] for one in said], "seconds": [slowest / 1e3]}

    def _complete(self, prompt, n_new):
        return self._ask({
            "prompt": prompt, "n_predict": n_new, "temperature": 0, "ignore_eos": True, "cache_prompt": False,
            "return_tokens": True,
        })  # fmt: skip

    def _ask(self, asked):
        """Ask the server at its local address: only that way it says ids; Server.handle_completions says text."""
        connection = http.client.HTTPConnection(self.server.listening_address.removeprefix("http://"))
        connection.request("POST", "/completion", json.dumps(asked), {"Content-Type": "application/json"})
        answer = json.loads(connection.getresponse().read())
        connection.close()
        if "error" in answer:
            raise RuntimeError(answer["error"]["message"])
        return answer


def compiled_for(info, isa):
    """What it was compiled for, which no switch changes: its wheels are made for AVX2, whatever the CPU knows.

    compiled_for("CPU : SSE3 = 1 | AVX = 1 | AVX2 = 1 | OPENMP = 1 | ", "native") -> "compiled for AVX2"
    """
    found = re.findall(r"\b(\w+) = 1", info.partition("CPU :")[2])
    wide = [name for name in found if name.startswith("AVX512")]
    words = f"compiled for {' '.join(wide or [name for name in found if name == 'AVX2'] or found)}"
    return f"{words}, NOT held to {isa}" if wide and isa != "native" else words
