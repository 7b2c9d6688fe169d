"""Notebooks as pages of the site: text, code and what it printed or drew."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def notebook_pages() -> dict[str, str]:
    """The page of every notebook in docs/notebooks, by its path in the site."""
    files = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
    return {f"notebooks/{file.stem}.md": notebook_page(file) for file in files}


def notebook_page(file: Path) -> str:
    """One notebook as Markdown."""
    parts = []
    for cell in json.loads(file.read_text())["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(re.sub(r"\]\((\w+)\.ipynb\)", r"](\1.md)", text))
        else:
            parts.append(f"```python\n{text}\n```")
            parts += shown(cell["outputs"])
    note = f"The notebook itself is `docs/notebooks/{file.name}`: open it in Jupyter, and change what you like."
    parts.insert(1, note)
    return "\n\n".join(parts) + "\n"


def shown(outputs: list[dict[str, Any]]) -> Iterator[str]:
    """What a cell's code printed, returned and drew."""
    for output in outputs:
        data = output.get("data", {})
        if "text" in output:
            yield f"```text\n{''.join(output['text']).rstrip()}\n```"
        elif "image/png" in data:
            picture = "".join(data["image/png"]).strip()
            yield f'<img alt="what the cell above drew" src="data:image/png;base64,{picture}">'
        elif "text/html" in data:
            yield re.sub(r"<style.*?</style>", "", "".join(data["text/html"]), flags=re.DOTALL).replace("\n", "")
        elif "text/plain" in data:
            yield f"```text\n{''.join(data['text/plain']).rstrip()}\n```"
