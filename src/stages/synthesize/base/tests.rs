use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::program::{Bounds, run};
use super::*;
use crate::domain::voice::SpeakerEmbedding;
use crate::domain::{Deadline, Language, Pcm, Stop};
use crate::error::Reason;
use crate::onnx::testing::{fixture, onnx, root};
use crate::stages::embed::SAMPLE_RATE_HZ;
use crate::stages::{Engine as _, StageError as _, Ticket};

const BOUNDS: Bounds = Bounds {
    output_bytes: 1 << 20,
    patience: Duration::from_secs(60),
};

/// Runs a line of shell as the program.
fn shell(
    line: &str,
    input: &[u8],
    bounds: Bounds,
    deadline: &Deadline,
) -> Result<String, ProgramError> {
    let output = run(Path::new("/bin/sh"), &["-c", line], input, bounds, deadline);
    output.map(|output| String::from_utf8(output).unwrap())
}

fn is_running(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    // A zombie is one that nobody has asked for yet.
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn a_program_gets_its_input_and_nothing_of_the_environment() {
    let long = "é".repeat(300_000);
    let bounds = Bounds {
        output_bytes: 600_000,
        ..BOUNDS
    };
    let echoed = shell("cat", long.as_bytes(), bounds, &Deadline::none()).unwrap();
    assert!(echoed == long, "{} bytes came back", echoed.len());
    let line = "echo ${HOME-none} ${CARGO_MANIFEST_DIR-none} $(pwd)";
    let seen = shell(line, b"", BOUNDS, &Deadline::none()).unwrap();
    assert_eq!(seen, "none none /\n");
    // Whoever does not read its input is not written to.
    let deaf = shell("echo done", long.as_bytes(), BOUNDS, &Deadline::none()).unwrap();
    assert_eq!(deaf, "done\n");
}

#[test]
fn a_program_that_does_not_end_is_killed_with_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let short = Bounds {
        patience: Duration::from_millis(500),
        ..BOUNDS
    };
    for (name, line) in [
        ("child", "sleep 1000 & echo $! > FILE; wait"),
        ("itself", "echo $$ > FILE; exec sleep 1000"),
        ("closed", "echo $$ > FILE; exec sleep 1000 >&-"),
        // It ends well, but leaves somebody behind.
        ("orphan", "sleep 1000 >&- 2>&- <&- & echo $! > FILE"),
    ] {
        let file = folder.path().join(name);
        let line = line.replace("FILE", file.to_str().unwrap());
        let ended = shell(&line, b"", short, &Deadline::none());
        match ended {
            Ok(_) => assert_eq!(name, "orphan"),
            Err(ProgramError::TooSlow(_)) => assert_ne!(name, "orphan"),
            Err(error) => panic!("{name}: {error}"),
        }
        let pid = std::fs::read_to_string(&file).unwrap();
        let until = std::time::Instant::now() + Duration::from_secs(60);
        while is_running(&pid) {
            assert!(std::time::Instant::now() < until, "{name} lives on");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn what_a_program_does_wrong_is_told_apart() {
    let cancelled = Deadline::none();
    cancelled.cancel();
    let over = Deadline::after(Duration::from_millis(200));
    let none = Deadline::none();
    let ended = |line, deadline| shell(line, b"text", BOUNDS, deadline).unwrap_err();
    assert!(matches!(ended("yes", &none), ProgramError::TooMuch(_)));
    assert!(
        matches!(ended("exit 3", &none), ProgramError::Ended(status) if status.code() == Some(3))
    );
    assert!(
        matches!(ended("kill -9 $$", &none), ProgramError::Ended(status) if status.code().is_none())
    );
    assert!(matches!(
        ended("sleep 1000", &over),
        ProgramError::Stopped(Stop::DeadlineExceeded)
    ));
    assert!(matches!(
        ended("sleep 1000", &cancelled),
        ProgramError::Stopped(Stop::Cancelled)
    ));
    let nowhere = run(Path::new("/nowhere/espeak"), &[], b"", BOUNDS, &none);
    assert!(matches!(nowhere, Err(ProgramError::Start(_))));
}

/// The program of `tests/support/rogue_espeak.sh`.
fn rogue() -> Espeak {
    Espeak::find(&root().join("tests/support/rogue_espeak.sh")).unwrap()
}

fn language(code: &str) -> Language {
    Language::parse(code).unwrap()
}

fn piper() -> PiperVoice {
    let voice = "piper/it_IT-fixture-x_low/it_IT-fixture-x_low.onnx";
    PiperVoice::read(&fixture(voice)).unwrap()
}

fn engine(piper: Vec<PiperVoice>, converts: bool) -> BaseVoiceEngine {
    let voices = Arc::new(BaseVoices::new(rogue(), piper));
    let converter =
        converts.then(|| ToneConverter::load(&onnx(), &fixture("openvoice"), 1, 0.3).unwrap());
    BaseVoiceEngine::new(voices, Some(onnx()), 1, converter)
}

fn request(code: &str, text: &str) -> BaseSpeechRequest {
    BaseSpeechRequest {
        text: text.into(),
        language: language(code),
        target: None,
        seed: [1; 32],
        deadline: Deadline::none(),
    }
}

/// Runs requests together; the results in the order of the requests.
fn speak(
    engine: &mut BaseVoiceEngine,
    requests: Vec<BaseSpeechRequest>,
) -> Vec<Result<BaseSpeech, BaseVoiceError>> {
    let count = requests.len();
    for (number, request) in requests.into_iter().enumerate() {
        assert!(engine.vacancies() > 0);
        engine.join(Ticket(number as u64), request);
    }
    let mut done = Vec::new();
    while !engine.is_idle() {
        done.extend(engine.step());
    }
    assert_eq!(done.len(), count);
    done.sort_by_key(|(ticket, _)| *ticket);
    done.into_iter().map(|(_, result)| result).collect()
}

/// What the rogue program's `x-echo` was told: its samples are the bytes of the text.
fn told(pcm: &Pcm) -> String {
    let bytes = pcm.samples().iter().flat_map(|sample| {
        let value = (sample * 32_768.0).round() as i16;
        value.to_le_bytes()
    });
    String::from_utf8(bytes.collect()).unwrap()
}

#[test]
fn no_text_becomes_an_option_or_a_command() {
    let espeak = rogue();
    for (text, expected) in [
        ("--help me ", "--help me "),
        ("-f /etc/passwd", "-f /etc/passwd"),
        ("| reboot; $(id) `id` \\", "| reboot; $(id) `id` \\"),
        (
            "<voice name=\"x\">hi</voice>",
            "<voice name=\"x\">hi</voice>",
        ),
        ("say [[h@l'oU]]", "say   h@l'oU  "),
        ("nul\0 \u{1}5S\r\n", "nul   5S  "),
        ("", ""),
    ] {
        // Samples have two bytes each.
        let even = if text.len() % 2 == 0 { "" } else { " " };
        let spoken = espeak.speak("x-echo", &format!("{text}{even}"), &Deadline::none());
        if text.is_empty() {
            assert!(matches!(spoken, Err(BaseVoiceError::BadOutput(_))));
            continue;
        }
        assert_eq!(
            told(&spoken.unwrap()),
            format!("{expected}{even}"),
            "{text:?}"
        );
        let arguments = espeak.speak("x-arguments", text, &Deadline::none());
        assert_eq!(
            told(&arguments.unwrap()),
            "-b 1 -v x-arguments -z --stdin --stdout ",
            "{text:?}"
        );
    }
}

#[test]
fn a_text_is_spoken_unit_by_unit_with_pauses() {
    let mut engine = engine(Vec::new(), false);
    let text = format!(
        "{}. {} 👋 https://example.org",
        "a".repeat(199),
        "b".repeat(100)
    );
    let spoken = speak(&mut engine, vec![request("en", &text)])
        .remove(0)
        .unwrap();
    assert_eq!(spoken.voice, "espeak-ng:x-echo");
    assert_eq!(spoken.similarity, None);
    let pcm = &spoken.speech.pcm;
    assert_eq!(pcm.sample_rate_hz(), SAMPLE_RATE_HZ);
    let pause = SAMPLE_RATE_HZ as usize * 150 / 1000;
    assert_eq!(pcm.samples().len(), 100 + pause + 50);
    let parts = &spoken.speech.parts;
    let texts: Vec<&str> = parts
        .iter()
        .map(|part| part.text.expose().as_str())
        .collect();
    assert_eq!(texts, [format!("{}.", "a".repeat(199)), "b".repeat(100)]);
    assert_eq!((parts[0].start_ms, parts[0].end_ms), (0, 4));
    assert_eq!((parts[1].start_ms, parts[1].end_ms), (154, 156));
}

#[test]
fn one_request_does_not_touch_the_others() {
    let mut engine = engine(Vec::new(), false);
    let hanging = BaseSpeechRequest {
        deadline: Deadline::after(Duration::from_millis(300)),
        ..request("de", "Hallo")
    };
    let stopped = BaseSpeechRequest {
        deadline: Deadline::after(Duration::ZERO),
        ..request("en", "too late")
    };
    let results = speak(
        &mut engine,
        vec![
            request("en", "Hello there"),
            request("fr", "Bonjour"),
            request("es", "Hola"),
            hanging,
            stopped,
            request("tr", "Merhaba"),
            request("ru", "Привет"),
            request("ln", "Mbote"),
        ],
    );
    let reasons: Vec<Option<Reason>> = results
        .iter()
        .map(|result| result.as_ref().err().map(|error| error.reason()))
        .collect();
    assert_eq!(
        reasons,
        [
            None,
            Some(Reason::BadOutput),
            Some(Reason::BadOutput),
            Some(Reason::DeadlineExceeded),
            Some(Reason::DeadlineExceeded),
            Some(Reason::BadOutput),
            Some(Reason::Internal),
            Some(Reason::UnsupportedLanguage),
        ]
    );
    let nothing = speak(&mut engine, vec![request("en", "… 👋")]).remove(0);
    assert!(matches!(nothing, Err(BaseVoiceError::NothingToSpeak)));
    let flood = speak(&mut engine, vec![request("pt", "Olá")]).remove(0);
    assert_eq!(flood.unwrap_err().reason(), Reason::BadOutput);
}

#[test]
fn a_megabyte_of_text_ends_with_its_deadline() {
    let mut engine = engine(Vec::new(), false);
    let long = BaseSpeechRequest {
        deadline: Deadline::after(Duration::from_secs(2)),
        ..request("en", &"word ".repeat(200_000))
    };
    let ended = speak(&mut engine, vec![long]).remove(0);
    assert_eq!(ended.unwrap_err().reason(), Reason::DeadlineExceeded);
}

#[test]
fn a_piper_voice_speaks_before_espeak_itself() {
    let mut engine = engine(vec![piper()], false);
    let text = "Ciao, come stai? Bene.";
    let spoken = speak(&mut engine, vec![request("it", text)])
        .remove(0)
        .unwrap();
    assert_eq!(spoken.voice, "piper:it_IT-fixture-x_low");
    let pcm = &spoken.speech.pcm;
    assert_eq!(pcm.sample_rate_hz(), SAMPLE_RATE_HZ);
    assert!(pcm.duration_ms() > 500, "{} ms", pcm.duration_ms());
    assert!(pcm.samples().iter().any(|sample| sample.abs() > 0.01));
    // Its phonemes are letters, of which it knows none.
    let unknown = speak(&mut engine, vec![request("it", "жжж 7")]).remove(0);
    assert!(unknown.is_ok(), "the rogue's own word is there");
}

#[test]
fn an_utterance_that_is_too_long_for_the_model_is_cut() {
    let mut engine = engine(vec![piper()], false);
    // One unit, and one word for the splitter; 200 characters are 400 ids and more.
    let long = speak(&mut engine, vec![request("it", &"abcde".repeat(50))]).remove(0);
    assert!(long.unwrap().speech.pcm.duration_ms() > 5_000);
}

#[test]
fn a_voice_without_its_phonemes_is_left_out() {
    let voices = BaseVoices::new(Espeak::of_voices(&["en", "it-x"]), vec![piper()]);
    assert!(voices.piper().is_empty());
    assert_eq!(
        voices.voice(language("it")),
        Some(BaseVoice::Espeak("it-x".to_owned()))
    );
}

/// An embedding of the bundled extractor's size.
fn target(step: f32) -> SpeakerEmbedding {
    SpeakerEmbedding((0..32).map(|n| (n as f32 * step).sin()).collect())
}

#[test]
fn speech_is_given_another_voice_the_same_for_a_seed() {
    let mut engine = engine(vec![piper()], true);
    let text = "Uno due tre quattro.";
    let with = |seed: u8, step: f32| BaseSpeechRequest {
        target: Some(target(step)),
        seed: [seed; 32],
        // Piper's noise would make each time another: espeak's own Italian is not asked here.
        ..request("en", text)
    };
    let spoken = speak(
        &mut engine,
        vec![
            with(1, 0.3),
            with(1, 0.3),
            with(2, 0.3),
            with(1, 0.7),
            request("en", text),
        ],
    );
    let spoken: Vec<BaseSpeech> = spoken.into_iter().map(Result::unwrap).collect();
    let samples = |number: usize| spoken[number].speech.pcm.samples();
    for speech in &spoken[..4] {
        let similarity = speech.similarity.unwrap();
        assert!((0.0..=1.0).contains(&similarity), "{similarity}");
    }
    assert_eq!(spoken[4].similarity, None);
    assert!(samples(0) == samples(1), "the same voice and seed");
    for other in 2..5 {
        assert!(samples(0) != samples(other), "request {other}");
    }
}

#[test]
fn what_cannot_be_converted_is_spoken_as_it_is() {
    let mut engine = engine(Vec::new(), true);
    let of_another_model = BaseSpeechRequest {
        target: Some(SpeakerEmbedding(Arc::from([1.0; 256]))),
        ..request("en", "Hello there.")
    };
    let plain = request("en", "Hello there.");
    let spoken = speak(&mut engine, vec![of_another_model, plain]);
    let spoken: Vec<BaseSpeech> = spoken.into_iter().map(Result::unwrap).collect();
    assert_eq!(spoken[0].similarity, None);
    assert!(spoken[0].speech.pcm.samples() == spoken[1].speech.pcm.samples());
}

#[test]
fn descriptions_that_cannot_be_used_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let graph = folder.path().join("voice.onnx");
    let read = |change: &dyn Fn(&mut serde_json::Value)| {
        let voice = "piper/it_IT-fixture-x_low/it_IT-fixture-x_low.onnx.json";
        let text = std::fs::read_to_string(fixture(voice)).unwrap();
        let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
        change(&mut config);
        let path = folder.path().join("voice.onnx.json");
        std::fs::write(path, config.to_string()).unwrap();
        PiperVoice::read(&graph).map_err(|error| crate::error::error_chain(&error))
    };
    let voice = read(&|_| {}).unwrap();
    assert_eq!((voice.name(), voice.language()), ("voice", language("it")));
    // Older descriptions do not name the language.
    let older = read(&|config| {
        config.as_object_mut().unwrap().remove("language");
        config.as_object_mut().unwrap().remove("phoneme_type");
    });
    assert_eq!(older.unwrap().language(), language("it"));
    type Change = fn(&mut serde_json::Value);
    let cases: [(&str, Change); 6] = [
        ("phonemes", |config| config["phoneme_type"] = "text".into()),
        ("ids of ^", |config| {
            config["phoneme_id_map"] = serde_json::json!({"a": [1]})
        }),
        ("sample rate", |config| {
            config["audio"]["sample_rate"] = 0.into()
        }),
        ("scales", |config| {
            config["inference"]["length_scale"] = 0.into()
        }),
        ("no description", |config| config["espeak"] = 7.into()),
        ("language", |config| {
            config["language"]["code"] = "?".into();
            config["espeak"]["voice"] = "x-echo".into();
        }),
    ];
    for (named, change) in cases {
        let error = read(&change).unwrap_err();
        assert!(error.contains(named), "{named}: {error}");
    }
    std::fs::write(folder.path().join("voice.onnx.json"), " ".repeat(2 << 20)).unwrap();
    assert!(PiperVoice::read(&graph).is_err());
    assert!(PiperVoice::read(&folder.path().join("none.onnx")).is_err());
}

/// The real program, where it is installed.
fn espeak() -> Option<Espeak> {
    let program = ["/usr/bin/espeak-ng", "/usr/local/bin/espeak-ng"];
    let found = program.iter().map(Path::new).find(|path| path.exists());
    if found.is_none() {
        #[expect(
            clippy::disallowed_methods,
            reason = "tests have no configuration to read"
        )]
        let is_required = std::env::var_os("REQUIRE_ESPEAK").is_some();
        assert!(
            !is_required,
            "REQUIRE_ESPEAK is set, but espeak-ng is not installed"
        );
        println!("skipped: espeak-ng is not installed");
    }
    found.map(|program| Espeak::find(program).unwrap())
}

#[test]
fn espeak_speaks_most_languages_of_the_gateway() {
    let Some(espeak) = espeak() else { return };
    let spoken: Vec<&str> = [
        "en", "fr", "es", "de", "zh", "sw", "uk", "el", "hi", "no", "vi",
    ]
    .into_iter()
    .filter(|code| espeak.voice(language(code)).is_some())
    .collect();
    assert_eq!(spoken.len(), 11, "{spoken:?}");
    assert_eq!(espeak.voice(language("ln")), None);
    assert_eq!(espeak.voice(language("ja")), None);
    // "Nǐ hǎo", and not the English names of letters and figures.
    let chinese = espeak.voice(language("zh")).unwrap();
    let phonemes = espeak.phonemes(chinese, "你好", &Deadline::none()).unwrap();
    assert!(
        phonemes.starts_with("nˈi") && !phonemes.contains("(en)"),
        "{phonemes}"
    );
    let count = Language::listed()
        .filter(|language| espeak.voice(*language).is_some())
        .count();
    assert!(count >= 50, "{count}");
}

#[test]
fn espeak_says_what_it_is_told_and_not_what_it_is_commanded() {
    let Some(espeak) = espeak() else { return };
    let say = |text: &str| {
        let voice = espeak.voice(Language::ENGLISH).unwrap();
        espeak.speak(voice, text, &Deadline::none()).unwrap()
    };
    let hello = say("Hello my friend, how are you?");
    assert!(
        (1_000..5_000).contains(&hello.duration_ms()),
        "{} ms",
        hello.duration_ms()
    );
    let again = say("Hello my friend, how are you?");
    assert!(
        hello.samples() == again.samples(),
        "the same text sounds the same"
    );
    // As phonemes the brackets' content would be one vowel; as words it is letters.
    let commanded = say("[[a:]]");
    assert!(commanded.samples() == say("  a:  ").samples());
    // In markup the break would be two seconds of silence and no words.
    let break_ms = say("one <break time=\"20s\"/> two").duration_ms();
    assert!(break_ms < 10_000, "{break_ms} ms");
    // Nothing behind a NUL is lost.
    assert!(say("Hello my friend,\0 how are you?").duration_ms() >= hello.duration_ms() - 300);
    let voice = espeak.voice(language("it")).unwrap();
    let phonemes = espeak.phonemes(voice, "ciao", &Deadline::none()).unwrap();
    assert_eq!(phonemes, "tʃˈao");
}
