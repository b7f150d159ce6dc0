"""CTranslate2: its own form of the model, the engine, and which back end it runs on this CPU.

Enter: the settings of a worker. Leave: a folder; ids and seconds. What it multiplies with, it says on standard error
alone. Next: bench/llama.py.
"""

import contextlib
import os
import re
import tempfile
import time
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

from .. import files
from ..storage import checkpoint


class CTranslate2Maker:
    """Writes CTranslate2's own form of the model."""

    about = "TransformersConverter"

    def __init__(self, engine, settings):
        self.engine, self.directory = engine, settings["directory"]

    def run(self, request):
        """{} -> {}"""
        from ctranslate2.converters import TransformersConverter

        folder, kind = Path(self.directory) / self.engine, self.engine.split()[1]
        TransformersConverter(self.directory).convert(folder, quantization=kind)
        return {}


class CTranslate2:
    """CTranslate2 in float32 or int8: one translator, all threads inside it, the prompt read at once."""

    def __init__(self, engine, settings):
        import ctranslate2

        kind = engine.split()[1]  # "ctranslate2 int8" -> "int8"
        folder = str(Path(settings["directory"]) / engine)
        os.environ["CT2_VERBOSE"] = "1"  # it then says once, on standard error, what it multiplies with
        with kept_stderr() as said:
            self.generator = ctranslate2.Generator(
                folder, device="cpu", compute_type=kind, inter_threads=1, intra_threads=settings["threads"]
            )
        vocab = files.read_json(Path(settings["directory"]) / checkpoint.VOCABULARY[0])
        self.token_of = {i: token for token, i in vocab.items()}
        name = f"ctranslate2 {version('ctranslate2')}"
        self.about = "; ".join([name, f"{self.generator.compute_type}, inter_threads=1", *back_end(said, kind)])

    def run(self, request):
        """Greedy, end of text ignored."""
        if "prompts" in request:
            return self.run_batch(request["prompts"], request["n_new"])
        ids, stamps = [], [time.perf_counter()]

        def note(step):
            ids.append(step.token_id)
            stamps.append(time.perf_counter())
            return False  # go on

        self._generate([request["ids"]], request["n_new"], callback=note)
        return {"ids": ids, "seconds": [b - a for a, b in pairwise(stamps)]}

    def run_batch(self, prompts, n_new):
        """All texts in one call."""
        began = time.perf_counter()
        found = self._generate(prompts, n_new)
        return {"texts": [one.sequences_ids[0] for one in found], "seconds": [time.perf_counter() - began]}

    def _generate(self, prompts, n_new, callback=None):
        return self.generator.generate_batch(
            [[self.token_of[i] for i in ids] for ids in prompts], max_length=n_new, sampling_topk=1, end_token=[],
            include_prompt_in_result=False, callback=callback,
        )  # fmt: skip


@contextlib.contextmanager
def kept_stderr():
    """Keep what a library writes to standard error, past Python's -> a list of its lines, filled at the end."""
    lines, before = [], os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(before, 2)
            os.close(before)
            kept.seek(0)
            lines += kept.read().decode(errors="replace").splitlines()


def back_end(lines, kind):
    """The instructions and the products of matrices that CTranslate2 says it chose; [] where it said nothing.

    Lines with "… - Selected ISA: AVX2" and "… - SGEMM backend: DNNL (packed: false)", and "float32" ->
    ["AVX2, SGEMM by DNNL (packed: false)"]
    """
    said = dict(re.findall(r" - ([^:]+): (.*)", "\n".join(lines)))
    product = "SGEMM" if kind == "float32" else "GEMM_S8"
    return [f"{said['Selected ISA']}, {product} by {said.get(f'{product} backend')}"] if "Selected ISA" in said else []
