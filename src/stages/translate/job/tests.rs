//! A job's way with made-up models.

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
        text: text.to_owned(),
        source_language: language(source),
        target_language: legs
            .last()
            .map_or(language(source), |leg| leg.target_language),
        quality: Quality::Basic,
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
            let output = model(&sentence.text, sentence.search);
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
    assert_eq!(
        joined("anticonstitution", "fr", "en", 8),
        "anticonstitution"
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
    assert_eq!(done.text, text.to_uppercase());
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
        text: "un secret".to_owned(),
        source_language: Language::FRENCH,
        target_language: Language::ENGLISH,
        quality: Quality::Premium,
        deadline: Deadline::none(),
    };
    let translation = job("un secret", "fr", &[leg("fr-en", "en")], 200).run(shout);
    let shown = format!("{request:?} {:?}", translation.expect("a text"));
    assert!(
        shown.contains('9') && !shown.to_lowercase().contains("secret"),
        "{shown}"
    );
}
