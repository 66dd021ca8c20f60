"""What the page says when something goes wrong, and that it goes on."""

import re
import tempfile
import unittest

from browser import BrowserTest, expect
from daemon import RECORDING, Daemon
from test_work import FRENCH, card, choose, send

TOKEN = "a-token-of-22-letters!"


def send_bytes(page, name: str, body: bytes) -> None:
    page.set_input_files("#file", {"name": name, "mimeType": "audio/ogg", "buffer": body})
    choose(page, "French")
    page.get_by_role("button", name="Translate").click()


class Refused(BrowserTest):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.daemon = Daemon(AUDIO_MAX_SIZE_MB="1")
        cls.addClassCleanup(cls.daemon.__exit__)

    def test_too_large_a_file_says_what_may_be_done(self):
        page = self.open(self.daemon)
        send_bytes(page, "long.ogg", RECORDING.read_bytes() + bytes(8 << 20))
        expect(page.locator("#result-title")).to_have_text("This did not work")
        expect(page.get_by_role("alert")).to_contain_text("AUDIO_MAX_SIZE_MB")
        # It is no news that the daemon is there.
        expect(page.locator("#state")).to_have_text("Ready")
        # What was chosen stays, and something else can be sent.
        send(page, "French")
        expect(card(page, "French").locator(".words")).to_have_text(FRENCH)

    def test_what_is_no_recording_says_so_also_in_the_list(self):
        page = self.open(self.daemon)
        send_bytes(page, "notes.ogg", b"no recording at all" * 100)
        expect(page.locator("#drop-chosen")).to_contain_text("This browser cannot play the format.")
        expect(page.get_by_role("alert")).to_contain_text("The recording is damaged.")
        expect(page.get_by_role("alert")).to_contain_text("Save it as OGG, M4A, MP3 or WAV")
        expect(page.locator(".job").first).to_contain_text("(malformed_audio)")
        expect(page.get_by_role("button", name="Translate")).to_be_enabled()

    def test_an_empty_file_is_not_sent(self):
        page = self.open(self.daemon)
        page.set_input_files("#file", {"name": "empty.ogg", "mimeType": "audio/ogg", "buffer": b""})
        expect(page.get_by_role("alert")).to_have_text("This file is empty. Choose another one.")
        expect(page.get_by_role("button", name="Translate")).to_be_disabled()

    def test_a_microphone_that_is_refused_says_where_to_allow_it(self):
        page = self.open(self.daemon)
        page.evaluate("""() => {
            navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('no', 'NotAllowedError'));
        }""")
        page.get_by_role("button", name="Record").click()
        expect(page.get_by_role("alert")).to_contain_text("Allow it in the browser’s address bar, or choose a file.")


class Away(BrowserTest):
    def test_a_daemon_that_was_gone_is_found_again(self):
        with Daemon() as daemon:
            page = self.open(daemon)
            send(page, "French")
            expect(page.locator(".result.ended")).to_be_visible()
            daemon.stop()
            expect(page.locator("#state")).to_have_text("Not connected")
            expect(page.locator("#notices")).to_contain_text(re.compile(r"Trying again in \d+ s\."))
            page.get_by_role("button", name="Translate").click()
            expect(page.get_by_role("alert")).to_contain_text("Your message is still here")

            daemon.start()
            if page.get_by_role("button", name="Try now").is_visible():
                page.get_by_role("button", name="Try now").click()
            expect(page.locator("#state")).to_have_text("Ready")
            expect(page.get_by_role("button", name="Try now")).to_be_hidden()
            page.get_by_role("button", name="Translate").click()
            expect(card(page, "French").locator(".words")).to_have_text(FRENCH)
            # The list has found its stream again as well.
            expect(page.locator(".job")).to_have_count(2)

    def test_a_daemon_that_is_killed_meanwhile_goes_on_and_so_does_the_page(self):
        with Daemon(TRANSLATOR_FAULT="synthesize.fr:pause") as daemon:
            page = self.open(daemon)
            send(page, "French")
            expect(card(page, "French").locator(".words")).to_have_text(FRENCH)
            daemon.stop()
            expect(page.locator("#state")).to_have_text("Not connected")
            daemon.start(TRANSLATOR_FAULT="")
            expect(page.locator("#result-title")).to_have_text(re.compile(r"^Done in \d"))
            expect(card(page, "French").get_by_role("button", name="Play")).to_be_enabled()

    def test_without_models_it_says_what_to_do(self):
        with tempfile.TemporaryDirectory() as models, Daemon(MODELS_PATH=models) as daemon:
            page = self.open(daemon)
            expect(page.locator("#state")).to_have_text("Not ready")
            expect(page.locator("#notices")).to_contain_text("translator doctor")
            expect(page.locator("#chips")).to_contain_text("no translation model loaded")
            expect(page.locator("#engines")).to_contain_text("failed: no models")


class Token(BrowserTest):
    def test_a_token_is_asked_for_until_it_is_right_and_kept_for_the_tab(self):
        with Daemon(TRANSLATOR_HTTP_TOKEN=TOKEN) as daemon:
            page = self.open(daemon)
            dialog = page.get_by_role("dialog")
            expect(dialog).to_contain_text("This daemon asks for a token")
            expect(dialog.get_by_label("Token")).to_be_focused()
            dialog.get_by_label("Token").fill("another-token")
            page.keyboard.press("Enter")
            expect(dialog.get_by_role("alert")).to_have_text("The daemon does not accept this token.")
            dialog.get_by_label("Token").fill(TOKEN)
            page.keyboard.press("Enter")
            expect(dialog).to_be_hidden()
            send(page, "French")
            expect(card(page, "French").get_by_role("button", name="Play")).to_be_enabled()
            page.reload()
            expect(page.locator(".job")).to_have_count(1)
            expect(dialog).to_be_hidden()
            self.assertNotIn(TOKEN, page.evaluate("JSON.stringify(localStorage)"))

    def test_who_has_none_can_go_on_looking(self):
        with Daemon(TRANSLATOR_HTTP_TOKEN=TOKEN) as daemon:
            page = self.open(daemon)
            page.get_by_role("button", name="Not now").click()
            expect(page.get_by_role("dialog")).to_be_hidden()
            expect(page.locator("#state")).to_have_text("Ready")
            # It goes on looking for the daemon, and asks nobody again for that.
            with page.expect_response(lambda response: response.url.endswith("/languages") and response.status == 401):
                pass
            expect(page.get_by_role("dialog")).to_be_hidden()


if __name__ == "__main__":
    unittest.main()
