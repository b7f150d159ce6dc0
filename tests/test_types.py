"""A user's program is type-checked against the package as it is installed: right calls pass, wrong ones are named."""

import re
import sys

import pytest

pytestmark = pytest.mark.slow  # mypy reads NumPy's types: half a minute

RIGHT = '''
from nanogpt_np import PRESETS, FileError, GPTConfig, InputError, TokenizerError

config: GPTConfig = GPTConfig(n_layer=2).replace(n_ctx=64)
width: int = PRESETS["gpt2"].d_head
errors: list[type[InputError]] = [InputError, FileError, TokenizerError]
'''

# a line, and the kind of mistake that mypy must name in it
WRONG = {
    'width: str = PRESETS["gpt2"].d_head': "assignment",
    'GPTConfig(n_layer="2")': "arg-type",
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
    imports = "from nanogpt_np import PRESETS, GPTConfig"
    said = mypy("\n".join([imports, *WRONG]))
    for number, (line, kind) in enumerate(WRONG.items(), start=2):
        assert re.search(rf"program.py:{number}: error: .*\[{kind}\]", said), f"{line} passes; what mypy says: {said}"
