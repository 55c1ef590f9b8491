"""The machine's own Chromium, for the checks of the pages and for printing them."""

import shutil
from pathlib import Path

# The first has no windows, buttons and menus, which nobody sees here, and takes a seventh less time.
NAMES = (
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
)
MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
HOW = "install it (Debian: apt install chromium-headless-shell; Ubuntu: chromium; macOS: Chrome)"


def find_chromium() -> str | None:
    """The path of a Chromium or Chrome; None if there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    return found or (str(MAC) if MAC.exists() else None)
