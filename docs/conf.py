"""How Sphinx builds the docs: ``make docs``."""

from fluxa_fast import __version__

project = "fluxa_fast"
author = "The fluxa_fast developers"
copyright = author
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 3
suppress_warnings = ["myst.strikethrough"]
html_theme = "furo"
html_title = f"fluxa_fast {release}"
html_static_path: list[str] = []
html_extra_path = ["charts"]
templates_path: list[str] = []
exclude_patterns = ["_build"]

default_role = "code"  # what docstrings have between backquotes
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
