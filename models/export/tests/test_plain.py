"""What needs the standard library only: part of `make test`."""

import contextlib
import io
import os
import re
import sys
import tempfile
import tomllib
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from export import ExportError, cli, install, languages, source  # noqa: E402

REPOSITORY = HERE.parents[2]


class Languages(unittest.TestCase):
    def test_the_tables_are_those_of_the_daemon(self):
        rust = (REPOSITORY / "src/domain/language.rs").read_text(encoding="utf-8")
        table = rust[rust.index("const ISO_639_3_TO_1") : rust.index("#[cfg(test)]")]
        self.assertEqual(dict(re.findall(r'\("(\w+)", "(\w+)"\)', table)), languages.ISO_639_3_TO_1)
        kept = rust.partition("const GATEWAY_THREE_LETTER")[2].partition("];")[0]
        self.assertEqual(set(re.findall(r'"(\w+)"', kept)), languages.THREE_LETTER)

    def test_spellings_become_one_code(self):
        for code, wanted in (("fra", "fr"), (" PT-br", "pt"), ("zho_Hans", "zh"), ("iw", "he"), ("bas", "bas"),
                             ("qqq", None), ("ROMANCE", None), ("", None), ("f1", None)):  # fmt: skip
            self.assertEqual(languages.canonical(code), wanted, code)

    def test_a_language_has_its_plainest_target_token(self):
        vocabulary = [">>zho_Hant<<", ">>cmn<<", ">>zho<<", ">>fra<<", ">>qqq<<", "fra", ">>", "<<", ">><<"]
        self.assertEqual(languages.target_tokens(vocabulary), {"fr": ">>fra<<", "zh": ">>cmn<<"})


class Manifest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.out = Path(folder.name)

    def model(self, name, text="abc"):
        with install.staged(self.out, f"marian/{name}", force=True) as folder:
            (folder / "vocab.json").write_text(text)
        return install.entry(self.out, f"marian/{name}", f"marian-{name}", "marian", 'of "all" kinds\n', source="en",
                             targets=["fr"])  # fmt: skip

    def read(self):
        return tomllib.loads((self.out / "manifest.toml").read_text(encoding="utf-8"))

    def test_entries_hold_what_the_daemon_checks(self):
        install.register(self.out, [self.model("en-fr")])
        self.assertEqual(self.read(), {"fixture": False, "model": [{
            "id": "marian-en-fr", "engine": "marian", "licence": 'of "all" kinds\n', "requires_acceptance": False,
            "source": "en", "targets": ["fr"], "file": [{
                "path": "marian/en-fr/vocab.json", "size_bytes": 3,
                "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            }],
        }]})  # fmt: skip

    def test_a_second_export_replaces_its_own_entry_only(self):
        install.register(self.out, [self.model("en-fr"), self.model("en-de")], fixture=True, note="é")
        install.register(self.out, [self.model("en-fr", "abcd")])
        manifest = self.read()
        sizes = {model["id"]: model["file"][0]["size_bytes"] for model in manifest["model"]}
        self.assertEqual(sizes, {"marian-en-fr": 4, "marian-en-de": 3})
        self.assertEqual((manifest["fixture"], manifest["note"]), (True, "é"))

    def test_a_failure_leaves_what_was_there(self):
        self.model("en-fr")
        with self.assertRaises(ExportError), install.staged(self.out, "marian/en-fr", force=True) as folder:
            (folder / "vocab.json").write_text("half")
            raise ExportError("not like the reference")
        self.assertEqual((self.out / "marian/en-fr/vocab.json").read_text(), "abc")
        self.assertEqual(sorted(os.listdir(self.out)), ["marian"], "no scratch folder stays")

    def test_nothing_is_replaced_without_being_asked(self):
        self.model("en-fr")
        with self.assertRaisesRegex(ExportError, "--force"), install.staged(self.out, "marian/en-fr", force=False):
            self.fail("the block must not run")

    def test_a_broken_manifest_is_not_written_over(self):
        (self.out / "manifest.toml").write_text("[[model")
        with self.assertRaisesRegex(ExportError, "not a valid manifest"):
            install.register(self.out, [])
        self.assertEqual((self.out / "manifest.toml").read_text(), "[[model")


class CommandLine(unittest.TestCase):
    def run_cli(self, *arguments):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = cli.main(arguments)
            except SystemExit as end:
                code = end.code
        return code, out.getvalue() + err.getvalue()

    def test_every_command_explains_itself(self):
        for command in ([], ["marian"], ["openvoice"], ["xtts"], ["random"]):
            code, text = self.run_cli(*command, "--help")
            self.assertEqual(code, 0)
            self.assertIn("usage:", text)

    def test_what_is_no_checkpoint_is_named(self):
        with self.assertRaisesRegex(ExportError, "neither a folder nor a repository"):
            source.fetch("no/such/folder", None, [])
        with tempfile.TemporaryDirectory() as folder, self.assertRaisesRegex(ExportError, "has no model.pth or x"):
            source.required(Path(folder), "model.pth", "x")

    def test_unknown_precisions_are_refused(self):
        code, text = self.run_cli("marian", "x", "--out", "y", "--precisions", "int3")
        self.assertEqual(code, 2)
        self.assertIn("fp32,int8r", text)


if __name__ == "__main__":
    unittest.main()
