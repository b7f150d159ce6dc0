"""How Sphinx builds the site; `python docs/build.py` calls it, with the project's own folder as the source.

So a page lies in the site where it lies in the project, and the links between pages stay as they are.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

import nanogpt_np  # noqa: E402

project = "nanogpt_np"
version = release = nanogpt_np.__version__
html_title = project
language = "en"
extensions = [
    "myst_nb", "sphinx.ext.autodoc", "sphinx.ext.linkcode", "sphinx.ext.githubpages",
    "docstrings", "api", "links", "sources", "mathml", "pages",  # of docs/_ext
]  # fmt: skip
root_doc = "docs/index"
include_patterns = ["README.md", "README.zh.md", ".github/CONTRIBUTING.md", "docs/*.md", "docs/api/*.rst",
                    "weights/*/TRAINING.md", "notebooks/*.md", "notebooks/[0-9][0-9]_*.ipynb"]  # fmt: skip
exclude_patterns = [".git", ".venv*", "runs", "**/.*", "docs/_build"]
nitpicky = True
templates_path = []

# Markdown and notebooks: nothing is run, nothing is loaded from elsewhere.
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "off"
nb_ipywidgets_js = {}
nb_merge_streams = True
highlight_language = "text"
html_math_renderer = "mathml"

# The API: the types of what is imported from elsewhere lead nowhere, as the site is built without a network.
# of llm's plugin, and of the page and the HTTP interface, which the site does without
autodoc_mock_imports = ["llm", "click", "pydantic", "starlette", "uvicorn"]
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_type_aliases = {"ArrayLike": "ArrayLike", "Prompt": "Prompt"}  # by name, as they are written
python_maximum_signature_line_length = 90
add_module_names = False
autodoc_docstring_signature = False  # a docstring that begins with an example has one no less
toc_object_entries = False
nitpick_ignore_regex = [
    ("py:.*", r"(np|numpy|collections|typing|types|os|pathlib|argparse|matplotlib)\..*"),
    ("py:.*", r"nanogpt_np\.generation\.writer\.(Asked|Piece)"),  # type variables
    ("py:class", "ArrayLike|Prompt|Words|Biases"),
]

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_favicon = "_static/favicon.svg"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = html_show_copyright = False
html_domain_indices = False
CHINESE = "'Noto Sans CJK SC', 'Noto Sans SC', 'Source Han Sans SC', 'PingFang SC', 'Microsoft YaHei'"
FONTS = {
    "font-stack": f"system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, {CHINESE}, sans-serif",
    "font-stack--monospace": f"ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', {CHINESE}, monospace",
}
html_theme_options = {  # the colours of nanogpt_np/lens/style.py: a query's blue
    "light_css_variables": FONTS | {"color-brand-primary": "#1b4f9c", "color-brand-content": "#1b4f9c"},
    "dark_css_variables": {"color-brand-primary": "#7fb0f5", "color-brand-content": "#7fb0f5"},
}


def linkcode_resolve(domain, info):
    """[source] behind a name of the API leads to its line; all of these pages lie in docs/api."""
    import package

    path = f"{info['module']}.{info['fullname']}".removeprefix("nanogpt_np.")
    name = package.names().get(path)
    return name and f"../../source/nanogpt_np/{name.room}.html#line-{name.line}"
