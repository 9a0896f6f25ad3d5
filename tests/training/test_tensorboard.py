"""What a person sees in TensorBoard: a browser opens it on the folder of a sweep and reads the page."""

import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PROBE = """
async () => {
  const found = new Set(), wait = ms => new Promise(done => setTimeout(done, ms));
  const walk = node => {  // the page is made of components, each with a tree of its own
    if (node.shadowRoot) walk(node.shadowRoot);
    if (node.nodeType === Node.TEXT_NODE && node.data.trim()) found.add(node.data.trim());
    if (node.nodeName === "IMG" && node.naturalWidth > 1) found.add("IMAGE");
    node.childNodes.forEach(walk);
  };
  walk(document.body);
  return [...found];
}
"""


@contextmanager
def tensorboard(folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["--logdir", str(folder), "--port", str(port), "--host", "127.0.0.1", "--load_fast", "false"]
    server = subprocess.Popen(
        [sys.executable, "-m", "tensorboard.main", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)


def read(page, address, wanted):
    """The texts of the page, once all that is wanted is there."""
    page.goto(address)
    end = time.monotonic() + 60
    while True:
        texts = page.evaluate(PROBE)
        missing = [words for words in wanted if not any(re.search(words, text) for text in texts)]
        if not missing or time.monotonic() > end:
            return missing, texts
        page.wait_for_timeout(500)


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs a headless chromium")
def test_a_browser_finds_scalars_hparams_images_and_text_of_a_sweep(dlcli, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    words = ("dataset=iris", "training.epochs=2", "optimizer=adam,sgd", "pictures=always", "run_dir=swept")
    assert dlcli("train", "-m", *words).code == 0
    with tensorboard(tmp_path / "swept") as address, playwright.sync_playwright() as driver:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                urllib.request.urlopen(f"{address}/data/runs", timeout=5).close()
                break
            except urllib.error.URLError:
                time.sleep(0.5)
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1600, "height": 1200})
        wanted = {
            "timeseries": ["risk", "decomposition", "optimizer=adam"],
            "images": ["test/confusion", "IMAGE"],
            "text": ["diagnosis", "optimizer=sgd"],
            "hparams": ["^optimizer$", "final/test/error", "^adam$", "^sgd$"],
        }
        missing = {tab: read(page, f"{address}/#{tab}", words) for tab, words in wanted.items()}
        browser.close()
    assert {tab: found[0] for tab, found in missing.items()} == {tab: [] for tab in wanted}, missing
