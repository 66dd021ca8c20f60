//! Whether there are base voices, and for what.

use super::Check;
use crate::app;
use crate::config::{BaseVoiceChoice, Settings};
use crate::domain::Language;
use crate::error::error_chain;
use crate::registry::Registry;
use crate::stages::synthesize::base::{BaseVoices, CONVERTER_FILE, PiperVoice};

const NAME: &str = "base voices";

/// How to get espeak-ng, or do without.
const HINT: &str = "install espeak-ng (Debian and Ubuntu: apt-get install espeak-ng; macOS: brew install espeak-ng), or set base_voice = \"off\" under [synthesize]";

/// True when base voices speak, so that the daemon works without XTTS.
pub(super) fn are_there(settings: &Settings) -> bool {
    settings.synthesize.base_voice != BaseVoiceChoice::Off && app::espeak(settings).is_ok()
}

/// The base voices that the settings give.
pub(super) fn check(settings: &Settings) -> Check {
    let choice = settings.synthesize.base_voice;
    if choice == BaseVoiceChoice::Off {
        return Check::ok(
            NAME,
            "off: languages that XTTS does not speak have no voice",
        );
    }
    let espeak = match app::espeak(settings) {
        Ok(espeak) => espeak,
        Err(error) if choice == BaseVoiceChoice::Always => {
            return Check::fail(NAME, error_chain(&error), HINT);
        }
        Err(error) => {
            let detail = format!(
                "{}: languages that XTTS does not speak have no voice",
                error_chain(&error)
            );
            return Check::warn(NAME, detail, HINT);
        }
    };
    let models = &settings.models;
    let registry = Registry::open(&models.path, &models.accept_licenses).ok();
    let graphs = registry.as_ref().map(Registry::piper_graphs);
    let (mut piper, mut unusable) = (Vec::new(), Vec::new());
    for graph in graphs.unwrap_or_default() {
        match PiperVoice::read(&graph) {
            Ok(voice) => piper.push(voice),
            Err(error) => unusable.push(error_chain(&error)),
        }
    }
    if !unusable.is_empty() {
        let hint =
            "put the voice's .onnx.json beside it, or remove it, and run `translator models lock`";
        return Check::warn(NAME, unusable.join("; "), hint);
    }
    let version = espeak.version().to_owned();
    let voices = BaseVoices::new(espeak, piper);
    let languages = Language::listed()
        .filter(|language| voices.speaks(*language))
        .count();
    let has_converter = registry
        .is_some_and(|registry| registry.lists(crate::registry::Engine::Openvoice, CONVERTER_FILE));
    let sounds = match (has_converter, settings.synthesize.convert_base_voice) {
        (true, true) => "in the sender's voice",
        (true, false) => "in their own voice, by the settings",
        (false, _) => "in their own voice: OpenVoice's converter is not installed",
    };
    Check::ok(
        NAME,
        format!(
            "espeak-ng {version} and {} of Piper, {languages} of the gateway's languages, {sounds}",
            voices.piper().len()
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    fn checked(choice: &str) -> Check {
        let environment = [
            ("TRANSLATOR_BASE_VOICE", choice),
            ("TRANSLATOR_ESPEAK_PROGRAM", "no-such-program"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        check(&Settings::load(None, environment).unwrap().0)
    }

    #[test]
    fn a_missing_program_is_told_with_what_to_do() {
        for (choice, status) in [
            ("off", Status::Ok),
            ("auto", Status::Warn),
            ("always", Status::Fail),
        ] {
            let check = checked(choice);
            assert_eq!(check.status, status, "{check:?}");
            if status != Status::Ok {
                assert!(check.detail.contains("no-such-program"), "{check:?}");
                assert!(check.hint.unwrap().contains("apt-get install espeak-ng"));
            }
        }
    }
}
