"""A real browser without a window: Debian's chromium and chromium-driver."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service


class Browser:
    """Opens pages, and says what they come to."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def show(self, page: Path | str, *, width: int, scheme: str, media: str = "") -> None:
        """Open a file or an address at `width` CSS pixels, in the `light` or `dark` scheme."""
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
        self.driver.get(page if isinstance(page, str) else page.as_uri())

    def run(self, script: str) -> Any:
        """Run JavaScript in the page, and return what it returns."""
        return self.driver.execute_script(script)

    def messages(self) -> list[str]:
        """Return what the page wrote to the console since the last call, errors of loading included."""
        return [str(entry["message"]) for entry in self.driver.get_log("browser")]

    def cut_off_words(self) -> list[str]:
        """Return the words of the page's charts that reach beyond their picture."""
        found: list[str] = self.run("""
            return [...document.querySelectorAll('svg text')].filter(text => {
                const box = text.getBBox(), view = text.ownerSVGElement.viewBox.baseVal;
                return box.x < 0 || box.y < 0 || box.x + box.width > view.width || box.y + box.height > view.height;
            }).map(text => text.textContent)""")
        return found


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Start chromium; a test that needs it fails where it isn't installed."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    assert binary, "apt-get install chromium"
    assert driver, "apt-get install chromium-driver"
    options = ChromeOptions()
    options.binary_location = binary
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--hide-scrollbars",
        "--use-fake-device-for-media-stream",  # a camera that needs none, and says yes when a page asks for it
        "--use-fake-ui-for-media-stream",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = Chrome(options=options, service=Service(driver))
    try:
        yield Browser(chrome)
    finally:
        chrome.quit()
