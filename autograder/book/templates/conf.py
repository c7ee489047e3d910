"""Sphinx's settings for the book. Nothing is loaded from another host, so the site opens from a disk."""

import json
import re
from pathlib import Path

project = "Large-scale machine learning"
language = "en"
extensions = ["myst_nb"]
exclude_patterns = ["_build"]
nb_execution_mode = "off"  # the notebooks bring their outputs
myst_enable_extensions = ["amsmath", "dollarmath"]

html_theme = "pydata_sphinx_theme"
html_title = project
html_static_path = ["_static"]
html_css_files = ["book.css"]
html_copy_source = False
html_show_sourcelink = False
mathjax_path = "tex-svg.js"
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system is
html_sidebars = {page: [] for page in ("index", "algorithms", "symbols", "search")}
html_theme_options = {
    "header_links_before_dropdown": 6,
    "navigation_with_keys": False,
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": [],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_use_index = False
html_domain_indices = False


def setup(app):
    """Give figures their text, and tables no header without words."""
    texts = json.loads((Path(__file__).parent / "figures.json").read_text(encoding="utf-8"))

    def describe(app, doctree):  # myst-nb names a figure's file by a hash of its bytes, and leaves its text out
        for image in doctree.findall(lambda node: node.tagname == "image"):
            image["alt"] = texts[Path(image["uri"]).stem]

    def empty_headers(app, page, template, context, doctree):
        context["body"] = re.sub(r"<th[^>]*>(?:<p></p>)?</th>", "<td></td>", context.get("body") or "")

    app.connect("doctree-read", describe)
    app.connect("html-page-context", empty_headers)
