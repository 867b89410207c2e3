"""A headless Chromium that opens a page and reports what became of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

_WATCH = """<script>
window.faults = [];
addEventListener("error", (event) => faults.push(String(event.message)), true);
addEventListener("securitypolicyviolation", (event) => faults.push("policy " + event.blockedURI));
for (const kind of ["error", "warn"]) console[kind] = (...words) => faults.push(words.join(" "));
</script>"""

_REPORT = """<pre id="answer"></pre><script>
const answer = (() => { QUESTION })();
const loaded = performance.getEntriesByType("resource").map((entry) => entry.name);
document.querySelector("#answer").textContent = JSON.stringify({ answer, loaded, faults });
</script>"""


def find_chromium() -> str:
    """Return the browser's path, or skip the test."""
    for name in NAMES:
        path = shutil.which(name)
        if path:
            return path
    pytest.skip("no Chromium to look at pages with: install the package chromium")


def ask_page(html: str, question: str, folder: Path, *, window: str = "1200,900") -> dict[str, Any]:
    """Open a page, run the body of a function in it, and return what that returned.

    The page is found faulty where it loads anything or anything goes wrong in it.

    Args:
        html: The page.
        question: Body of a JavaScript function.
        folder: Empty, for the page and the browser's profile.
        window: Width and height in pixels.
    """
    path = folder / "page.html"
    question = _REPORT.replace("QUESTION", question)
    watched = html.replace("<head>", f"<head>{_WATCH}", 1)
    path.write_text(watched.replace("</body>", f"{question}</body>"), encoding="utf-8")
    done = subprocess.run(
        [
            find_chromium(),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={folder / 'profile'}",
            f"--window-size={window}",
            "--dump-dom",
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found = re.search(r'<pre id="answer">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr
    answer: dict[str, Any] = json.loads(unescape(found[1]))
    assert answer["faults"] == []
    assert answer["loaded"] == []
    return dict(answer["answer"])
