"""The examples of docs/examples: a shell reads the one, YAML the other, and what they type is typed right."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from nanogpt_np.cli.entry import parser

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
# what sbatch takes, of its manual (sbatch(1), Slurm 24.05), and how a value looks
DIRECTIVES = {
    "job-name": r"[\w-]+", "nodes": r"\d+", "ntasks-per-node": r"\d+", "cpus-per-task": r"\d+",
    "mem-per-cpu": r"\d+[KMGT]", "time": r"(\d+-)?\d+:\d\d:\d\d", "signal": r"(B:)?[A-Z]+\d*@\d+", "output": r"\S+",
}  # fmt: skip


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_the_batch_script_is_one():
    path = EXAMPLES / "train.slurm"
    text = path.read_text("utf-8")
    assert text.startswith("#!") and subprocess.run(["bash", "-n", str(path)]).returncode == 0
    directives = dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)$", text, flags=re.MULTILINE))
    assert len(directives) == text.count("#SBATCH") and directives.keys() <= DIRECTIVES.keys()
    assert all(re.fullmatch(DIRECTIVES[name], value) for name, value in directives.items())
    first_command = next(i for i, line in enumerate(text.splitlines()) if line and not line.startswith("#"))
    last_directive = max(i for i, line in enumerate(text.splitlines()) if line.startswith("#SBATCH"))
    assert last_directive < first_command, "sbatch reads no directive behind the first command"
    assert "--kill-on-bad-exit=1" in text and int(directives["signal"].split("@")[1]) >= 60


def words_of(text):
    """The words behind each `nanogpt-np` of a text, and behind each `set --`."""
    for line in re.findall(r"nanogpt-np (.*)$", text, flags=re.MULTILINE):
        yield shlex.split(line)


@pytest.mark.parametrize("name", ["train.slurm", "compose.yml"])
def test_what_they_type_is_typed_right(name):
    text = (EXAMPLES / name).read_text("utf-8")
    sets = [shlex.split(line) for line in re.findall(r"set -- (.*)$", text, flags=re.MULTILINE)] or [[]]
    found = 0
    for words in words_of(text):
        for more in sets:
            args = parser().parse_args([word for word in words if word != "$@"] + more)
            found += args.command == "train" and args.out is not None
    assert found == len(sets)


def test_the_containers_are_two_that_find_each_other():
    yaml = pytest.importorskip("yaml", reason="needs pip install pyyaml, which the extra test brings with gguf")
    compose = yaml.safe_load((EXAMPLES / "compose.yml").read_text("utf-8"))
    services = compose["services"]
    assert set(compose) == {"x-machine", "services", "volumes", "networks"} and set(services) == {"first", "second"}
    for name, service in services.items():
        assert service["hostname"] == name and set(service["networks"]) <= set(compose["networks"])
        named = [volume.split(":")[0] for volume in service["volumes"] if not volume.startswith((".", "/"))]
        assert set(named) <= set(compose["volumes"])
        known = {"image", "volumes", "environment", "networks", "hostname", "command", "depends_on"}
        assert set(service) <= known and all(isinstance(word, str) for word in service["command"])
        assert subprocess.run(["bash", "-n", "-c", service["command"][-1]]).returncode == 0
    hosts = re.search(r"--host (\S+) -n (\d+)", services["first"]["command"][-1])
    slots = dict(host.split(":") for host in hosts[1].split(","))
    assert set(slots) == set(services) and sum(map(int, slots.values())) == int(hosts[2])
