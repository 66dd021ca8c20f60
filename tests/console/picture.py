#!/usr/bin/env python3
"""Makes docs/images/console.png: the page after a message, with the tiny models."""

import sys
import unittest

from browser import BrowserTest, expect
from daemon import ROOT, Daemon
from test_work import send

PICTURE = ROOT / "docs/images/console.png"


class Picture(BrowserTest):
    def test_picture(self):
        with Daemon() as daemon:
            page = self.open(daemon, viewport={"width": 1200, "height": 1000})
            send(page, "French", "Spanish")
            expect(page.locator(".result .play:enabled")).to_have_count(3)
            expect(page.locator(".result.ended")).to_be_visible()
            page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
            PICTURE.parent.mkdir(exist_ok=True)
            page.screenshot(path=PICTURE, full_page=True)


if __name__ == "__main__":
    sys.exit(not unittest.main(exit=False).result.wasSuccessful())
