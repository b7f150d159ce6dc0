"""A user's program is type-checked against the package as it is installed: right calls pass, wrong ones are named."""

import re
import sys

import pytest

pytestmark = pytest.mark.slow  # mypy reads NumPy's types: half a minute

RIGHT = '''
import numpy as np

from nanogpt_np import GPT, PRESETS, FileError, GPTConfig, InputError, KVCache, Tokenizer, TokenizerError

gpt = GPT.from_pretrained("stories")
logits: np.ndarray = gpt([1, 2, 3])
probs = gpt([1, 2, 3], keep_acts=True)[1].blocks[0].attn.probs
text: str = gpt.generate("Once upon a time", max_new_tokens=5, temperature=0.8, top_k=40, seed=7)
ids: list[int] = gpt.generate([1, 2, 3], max_new_tokens=5)
texts: list[str] = gpt.generate(["One day", "Two days"], stop=["."])
several: list[str] = gpt.generate("One day", num_return_sequences=2)
pieces: list[str] = list(gpt.stream("Once upon a time"))
config: GPTConfig = GPTConfig(n_layer=2).replace(n_ctx=64)
width: int = PRESETS["gpt2"].d_head
cache: KVCache = KVCache(config)
tokenizer: Tokenizer = Tokenizer.gpt2()
encoded: list[int] = tokenizer.encode("hello")
decoded: str = tokenizer.decode(encoded)
errors: list[type[InputError]] = [InputError, FileError, TokenizerError]
'''

# a line, and the kind of mistake that mypy must name in it
WRONG = {
    'text: int = gpt.generate("Once upon a time")': "assignment",
    'gpt.generate([1, 2, 3])[0].upper()': "attr-defined",
    'gpt([1, 2, 3]).blocks': "attr-defined",
    'gpt.generate("Once upon a time", max_new_tokens="five")': "call-overload",
    'gpt.generate("Once upon a time", temprature=0.8)': "call-overload",
    'width: str = PRESETS["gpt2"].d_head': "assignment",
    'GPTConfig(n_layer="2")': "arg-type",
    'Tokenizer.gpt2().encode(5)': "arg-type",
    'nanogpt_np.Transformer': "attr-defined",
}


@pytest.fixture
def mypy(tmp_path):
    """mypy(program) -> what it says; it sees the installed package only, as a user's would."""
    api = pytest.importorskip("mypy.api")
    (tmp_path / "mypy.ini").write_text("[mypy]\nstrict = True\n")

    def check(program):
        path = tmp_path / "program.py"
        path.write_text(program)
        options = ["--config-file", str(tmp_path / "mypy.ini"), "--cache-dir", str(tmp_path / "cache")]
        said, failed, _ = api.run([*options, "--python-executable", sys.executable, str(path)])
        assert not failed, failed
        return said

    return check


def test_a_users_program(mypy):
    assert mypy(RIGHT).startswith("Success"), "the public face is typed as the README uses it"


def test_mistakes_are_named(mypy):
    imports = "import nanogpt_np; from nanogpt_np import GPT, PRESETS, GPTConfig, Tokenizer"
    said = mypy("\n".join([imports, 'gpt = GPT.from_pretrained("stories")', *WRONG]))
    for number, (line, kind) in enumerate(WRONG.items(), start=3):
        assert re.search(rf"program.py:{number}: error: .*\[{kind}\]", said), f"{line} passes; what mypy says: {said}"
