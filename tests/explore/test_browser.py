"""`splitmix explore` in a real browser: sliders moved, numbers held against results.json, no request to the outside."""

import json
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from io import BytesIO
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from PIL import Image
from run_folders import config_of, write_run

from splitmix.commands import main
from splitmix.config import load_run_config
from splitmix.federation.build import check_config
from splitmix.runs.checkpoint import Checkpoint, save_checkpoint

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
DOMAINS = ("handwritten", "coarse", "photo_blend", "fonts", "house_numbers")
CONFIG = ["clients_per_domain=2", "algorithm.adv_lambda=0.5", "model.bn=tracked", "algorithm.rescale_init=false"]
WAIT_S = 120

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="needs Debian's chromium and chromium-driver"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of untrained base models with two branches, tested by `splitmix test`."""
    pytest.importorskip("gradio", reason="needs the extra explore")
    pytest.importorskip("selenium", reason="needs selenium")
    folder = tmp_path_factory.mktemp("explore") / "run"
    write_run(folder, CONFIG, {1.0: 0.1}, budgets=[1.0] * 10, domains=DOMAINS, results={"tests": []})
    method = check_config(load_run_config(config_of(tuple(CONFIG))))
    state = method.initial_state(3)
    (folder / "checkpoints").mkdir()
    for name in ("best", "last"):
        save_checkpoint(folder / "checkpoints" / f"{name}.ckpt", Checkpoint(state, -1, -1.0, 0.0))
    settings = ["test.widths=[0.125,0.5,1]", "test.adv_lambdas=[0,1]", "test.max_images=50", "engine.workers=1"]
    attack = ["attack=[none,linf_pgd]", "attack.linf_pgd.steps=2"]
    assert main(["test", f"run={folder}", *settings, *attack]) == 0
    return folder


@pytest.fixture(scope="module")
def served(run):
    """The address of the page, and at the end Ctrl-C."""
    command = [sys.executable, "-m", "splitmix", "explore", f"run={run}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stdout:
            if line.startswith("open http"):
                break
        else:
            pytest.fail(process.stderr.read())
        yield line.split()[1]
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr.read() == ""
    finally:
        process.kill()


@pytest.fixture
def browser():
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def opened(browser, address, breadth, height):
    """Open the page in a window of this size, and wait for its images."""
    size = {"width": breadth, "height": height, "deviceScaleFactor": 1, "mobile": breadth < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(address)
    until(lambda: one(browser, "#sm-tiles") and one(browser, "#sm-numbers"))


def until(condition):
    """The first true answer."""
    end = time.monotonic() + WAIT_S
    while not (answer := condition()):
        assert time.monotonic() < end, "the page did not change"
        time.sleep(0.1)
    return answer


def one(browser, selector):
    """The first such element, or None."""
    return next(iter(browser.find_elements("css selector", selector)), None)


def value(browser, key, name="data-value"):
    """An attribute of an element, read at once: the page may replace the element meanwhile."""
    return browser.execute_script(f"return document.querySelector('#sm-{key}')?.getAttribute('{name}')")


def click(browser, xpath):
    browser.find_element("xpath", xpath).click()


def asked(browser):
    """What the page asked for since the last time: host by host, `data` and `blob` for what it holds itself."""
    hosts = set()
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated"):
            parameters = message["params"]
            parts = urlsplit(parameters["url"] if "url" in parameters else parameters["request"]["url"])
            hosts.add(parts.netloc or parts.scheme)
    return hosts


def check_local(browser, address):
    """All requests went to the page's own server, and the browser had to refuse none."""
    hosts = asked(browser)
    assert urlsplit(address).netloc in hosts and hosts <= {urlsplit(address).netloc, "data", "blob"}
    assert not [entry for entry in browser.get_log("browser") if "Content Security Policy" in entry["message"]]


def test_the_sliders_show_the_numbers_of_splitmix_test(run, served, browser):
    from selenium.webdriver.common.keys import Keys

    tests = json.loads((run / "results.json").read_text())["tests"]
    accuracy = {(test["attack"]["name"], (test["width"], test["adv_lambda"])): test["accuracy"] for test in tests}
    assert len(accuracy) == 12
    opened(browser, served, 1200, 1400)
    tiles = one(browser, "#sm-tiles").get_attribute("innerHTML")
    seen = []
    for key, presses, name, expected in [
        ("width", [], "data-width", 1.0),
        ("width", [Keys.LEFT] * 4, "data-width", 0.5),
        ("level", [Keys.RIGHT] * 20, "data-level", 1.0),
        ("width", [Keys.LEFT] * 3, "data-width", 0.125),
    ]:
        if presses:
            browser.find_element("css selector", f"#sm-{key} input[type=range]").send_keys(*presses)
        until(lambda name=name, expected=expected: float(value(browser, "numbers", name)) == expected)
        place = float(value(browser, "numbers", "data-width")), float(value(browser, "numbers", "data-level"))
        assert float(value(browser, "sa")) == accuracy["none", place]
        assert float(value(browser, "ra")) == accuracy["linf_pgd", place]
        ring = until(lambda: value(browser, "ring", "style"))
        seen.append((place, float(value(browser, "macs")), float(value(browser, "bytes")), ring))
    assert [place for place, *_ in seen] == [(1.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.125, 1.0)]
    assert seen[0][1] == pytest.approx(2 * seen[1][1], rel=0.01) == pytest.approx(8 * seen[3][1], rel=0.01)
    assert seen[0][2] == 2 * seen[1][2] == 8 * seen[3][2]
    points = {(accuracy["none", place], accuracy["linf_pgd", place]) for place, *_ in seen}
    assert len({ring for *_, ring in seen}) == len(points)
    until(lambda: one(browser, "#sm-tiles").get_attribute("innerHTML") != tiles)
    browser.find_element("css selector", "#sm-level input[type=range]").send_keys(Keys.LEFT)
    until(lambda: float(value(browser, "numbers", "data-level")) == 0.95)
    assert "measured at λ = 1, the tested level nearest to 0.95" in one(browser, "#sm-level-note").text
    check_local(browser, served)


def test_other_images_and_other_domains(served, browser):
    opened(browser, served, 1200, 1400)

    def first_image():
        return browser.execute_script("return document.querySelector('#sm-tiles img')?.src")

    shown = [first_image()]
    for xpath in ("//*[@id='sm-more']", "//*[@id='sm-domain']//label[contains(., 'fonts')]"):
        click(browser, xpath)
        until(lambda: first_image() not in [None, *shown])
        shown.append(first_image())
    check_local(browser, served)


def test_an_image_of_ones_own(served, browser, tmp_path):
    from selenium.webdriver import ActionChains

    opened(browser, served, 1200, 1400)
    click(browser, "//button[@role='tab'][contains(., 'Your image')]")
    canvas = until(lambda: one(browser, "#sm-sketch canvas"))
    time.sleep(2)  # the page takes the brush a moment after the canvas is there
    strokes = ActionChains(browser).move_to_element_with_offset(canvas, 0, -60).click_and_hold()
    for _ in range(6):
        strokes = strokes.move_by_offset(0, 20)
    strokes.release().perform()
    until(lambda: one(browser, "#sm-own"))
    assert len(browser.find_elements("css selector", "#sm-own .sm-row")) == 2 * 8
    drawn = one(browser, "#sm-own img").get_attribute("src")
    Image.new("RGB", (60, 40), "white").save(tmp_path / "own.png")
    with Image.open(tmp_path / "own.png") as image:
        image.paste((200, 0, 0), (10, 10, 30, 30))
        image.save(tmp_path / "own.png")
    browser.find_element("css selector", "#sm-upload input[type=file]").send_keys(str(tmp_path / "own.png"))
    until(lambda: browser.execute_script("return document.querySelector('#sm-own img')?.src") not in (None, drawn))
    check_local(browser, served)


def test_the_page_fits_a_phone(served, browser, tmp_path):
    opened(browser, served, 390, 1400)
    for tab in ("Test images", "Your image", "Bundle"):
        click(browser, f"//button[@role='tab'][contains(., '{tab}')]")
        time.sleep(0.5)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 390, tab
    check_local(browser, served)


def test_the_bundle_is_offered(served, browser, tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime", "safetensors"):
        pytest.importorskip(package, reason="needs the extra onnx")
    from splitmix.bundle.elastic import ElasticModel

    opened(browser, served, 1200, 1400)
    click(browser, "//button[@role='tab'][contains(., 'Bundle')]")
    click(browser, "//*[@id='sm-make']")
    link = until(lambda: one(browser, "#sm-bundle a[href]")).get_attribute("href")
    with urlopen(link) as answer:
        zipfile.ZipFile(BytesIO(answer.read())).extractall(tmp_path)
    assert ElasticModel.from_pretrained(tmp_path / "run_bundle").widths[-1] == 1.0
    check_local(browser, served)
