"""`serve` and `explore` where the extra `explore` is not installed: one line says what to install."""

import sys

import pytest

from nanogpt_np import GPT, explore
from nanogpt_np.cli import main

COMMANDS = {"serve": ["serve", "--ops", "numpy", "--port", "0"], "explore": ["explore", "--no-browser", "--port", "0"]}
OURS = [f"nanogpt_np.explore.{room}" for room in ("api", "api_stream", "app", "bundle", "connections", "packed")]


@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
@pytest.mark.parametrize("command", COMMANDS)
def test_one_line_says_what_to_install(command, package, capsys, monkeypatch):
    for name in [*sys.modules]:
        if name in OURS or name.partition(".")[0] == package:
            monkeypatch.delitem(sys.modules, name)
            if name in OURS:
                monkeypatch.delattr(explore, name.rpartition(".")[2])
    monkeypatch.setitem(sys.modules, package, None)  # Python's own way to say that there is none
    monkeypatch.setattr(GPT, "from_pretrained", None)  # before a model is opened, which may take a minute
    assert main(COMMANDS[command]) == 2
    out, err = capsys.readouterr()
    expected = f"expected the packages starlette and uvicorn, got no {package}; pip install 'nanogpt-np[explore]'"
    assert (out, err) == ("", f"nanogpt-np: {expected}\n")
