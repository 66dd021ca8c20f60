//! One request on its way through the engine.

use std::sync::Arc;

use super::error::TranslateError;
use super::guard::{self, BadOutput};
use super::marian::Hypothesis;
use super::route::{Leg, Route};
use super::structure::{self, Structure};
use super::{Priority, Quality, TranslateOptions, chunk};
use crate::domain::{Deadline, Language, PrivateText};

/// A text to translate.
#[derive(Debug, Clone)]
pub struct Request {
    /// The text; its structure survives.
    pub text: PrivateText,
    /// Its language.
    pub source_language: Language,
    /// The language to translate it to.
    pub target_language: Language,
    /// How much work goes into it.
    pub quality: Quality,
    /// Whose turn comes first.
    pub priority: Priority,
    /// When the work must end.
    pub deadline: Deadline,
}

/// A translated text.
#[derive(Debug, Clone, PartialEq)]
pub struct Translation {
    /// The text, with the structure of the original.
    pub text: PrivateText,
    /// Geometric mean of the tokens' probabilities, in 0..1, over all legs; 1 where nothing had to be
    /// translated.
    pub confidence: f32,
    /// Stretches of prose between line breaks and protected spans.
    pub segments_count: usize,
    /// Emoji in the text.
    pub emojis_count: usize,
    /// Sentences that went through a model, in all legs, repeats included.
    pub translated_chunks: usize,
    /// Names of the models used, joined by `+`; empty where nothing had to be translated.
    pub model: String,
}

impl Translation {
    /// A text that is in the right language already.
    pub fn unchanged(text: String) -> Self {
        let structure = structure::parse(&text);
        Self::of_unchanged(text, &structure)
    }

    fn of_unchanged(text: String, structure: &Structure) -> Self {
        Self {
            confidence: 1.0,
            segments_count: structure.prose(&text).count(),
            emojis_count: structure.emojis,
            translated_chunks: 0,
            model: String::new(),
            text: text.into(),
        }
    }
}

/// How a sentence is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Search {
    /// One row.
    Greedy,
    /// The checkpoint's number of beams.
    Beam,
}

impl Quality {
    fn search(self) -> Search {
        match self {
            Self::Basic | Self::Medium => Search::Greedy,
            Self::Premium => Search::Beam,
        }
    }
}

/// A place in a job that waits for a translation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    chunk: usize,
    piece: usize,
}

/// A sentence for a model.
pub struct Sentence {
    /// Where its translation goes.
    pub slot: Slot,
    /// The sentence, without white space around it.
    pub text: PrivateText,
    /// How it is decoded.
    pub search: Search,
}

/// What became of a job after one of its sentences was translated.
pub enum Progress {
    /// These sentences are to be translated now; none when others are still on their way.
    Continues(Vec<Sentence>),
    /// The job is done.
    Done(Translation),
}

/// A request in work: all prose of one leg at a time.
pub struct Job {
    text: String,
    structure: Structure,
    source_language: Language,
    route: Route,
    search: Search,
    priority: Priority,
    deadline: Deadline,
    /// Index of the leg in work.
    leg: usize,
    /// The chunks of all prose, in order.
    chunks: Vec<Chunk>,
    /// Sentences on their way.
    pending: usize,
    translated_chunks: usize,
    /// Sum of log-probabilities and number of tokens of this leg.
    log_prob: f32,
    tokens: usize,
    confidence: f32,
}

/// A chunk of one stretch of prose.
struct Chunk {
    /// Index of the stretch.
    prose: usize,
    pieces: Vec<Piece>,
    is_retry: bool,
    /// The whole with its first translation, where only a number of it was not copied.
    first: Option<Piece>,
    /// The second try is worse than the first.
    takes_first: bool,
}

/// What goes through the model at once: a chunk, or a part of one that is tried again.
#[derive(Clone)]
struct Piece {
    /// White space before the sentence.
    before: String,
    text: String,
    /// White space after the sentence.
    after: String,
    /// The text itself where no model is asked.
    translation: Option<String>,
}

impl Job {
    /// Prepares a request that has a route; also returns the sentences of its first leg, of which
    /// there are none when nothing has to be translated.
    pub fn new(
        request: Request,
        route: Route,
        options: &TranslateOptions,
    ) -> (Self, Vec<Sentence>) {
        let structure = structure::parse(request.text.expose());
        let prose: Vec<String> = structure
            .prose(request.text.expose())
            .map(str::to_owned)
            .collect();
        let mut job = Self {
            text: request.text.into_exposed(),
            structure,
            source_language: request.source_language,
            route,
            search: request.quality.search(),
            priority: request.priority,
            deadline: request.deadline,
            leg: 0,
            chunks: Vec::new(),
            pending: 0,
            translated_chunks: 0,
            log_prob: 0.0,
            tokens: 0,
            confidence: 1.0,
        };
        let sentences = job.start_leg(&prose, options);
        (job, sentences)
    }

    /// Whose turn comes first.
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// When the work must end.
    pub fn deadline(&self) -> &Deadline {
        &self.deadline
    }

    /// The pass in work; none when nothing has to be translated.
    pub fn leg(&self) -> Option<&Leg> {
        self.route.legs().get(self.leg)
    }

    /// Takes the translation of one sentence. An unusable one is tried again once: in smaller pieces
    /// if it can be cut, around its numbers, and with beam search where it was greedy (greedily where
    /// neither is possible). Where a number was all that was wrong and the second try is unusable, the
    /// first one is taken.
    ///
    /// # Errors
    /// [`TranslateError::BadOutput`] when the second try is unusable too.
    pub fn accept(
        &mut self,
        slot: Slot,
        hypothesis: &Hypothesis,
        output: String,
        options: &TranslateOptions,
    ) -> Result<Progress, TranslateError> {
        self.pending -= 1;
        self.translated_chunks += 1;
        let chunk = &mut self.chunks[slot.chunk];
        let piece = &mut chunk.pieces[slot.piece];
        let confidence = hypothesis.confidence();
        let mut sentences = Vec::new();
        match guard::check(&piece.text, &output, confidence, &options.output_limits) {
            Ok(()) => {
                piece.translation = Some(structure::on_one_line(&output));
                self.log_prob += hypothesis.log_prob;
                self.tokens += hypothesis.ids.len();
            }
            Err(_) if chunk.first.is_some() => chunk.takes_first = true,
            Err(reason) if chunk.is_retry => return Err(self.bad_output(reason)),
            Err(reason) => {
                if reason == BadOutput::Number {
                    chunk.first = Some(Piece {
                        translation: Some(structure::on_one_line(&output)),
                        ..piece.clone()
                    });
                }
                sentences = retry(chunk, slot, self.search, options.max_chunk_characters);
                self.pending += sentences.len();
            }
        }
        if self.pending > 0 {
            return Ok(Progress::Continues(sentences));
        }
        Ok(self.finish_leg(options))
    }

    /// What a job is when nothing of it needs a model.
    pub fn unchanged(self) -> Translation {
        Translation::of_unchanged(self.text, &self.structure)
    }

    fn start_leg(&mut self, prose: &[String], options: &TranslateOptions) -> Vec<Sentence> {
        self.chunks.clear();
        if self.leg().is_none() {
            return Vec::new();
        }
        for (index, prose) in prose.iter().enumerate() {
            let sentences = chunk::sentences(prose);
            let texts = sentences
                .into_iter()
                .flat_map(|sentence| chunk::split(sentence, options.max_chunk_characters));
            for text in texts {
                self.chunks.push(Chunk {
                    prose: index,
                    pieces: vec![Piece::new(text, options.max_chunk_characters)],
                    is_retry: false,
                    first: None,
                    takes_first: false,
                });
            }
        }
        let sentences: Vec<Sentence> = self
            .chunks
            .iter()
            .enumerate()
            .flat_map(|(index, chunk)| chunk.sentences(index, self.search))
            .collect();
        self.pending = sentences.len();
        sentences
    }

    fn finish_leg(&mut self, options: &TranslateOptions) -> Progress {
        self.confidence *= (self.log_prob / self.tokens.max(1) as f32).exp().min(1.0);
        (self.log_prob, self.tokens) = (0.0, 0);
        for chunk in self.chunks.iter_mut().filter(|chunk| chunk.takes_first) {
            chunk.pieces = chunk.first.take().into_iter().collect();
        }
        let prose = self.translated_prose();
        self.leg += 1;
        if self.leg().is_some() {
            let sentences = self.start_leg(&prose, options);
            if !sentences.is_empty() {
                return Progress::Continues(sentences);
            }
        }
        Progress::Done(Translation {
            text: structure::rebuild(
                &self.text,
                &self.structure,
                prose.iter().map(String::as_str),
            )
            .into(),
            confidence: self.confidence,
            segments_count: prose.len(),
            emojis_count: self.structure.emojis,
            translated_chunks: self.translated_chunks,
            model: self.route.model_name(),
        })
    }

    /// The translations of the leg, one for each stretch of prose.
    fn translated_prose(&self) -> Vec<String> {
        let source = match self.leg {
            0 => self.source_language,
            _ => Language::ENGLISH,
        };
        let target = self.leg().map_or(source, |leg| leg.target_language);
        let mut prose = vec![String::new(); self.chunks.last().map_or(0, |chunk| chunk.prose + 1)];
        let mut previous: Option<(usize, &Piece)> = None;
        for (chunk, piece) in self
            .chunks
            .iter()
            .flat_map(|c| c.pieces.iter().map(move |p| (c, p)))
        {
            let text = &mut prose[chunk.prose];
            if let Some((_, before)) = previous.filter(|(prose, _)| *prose == chunk.prose) {
                text.push_str(&joint(before, piece, source, target));
            }
            text.push_str(piece.translation.as_deref().unwrap_or(&piece.text));
            previous = Some((chunk.prose, piece));
        }
        prose
    }

    fn bad_output(&self, source: BadOutput) -> TranslateError {
        TranslateError::BadOutput {
            pair: self
                .leg()
                .map_or_else(|| Arc::from(""), |leg| Arc::clone(&leg.pair.name)),
            source,
        }
    }
}

impl Chunk {
    fn sentences(&self, chunk: usize, search: Search) -> impl Iterator<Item = Sentence> {
        self.pieces
            .iter()
            .enumerate()
            .filter(|(_, piece)| piece.translation.is_none())
            .map(move |(piece, content)| Sentence {
                slot: Slot { chunk, piece },
                text: content.text.clone().into(),
                search,
            })
    }
}

impl Piece {
    /// What is longer than a chunk is no word of any language, and is kept like what has no letters.
    fn new(text: &str, max_characters: usize) -> Self {
        let piece = Self::verbatim(text);
        let is_word = structure::has_letters(&piece.text)
            && piece.text.chars().nth(max_characters.max(1)).is_none();
        Self {
            translation: piece.translation.filter(|_| !is_word),
            ..piece
        }
    }

    fn verbatim(text: &str) -> Self {
        let sentence = text.trim_start();
        let before = &text[..text.len() - sentence.len()];
        let (sentence, after) = sentence.split_at(sentence.trim_end().len());
        Self {
            before: before.to_owned(),
            text: sentence.to_owned(),
            after: after.to_owned(),
            translation: Some(sentence.to_owned()),
        }
    }
}

/// What stands between the translations of two neighbouring pieces: the white space of the original,
/// unless only one of the two languages writes it there.
fn joint(left: &Piece, right: &Piece, source: Language, target: Language) -> String {
    let gap = format!("{}{}", left.after, right.before);
    let has_words = |piece: &Piece| piece.text.contains(char::is_alphanumeric);
    match (gap.as_str(), writes_spaces(source), writes_spaces(target)) {
        ("", false, true) if has_words(left) && has_words(right) => " ".to_owned(),
        (" ", true, false) => String::new(),
        _ => gap,
    }
}

/// False for languages that put no space between sentences.
fn writes_spaces(language: Language) -> bool {
    !matches!(language.as_str(), "zh" | "ja" | "th" | "lo" | "km" | "my")
}

/// Cuts a chunk around its numbers, which are kept, and in two where that is possible; says how its
/// pieces are decoded.
fn retry(chunk: &mut Chunk, slot: Slot, first: Search, max_characters: usize) -> Vec<Sentence> {
    let whole = &chunk.pieces[slot.piece];
    let half = whole.text.chars().count().div_ceil(2);
    let mut pieces = Vec::new();
    for (text, is_number) in guard::around_numbers(&whole.text) {
        if is_number {
            pieces.push(Piece::verbatim(text));
        } else {
            let parts = chunk::split(text, half.max(MIN_RETRY_CHARACTERS));
            pieces.extend(
                parts
                    .into_iter()
                    .map(|part| Piece::new(part, max_characters)),
            );
        }
    }
    let search = match first {
        Search::Beam if pieces.len() < 2 => Search::Greedy,
        Search::Greedy | Search::Beam => Search::Beam,
    };
    if let Some(first) = pieces.first_mut() {
        first.before.clone_from(&whole.before);
    }
    if let Some(last) = pieces.last_mut() {
        last.after.clone_from(&whole.after);
    }
    chunk.pieces = pieces;
    chunk.is_retry = true;
    chunk.sentences(slot.chunk, search).collect()
}

/// Shorter pieces than this say too little to be translated on their own.
const MIN_RETRY_CHARACTERS: usize = 40;

#[cfg(test)]
mod tests;
