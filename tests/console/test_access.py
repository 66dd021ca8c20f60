"""The page for everybody: with keys only, on a phone, in the dark, in French, read aloud."""

import re
import unittest

from browser import BrowserTest, Page, expect
from daemon import RECORDING, ROOT, Daemon
from test_work import choose, send

MAX_TABS = 60

# Every text that can be seen, with its contrast to what is behind it.
CONTRASTS = """() => {
    const context = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    const over = (below, colour) => {
        context.fillStyle = `rgb(${below})`; context.fillRect(0, 0, 1, 1);
        context.fillStyle = colour; context.fillRect(0, 0, 1, 1);
        return [...context.getImageData(0, 0, 1, 1).data.slice(0, 3)];
    };
    const backdrop = (element) => element
        ? over(backdrop(element.parentElement), getComputedStyle(element).backgroundColor) : [255, 255, 255];
    const light = (colour) => colour
        .map((part) => part / 255).map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
        .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
    const texts = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        const element = node.parentElement;
        if (!node.data.trim() || !element.checkVisibility() || element.closest(':disabled, .hidden, .skip, script')) continue;
        const behind = backdrop(element);
        const [one, other] = [light(over(behind, getComputedStyle(element).color)), light(behind)];
        texts.push([node.data.trim(), (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05)]);
    }
    return texts;
}"""


def tab_to(page: Page, selector: str) -> list[str]:
    """Presses Tab until what the selector finds has the focus; what had it on the way."""
    passed = []
    for _ in range(MAX_TABS):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return passed
        passed.append(page.evaluate("document.activeElement.id || document.activeElement.className"))
    raise AssertionError(f"{selector} cannot be reached with Tab, only {passed}")


class Access(BrowserTest):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.daemon = Daemon()
        cls.addClassCleanup(cls.daemon.__exit__)

    def finished(self, **options) -> Page:
        """A page with everything on it: a result, a failure in the list, all details."""
        page = self.open(self.daemon, **options)
        page.set_input_files("#file", {"name": "x.ogg", "mimeType": "audio/ogg", "buffer": b"no recording"})
        expect(page.locator(".chip").first).to_be_visible()
        page.locator("#translate").click()
        expect(page.locator(".failure")).to_be_visible()
        page.set_input_files("#file", RECORDING)
        page.locator("#translate").click()
        expect(page.locator(".result.ended .words")).not_to_have_count(0)
        expect(page.locator(".result .play:enabled")).to_have_count(2)
        for summary in page.locator("summary").all():
            summary.click()
        return page

    def test_everything_is_done_with_keys_only(self):
        page = self.open(self.daemon)
        expect(page.locator(".chip").first).to_be_visible()
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the message")).to_be_focused()
        page.keyboard.press("Enter")
        self.assertEqual(tab_to(page, "#record"), [])
        self.assertEqual(tab_to(page, "#choose"), [])
        with page.expect_file_chooser() as chooser:
            page.keyboard.press("Space")
        chooser.value.set_files(RECORDING)
        expect(page.get_by_role("button", name="Translate")).to_be_focused()
        # Back to the languages, which come before it.
        page.keyboard.press("Shift+Tab")
        expect(page.locator("summary").first).to_be_focused()
        page.keyboard.press("Shift+Tab")
        last = page.locator(".chip input").last
        expect(last).to_be_focused()
        before = last.is_checked()
        page.keyboard.press("Space")
        self.assertNotEqual(last.is_checked(), before)
        page.keyboard.press("Space")
        tab_to(page, "#translate")
        page.keyboard.press("Enter")
        expect(page.locator("#result")).to_be_focused()
        expect(page.locator(".result.ended")).to_be_visible()
        tab_to(page, ".original .play")
        page.keyboard.press("Space")
        expect(page.locator(".original .playing")).to_be_visible()
        self.assertEqual(tab_to(page, ".original .wave"), [])
        page.keyboard.press("Enter")
        expect(page.locator(".original .playing")).to_be_hidden()
        tab_to(page, ".translations .play")
        tab_to(page, ".translations a")
        tab_to(page, ".job-name")
        page.keyboard.press("Enter")
        expect(page.locator("#result")).to_be_focused()

    def test_all_controls_have_names(self):
        page = self.finished()
        session = page.context.new_cdp_session(page)
        session.send("Accessibility.enable")
        wanted = {"button", "checkbox", "combobox", "link", "progressbar", "slider", "textbox", "DisclosureTriangle"}
        found = set()
        for node in session.send("Accessibility.getFullAXTree")["nodes"]:
            role = node.get("role", {}).get("value")
            if role in wanted and not node["ignored"]:
                found.add(role)
                self.assertTrue(node.get("name", {}).get("value", "").strip(), node)
        self.assertEqual(found, wanted)

    def test_stages_are_announced(self):
        page = self.open(self.daemon)
        page.evaluate("""() => {
            window.announced = [];
            new MutationObserver(() => {
                const text = document.querySelector('#result [aria-live="polite"]')?.textContent;
                if (text && announced.at(-1) !== text) announced.push(text);
            }).observe(document.getElementById('result'), { subtree: true, childList: true, characterData: true });
        }""")
        send(page, "French")
        expect(page.locator(".result.ended")).to_be_visible()
        announced = page.evaluate("announced")
        # What follows at once replaces what was said, as it does for who listens.
        stages = [text for text in announced if re.search(r": (under way|done)$", text)]
        self.assertGreater(len(stages), 1, announced)
        self.assertRegex(announced[-1], r"^Done in \d")

    def test_a_phone_shows_everything_without_sideways_scrolling(self):
        page = self.finished(viewport={"width": 360, "height": 740})
        for language in ["fr", "en"]:
            page.locator(f"[data-language={language}]").click()
            self.assertLessEqual(page.evaluate("document.documentElement.scrollWidth"), 360, language)
            out = page.evaluate("""[...document.querySelectorAll('body *')].filter((element) =>
                element.checkVisibility() && element.getBoundingClientRect().right > 360.5).map((element) => element.outerHTML)""")
            self.assertEqual(out, [], language)

    def test_texts_stand_out_in_light_and_dark(self):
        for scheme in ["light", "dark"]:
            page = self.finished(color_scheme=scheme)
            texts = page.evaluate(CONTRASTS)
            self.assertGreater(len(texts), 60)
            faint = [(text, round(contrast, 2)) for text, contrast in texts if contrast < 4.5]
            self.assertEqual(faint, [], scheme)

    def test_nothing_moves_for_those_who_want_that(self):
        page = self.open(self.daemon, reduced_motion="reduce")
        page.get_by_role("button", name="Record").click()
        expect(page.locator("#recorded")).to_have_text("0:01")
        self.assertEqual(page.evaluate("document.getAnimations().length"), 0)
        moving = self.open(self.daemon)
        moving.get_by_role("button", name="Record").click()
        expect(moving.locator("#recorded")).to_have_text("0:01")
        self.assertGreater(moving.evaluate("document.getAnimations().length"), 0)

    def test_the_page_speaks_the_readers_language_and_can_be_switched(self):
        page = self.open(self.daemon, locale="fr-CA")
        expect(page.get_by_role("heading", level=1)).to_have_text("Traduire un message vocal")
        expect(page.locator("html")).to_have_attribute("lang", "fr")
        expect(page.locator("#chips")).to_contain_text("Espagnol")
        page.get_by_role("button", name="English").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Translate a voice message")
        expect(page.locator("#chips")).to_contain_text("Spanish")
        page.reload()
        expect(page.get_by_role("button", name="English")).to_have_attribute("aria-pressed", "true")
        expect(page.get_by_role("heading", level=1)).to_have_text("Translate a voice message")

    def test_both_languages_have_every_text_and_no_other(self):
        page = self.open(self.daemon)
        english, french = (
            page.evaluate("path => import(path).then((texts) => texts.default)", f"/console/lang/{code}.js")
            for code in ["en", "fr"]
        )
        self.assertEqual(english.keys(), french.keys())
        for key, text in english.items():
            values = set(re.findall(r"\{\w+\}", text))
            self.assertEqual(values, set(re.findall(r"\{\w+\}", french[key])), key)
        sources = "".join(path.read_text() for path in [*ROOT.glob("console/js/*.js"), ROOT / "console/index.html"])
        named = set(re.findall(r"\bt\('([^']+)'|data-say(?:-[a-z-]+)?=\"([^\"]+)\"", sources))
        missing = {one or other for one, other in named} - english.keys()
        self.assertEqual(missing, set())
        unused = [key for key in english if key not in sources and key.split(".")[0] not in
                  {"stage", "step", "status", "kind", "lane", "engine", "engine-status", "queue", "error", "pairs", "models"}]
        self.assertEqual(unused, [])


if __name__ == "__main__":
    unittest.main()
