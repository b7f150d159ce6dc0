"""The page's files as one: styles and ES modules inside the HTML, with a policy that lets it ask for nothing.

Enter: the folder of static files, and data. Leave: HTML that opens from disk. A module becomes a function that returns
what it exports; what cannot be told apart by its first words (default exports, cycles) is an error, and nothing is
guessed. Next: explore/export.py.
"""

import base64
import hashlib
import json
import re
from pathlib import Path

from ..errors import InputError, shown

STATIC = Path(__file__).parent / "static"
ENTRY = "main.js"
_IMPORT = re.compile(r'^import\s*(?:\{([^}]*)\}\s*from\s*)?"\./([\w.-]+\.js)";[ \t]*$', re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:async )?function\*?|class|const) (\w+)", re.MULTILINE)
_LEFT = re.compile(r"^(?:import|export)\b.*$|\bimport\s*\(|\bimport\.meta\b", re.MULTILINE)
_STYLE = re.compile(r'<link rel="stylesheet" href="static/([\w.-]+\.css)"\s*/?>')
_SCRIPT = re.compile(rf'<script type="module" src="static/{re.escape(ENTRY)}"></script>')
POLICY = "default-src 'none'; script-src {}; style-src {}; img-src data:; base-uri 'none'; form-action 'none'"


def html(data, folder=STATIC):
    """The whole page with `data` (what JSON takes) in it, as text; InputError for a file that cannot be inlined."""
    page = (folder / "index.html").read_text(encoding="utf-8")
    sheets = [(folder / name).read_text(encoding="utf-8") for name in _STYLE.findall(page)]
    script = modules(folder)
    for name, text in (("styles", "".join(sheets)), (ENTRY, script)):
        if re.search(r"</(?:script|style)", text, re.IGNORECASE):
            raise InputError(f"{name}: expected no end of an element inside, got one; write it in two parts")
    if len(_SCRIPT.findall(page)) != 1 or not sheets:
        raise InputError(f"index.html: expected one module script static/{ENTRY} and a style sheet, got others")
    policy = POLICY.format(_hash(script), " ".join(map(_hash, sheets)))
    head = f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    page = re.sub(r"<head>", lambda found: f"{found[0]}\n<meta charset=\"utf-8\">\n{head}", page, count=1)
    left = iter(sheets)
    page = _STYLE.sub(lambda found: f"<style>{next(left)}</style>", page)
    stored = f'<script type="application/json" id="nanogpt-data">{embedded(data)}</script>\n'
    return _SCRIPT.sub(lambda found: f'{stored}<script type="module">{script}</script>', page)


def embedded(data):
    """JSON that stands inside HTML: embedded({"a": "</b>"}) -> '{"a":"\\\\u003c/b>"}'"""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def modules(folder=STATIC):
    """All modules that the first one needs as one script; InputError for what is not named exports and imports."""
    order, texts = [], {}
    _visit(folder, ENTRY, order, texts, [])
    return "\n".join(_scope(name, texts[name]) for name in order)


def _visit(folder, name, order, texts, path):
    if name in path:
        raise InputError(f"{name}: expected modules without a ring of imports, got {' -> '.join([*path, name])}")
    if name in order:
        return
    try:
        texts[name] = (folder / name).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{name}: expected a module beside {ENTRY}, found none") from error
    for _, needed in _IMPORT.findall(texts[name]):
        _visit(folder, needed, order, texts, [*path, name])
    order.append(name)


def _scope(name, text):
    """One module: `const m_x_js = (() => { …; return { a, b }; })();`"""
    exports = [exported for _, exported in _EXPORT.findall(text)]
    text = _IMPORT.sub(lambda found: _taken(*found.groups()), text)
    text = _EXPORT.sub(r"\1 \2", text)
    left = _LEFT.search(text)
    if left:
        expected = 'import { a } from "./b.js"; and export function, class or const'
        raise InputError(f"{name}: expected {expected}, got {shown(left[0])}")
    return f"const {_variable(name)} = (() => {{\n{text}\nreturn {{ {', '.join(exports)} }};\n}})();"


def _taken(names, module):
    if names is None:
        return ""
    renamed = re.sub(r"(\w+)\s+as\s+(\w+)", r"\1: \2", " ".join(names.split()))
    return f"const {{ {renamed.strip()} }} = {_variable(module)};"


def _variable(name):
    return f"m_{re.sub(r'[^0-9a-zA-Z]', '_', name)}"


def _hash(text):
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
