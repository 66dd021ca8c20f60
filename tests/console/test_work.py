"""A message on the page: sent, watched, read, heard."""

import re
import unittest

from browser import BrowserTest, Page, expect
from daemon import RECORDING, Daemon

HEARD = "hello my friend. how are you."
FRENCH = "bonjour mon ami. comment es tu."
SPANISH = "hola mi amigo. cómo eres tú."


def choose(page: Page, *languages: str) -> None:
    """Exactly these languages."""
    expect(page.locator(".chip").first).to_be_visible()
    for chip in page.locator(".chip").all():
        chip.get_by_role("checkbox").set_checked(chip.locator("span").inner_text() in languages)


def send(page: Page, *languages: str) -> None:
    """Sends the bundled recording."""
    page.set_input_files("#file", RECORDING)
    choose(page, *languages)
    page.get_by_role("button", name="Translate").click()


def card(page: Page, name: str):
    return page.locator("article.voice").filter(has=page.get_by_role("heading", name=name, exact=True))


def position(page: Page, name: str) -> float:
    return float(page.get_by_role("slider", name=name).get_attribute("aria-valuenow"))


class Work(BrowserTest):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.daemon = Daemon()
        cls.addClassCleanup(cls.daemon.__exit__)

    def test_a_file_becomes_texts_and_recordings_that_can_be_copied_and_saved(self):
        page = self.open(self.daemon)
        expect(page.get_by_role("heading", level=1)).to_have_text("Translate a voice message")
        expect(page.get_by_role("button", name="Translate")).to_be_disabled()
        expect(page.get_by_text("Record a message or choose a file first.")).to_be_visible()
        send(page, "French", "Spanish")

        expect(page.locator("#result-title")).to_have_text(re.compile(r"^Done in \d"))
        expect(card(page, "Original · English").locator(".words")).to_have_text(HEARD)
        expect(card(page, "French").locator(".words")).to_have_text(FRENCH)
        expect(card(page, "Spanish").locator(".words")).to_have_text(SPANISH)
        for language in ["French", "Spanish"]:
            expect(card(page, language).get_by_text("Sender’s voice")).to_be_visible()
            expect(card(page, language).get_by_role("button", name="Play")).to_be_enabled()
        for stage in ["Upload", "Decode", "Transcribe", "Translate", "Speak"]:
            step = page.locator(".step").filter(has_text=stage)
            expect(step).to_have_attribute("data-status", "done")

        card(page, "French").get_by_role("button", name="Copy text").click()
        expect(card(page, "French").get_by_role("button", name="Copied")).to_be_visible()
        self.assertEqual(page.evaluate("navigator.clipboard.readText()"), FRENCH)
        with page.expect_download() as download:
            card(page, "Spanish").get_by_role("link", name="Download").click()
        self.assertEqual(download.value.suggested_filename, "es.mp3")
        self.assertGreater(download.value.path().stat().st_size, 1000)

    def test_recordings_are_played_one_at_a_time_and_sought_by_click_and_key(self):
        page = self.open(self.daemon)
        send(page, "French")
        expect(page.locator(".result.ended")).to_be_visible()
        original = page.locator("article.original")
        slider = original.get_by_role("slider")
        slider.focus()
        page.keyboard.press("End")
        end = position(page, "Position: Original · English")
        self.assertAlmostEqual(end, 6.0, delta=0.1)
        page.keyboard.press("ArrowLeft")
        self.assertAlmostEqual(position(page, "Position: Original · English"), end - 2, delta=0.1)
        page.keyboard.press("Home")
        expect(slider).to_have_attribute("aria-valuetext", "0:00 of 0:06")
        box = slider.bounding_box()
        slider.click(position={"x": box["width"] / 2, "y": box["height"] / 2})
        self.assertAlmostEqual(position(page, "Position: Original · English"), end / 2, delta=0.2)

        page.keyboard.press("Home")
        original.get_by_role("button", name="Play").click()
        expect(original.get_by_role("button", name="Pause")).to_be_visible()
        expect(slider).not_to_have_attribute("aria-valuenow", "0.0")
        french = card(page, "French")
        french.get_by_role("button", name="Play").click()
        expect(original.get_by_role("button", name="Play")).to_be_visible()
        expect(french.get_by_role("slider")).not_to_have_attribute("aria-valuenow", "0.0")

    def test_a_message_is_recorded_and_translated(self):
        page = self.open(self.daemon)
        page.get_by_role("button", name="Record").click()
        expect(page.locator("#recorded")).to_have_text("0:02")
        page.get_by_role("button", name="Stop").click()
        expect(page.locator(".chosen-name")).to_contain_text("message.webm")
        chosen = page.locator("#drop-chosen")
        expect(chosen.get_by_role("button", name="Play")).to_be_enabled()
        # What browsers record has no duration of its own, and can be sought all the same.
        chosen.get_by_role("slider").focus()
        page.keyboard.press("End")
        self.assertGreater(position(page, "Position: Original"), 1.5)
        choose(page, "French")
        page.get_by_role("button", name="Translate").click()
        expect(page.locator("#result-title")).to_have_text(re.compile(r"^Done in \d"))
        expect(card(page, "French").locator(".words")).to_have_text(FRENCH)

    def test_a_recording_can_be_discarded_and_a_file_removed(self):
        page = self.open(self.daemon)
        page.get_by_role("button", name="Record").click()
        page.get_by_role("button", name="Discard").click()
        expect(page.get_by_role("button", name="Record")).to_be_focused()
        page.set_input_files("#file", RECORDING)
        page.get_by_role("button", name="Remove").click()
        expect(page.get_by_text("Drop a voice message here")).to_be_visible()
        expect(page.get_by_role("button", name="Translate")).to_be_disabled()

    def test_a_dropped_file_is_taken(self):
        page = self.open(self.daemon)
        dropped = page.evaluate_handle("""bytes => {
            const dragged = new DataTransfer();
            dragged.items.add(new File([new Uint8Array(bytes)], 'dropped.ogg', { type: 'audio/ogg' }));
            return dragged;
        }""", list(RECORDING.read_bytes()))
        page.dispatch_event("#drop", "dragover", {"dataTransfer": dropped})
        expect(page.locator("#drop.over")).to_be_visible()
        page.dispatch_event("#drop", "drop", {"dataTransfer": dropped})
        expect(page.locator(".chosen-name")).to_contain_text("dropped.ogg")
        expect(page.locator("#drop-chosen").get_by_role("button", name="Play")).to_be_enabled()

    def test_the_options_say_whose_voice_it_is_and_whether_it_speaks(self):
        page = self.open(self.daemon)
        page.get_by_text("Options").click()
        expect(page.get_by_label("Whose voice it is")).to_have_value(re.compile(r"^console-[0-9a-f]{8}$"))
        page.get_by_label("Spoken language").select_option("English")
        page.get_by_label("Whose voice it is").fill("ada")
        page.get_by_label("Speak in the sender’s voice").uncheck()
        send(page, "French")
        expect(card(page, "French").get_by_text("Standard voice")).to_be_visible()
        expect(page.get_by_role("button", name="Translate")).to_be_enabled()
        self.assertEqual(self.daemon.status("/audio/voice-models/ada"), 404)
        page.get_by_label("Speak in the sender’s voice").check()
        page.get_by_role("button", name="Translate").click()
        expect(card(page, "French").get_by_text("Sender’s voice")).to_be_visible()
        self.assertEqual(self.daemon.status("/audio/voice-models/ada"), 200)

    def test_jobs_are_listed_with_their_stages_and_opened_again(self):
        sender, watcher = self.open(self.daemon), self.open(self.daemon)
        expect(watcher.get_by_text("It speaks in the sender’s voice.")).to_be_visible()
        before = watcher.locator(".job").count()
        send(sender, "French")
        # It appears where nobody has reloaded anything.
        job = watcher.locator(".job").first
        expect(watcher.locator(".job")).to_have_count(before + 1)
        expect(job.locator(".badge")).to_have_text("Done")
        bar = job.get_by_role("img")
        expect(bar).to_have_attribute("aria-label", re.compile(r"Decode .*Transcribe .*Speak "))
        expect(job.locator(".job-time")).to_have_text(re.compile(r"\d"))

        watcher.reload()
        watcher.locator(".job").first.get_by_role("button", name="Voice message").click()
        expect(card(watcher, "Original · English").locator(".words")).to_have_text(HEARD)
        expect(card(watcher, "French").locator(".words")).to_have_text(FRENCH)
        expect(card(watcher, "French").get_by_role("button", name="Play")).to_be_enabled()

    def test_the_daemon_tells_what_it_can_do(self):
        page = self.open(self.daemon)
        expect(page.locator("#state")).to_have_text("Ready")
        expect(page.locator("#engines li")).to_have_count(5)
        for engine in page.locator("#engines li").all():
            expect(engine).to_contain_text("ready · cpu")
        expect(page.get_by_text("Nothing waits, nothing runs.")).to_be_visible()
        page.locator("#languages-summary").click()
        expect(page.locator("#languages")).to_contain_text("From English into")
        page.locator("#models-summary").click()
        expect(page.locator("#models")).to_contain_text("whisper-scripted")


class Live(BrowserTest):
    def test_what_is_there_shows_while_the_rest_is_made_and_the_rest_can_be_cancelled(self):
        with Daemon(TRANSLATOR_FAULT="synthesize.es:pause") as daemon:
            page = self.open(daemon)
            send(page, "French", "Spanish")
            expect(page.locator("#result-title")).to_have_text("Translating into French and Spanish")
            expect(card(page, "Original · English").locator(".words")).to_have_text(HEARD)
            expect(card(page, "Spanish").locator(".words")).to_have_text(SPANISH)
            expect(card(page, "French").get_by_role("button", name="Play")).to_be_enabled()
            expect(page.locator(".step").filter(has_text="Transcribe")).to_have_attribute("data-status", "done")
            expect(page.locator(".step").filter(has_text="Speak")).to_have_attribute("data-status", "running")
            expect(page.locator(".job .badge")).to_have_text("Running")
            expect(page.locator("#queues")).to_contain_text("Recordings")
            expect(page.get_by_role("button", name="Translate")).to_be_disabled()
            self.assertGreater(int(page.get_by_role("progressbar").get_attribute("aria-valuenow")), 10)

            page.locator("#result").get_by_role("button", name="Cancel").click()
            expect(page.locator("#result-title")).to_have_text("Cancelled")
            expect(page.locator(".job .badge")).to_have_text("Cancelled")
            expect(page.get_by_role("button", name="Translate")).to_be_enabled()
            expect(card(page, "French").locator(".words")).to_have_text(FRENCH)


if __name__ == "__main__":
    unittest.main()
