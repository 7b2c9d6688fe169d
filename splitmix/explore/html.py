"""The parts of the page as HTML: numbers, picture, images. Everything in them is local; templates escape all values."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from functools import cache
from io import BytesIO
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image
from torch import Tensor

from splitmix.explore.explorer import Explorer, Numbers, change_of
from splitmix.explore.looks import Look
from splitmix.reporting.escape import one_line

TOP = 3
"""Classes named beside an own image."""


@cache
def environment() -> Environment:
    """The templates of this folder; every value is escaped."""
    made = Environment(
        loader=PackageLoader("splitmix.explore"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    made.finalize = lambda value: one_line(value) if type(value) is str else value
    return made


def render(name: str, **values: Any) -> str:
    """A template with these values."""
    return environment().get_template(name).render(**values)


def head(explorer: Explorer) -> str:
    """The head of the page."""
    return render("head.html", **explorer.facts())


def numbers(explorer: Explorer, shown: Numbers, attack: str) -> str:
    """Accuracies and costs of a position; the full numbers stand in `data-value`."""
    return render("numbers.html", shown=shown, attack=attack, dual=explorer.dual, run=explorer.run.folder)


def picture(explorer: Explorer, shown: Numbers, attack: str) -> str:
    """The picture, a ring around the chosen point."""
    drawn = explorer.picture(attack)
    ring = None if drawn is None else drawn.places.get((shown.width, shown.tested_level or 0.0))
    return render("picture.html", drawn=drawn, png=drawn and address(drawn.png), ring=ring, shown=shown)


def tiles(explorer: Explorer, looks: Sequence[Look], attack: str) -> str:
    """Test images, each clean, attacked and what the attack changed, with what the model answers."""
    return render(
        "tiles.html", tiles=[tile(explorer, look) for look in looks], attack=ran(explorer, attack),
        classes=explorer.run.classes, right=sum(look.predicted == look.label for look in looks),
        right_attacked=sum(look.attacked_predicted == look.label for look in looks),
    )  # fmt: skip


def own(explorer: Explorer, look: Look, width: float, attack: str) -> str:
    """The user's image, the answers after each base model, and the same attacked."""
    best = look.answers[-1].topk(min(TOP, look.answers.shape[-1]))
    return render(
        "own.html", tile=tile(explorer, look), attack=ran(explorer, attack), classes=explorer.run.classes, width=width,
        top=[(explorer.run.classes[int(k)], float(p)) for p, k in zip(best.values, best.indices, strict=True)],
    )  # fmt: skip


def ran(explorer: Explorer, attack: str) -> str:
    """What images are attacked with when this attack is chosen."""
    return attack if explorer.attacks[attack][0] is not None else "linf_pgd (the chosen attack takes too long here)"


def tile(explorer: Explorer, look: Look) -> dict[str, Any]:
    """What the templates show of one image."""
    classes = explorer.run.classes
    return {
        "label": None if look.label is None else classes[look.label],
        "image": address(png_of(look.image)),
        "attacked": address(png_of(look.attacked)),
        "change": address(png_of(change_of(look))),
        "predicted": classes[look.predicted],
        "attacked_predicted": classes[look.attacked_predicted],
        "steps": steps(look.answers, look.label, classes),
        "attacked_steps": steps(look.attacked_answers, look.label, classes),
        "right": look.label is None or look.predicted == look.label,
        "withstood": look.attacked_predicted == (look.predicted if look.label is None else look.label),
    }


def steps(answers: Tensor, label: int | None, classes: Sequence[str]) -> list[dict[str, Any]]:
    """The anytime bar: the answer after each base model, its confidence, and whether it is right (None: unknown)."""
    confidences, labels = answers.max(-1)
    return [
        {"name": classes[k], "confidence": float(p), "right": None if label is None else int(k) == label}
        for p, k in zip(confidences, labels.tolist(), strict=True)
    ]


def png_of(image: Tensor) -> bytes:
    """A float image `[channels, h, w]` in [0, 1] as a PNG file; two channels or more than three: the first one."""
    pixels = (image if image.shape[0] in (1, 3) else image[:1]).mul(255).round().byte().permute(1, 2, 0).numpy()
    file = BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, "png")
    return file.getvalue()


def address(png: bytes) -> str:
    """A PNG file as an address that holds it: no request is needed to show it."""
    return f"data:image/png;base64,{b64encode(png).decode()}"
