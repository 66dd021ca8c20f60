//! A job's way with made-up models.

use proptest::prelude::*;

use super::*;
use crate::error::Reason;
use crate::stages::StageError;
use crate::stages::translate::route::Pair;

fn language(code: &str) -> Language {
    Language::parse(code).expect("a code")
}

fn leg(name: &str, target: &str) -> Leg {
    Leg {
        pair: Arc::new(Pair {
            name: name.into(),
            directory: name.into(),
            source_languages: Vec::new(),
            targets: Default::default(),
            fingerprint: "".into(),
        }),
        target_language: language(target),
        target_token: None,
    }
}

fn job(text: &str, source: &str, legs: &[Leg], max_chunk_characters: usize) -> Running {
    let route = match legs {
        [one] => Route::Direct(one.clone()),
        [first, second] => Route::Pivot([first.clone(), second.clone()]),
        _ => Route::Same,
    };
    let options = TranslateOptions {
        max_chunk_characters,
        ..TranslateOptions::default()
    };
    let request = Request {
        text: text.into(),
        source_language: language(source),
        target_language: legs
            .last()
            .map_or(language(source), |leg| leg.target_language),
        quality: Quality::Basic,
        priority: Priority::Text,
        deadline: Deadline::none(),
    };
    let (job, sentences) = Job::new(request, route, &options);
    Running {
        job,
        sentences,
        options,
    }
}

struct Running {
    job: Job,
    sentences: Vec<Sentence>,
    options: TranslateOptions,
}

impl Running {
    /// Lets `model` translate every sentence of the job, each token with probability one half.
    fn run(
        mut self,
        model: impl Fn(&str, Search) -> String,
    ) -> Result<Translation, TranslateError> {
        let hypothesis = Hypothesis {
            ids: vec![5, 0],
            log_prob: 2.0 * 0.5_f32.ln(),
        };
        loop {
            let sentence = self.sentences.remove(0);
            let output = model(sentence.text.expose(), sentence.search);
            match self
                .job
                .accept(sentence.slot, &hypothesis, output, &self.options)?
            {
                Progress::Continues(more) => self.sentences.extend(more),
                Progress::Done(translation) => return Ok(translation),
            }
        }
    }
}

fn shout(text: &str, _: Search) -> String {
    text.to_uppercase()
}

#[test]
fn prose_is_translated_and_the_rest_kept() {
    let text = "- salut 👋🏽 toi,\n\n  va sur https://a.b `x` vite\n12:30";
    let done = job(text, "fr", &[leg("fr-en", "en")], 200)
        .run(shout)
        .expect("a text");
    assert_eq!(
        done.text,
        "- SALUT 👋🏽 TOI,\n\n  VA SUR https://a.b `x` VITE\n12:30"
    );
    assert_eq!(
        (
            done.segments_count,
            done.emojis_count,
            done.translated_chunks
        ),
        (4, 1, 4)
    );
    assert!((done.confidence - 0.5).abs() < 1e-6);
    assert_eq!(done.model, "fr-en");
}

#[test]
fn a_pivot_takes_two_legs() {
    let legs = [leg("fr-en", "en"), leg("en-de", "de")];
    let done = job("un. deux @zoé trois", "fr", &legs, 5)
        .run(|text, _| format!("{text}'"))
        .expect("a text");
    assert_eq!(done.text, "un.'' deux'' @zoé trois''");
    assert_eq!((done.segments_count, done.translated_chunks), (2, 6));
    assert!((done.confidence - 0.25).abs() < 1e-6);
    assert_eq!(done.model, "fr-en+en-de");
}

#[test]
fn sentences_are_joined_as_the_target_language_writes() {
    let same = |text: &str, _: Search| text.to_owned();
    let joined = |text: &str, source: &str, target: &str, limit: usize| {
        let legs = [leg("pair", target)];
        job(text, source, &legs, limit)
            .run(same)
            .expect("a text")
            .text
    };
    assert_eq!(
        joined("你好。我们走吧。", "zh", "en", 4),
        "你好。 我们走吧。"
    );
    assert_eq!(joined("Oui. Non, non.", "fr", "zh", 6), "Oui.Non,non.");
    assert_eq!(joined("Oui.  Non, non.", "fr", "en", 8), "Oui.  Non, non.");
    assert_eq!(joined("Oui!Non", "fr", "en", 4), "Oui!Non");
    // Too long for a word: no model is asked.
    assert_eq!(
        job("anticonstitution oui", "fr", &[leg("fr-en", "en")], 8)
            .run(shout)
            .expect("a text")
            .text,
        "anticonstitution OUI"
    );
}

#[test]
fn bad_output_is_tried_again_in_smaller_pieces_and_with_beams() {
    let text = "Je serai en retard de dix minutes, commencez sans moi et gardez-moi une place.";
    let picky = |text: &str, search: Search| match search {
        Search::Greedy => "[error]".to_owned(),
        Search::Beam => text.to_uppercase(),
    };
    let done = job(text, "fr", &[leg("fr-en", "en")], 200)
        .run(picky)
        .expect("a text");
    assert_eq!(done.text, *text.to_uppercase());
    assert_eq!(done.translated_chunks, 4);
}

#[test]
fn twice_bad_output_fails_without_the_text() {
    let error = job("un secret", "fr", &[leg("fr-en", "en")], 200)
        .run(|_, _| String::new())
        .expect_err("no translation");
    assert_eq!(error.reason(), Reason::BadOutput);
    let shown = format!("{error} {error:?}");
    assert!(
        shown.contains("fr-en") && !shown.contains("secret"),
        "{shown}"
    );
}

#[test]
fn debug_output_holds_no_text() {
    let request = Request {
        text: "un secret".into(),
        source_language: Language::FRENCH,
        target_language: Language::ENGLISH,
        quality: Quality::Premium,
        priority: Priority::Text,
        deadline: Deadline::none(),
    };
    let translation = job("un secret", "fr", &[leg("fr-en", "en")], 200).run(shout);
    let shown = format!("{request:?} {:?}", translation.expect("a text"));
    assert!(
        shown.contains('9') && !shown.to_lowercase().contains("secret"),
        "{shown}"
    );
}

#[test]
fn a_sentence_whose_numbers_are_lost_is_translated_around_them() {
    let spelled = |text: &str, _: Search| text.to_uppercase().replace("10:30", "half past ten");
    let translated = |text: &str| {
        job(text, "fr", &[leg("fr-en", "en")], 200)
            .run(spelled)
            .expect("a text")
            .text
    };
    assert_eq!(translated("le 5 (à 10:30) oui"), "LE 5 (À 10:30) OUI");
    assert_eq!(translated("le 5 oui"), "LE 5 OUI");
    // Where the parts are worse than the whole was, the whole is taken.
    let fragile = |text: &str, _: Search| match text {
        "le 5 à 10:30 oui" => "LE 5 À 10 H 30 OUI".to_owned(),
        "à" => String::new(),
        text => text.to_uppercase(),
    };
    let done = job("non. le 5 à 10:30 oui", "fr", &[leg("fr-en", "en")], 200).run(fragile);
    assert_eq!(done.expect("a text").text, "NON. LE 5 À 10 H 30 OUI");
    let wordless = |text: &str, _: Search| text.replace("mp3", "music");
    let done = job("mp3", "fr", &[leg("fr-en", "en")], 200).run(wordless);
    assert_eq!(done.expect("a text").text, "mp3");
}

/// What no translator may touch.
const SPANS: [&str; 14] = [
    "https://exemple.fr/a?b=c#d",
    "www.exemple.fr/x",
    "zoé@exemple.fr",
    "@marc_d",
    "#été2024",
    "👨‍👩‍👧‍👦",
    "🇨🇲",
    "👍🏿",
    "❤️",
    "1️⃣",
    "`let x = 1;`",
    "``a ` b``",
    "\n```rust\nfn main() {}\n\n```\n",
    "\n~~~\ncode\n~~~\n",
];

const NUMBERS: [&str; 6] = ["3.50", "10:30", "2024-05-01", "7", "1,000", "+33"];

/// Translators that do what models do at their worst.
fn hostile(text: &str, kind: usize) -> String {
    let mut words: Vec<&str> = text.split_whitespace().collect();
    match kind {
        0 => text.to_uppercase(),
        1 => {
            words.reverse();
            words.join(" ")
        }
        2 => words.first().copied().unwrap_or_default().to_owned(),
        3 => format!("  so,\n\n{text}\t42 really\r\n "),
        4 => format!("x {}", text.replace(|c: char| c.is_ascii_digit(), "")),
        _ => format!("{text}\n- {text} 😀 @nobody"),
    }
}

/// A line: what stands before it, its words, what stands behind it.
fn line() -> impl Strategy<Value = (&'static str, Vec<String>, &'static str)> {
    let token = prop_oneof![
        4 => "[a-zé]{2,9}[.,!?]?",
        2 => prop::sample::select(SPANS.to_vec()).prop_map(str::to_owned),
        1 => prop::sample::select(NUMBERS.to_vec()).prop_map(str::to_owned),
    ];
    (
        prop::sample::select(vec!["", "  ", "\t", "- ", "  • ", "> ", "12. ", "## "]),
        prop::collection::vec(token, 0..8),
        prop::sample::select(vec!["", "", "  "]),
    )
}

fn text() -> impl Strategy<Value = String> {
    let end = prop::sample::select(vec!["\n", "\n\n\n", "\r\n"]);
    prop::collection::vec((line(), end), 1..5).prop_map(|lines| {
        let line = |((before, words, after), end): &((&str, Vec<String>, &str), &str)| {
            format!("{before}{}{after}{end}", words.join(" "))
        };
        lines.iter().map(line).collect()
    })
}

fn languages(is_pivot: bool) -> Vec<Leg> {
    if is_pivot {
        vec![leg("fr-en", "en"), leg("en-de", "de")]
    } else {
        vec![leg("fr-en", "en")]
    }
}

fn outer_spaces(line: &str) -> (&str, &str) {
    let trimmed = line.trim_start();
    let (before, _) = line.split_at(line.len() - trimmed.len());
    let (_, after) = trimmed.split_at(trimmed.trim_end().len());
    (before, after)
}

proptest! {
    #[test]
    fn whatever_the_translator_does_structure_and_spans_survive(
        text in text(),
        kind in 0_usize..6,
        is_pivot: bool,
        limit in prop::sample::select(vec![12_usize, 40, 200]),
    ) {
        let done = job(&text, "fr", &languages(is_pivot), limit);
        let has_prose = !done.sentences.is_empty();
        let translated = if has_prose {
            done.run(|text, _| hostile(text, kind)).expect("a text").text
        } else {
            done.job.unchanged().text
        };

        let (lines, expected): (Vec<_>, Vec<_>) =
            (translated.expose().split('\n').collect(), text.split('\n').collect());
        prop_assert_eq!(lines.len(), expected.len());
        for (line, expected) in lines.iter().zip(&expected) {
            prop_assert_eq!(outer_spaces(line), outer_spaces(expected));
        }

        let mut rest = translated.expose().as_str();
        for part in structure::parse(&text).parts {
            if let structure::Part::Verbatim(range) = part {
                let kept = &text[range];
                let found = rest.find(kept);
                prop_assert!(found.is_some(), "{kept:?} is lost");
                rest = &rest[found.unwrap_or_default() + kept.len()..];
            }
        }
        let mut rest = translated.expose().as_str();
        let mut at = 0;
        while let Some((start, span)) = SPANS
            .iter()
            .filter_map(|span| Some((at + text[at..].find(span)?, *span)))
            .min()
        {
            let found = rest.find(span);
            prop_assert!(found.is_some(), "{span:?} is lost");
            rest = &rest[found.unwrap_or_default() + span.len()..];
            at = start + span.len();
        }

        for number in NUMBERS {
            let count = |text: &str| text.matches(number).count();
            prop_assert!(count(translated.expose()) >= count(&text), "{number} is lost");
        }
    }

    #[test]
    fn a_translator_that_changes_nothing_gives_the_text_back(
        text in text(),
        is_pivot: bool,
        limit in prop::sample::select(vec![5_usize, 12, 200]),
    ) {
        let done = job(&text, "fr", &languages(is_pivot), limit);
        if done.sentences.is_empty() {
            return Ok(());
        }
        for sentence in &done.sentences {
            prop_assert!(sentence.text.expose().chars().count() <= limit);
        }
        let translated = done.run(|text, _| text.to_owned()).expect("a text");
        prop_assert_eq!(translated.text.expose(), &text);
    }
}
