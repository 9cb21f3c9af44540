"""Settings of the documentation's build: `scripts/docs.sh`, or `sphinx-build -W docs docs/_build/html`."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]

from t5x_lite import __version__  # noqa: E402 (found by the line above)

project = "t5x_lite"
author = "The t5x_lite authors"
release = version = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "reference"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
# The notebooks are run by tests/notebooks, which also sees to it that they are quick.
nb_execution_mode = "off"
exclude_patterns = ["_build", "_ext"]
default_role = "code"
autodoc_typehints = "description"
autodoc_member_order = "bysource"
napoleon_use_rtype = False

html_theme = "sphinx_book_theme"
html_title = "t5x_lite"
html_theme_options = {"show_toc_level": 2, "use_download_button": False}
html_static_path: list[str] = []
smartquotes = False
