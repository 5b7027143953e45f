"""The playground in a browser, as tests use it."""

from pathlib import Path
from typing import Any

import numpy as np
from browser import Browser
from PIL import Image
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.remote.webelement import WebElement
from serving import until

from lstn.images import Pixels

SHOWN = "return document.getElementById('top').children.length > 0 && !document.querySelector('.stale')"
EMPTY = "return !document.getElementById('top').children.length"


def photo(height: int = 97, width: int = 131, mode: str = "RGB") -> Image.Image:
    """Soft structures and hard edges in every channel."""
    random = np.random.default_rng(5)
    coarse = Image.fromarray(random.integers(0, 256, (7, 9, 4), np.uint8))
    values = np.array(coarse.resize((width, height), Image.Resampling.BICUBIC))
    values[height // 3 : height // 2, width // 4 :] ^= 0xFF
    return Image.fromarray(values).convert(mode)


class Playground:
    """What is on the page, and hands to use it with."""

    def __init__(self, browser: Browser, address: str, *, width: int = 1280, scheme: str = "light") -> None:
        browser.messages()  # those of the page before
        browser.show(f"http://{address}/", width=width, scheme=scheme)
        self.browser = browser
        self.run = browser.run

    def find(self, name: str) -> WebElement:
        return self.browser.driver.find_element("id", name)

    def text(self, name: str) -> str:
        return str(self.run(f"return document.getElementById('{name}').textContent"))

    def wait(self, script: str) -> None:
        until(lambda: bool(self.run(script)))

    def press(self, *keys: str) -> None:
        ActionChains(self.browser.driver).send_keys(*keys).perform()

    def shown(self) -> list[tuple[str, str]]:
        """Wait for the answer to what is on the page -> labels and probabilities, best first; none of "No objects"."""
        self.wait(SHOWN)
        rows = "[...document.querySelectorAll('#top li')].map(row => [...row.children].map(piece => piece.textContent))"
        return [(row[0], (row[1:] or [""])[0]) for row in self.run(f"return {rows}")]

    def choose(self, file: Path) -> list[tuple[str, str]]:
        self.find("file").send_keys(str(file))
        self.wait(f"return document.getElementById('source').ariaLabel === 'The picture {file.name}'")
        return self.shown()

    def slide(self, **values: float) -> None:
        """Move sliders as fast as a page can be told to."""
        for name, value in values.items():
            self.run(f"const slider = document.getElementById('{name}'); slider.value = {value}; "
                     "slider.dispatchEvent(new Event('input'))")  # fmt: skip

    def told(self) -> str:
        """Wait for an error -> its line."""
        self.wait("return document.getElementById('problem').checkVisibility()")
        return self.text("told")

    def pixels(self, canvas: str) -> Pixels:
        """What a canvas shows, (H, W, 3) uint8."""
        height, width, values = self.run(f"""
            const canvas = document.getElementById('{canvas}'), {{ height, width }} = canvas;
            const copy = new OffscreenCanvas(width, height).getContext('2d');
            copy.drawImage(canvas, 0, 0);
            return [height, width, [...copy.getImageData(0, 0, width, height).data]];""")
        return np.array(values, np.uint8).reshape(height, width, 4)[..., :3]

    def theta(self, *shape: int) -> np.ndarray:
        """(1, 2, 3), or (1, *shape), with three digits."""
        self.shown()
        return np.array(self.text("theta").replace(",", " ").split()[1:], np.float32).reshape(1, *(shape or (2, 3)))

    def line(self, name: str) -> np.ndarray:
        """The points of a line, (M, 2), x and y in pixels of the input."""
        points: Any = self.run(f"return document.getElementById('{name}').getAttribute('points')")
        return np.array([point.split(",") for point in points.split()], np.float64)

    def tab(self, *, back: bool = False) -> str:
        """Move the focus by keyboard -> the id of what has it now."""
        if back:
            ActionChains(self.browser.driver).key_down(Keys.SHIFT).send_keys(Keys.TAB).key_up(Keys.SHIFT).perform()
        else:
            self.press(Keys.TAB)
        return str(self.run("return document.activeElement.id"))
