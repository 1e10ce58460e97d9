"""The page at /, in a real Chromium: a photo goes in; bars, numbers, boxes and Grad-CAM come out."""

import contextlib
import io
import shutil
import threading
import time

import numpy as np
import pytest
from PIL import Image

from transfer.serving import make_server, model
from transfer.serving.server import server_socket

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
if not (shutil.which("chromium") and shutil.which("chromedriver")):
    pytest.skip("needs the Debian packages chromium and chromium-driver", allow_module_level=True)

from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.wait import WebDriverWait  # noqa: E402


@contextlib.contextmanager
def serving(folder, engine="auto"):
    server = make_server(folder, port=0, engine=engine)
    server.capture_signals = contextlib.nullcontext  # They are the main thread's.
    with server_socket(server) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.02)
        try:
            yield "http://{}:{}/".format(*listening.getsockname())
        finally:
            server.should_exit = True
            thread.join(30)


@pytest.fixture(scope="module")
def address(everywhere):
    with serving(everywhere[1], "onnx") as place:
        yield place


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
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


@pytest.fixture
def page(browser, address):
    browser.get(address)
    until(browser, lambda: len(browser.find_elements(By.CSS_SELECTOR, "#samples button")) == 2)
    return browser


def until(browser, condition, seconds=60):
    WebDriverWait(browser, seconds, poll_frequency=0.05).until(lambda _: condition())


def text(browser, name):
    return browser.find_element(By.ID, name).text


def rows(browser):
    return browser.find_elements(By.CSS_SELECTOR, "#answer li")


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "ein Foto ö.png"
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), "uint8")).save(file, "PNG")
    path.write_bytes(file.getvalue())
    return path


def test_an_uploaded_photo_gets_classes_with_bars(page, picture, tmp_path):
    assert text(page, "title") == "exported"
    assert text(page, "facts") == (
        'It tells: ant, bee, fly & co, Hornisse "ö". Task classify, version 1, onnx, float32.'
    )
    assert text(page, "message") == "The answer appears here."
    page.find_element(By.ID, "file").send_keys(str(picture))
    until(page, lambda: rows(page))
    shares = [float(row.find_elements(By.TAG_NAME, "span")[1].text.rstrip("%")) for row in rows(page)]
    assert shares == sorted(shares, reverse=True)
    widths = [row.find_element(By.CSS_SELECTOR, ".bar div").rect["width"] for row in rows(page)]
    assert widths == sorted(widths, reverse=True)
    assert "ms in the server" in text(page, "time")
    until(page, lambda: page.execute_script("return document.getElementById('photo').naturalWidth") == 120)

    page.find_element(By.ID, "explain").click()
    until(page, lambda: page.find_element(By.ID, "slide").is_displayed())
    slider = page.find_element(By.ID, "opacity")
    heat = page.find_element(By.ID, "heat")
    before = float(heat.value_of_css_property("opacity"))
    slider.send_keys(Keys.HOME)
    assert float(heat.value_of_css_property("opacity")) == 0 < before
    until(page, lambda: page.execute_script("return document.getElementById('heat').naturalWidth") == 120)
    slider.send_keys(*[Keys.PAGE_UP] * 7)
    assert page.save_screenshot(str(tmp_path / "page.png"))
    assert Image.open(tmp_path / "page.png").size[0] == 1000
    assert [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_what_is_no_image_is_said(page, tmp_path):
    (tmp_path / "words.png").write_text("no image")
    page.find_element(By.ID, "file").send_keys(str(tmp_path / "words.png"))
    until(page, lambda: "cannot be decoded" in text(page, "message"))
    assert rows(page) == []


def test_samples_work_with_the_keyboard(page):
    first = page.find_element(By.CSS_SELECTOR, "#samples button")
    ActionChains(page).send_keys(Keys.TAB, Keys.TAB).perform()  # past the file field
    assert page.switch_to.active_element == first
    ActionChains(page).send_keys(Keys.ENTER).perform()
    until(page, lambda: rows(page))


def test_a_photo_can_be_dropped_and_pasted(page):
    page.execute_script("""
        const canvas = document.createElement("canvas");
        canvas.width = canvas.height = 50;
        canvas.toBlob(contents => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([contents], "a.png", {type: "image/png"}));
            window.dispatchEvent(new DragEvent("drop", {dataTransfer: transfer, cancelable: true}));
            window.transfer = transfer;
        });
    """)
    until(page, lambda: rows(page))
    page.execute_script("""
        document.getElementById("answer").replaceChildren();
        window.dispatchEvent(new ClipboardEvent("paste", {clipboardData: window.transfer}));
    """)
    until(page, lambda: rows(page))


def test_it_fits_a_phone_and_the_dark(page, browser, tmp_path):
    wide = [section.rect for section in page.find_elements(By.TAG_NAME, "section")]
    assert wide[0]["y"] == wide[1]["y"]
    light = page.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    )
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": dark})
    try:
        narrow = [section.rect for section in page.find_elements(By.TAG_NAME, "section")]
        assert narrow[1]["y"] >= narrow[0]["y"] + narrow[0]["height"]
        assert page.execute_script("return document.documentElement.scrollWidth") <= 360
        assert page.find_element(By.TAG_NAME, "body").value_of_css_property("background-color") != light
        page.find_element(By.CSS_SELECTOR, "#samples button").click()
        until(page, lambda: rows(page))
        page.save_screenshot(str(tmp_path / "phone.png"))
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


# Every task, as the page knows none of them


@pytest.fixture
def page_of(browser, make_predictor, exported, monkeypatch):
    """Opens the page of a model that calculates in NumPy."""

    @contextlib.contextmanager
    def opened(task, **changes):
        monkeypatch.setattr(model, "load", lambda folder, **options: make_predictor(task, **changes))
        browser.get_log("browser")  # What earlier tests left there is gone then.
        with serving(exported) as place:
            browser.get(place)
            until(browser, lambda: len(browser.find_elements(By.CSS_SELECTOR, "#samples button")) == 2)
            yield browser

    return opened


def save(pixels, path):
    Image.fromarray(pixels).save(path)
    return str(path)


def upload(page, path):
    """Shows a photo, and waits for its answer."""
    page.find_element(By.ID, "file").send_keys(path)
    until(page, lambda: text(page, "message") == "…" or rows(page) or text(page, "message"))
    until(page, lambda: text(page, "message") != "…")


def test_every_task_shows_its_predictions(task, predictor, page_of, make_photo, tmp_path):
    (answer,) = predictor.predict(make_photo(0))
    expected = predictor.task.predictions(answer)
    assert expected
    with page_of(task) as page:
        assert f"Task {task}, version 1, numpy, float32." in text(page, "facts")
        upload(page, save(make_photo(0), tmp_path / "a.png"))
        until(page, lambda: len(rows(page)) == len(expected))
        for row, prediction in zip(rows(page), expected, strict=True):
            label, amount = row.find_elements(By.CSS_SELECTOR, ".name > span")
            assert label.text == prediction["label"], "names are text, not HTML"
            bars = row.find_elements(By.CSS_SELECTOR, ".bar")
            if "score" in prediction:
                shown = prediction.get("share", prediction["score"])
                assert amount.text == f"{100 * shown:.1f}%"
                share = bars[0].find_element(By.TAG_NAME, "div").rect["width"] / bars[0].rect["width"]
                assert share == pytest.approx(shown, abs=0.02)
            else:
                assert float(amount.text) == pytest.approx(prediction["value"], rel=1e-3)
                assert not bars
            drawn = "box" in prediction or "mask" in prediction
            assert bool(row.find_elements(By.CSS_SELECTOR, ".swatch")) == drawn
        assert page.find_element(By.ID, "heat").is_displayed() == any("mask" in row for row in expected)
        headings = [heading.text for heading in page.find_elements(By.CSS_SELECTOR, "#answer h2")]
        assert headings == list(dict.fromkeys(row["head"] for row in expected if "head" in row))
        boxes = [row["box"] for row in expected if "box" in row]
        drawn = page.find_elements(By.CSS_SELECTOR, "#boxes rect")
        assert len(drawn) == len(boxes)
        assert page.find_element(By.ID, "boxes").is_displayed() == bool(boxes)
        assert not page.find_element(By.ID, "explain").is_displayed()
        assert page.save_screenshot(str(tmp_path / f"{task}.png"))
        assert [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_boxes_are_drawn_where_objects_are(page_of, make_predictor, make_photo, tmp_path):
    (answer,) = make_predictor("detect").predict(make_photo(1))
    left, top, right, bottom = answer.objects[0].box
    nothing = save(make_photo(4, box=False), tmp_path / "nothing.png")
    (tmp_path / "words.png").write_text("no image")
    with page_of("detect") as page:
        upload(page, save(make_photo(1), tmp_path / "a.png"))
        until(page, lambda: page.find_elements(By.CSS_SELECTOR, "#boxes rect"))
        boxes = page.find_element(By.ID, "boxes")
        assert boxes.get_dom_attribute("viewBox") == "0 0 {1} {0}".format(*answer.size)
        assert boxes.get_dom_attribute("aria-label") == "1 box"
        (best,) = page.find_elements(By.CSS_SELECTOR, "#boxes rect")
        got = [float(best.get_dom_attribute(name)) for name in ("x", "y", "width", "height")]
        assert got == pytest.approx([left, top, right - left, bottom - top], abs=0.05)
        # On the screen, too, the box is where it is in the photo.
        photo, drawn = page.find_element(By.ID, "photo").rect, best.rect
        scale = photo["width"] / answer.size[1]
        assert drawn["x"] - photo["x"] == pytest.approx(scale * left, abs=3)
        assert drawn["y"] - photo["y"] == pytest.approx(scale * top, abs=3)
        assert drawn["width"] == pytest.approx(scale * (right - left), abs=4)
        (label,) = page.find_elements(By.CSS_SELECTOR, "#boxes text")
        assert label.text == "green & <blue> 75%"

        upload(page, nothing)
        until(page, lambda: text(page, "message") == "Nothing reaches its threshold.")
        assert not boxes.is_displayed()
        assert not rows(page)
        upload(page, save(make_photo(1), tmp_path / "a.png"))
        until(page, boxes.is_displayed)
        upload(page, str(tmp_path / "words.png"))
        until(page, lambda: "cannot be decoded" in text(page, "message"))
        assert not boxes.is_displayed()


def test_many_names_are_counted(page_of):
    names = tuple(f"number {count}" for count in range(7))
    with page_of("regress", number_names=names, deviations=(1.0,) * 7) as page:
        assert "number 3, number 4 and 2 more." in text(page, "facts")
