"""A real Chromium before the real service: what the tests of the page share."""

from __future__ import annotations

import io
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, FileChooser, Locator, Page, sync_playwright

from serving.static import DIST

PATIENCE = 120_000
"""Milliseconds: the machine has no graphics card, and other tests run beside this one."""
FLAGS = ["--headless=new", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
FLAGS += ["--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update"]


@contextmanager
def chromium(camera: Path) -> Iterator[Browser]:
    """Debian's browser, whose camera sees the JPEG file `camera`. Skips where there is no browser; fails where the page
    has not been built."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("chromium is missing (Debian: apt-get install chromium)")
    assert (DIST / "index.html").is_file(), "the page has not been built: make web"
    seen = ["--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={camera}"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*FLAGS, *seen])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """Where the application answers, on a free port."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.05)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


class Visitor:
    """One person's window. What the page complains of in the console is in `complaints`."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        context.set_default_timeout(PATIENCE)
        self.context, self.address = context, address
        self.page: Page = context.new_page()
        self.complaints: list[str] = []
        self.choosers: list[FileChooser] = []
        # From the start: a dialog that opens before the browser knows that somebody waits for it is lost.
        self.page.on("filechooser", lambda chooser: self.choosers.append(chooser))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._heard)

    def _heard(self, message: Any) -> None:
        # A refused request is part of what is tested; a broken policy or shader is not.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)

    def open(self) -> None:
        """Until the head stands there."""
        self.page.goto(self.address)
        self.page.wait_for_selector(".viewer:not(.loading) canvas")

    def give(self, name: str, content: bytes, media_type: str = "image/jpeg") -> None:
        self.page.set_input_files("input[type=file]", [{"name": name, "mimeType": media_type, "buffer": content}])

    def choose(self, content: bytes) -> None:
        """Give a photo to the dialog that the page has opened."""
        for _ in range(PATIENCE // 100):
            if self.choosers:
                break
            self.page.wait_for_timeout(100)
        self.choosers.pop().set_files([{"name": "me.jpg", "mimeType": "image/jpeg", "buffer": content}])

    def make_character(self, photo: bytes) -> None:
        """Until sliders are there and the head wears everything."""
        self.give("me.jpg", photo)
        self.page.wait_for_selector(".editor")
        self.page.wait_for_selector(".canvas[aria-busy=false]")
        self.page.wait_for_load_state("networkidle")

    def part(self, label: str) -> None:
        self.page.get_by_role("tab", name=label, exact=True).click()

    def slider(self, label: str) -> Locator:
        return self.page.get_by_label(label, exact=True)

    def head(self) -> np.ndarray:
        """The canvas as it is seen, RGB [H, W, 3]."""
        shot = self.page.locator("canvas").screenshot()
        return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(np.int16)

    def settled(self) -> np.ndarray:
        """The canvas once two looks in a row see the same."""
        before = self.head()
        for _ in range(20):
            self.page.wait_for_timeout(250)
            now = self.head()
            if unlike(now, before) < 0.01:
                return now
            before = now
        raise AssertionError("the head does not come to rest")

    def becomes(self, wanted: Callable[[np.ndarray], bool]) -> bool:
        """Whether the canvas comes to show this, and rests so: a busy machine draws it after a while."""
        deadline = time.monotonic() + PATIENCE / 1000
        while not wanted(self.settled()):
            if time.monotonic() > deadline:
                return False
        return True


def unlike(one: np.ndarray, other: np.ndarray) -> float:
    """Mean difference of two pictures, of 255."""
    return float(np.abs(one - other).mean())


def visitor(browser: Browser, address: str, key: str | None, **options: Any) -> Visitor:
    """A new window, calm, so that pictures can be compared; with a key where one is given."""
    context = browser.new_context(
        **{"viewport": {"width": 900, "height": 420}, "reduced_motion": "reduce", "accept_downloads": True, **options}
    )
    if key is not None:
        context.add_init_script(f"sessionStorage.setItem('likeness.key', '{key}')")
    return Visitor(context, address)


def downloaded(page: Page, label: str, folder: Path) -> bytes:
    """The file behind an entry of the download menu."""
    page.get_by_role("button", name="Download").click()
    with page.expect_download() as started:
        page.locator(".entry", has_text=label).click()
    path = folder / started.value.suggested_filename
    started.value.save_as(path)
    return path.read_bytes()
