"""The web page: alone, whole, and as a browser draws it."""

import json
import re
import shutil
import subprocess
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from dlcli.report.page import page
from dlcli.report.pictures import pictures
from dlcli.report.summary import read_run
from dlcli.study import study

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ONE_SIDED = {"meta", "br", "use", "path", "rect", "line", "image"}


@pytest.fixture
def runs(write_run, summary):
    """Three widths, two seeds, and one run that failed."""
    found = []
    for width in (1, 2, 4):
        for seed in (0, 1):
            own = json.loads(json.dumps(summary))
            record = own["decomposition"]["loss"]
            record["approx_train"]["bounds_tried"] = [{**record["approx_train"]["upper"], "seconds": 1.5}]
            own["keys"]["class"] = f"mlp-{width}"
            folder = write_run(
                f"width={width},seed={seed}", {"model": {"name": "mlp", "width": width}, "seed": seed}, own
            )
            (folder / "command.txt").write_text("/usr/local/bin/dlcli train -m model.width=1,2,4 seed=0,1\n")
            (folder / "losses").mkdir()
            for split in ("train", "test"):
                np.save(folder / "losses" / f"{split}_loss.npy", np.random.default_rng(seed).exponential(size=50))
            history = [{"step": s, "risk/train/loss": 1 / s, "risk/validation/loss": 2 / s} for s in (1, 2, 3)]
            (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, history)) + '\n{"torn')
            found.append(folder)
    failed = {"state": "failed", "reason": "the loss is <not> finite"}
    found.append(write_run("bad", {"model": {"name": "mlp", "width": 8}, "seed": 0}, status=failed))
    return [read_run(folder) for folder in found]


@pytest.fixture
def document(runs):
    return page(study(runs), runs, "width & <seed>", pictures(study(runs), runs))


class Balance(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.seen, self.addresses = [], [], []

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        self.addresses += [v for k, v in attributes if k in ("src", "href") or k.endswith(":href")]
        if tag not in ONE_SIDED:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.append(tag)
        self.addresses += [v for k, v in attributes if k in ("src", "href") or k.endswith(":href")]

    def handle_endtag(self, tag):
        if tag not in ONE_SIDED:
            assert self.open.pop() == tag


def test_it_is_well_formed_and_needs_nothing_from_anywhere(document):
    parsed = Balance()
    parsed.feed(document)
    assert not parsed.open and "script" not in parsed.seen and "link" not in parsed.seen
    assert all(address.startswith(("#", "data:")) for address in parsed.addresses)
    assert not re.search(r"url\((?!#)|@import", document)
    assert parsed.seen.count("svg") >= 5


def test_it_says_what_happened_and_how_to_do_it_again(document):
    assert "<pre>dlcli train -m model.width=1,2,4 seed=0,1" in document
    assert "the loss is &lt;not&gt; finite" in document and "width &amp; &lt;seed&gt;" in document
    assert "against model.width" in document and "Losses of single examples" in document


def test_one_run_has_its_diagnosis_and_its_notes(runs):
    text = page(study(runs[:1]), runs[:1], "one")
    assert "Generalization dominates the test loss." in text and "approximation and optimization are not" in text
    assert "<h2>Groups" not in text


def test_what_a_picture_needs_and_is_damaged_leaves_that_picture_out(runs):
    folder = Path(runs[0]["path"])
    (folder / "losses" / "test_loss.npy").write_bytes(b"garbage")
    with (folder / "metrics.jsonl").open("ab") as rows:
        rows.write(b"\n\xff\n5\n")
    tags = [each.tag for each in pictures(study(runs[:1]), runs[:1])]
    assert "way/risks" in tags and not any(tag.startswith("way/losses") for tag in tags)


PROBE = """<script>
const frame = document.getElementById("frame");
frame.onload = () => {
  const page = frame.contentDocument, wide = page.documentElement.scrollWidth <= frame.clientWidth;
  const drawn = [...page.querySelectorAll("svg")].every(each => each.getBoundingClientRect().height > 50);
  const cut = [...page.querySelectorAll(".scroll")].some(each => each.scrollWidth > each.clientWidth + 1);
  document.title = `wide:${wide} drawn:${drawn} cut:${cut}`;
}
</script>"""


@pytest.mark.skipif(BROWSER is None, reason="needs a headless chromium")
@pytest.mark.parametrize(
    "width, media", [(360, "screen"), (1200, "screen"), (718, "print")], ids=["phone", "desk", "paper"]
)
def test_a_browser_shows_all_of_it_without_scrolling_sideways(document, tmp_path, width, media):
    """The browser itself tells, by a script around a frame of this width. On paper no table is cut, as none scrolls."""
    inner = document.replace("@media print", "@media all") if media == "print" else document
    frame = f'<iframe id="frame" style="width:{width}px; height:900px; border:0" srcdoc="{escape(inner)}"></iframe>'
    path = tmp_path / "report.html"
    path.write_text(f"<html><body>{frame}{PROBE}</body></html>")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000"]
    shown = subprocess.run(
        [*command, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", path.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    expected = "wide:true drawn:true" + (" cut:false" if media == "print" else "")
    assert expected in shown.stdout, re.findall("<title>.*?</title>", shown.stdout)
