"""A page in one file: its modules as one script, its policy, its data the server's answers, its size; in a notebook."""

import base64
import hashlib
import html
import json
import re

import pytest

from nanogpt_np import GPT
from nanogpt_np.cli import main
from nanogpt_np.errors import InputError
from nanogpt_np.explore import answers, bundle, export, packed
from nanogpt_np.explore.inline import Page

TEXT = "the cat sat"
INDEX = """<!doctype html><html><head><meta charset="utf-8"><link rel="stylesheet" href="static/page.css"></head>
<body><div id="app"></div><script type="module" src="static/main.js"></script></body></html>"""


def write(folder, **modules):
    """A page's folder with these modules: name="text"."""
    (folder / "index.html").write_text(INDEX, encoding="utf-8")
    (folder / "page.css").write_text("body { color: red }", encoding="utf-8")
    for name, text in modules.items():
        (folder / f"{name}.js").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def page(make_gpt):
    return export.page(make_gpt(), TEXT, state={"layer": 1, "head": 1, "lang": "en"})


def stored(page):
    found = re.search(r'<script type="application/json" id="nanogpt-data">(.*?)</script>', page, re.DOTALL)
    assert "<" not in found[1]  # nothing in a text can end the element, or begin another
    return json.loads(found[1])


def test_modules_become_one_script_in_the_order_in_which_they_are_needed(tmp_path):
    folder = write(
        tmp_path,
        main='// first\nimport { twice, One as Un } from "./b.js";\nimport {\n  half,\n} from "./c.js";\ntwice(Un);\n',
        b='import { half } from "./c.js";\nexport function twice(x) { return 2 * half(x); }\nexport class One {}\n',
        c="export const half = (x) => x / 2;\nexport async function later() {}\n",
    )
    script = bundle.modules(folder)
    places = [script.index(f"m_{name}_js = ") for name in ("c", "b", "main")]
    assert places == sorted(places)
    assert script.count("m_c_js = (") == 1 and "import" not in script and "export" not in script
    assert "const { twice, One: Un } = m_b_js;" in script and "return { half, later };" in script


@pytest.mark.parametrize("main_text, other, said", [
    ('import x from "./b.js";\n', "", "main.js: expected"), ("export default 3;\n", "", "main.js: expected"),
    ('import { a } from "./b.js";\n', 'import { b } from "./main.js";\n', "ring of imports"),
    ('import { a } from "./nothing.js";\n', "", "nothing.js: expected a module"),
    ('const a = await import("./b.js");\n', "", "main.js: expected"), ("export let a = 1;\n", "", "main.js: expected"),
    ('import { a } from "https://example.org/b.js";\n', "", "main.js: expected"),
    ("const a = '</script>';\n", "", "no end of an element inside"),
])  # fmt: skip
def test_what_cannot_be_inlined_is_an_error(tmp_path, main_text, other, said):
    with pytest.raises(InputError, match=said):
        bundle.html({}, write(tmp_path, main=main_text, b=other))


def test_the_policy_allows_what_stands_in_the_page_and_nothing_else(page):
    policy = re.search(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', page)[1]
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy and "http" not in policy
    assert page.index("Content-Security-Policy") < page.index("<style>") < page.index("<script")
    inside = [*re.findall(r"<style>(.*?)</style>", page, re.DOTALL),
              *re.findall(r'<script type="module">(.*?)</script>', page, re.DOTALL)]  # fmt: skip
    for text in inside:
        assert f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" in policy
    assert len(re.findall(r"'sha256-", policy)) == len(inside) >= 2


def test_a_page_asks_for_nothing(page):
    shell = re.sub(r'<script type="application/json".*?</script>', "", page, flags=re.DOTALL)
    shell = shell.replace("http://www.w3.org/2000/svg", "").replace('<link rel="icon" href="data:', "")
    assert not re.search(r"""https?://|\bsrc=|<link|@import|url\(""", shell)


def test_its_numbers_are_the_servers(page, make_gpt):
    data, models = stored(page), export.OneModel(make_gpt())
    assert data["state"] == {"model": "model", "prompt": TEXT, "layer": 1, "head": 1, "lang": "en"}
    kinds = set()
    for key, said in data["answers"].items():
        path, body = key.split(" ", 1)
        name = path.removeprefix("/api/")
        kinds.add(name)
        assert key == f"{path} {packed.canonical(json.loads(body))}"
        if name != "models":
            assert said == json.loads(json.dumps(answers.answer(models, name, json.loads(body))))
    assert kinds == set(answers.NAMES) - {"training"}
    keys = data["answers"]
    side = '"model":"model","prompt":"the cat sat"'
    assert f'/api/look {{{side}}}' in keys and f'/api/head {{"head":1,"layer":0,{side}}}' in keys
    for part in ("[1,0]", '[1,"attn"]', '[0,"ffn"]'):
        assert f'/api/compare {{"a":{{{side}}},"b":{{"ablate":[{part}],{side}}}}}' in keys
    story = next(said for key, said in keys.items() if key.startswith("/api/generate"))
    for n in range(1, len(story["steps"]) + 1):
        ids = [*story["prompt_ids"], *(step["id"] for step in story["steps"][:n])]
        there = f'/api/look {{"model":"model","prompt":{json.dumps(ids, separators=(",", ":"))}}}' in keys
        assert there == (len(ids) <= make_gpt().config.n_ctx)
    assert '/api/cell {"index":[1,2,0],"model":"model","name":"blocks.1.attn.scores","prompt":"the cat sat"}' in keys


def test_a_page_is_as_small_as_it_is_asked_to_be(make_gpt, page, monkeypatch):
    monkeypatch.setattr(export, "LEAST", 60_000)
    assert len(page.encode()) < export.MOST
    gpt = make_gpt()
    least = len(bundle.html({}).encode()) + export.LEAST + 2_000
    small = export.page(gpt, TEXT, most=least)
    assert len(small.encode()) <= least and len(stored(small)["answers"]) < len(stored(page)["answers"])
    assert any(key.startswith("/api/look") for key in stored(small)["answers"])
    with pytest.raises(InputError, match="most: expected"):
        export.page(gpt, TEXT, most=1000)


@pytest.mark.parametrize("text", ["</script><script>alert(1)</script>", "<!-- <script", "\u2028\0", "床前明月光"])
def test_a_text_stays_a_text(make_gpt, text):
    found = export.page(make_gpt(n_ctx=48), text)
    assert stored(found)["state"]["prompt"] == text and found.count("</script>") == 2


def test_a_prompt_may_be_ids_that_are_some_text(make_gpt):
    gpt = make_gpt()
    assert stored(export.page(gpt, gpt.tokenizer.encode(TEXT)))["state"]["prompt"] == TEXT
    for wrong in ([0xE5], [gpt.tokenizer.encode("t")[0], gpt.tokenizer.encode("h")[0], gpt.tokenizer.encode("e")[0]]):
        with pytest.raises(InputError, match="ids that no text becomes"):
            export.page(gpt, wrong)
    with pytest.raises(InputError, match="prompt: expected"):
        export.page(make_gpt(with_tokenizer=False), TEXT)


def test_in_a_notebook(make_gpt):
    found = make_gpt().explore(TEXT, layer=1, lang="zh")
    assert isinstance(found, Page) and repr(found).startswith("Page(") and stored(found.html)["state"]["lang"] == "zh"
    frame = found._repr_html_()
    assert frame.startswith("<iframe srcdoc=") and 'sandbox="allow-scripts"' in frame
    assert html.unescape(re.search(r'srcdoc="([^"]*)"', frame)[1]) == found.html
    for wrong in ({"layer": 9}, {"head": "0"}, {"lang": "fr"}):
        with pytest.raises(InputError, match=f"{next(iter(wrong))}: expected"):
            make_gpt().explore(TEXT, **wrong)


@pytest.mark.slow
def test_int8_weights_are_not_explored_by_themselves(make_gpt):
    pytest.importorskip("numba")
    gpt = make_gpt()
    with pytest.raises(InputError, match="explore: expected float weights"):
        GPT(gpt.config, gpt.params, gpt.tokenizer, "int8").explore(TEXT)


@pytest.mark.slow
def test_the_command_writes_a_page(tmp_path, capsys):
    """*stories* itself, int8 beside it, under 3 MB."""
    pytest.importorskip("numba")
    path = tmp_path / "page.html"
    assert main(["explore", "stories", "--export", str(path), "--prompt", "Once upon a time", "--lang", "en"]) == 0
    page = path.read_text(encoding="utf-8")
    assert f"wrote {path}: {path.stat().st_size:,} bytes" in capsys.readouterr().out
    assert path.stat().st_size < 3_000_000 and '\\"ops\\":\\"int8\\"' in page
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("words, said", [
    (["no/such"], "no/such"), (["stories", "--export", "/no/such/page.html"], "page.html"),
    (["stories", "--export", "x.html", "--layer", "9", "--no-browser"], "--layer: expected"),
    (["stories", "--port", "99999", "--no-browser"], "port: expected"), (["stories", "--model", "nothing"], "nothing"),
])  # fmt: skip
def test_a_wrong_command_is_one_line(tmp_path, monkeypatch, capsys, words, said):
    pytest.importorskip("starlette")
    monkeypatch.chdir(tmp_path)
    assert main(["explore", *words]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line and not list(tmp_path.iterdir())
