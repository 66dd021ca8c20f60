"""The page that shows every route, and sends requests to them."""

import unittest

from browser import BrowserTest, Page, expect
from daemon import RECORDING, Daemon


class Docs(BrowserTest):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.daemon = Daemon()
        cls.addClassCleanup(cls.daemon.__exit__)

    def operation(self, name: str):
        """An operation of the page, by its id in the document, unfolded."""
        page: Page = self.open(self.daemon)
        page.goto(f"{self.daemon.url}/docs")
        operation = page.locator(f"details#{name}")
        operation.locator("summary").click()
        return operation

    def test_a_recording_is_sent_and_what_was_said_is_shown(self):
        transcribe = self.operation("transcribe")
        transcribe.locator("input[name=audio]").set_input_files(RECORDING)
        transcribe.locator("input[name=return_timestamps]").fill("true")
        transcribe.get_by_role("button", name="Send").click()
        answer = transcribe.locator("form pre")
        expect(answer).to_contain_text("200 OK")
        expect(answer).to_contain_text('"text": "hello my friend. how are you."')
        expect(answer).to_contain_text('"start_ms"')

        # A header decides whether the answer is the job.
        transcribe.locator("input[name=Prefer]").fill("respond-async")
        transcribe.get_by_role("button", name="Send").click()
        expect(answer).to_contain_text("202 Accepted")
        expect(answer).to_contain_text('"kind": "transcribe"')

    def test_a_recording_that_is_missing_is_asked_for(self):
        transcribe = self.operation("transcribe")
        transcribe.get_by_role("button", name="Send").click()
        self.assertTrue(transcribe.locator("input[name=audio]").evaluate("field => field.validity.valueMissing"))
        expect(transcribe.locator("form pre")).to_have_count(0)

    def test_speech_is_heard_and_saved(self):
        tts = self.operation("tts")
        tts.locator("input[name=text]").fill("Hello my friend.")
        tts.locator("input[name=format]").fill("wav")
        tts.get_by_role("button", name="Send").click()
        expect(tts.locator("form pre")).to_contain_text("200 OK")
        heard = tts.locator("audio")
        expect(heard).to_have_js_property("error", None)
        expect(heard).to_have_js_property("readyState", 4)
        self.assertGreater(heard.evaluate("audio => audio.duration"), 0.5)
        with tts.page.expect_download() as download:
            tts.get_by_role("link", name="Save").click()
        self.assertEqual(download.value.suggested_filename, "speech.wav")
        self.assertTrue(download.value.path().read_bytes().startswith(b"RIFF"))

    def test_events_are_shown_while_they_come(self):
        follow = self.operation("follow_jobs")
        follow.get_by_role("button", name="Send").click()
        expect(follow.locator("form pre")).to_contain_text("200 OK")
        transcribe = self.operation("transcribe")
        transcribe.locator("input[name=audio]").set_input_files(RECORDING)
        transcribe.get_by_role("button", name="Send").click()
        expect(follow.locator("form pre")).to_contain_text('"status":"completed"')


if __name__ == "__main__":
    unittest.main()
