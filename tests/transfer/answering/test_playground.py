"""The playground: its routes, and its page in a real Chromium, whose sums are those of `zoo.explain.apply_kernel`."""

import contextlib
import io
import shutil
import threading
import time

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from transfer.serving.playground import create_playground, make_playground
from transfer.serving.server import server_socket
from zoo.explain import KERNELS, apply_kernel


def picture() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (18, 26, 3), "uint8")).save(file, "PNG")
    return file.getvalue()


def test_the_routes_give_a_photo_and_the_maps_of_each_layer(everywhere):
    with TestClient(create_playground(everywhere[1])) as client:
        page = client.get("/")
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        assert "http://" not in page.text.replace("http://www.w3.org", "")
        assert "https://" not in page.text
        assert Image.open(io.BytesIO(client.get("/photo").content)).size[0] == 320
        reply = client.post("/features", files={"file": ("a", picture())}).json()
        assert len(reply["layers"]) == 2
        assert reply["layers"][0]["name"] == "First filters"
        assert all(layer["picture"].startswith("data:image/png;base64,") for layer in reply["layers"])
        assert client.post("/features", files={"file": ("a", b"words")}).status_code == 400
    with TestClient(create_playground(everywhere[1], api_key="secret")) as client:
        assert client.get("/").status_code == 200
        assert client.get("/photo").status_code == 401
    with pytest.raises(FileNotFoundError):
        create_playground("nowhere")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("needs the Debian packages chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1000,900",
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):  # fmt: skip
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def address(everywhere):
    server = make_playground(everywhere[1], port=0)
    server.capture_signals = contextlib.nullcontext  # They are the main thread's.
    with server_socket(server) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.02)
        yield "http://{}:{}/".format(*listening.getsockname())
        server.should_exit = True
        thread.join(30)


@pytest.fixture
def page(browser, address, tmp_path):
    (tmp_path / "photo.png").write_bytes(picture())
    browser.get(address)
    until(browser, "return image !== null")
    browser.find_element("id", "file").send_keys(str(tmp_path / "photo.png"))
    until(browser, "return image.width === 26")
    return browser


def until(browser, condition, seconds=60):
    from selenium.webdriver.support.wait import WebDriverWait

    WebDriverWait(browser, seconds, poll_frequency=0.05).until(lambda _: browser.execute_script(condition))


def choose(browser, **values):
    """Sets inputs as a user does, and lets the page know."""
    for name, value in values.items():
        browser.execute_script(
            "const field = document.getElementById(arguments[0]); field.value = arguments[1];"
            "field.dispatchEvent(new Event(field.tagName === 'SELECT' ? 'change' : 'input'))",
            name,
            value,
        )


def test_every_kernel_gives_the_sums_of_the_function(page):
    photo = np.asarray(Image.open(io.BytesIO(picture())))
    for name in KERNELS:
        choose(page, name=name, colour="colour", padding=2, stride=3)
        found = page.execute_script("return result.channels.map(values => [...values])")
        expected = apply_kernel(photo, name, strides=3, padding=2)
        found = np.moveaxis(np.array(found).reshape(3, *expected.shape[:2]), 0, -1)
        np.testing.assert_allclose(found, expected, atol=1e-2)
    choose(page, pool=2)
    found = np.array(page.execute_script("return [...pooled.channels[1]]"))
    rows, columns = (side // 2 for side in expected.shape[:2])
    blocks = expected[: 2 * rows, : 2 * columns, 1].reshape(rows, 2, columns, 2)
    np.testing.assert_allclose(found, blocks.max(axis=(1, 3)).ravel(), atol=1e-2)


def test_the_keyboard_moves_and_the_sum_is_written_out(page):
    from selenium.webdriver.common.keys import Keys

    choose(page, name="edges")
    result = page.find_element("id", "result")
    result.send_keys(Keys.HOME, Keys.ARROW_DOWN, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    words = page.find_element("id", "sum").text
    grey = np.array(page.execute_script("return [...image.grey]")).reshape(18, 26)
    total = apply_kernel(grey, "edges")[1, 2]
    assert "Row 1, column 2" in words
    assert "8·" in words
    assert words.endswith(f"= {total:g}")
    choose(page, size="5")  # A larger kernel keeps its weights in the middle.
    assert page.execute_script("return kernelNow()[2][2]") == 8
    assert page.execute_script("return kernelNow()[0][0]") == 0
    cell = page.find_elements("css selector", "#kernel input")[0]
    cell.clear()
    cell.send_keys("-2.5")
    assert page.execute_script("return kernelNow()[0][0]") == -2.5
    page.find_element("id", "play").send_keys(Keys.ENTER)
    until(page, "return place[1] > 4")
    page.find_element("id", "play").send_keys(Keys.ENTER)
    assert [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_the_maps_come_and_a_phone_in_the_dark_shows_all(page, tmp_path):
    page.find_element("id", "look").click()
    until(page, "return document.querySelectorAll('#layers img').length >= 2")
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
        "width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True,
    })  # fmt: skip
    dark = {"name": "prefers-color-scheme", "value": "dark"}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [dark]})
    assert page.execute_script("return document.documentElement.scrollWidth") <= 360
    assert page.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(16, 18, 22)"
    assert page.save_screenshot(str(tmp_path / "phone.png"))
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
