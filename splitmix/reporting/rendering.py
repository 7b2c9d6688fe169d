"""Fills the templates of tables and of the page; whatever a template shows is escaped for its format."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from splitmix.reporting.escape import html, latex, markdown

ESCAPES = {"html": html, "md": markdown, "tex": latex}
LATEX_DELIMITERS: dict[str, Any] = {
    "variable_start_string": "<<", "variable_end_string": ">>", "block_start_string": "<%", "block_end_string": "%>",
}  # fmt: skip
"""LaTeX has braces of its own."""


@cache
def environment(ending: str) -> Environment:
    """The templates of one format. No value can be shown without being escaped, but what another template made."""

    def escaped(value: Any) -> Markup:
        return value if isinstance(value, Markup) else Markup(ESCAPES[ending](str(value)))

    return Environment(
        loader=PackageLoader("splitmix.reporting"),
        autoescape=True,
        finalize=escaped,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        **(LATEX_DELIMITERS if ending == "tex" else {}),
    )


def render(name: str, **values: Any) -> Markup:
    """A template with these values; the ending of its name is the format."""
    return Markup(environment(name.rpartition(".")[2]).get_template(name).render(**values))
