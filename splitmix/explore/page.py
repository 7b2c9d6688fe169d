"""The page itself: Gradio's sliders, tabs and buttons around what `explorer.py` computes and `html.py` draws."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import gradio as gr

from splitmix.errors import UserError
from splitmix.explore import html
from splitmix.explore.download import Download
from splitmix.explore.drawing import as_image
from splitmix.explore.explorer import LEVEL_STEP, Explorer

CANVAS = 280
"""Height and width of the field to draw in, in pixels."""
TAKE_BRUSH = """() => {
    const take = () => {
        const brush = document.querySelector("#sm-sketch button[aria-label=Brush]");
        if (brush) brush.click(); else setTimeout(take, 200);
    };
    if (!window.brushTaken) { window.brushTaken = true; setTimeout(take, 200); }
}"""
"""The first time that the tab is opened, take the brush: else the first stroke would draw nothing."""
INVITATION = "<p class='sm-note'>Draw something, or upload an image.</p>"
LATEST = "always_last"
"""While one position is computed, only the latest of those that the slider passes is computed after it."""


def page(explorer: Explorer, download: Download) -> gr.Blocks:
    """The page of a run."""
    widths, attacks = explorer.run.widths, list(explorer.attacks)
    several = len(widths) > 1
    with gr.Blocks(title=f"splitmix explore: {explorer.run.folder.name}", analytics_enabled=False) as blocks:
        gr.HTML(html.head(explorer))
        with gr.Row():
            with gr.Column(min_width=300):
                width = gr.Slider(
                    widths[0] if several else 0, widths[-1], value=widths[-1], step=step_of(widths), visible=several,
                    label="width (share of the full network)", elem_id="sm-width",
                )  # fmt: skip
                level = gr.Slider(
                    0, 1, value=0, step=LEVEL_STEP, visible=explorer.dual,
                    label="robustness λ (0 standard, 1 robust)", elem_id="sm-level",
                )  # fmt: skip
                attack = gr.Dropdown(attacks, value=attacks[0], label="attack", visible=len(attacks) > 1)
                numbers = gr.HTML()
            with gr.Column(min_width=300):
                picture = gr.HTML()
        dials = [width, level, attack]

        def show_numbers(position: float, adv_lambda: float, attack: str) -> tuple[str, str]:
            shown = explorer.numbers(explorer.width_at(position), adv_lambda, attack)
            return html.numbers(explorer, shown, attack), html.picture(explorer, shown, attack)

        moved(blocks, dials, show_numbers, dials, [numbers, picture])
        with gr.Tab("Test images"):
            test_images(blocks, explorer, dials)
        with gr.Tab("Your image") as image_tab:
            own_image(explorer, dials)
        image_tab.select(None, js=TAKE_BRUSH, api_visibility="private")
        with gr.Tab("Bundle"):
            take_along(download)
    return blocks


def test_images(blocks: gr.Blocks, explorer: Explorer, dials: list[Any]) -> None:
    """The tab with test images by domain."""
    domains = explorer.run.domains
    with gr.Row():
        domain = gr.Radio(list(domains), value=domains[0], label="domain", scale=4, min_width=280, elem_id="sm-domain")
        more = gr.Button("Other images", scale=1, min_width=160, size="md", elem_id="sm-more")
    number, tiles = gr.State(0), gr.HTML()

    def show(position: float, adv_lambda: float, attack: str, domain: str, number: int) -> str:
        looks = explorer.test_images(domain, number, explorer.width_at(position), adv_lambda, attack)
        return html.tiles(explorer, looks, attack)

    def turn_over(position: float, adv_lambda: float, attack: str, domain: str, number: int) -> tuple[int, str]:
        return number + 1, show(position, adv_lambda, attack, domain, number + 1)

    inputs = [*dials, domain, number]
    moved(blocks, [*dials, domain], show, inputs, [tiles])
    more.click(turn_over, inputs, [number, tiles], show_progress="hidden", api_visibility="private")


def own_image(explorer: Explorer, dials: list[Any]) -> None:
    """The tab with an image of the user's."""
    with gr.Row():
        with gr.Column(min_width=280):
            sketch = gr.Sketchpad(
                type="pil", layers=False, label="draw here", canvas_size=(CANVAS, CANVAS),
                brush=gr.Brush(default_size=18, colors=["#000000", "#0072b2", "#d55e00"]), elem_id="sm-sketch",
            )  # fmt: skip
            inverted = gr.Checkbox(False, label="exchange light and dark", elem_id="sm-invert")
            upload = gr.Image(
                type="pil", image_mode=None, sources=["upload", "clipboard"], label="or upload an image: it goes first",
                height=160, elem_id="sm-upload",
            )  # fmt: skip
        with gr.Column(min_width=280):
            answer = gr.HTML(INVITATION)

    def show(
        position: float, adv_lambda: float, attack: str, drawn: dict[str, Any] | None, uploaded: Any, inverted: bool
    ) -> str:
        picture = uploaded or (drawn and drawn["composite"])
        image = as_image(picture, explorer.run.input_shape, inverted) if picture else None
        if image is None:
            return INVITATION
        width = explorer.width_at(position)
        return html.own(explorer, explorer.own_image(image, width, adv_lambda, attack), width, attack)

    inputs = [*dials, sketch, upload, inverted]
    gr.on(
        [one.change for one in inputs], show, inputs, [answer],
        trigger_mode=LATEST, show_progress="hidden", api_visibility="private",
    )  # fmt: skip


def take_along(download: Download) -> None:
    """The tab with the bundle."""
    gr.HTML(html.render("bundle.html", run=download.explorer.run.folder, mixes=download.explorer.run.method.mixes))
    make = gr.Button("Make the bundle", elem_id="sm-make", visible=download.explorer.run.method.mixes)
    file = gr.File(label="bundle", visible=False, elem_id="sm-bundle")

    def made() -> Any:
        try:
            return gr.File(value=str(download.path()), visible=True)
        except UserError as error:
            raise gr.Error(str(error), duration=None) from error

    make.click(made, None, [file], api_visibility="private")


def moved(
    blocks: gr.Blocks, triggers: list[Any], show: Callable[..., Any], inputs: list[Any], outputs: list[Any]
) -> None:
    """Show it when the page opens, and whenever one of these changes."""
    gr.on(
        [blocks.load, *(one.change for one in triggers)], show, inputs, outputs,
        trigger_mode=LATEST, show_progress="hidden", api_visibility="private",
    )  # fmt: skip


def step_of(widths: tuple[float, ...]) -> float:
    """The step of the dial: the smallest gap between widths. Where they are spaced unevenly the dial snaps."""
    gaps = [round(high - low, 9) for low, high in pairwise(widths)]
    return min(gaps, default=1.0)


def theme() -> gr.themes.Base:
    """Fonts of the user's machine: none is fetched."""
    return gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])


def head() -> str:
    """The style of the parts that `html.py` draws, for the head of the page: Gradio's `css` cannot reach its frame."""
    return f"<style>{(Path(__file__).parent / 'page.css').read_text(encoding='utf-8')}</style>"
