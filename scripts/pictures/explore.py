"""docs/explore.png: the page of `splitmix explore` at width 0.5 and λ 0.5, in a headless Chromium.

    python scripts/pictures/explore.py outputs/mini_robust_joint_splitmix/1 docs/explore.png

needs the extra `explore`, selenium, Chromium and its driver, and a run that was tested with `attack=[none,linf_pgd]`.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

SIZE = 1060, 950
AT = 0.5
WAIT_S = 120
STILL_S = 5


def main() -> int:
    """Serve the page, move its sliders, save the picture."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("run", type=Path)
    options.add_argument("out", type=Path)
    given = options.parse_args()
    command = [sys.executable, "-m", "splitmix", "explore", f"run={given.run}"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        address = next((line.split()[1] for line in server.stdout if line.startswith("open http")), None)
        if address is None:
            return server.wait()
        photograph(address, given.out)
    finally:
        server.terminate()
        server.wait()
    return 0


def photograph(address: str, out: Path) -> None:
    """Save a PNG of the page with both sliders in the middle."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(word)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        size = {"width": SIZE[0], "height": SIZE[1], "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(address)
        wait = WebDriverWait(browser, WAIT_S)
        wait.until(lambda page: page.find_elements("css selector", "#sm-tiles"))
        for key, name in (("width", "data-width"), ("level", "data-level")):
            move(browser, wait, key, name)
        settled(browser)
        browser.execute_script("document.activeElement.blur(); window.scrollTo(0, 0)")
        browser.save_screenshot(str(out))
    finally:
        browser.quit()


def move(browser: webdriver.Chrome, wait: WebDriverWait[webdriver.Chrome], key: str, name: str) -> None:
    """Move a slider to the middle, step by step, until the numbers are of it."""
    for slider in browser.find_elements("css selector", f"#sm-{key} input[type=range]"):  # no λ, no slider
        at = float(str(slider.get_property("value")))
        steps = round((AT - at) / float(str(slider.get_property("step"))))
        slider.send_keys(*[Keys.RIGHT if steps > 0 else Keys.LEFT] * abs(steps))
        wait.until(partial(shows, name))


def shows(name: str, browser: webdriver.Chrome) -> bool:
    """Whether the page's numbers are of the middle of this slider."""
    text = browser.execute_script(f"return document.querySelector('#sm-numbers')?.getAttribute('{name}')")
    return float(text or -1) == AT


def settled(browser: webdriver.Chrome) -> None:
    """Wait until the attacked images have not changed for a while."""
    seen, since = "", time.monotonic()
    while time.monotonic() - since < STILL_S:
        now = browser.execute_script("return document.querySelector('#sm-tiles')?.innerHTML")
        if now != seen:
            seen, since = now, time.monotonic()
        time.sleep(0.2)


if __name__ == "__main__":
    raise SystemExit(main())
