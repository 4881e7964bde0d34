"""Sphinx: `make docs` builds the site into docs/_build/html, offline."""

from ehrmem_widgets import __version__
from ehrmem_widgets.glossary import glossary

project = "ehrmem"
author = "ehrmem contributors"
copyright = f"{author}, Apache-2.0"
release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.doctest", "sphinx_copybutton"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"ehrmem {release}"
html_copy_source = False
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
# pytest tries a docstring among its module's names; Sphinx does not know them.
doctest_global_setup = """
from ehrmem_widgets.api import open_cohort, open_model
from ehrmem_widgets.blackbox.callable import CallableModel
"""
autodoc_member_order = "bysource"
autodoc_typehints = "description"


def setup(app):
    """The glossary's page is made from the file that the screens read."""

    def fill(app, name, source):
        if name == "glossary":
            source[0] = source[0].replace(
                "GLOSSARY", "\n\n".join(f"**{term.name}.** {term.meaning}" for term in glossary().values())
            )

    app.connect("source-read", fill)
