"""Formulas as MathML, made while the site is built: a browser draws it without JavaScript, fonts or a network.

Enter: LaTeX between dollars. Leave: <math>. What the converter does not know is a warning, and so ends a strict build.
Next: pages.py.
"""

import html
import re
from xml.etree import ElementTree

from docutils.nodes import SkipNode
from latex2mathml.converter import convert
from sphinx.util import logging

LOG = logging.getLogger(__name__)
# the converter knows arrays, but not these; in print they are arrays as well
ALIGNED = re.compile(r"\\(begin|end)\{(aligned|align\*?|split)\}")


ElementTree.register_namespace("", "http://www.w3.org/1998/Math/MathML")


def mathml(latex, display):
    """One formula; an error for what would come out as raw LaTeX."""
    latex = ALIGNED.sub(lambda found: r"\end{array}" if found[1] == "end" else r"\begin{array}{rl}", latex.strip())
    tree = ElementTree.fromstring(convert(latex, display=display))
    left = [node.text for node in tree.iter() if "\\" in (node.text or "")]
    if left:
        raise ValueError(f"latex2mathml does not know {left[0]}")
    for node in list(tree.iter()):
        if node.tag.endswith(("}math", "}mrow", "}mtd", "}mstyle")):
            space_out(node)
    tree.set("alttext", latex)
    return ElementTree.tostring(tree, encoding="unicode")


def space_out(row):
    """A thin space between a function's name and what it is of, as in "log x"; the converter leaves none."""
    for place, (node, after) in reversed(list(enumerate(zip(row, row[1:], strict=False)))):
        if node.tag.endswith("}mi") and len(node.text or "") > 1 and not after.tag.endswith(("}mo", "}mspace")):
            row.insert(place + 1, ElementTree.Element(node.tag[:-2] + "mspace", width="0.17em"))


def said(self, node, display):
    """The formula of a node, or its LaTeX and a warning."""
    try:
        return mathml(node.astext(), display)
    except Exception as error:  # the converter's own errors have no common kind
        LOG.warning("formula %r: %s", node.astext(), error, location=node)
        return f"<code>{html.escape(node.astext())}</code>"


def visit_inline(self, node):
    self.body.append(said(self, node, "inline"))
    raise SkipNode


def visit_block(self, node):
    self.body.append(f'<div class="math">{said(self, node, "block")}</div>\n')
    raise SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
