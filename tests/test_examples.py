"""Worked examples in docstrings are true: every `call(...) -> value` of the package is run and compared.

What counts as one: on one line, a call (perhaps with an index or an attribute behind it), " -> ", and a literal. Left
alone are shapes, `[n_batch, n_seq] -> ...`, and values in words, `encode(text) -> list of ids`. In an example a list of
floats stands for an array, a name that nothing defines for any object, 124,439,808 for one number, inf for infinity.
"""

import ast
import importlib
import re
from pathlib import Path

import numpy as np
import pytest

import nanogpt_np

PACKAGE = Path(nanogpt_np.__file__).parent
LITERAL = re.compile(r"""[\[({"'\-\d]|[rb]["']|(True|False|None|inf)\b""")  # how a value begins
SHAPE = r"\[(?![^]]*\binf\b)[\w ,*+/.-]*\bn_\w+[\w ,*+/.-]*\]"  # [n_batch, 4 * n_embd]
BUILTINS = {"float": float, "int": int, "list": list, "next": next}
AT_LEAST = 25  # examples; fewer mean that this file no longer finds them


def docstrings(tree):
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            yield ast.get_docstring(node) or ""


def expression(text):
    """The syntax tree of an expression, None where it is none."""
    try:
        return ast.parse(text.strip(), mode="eval").body
    except SyntaxError:
        return None


def called(node):
    """The call at the root of f(x), f(x)["name"] or f(x).name; None for anything else."""
    while isinstance(node, (ast.Subscript, ast.Attribute)):
        node = node.value
    return node if isinstance(node, ast.Call) else None


def call_before(text):
    """The longest call that ends where `text` ends: 'removes some: ban([1], [2])' gives the tree of ban([1], [2])."""
    starts = [match.start() for match in re.finditer(r"(?<![\w.\"'])[A-Za-z_][\w.]*\(", text)]
    return next((node for node in (expression(text[start:]) for start in starts) if called(node)), None)


def value_behind(text, names):
    """The longest literal at the beginning of `text`, in which `names` may stand; None where there is none."""
    if number := re.match(r"\d{1,3}(,\d{3})+\b", text):
        return ast.Constant(int(number[0].replace(",", "")))
    ends = [match.end() for match in re.finditer(r"\w\b|[])}\"']", text)]
    nodes = (expression(text[:end]) for end in reversed(ends))
    return next((node for node in nodes if node and is_value(node, names)), None)


def is_value(node, names):
    allowed = (ast.Constant, ast.List, ast.Tuple, ast.Set, ast.Dict, ast.Name, ast.UnaryOp, ast.USub, ast.Load)
    return all(isinstance(inner, allowed) for inner in ast.walk(node)) and names_in(node) <= names


def names_in(node):
    return {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}


def examples_in(doc):
    """(the line, call, value) of every example; without call or value where it looks like one and cannot be read."""
    for line in doc.splitlines():
        for arrow in re.finditer(r" -> ", line):
            before, behind = line[: arrow.start()], line[arrow.end() :]
            is_shape = re.search(rf"(^|\s){SHAPE}$", before) or re.match(SHAPE, behind)
            if not before.endswith((")", "]")) or not LITERAL.match(behind) or is_shape:
                continue
            call = call_before(before)
            yield line.strip(), call, call and value_behind(behind, {"inf"} | names_in(call))


def found():
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        for doc in docstrings(ast.parse(path.read_text(encoding="utf-8"))):
            for text, call, value in examples_in(doc):
                yield pytest.param(module, text, call, value, id=f"{module.split('.', 1)[-1]}: {text[-60:]}")


class Arrays(ast.NodeTransformer):
    """Lists of floats become np.array([...])."""

    def visit_List(self, node):
        leaves = [leaf for leaf in ast.walk(node) if not isinstance(leaf, (ast.List, ast.Load, ast.UnaryOp, ast.USub))]
        if leaves and all(isinstance(leaf, ast.Constant) and isinstance(leaf.value, float) for leaf in leaves):
            return ast.Call(ast.Attribute(ast.Name("np", ast.Load()), "array", ast.Load()), [node], [])
        return self.generic_visit(node)


def evaluate(node, names):
    tree = ast.fix_missing_locations(ast.Expression(node))
    return eval(compile(tree, "<example>", "eval"), {"__builtins__": BUILTINS}, names)


def names_for(module, call, value):
    """The module's own names, the package's, np and inf; one object for a name of both sides that nothing defines."""
    public = {name: getattr(nanogpt_np, name) for name in nanogpt_np.__all__}
    names = {"np": np, "inf": np.inf, **public, **vars(importlib.import_module(module))}
    return {**{name: object() for name in names_in(call) & names_in(value)}, **names}


def same(actual, expected):
    """Equal and of one type; an array or a tuple may be written as a list, what prints itself as a plain dict."""
    if isinstance(actual, np.ndarray) or isinstance(expected, list) and not isinstance(actual, list):
        return np.array_equal(np.asarray(actual), np.asarray(expected))
    kind = type(expected)
    return actual == expected and (isinstance(actual, kind) if kind in (dict, list) else type(actual) is kind)


@pytest.mark.parametrize("module, text, call, value", list(found()))
def test_a_worked_example_is_true(module, text, call, value, monkeypatch):
    assert call and value, f"looks like an example, and cannot be read: {text}"
    if module.startswith("nanogpt_np.kernels"):  # their examples share work among two threads
        monkeypatch.setattr(importlib.import_module(module), "n_threads", lambda: 2, raising=False)
    names = names_for(module, call, value)
    actual, expected = evaluate(Arrays().visit(call), names), evaluate(value, names)
    assert same(actual, expected), f"{ast.unparse(call)}: expected {expected!r}, got {actual!r}"


def test_this_file_finds_examples():
    assert len(list(found())) >= AT_LEAST
    left_alone = "[n_batch, n_seq] -> [n]", "f(text) -> list of ids", "f(x) -> [n_seq, 4 * n_embd]", '"Ġ" -> 32'
    assert [list(examples_in(line)) for line in left_alone] == [[], [], [], []]
    assert len(list(examples_in('f(1) -> 2; g(2)["a"] -> (1, 2), and h(3) -> 1,000'))) == 3
    assert [value for *_, value in examples_in('f("\n") -> 3; f(1) -> [what, ever]')] == [None, None]


def test_an_untrue_example_is_refused():
    ((_, call, value),) = examples_in("causal_mask(2, 3) -> [[True, True, True], [True, True, True]]")
    names = names_for("nanogpt_np.ops", call, value)
    assert not same(evaluate(call, names), evaluate(value, names))
