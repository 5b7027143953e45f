"""The documentation site: `make docs` builds it with Sphinx into docs/build/, and takes no warning.

Sphinx reads the commands and the Python interface from the code, and fails on a link that leads nowhere. The theme
brings its fonts and scripts along, so the pages need no network. They are Markdown (MyST), to be read in the tree too.
"""

import importlib.util
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "extensions")]

from lstn import __version__  # noqa: E402 - the checkout, not an installed copy

project = "lstn"
author = "the authors of lstn"
release = version = __version__
copyright = "the authors of lstn, Apache License 2.0"  # noqa: A001 - Sphinx calls it so

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
extensions += ["files_outside", "command_pages", "python_pages"]
exclude_patterns = ["build", "extensions", "tree/results/*/*.html", "**/Thumbs.db"]

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 4
default_role = "literal"
highlight_language = "text"
add_module_names = False
smartquotes = False  # it would make a dash of the two in --options

# The site is also built where PyTorch and TensorRT are not installed: what is missing is replaced by a stand-in.
OPTIONAL = ("onnx", "onnxruntime", "onnxscript", "openvino", "ray", "safetensors", "tensorrt", "torch", "torchvision")
autodoc_mock_imports = [name for name in OPTIONAL if importlib.util.find_spec(name) is None]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
napoleon_numpy_docstring = False

html_theme = "pydata_sphinx_theme"
html_title = "lstn"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_sidebars = {name: [] for name in ("index", "tutorial", "results", "tree/results/**")}
html_theme_options = {
    "logo": {"text": "lstn"},
    "header_links_before_dropdown": 6,
    "navbar_end": ["theme-switcher"],
    "navbar_persistent": ["search-button"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_prev_next": True,
}
copybutton_prompt_text = "$ "
