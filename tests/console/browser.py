"""Chromium with a microphone that beeps, driven by Playwright; both from `make setup-browser`."""

import os
import shutil
import sys
import unittest

from daemon import PATIENCE_SECONDS, ROOT

sys.path.insert(0, str(ROOT / ".local/browser"))
try:
    from playwright.sync_api import Page, expect, sync_playwright
except ImportError:
    Page = expect = sync_playwright = None

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    # Tests run as root in containers too.
    "--no-sandbox",
]


def require_browser() -> None:
    """Skips the tests without a browser, or fails where that must not be."""
    missing = [name for name, found in [("chromium", CHROMIUM), ("playwright", sync_playwright)] if not found]
    if missing and os.environ.get("REQUIRE_BROWSER"):
        raise RuntimeError(f"REQUIRE_BROWSER is set, but there is no {' and no '.join(missing)}: make setup-browser")
    if missing:
        raise unittest.SkipTest(f"there is no {' and no '.join(missing)}: make setup-browser")
    expect.set_options(timeout=PATIENCE_SECONDS * 1000)


class BrowserTest(unittest.TestCase):
    """One browser for all tests of a class, one fresh profile for each page."""

    @classmethod
    def setUpClass(cls) -> None:
        require_browser()
        cls.playwright = sync_playwright().start()
        cls.addClassCleanup(cls.playwright.stop)
        cls.browser = cls.playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        cls.addClassCleanup(cls.browser.close)

    def open(self, daemon, *, may_record: bool = True, **options) -> "Page":
        """The console in a fresh profile; errors of its scripts fail the test."""
        context = self.browser.new_context(
            **{"locale": "en-US", "viewport": {"width": 1280, "height": 860}, "color_scheme": "light"} | options
        )
        self.addCleanup(context.close)
        context.set_default_timeout(PATIENCE_SECONDS * 1000)
        if may_record:
            context.grant_permissions(["microphone", "clipboard-read", "clipboard-write"])
        page = context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error.stack)))
        # A refused request is written there too, and is what some tests are about.
        page.on("console", lambda line: "Content Security Policy" in line.text and errors.append(line.text))
        self.addCleanup(lambda: self.assertEqual(errors, []))
        page.goto(daemon.url)
        return page
