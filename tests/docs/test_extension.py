"""What the site's own extension makes of formulas, docstrings and names."""

import pytest


def test_a_formula_is_mathml(extension):
    mathml = extension("mathml").mathml
    made = mathml(r"\mathrm{softmax}\left(\frac{QK^\top}{\sqrt{d}}\right)V", "inline")
    assert made.startswith("<math ") and "<mfrac>" in made and "<msqrt>" in made and "alttext=" in made
    assert "<mtable>" in mathml(r"\begin{aligned}a&=b\\c&=d\end{aligned}", "block")
    assert mathml(r"\log x", "inline").count("<mspace") == 1
    assert mathml(r"\log(x)", "inline").count("<mspace") == 0


@pytest.mark.parametrize("latex", [r"\nosuchthing x", r"\begin{nosuch}a&b\end{nosuch}", r"\frac{1}{"])
def test_a_formula_that_is_not_known_is_refused(extension, latex):
    with pytest.raises(Exception):  # noqa: B017  # the converter's errors have no common kind
        extension("mathml").mathml(latex, "inline")


@pytest.mark.parametrize("doc, expected", [
    ("causal_mask(2, 3) -> [[True, True, False]]", r"``causal_mask(2, 3)``\  → \ ``[[True, True, False]]``"),
    ("`ids`: [n_batch, n_seq] or None", r"- \ ``ids``\ : \ ``[n_batch, n_seq]``\  or None"),
    ("x * y and 2 ** 3", r"x \* y and 2 \*\* 3"),
    ("a *room* is one file", "a *room* is one file"),
    ("ends with <|endoftext|>.", r"ends with \ ``<|endoftext|>``\ ."),
    ("opens \"stories\" by name", "opens \\ ``\"stories\"``\\  by name"),
    ("see ops.softmax. It is there", r"see \ ``ops.softmax``\ . It is there"),
    ("an error (see Brown et al. 2020, 2.1)", "an error (see Brown et al. 2020, 2.1)"),
    ("an open (bracket is prose", "an open (bracket is prose"),
])  # fmt: skip
def test_plain_docstrings_become_rst(extension, doc, expected):
    made = [line for line in extension("docstrings").rst(doc) if line]
    assert made[0].removeprefix("\\ ").replace("- \\ ", "- ") == expected.replace("- \\ ", "- ")


def test_a_head_is_cut_into_what_enters_and_leaves(extension):
    made = extension("docstrings").rst("What it is.\n\nEnter: a text. Leave: ids [n]. Next: ops.py.")
    assert [line[:9] for line in made if line] == ["What it i", "**Enter:*", "**Leave:*", "**Next:**"]


@pytest.mark.parametrize("said, path", [
    ("ops.softmax", "ops.softmax"), ("GPT", "gpt.GPT"), ("lens.cost_view", "lens.cost.cost_view"),
    ("data.Windows.batch", "training.data.Windows.batch"), ("GPT.generate", "generation.writer.Writer.generate"),
    ("GPT.save", "gpt.GPT.save"), ("GPT.nothing", None),
    ("nanogpt_np.kernels.linear", "kernels.products.linear"), ("softmax", None), ("ops.nothing", None),
])  # fmt: skip
def test_prose_names_what_the_package_holds(extension, said, path):
    found = extension("package").find(said)
    assert (found and found.path) == path


def test_shapes_and_fields_are_read_from_the_source(extension):
    names = extension("package").names()
    assert names["ops.merge_heads"].shapes == "[n_batch, n_head, n_seq, d_head] -> [n_batch, n_seq, n_embd]"
    fields = names["model.AttentionActs"].fields
    assert fields[1].name == "q" and fields[1].says == "[n_batch, n_head, n_seq, d_head]"
