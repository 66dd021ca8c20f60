//! A Japanese text in words: the path through all words of the dictionary that costs least, as MeCab
//! finds it.

use std::io;

use super::lexicon::{Character, Dictionary, Word};

/// Most characters after the first of an unknown word that is a run of one category (MeCab's default).
const MAX_RUN_CHARACTERS: usize = 24;

/// A word of a text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Token {
    /// As written, without the space before it.
    pub surface: String,
    /// White space stands before it.
    pub follows_space: bool,
    /// The dictionary does not have it.
    pub is_unknown: bool,
    /// Category of its first character.
    pub category: usize,
    /// Fields of the dictionary's entry, or of that of unknown words of its category.
    pub feature: Vec<String>,
}

/// A word at a place of the text.
struct Node {
    word: Word,
    /// Byte where the space before it begins, or the word itself.
    start: usize,
    surface: std::ops::Range<usize>,
    is_unknown: bool,
    category: usize,
    /// Cost of the best path up to here, and the node before this one on it.
    cost: i64,
    before: Option<usize>,
}

/// Cuts `text` into words.
///
/// # Errors
/// The dictionary cannot be read, or is damaged.
pub(super) fn words(dictionary: &Dictionary, text: &str) -> io::Result<Vec<Token>> {
    // White space at the end belongs to no word.
    let text = text.trim_end();
    let mut lattice = Lattice {
        dictionary,
        text,
        nodes: Vec::new(),
        ending: vec![Vec::new(); text.len() + 1],
    };
    lattice.build()?;
    lattice.best_path()
}

struct Lattice<'a> {
    dictionary: &'a Dictionary,
    text: &'a str,
    nodes: Vec<Node>,
    /// By the byte where they end, the last one first found.
    ending: Vec<Vec<usize>>,
}

impl Lattice<'_> {
    fn build(&mut self) -> io::Result<()> {
        for start in 0..self.text.len() {
            let is_reached = start == 0 || !self.ending[start].is_empty();
            if !is_reached {
                continue;
            }
            // Of paths that cost the same the one that is met first stays: MeCab's order.
            for mut node in self.candidates(start)?.into_iter().rev() {
                let left_context = node.word.left_context;
                let (cost, before) = self.best_before(start, left_context)?;
                node.cost = cost + i64::from(node.word.cost);
                node.before = before;
                self.ending[node.surface.end].push(self.nodes.len());
                self.nodes.push(node);
            }
        }
        Ok(())
    }

    /// The cheapest path to `start` for a word with this left context, and the word that it ends with.
    fn best_before(&self, start: usize, left_context: u16) -> io::Result<(i64, Option<usize>)> {
        let connections = &self.dictionary.connections;
        if start == 0 {
            return Ok((connections.cost(0, left_context)?.into(), None));
        }
        let mut best: Option<(i64, usize)> = None;
        for index in self.ending[start].iter().rev() {
            let node = &self.nodes[*index];
            let connection = connections.cost(node.word.right_context, left_context)?;
            let cost = node.cost + i64::from(connection);
            if best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, *index));
            }
        }
        Ok(best.map_or((i64::MAX / 2, None), |(cost, index)| (cost, Some(index))))
    }

    /// The words that may begin at `start`, after white space that may stand there.
    fn candidates(&self, start: usize) -> io::Result<Vec<Node>> {
        let characters = &self.dictionary.characters;
        let rest = &self.text[start..];
        let space = characters.get(' ');
        let skipped: usize = rest
            .chars()
            .take_while(|character| space.shares_a_category(characters.get(*character)))
            .map(char::len_utf8)
            .sum();
        let begin = start + skipped;
        let rest = &self.text[begin..];
        let Some(first) = rest.chars().next().map(|first| characters.get(first)) else {
            return Ok(Vec::new());
        };
        let node = |word, length: usize, is_unknown| Node {
            word,
            start,
            surface: begin..begin + length,
            is_unknown,
            category: first.category(),
            cost: 0,
            before: None,
        };
        let mut nodes = Vec::new();
        for (length, words) in self.dictionary.known.prefixes(rest.as_bytes())? {
            if length > 0 && rest.is_char_boundary(length) {
                nodes.extend(words.into_iter().map(|word| node(word, length, false)));
            }
        }
        if !nodes.is_empty() && !first.competes_with_known_words() {
            return Ok(nodes);
        }
        let name = &characters.categories()[first.category()];
        let unknown = self.dictionary.unknown.exactly(name)?;
        for length in self.unknown_lengths(rest, first, nodes.is_empty()) {
            nodes.extend(unknown.iter().map(|word| node(*word, length, true)));
        }
        Ok(nodes)
    }

    /// Bytes of the unknown words that `text` may begin with: a run of related characters, then so many
    /// characters as the category of the `first` allows; one character where nothing else is found.
    fn unknown_lengths(&self, text: &str, first: Character, needs_one: bool) -> Vec<usize> {
        let mut ends = text.char_indices().map(|(start, character)| {
            let end = start + character.len_utf8();
            (end, self.dictionary.characters.get(character))
        });
        let Some((first_end, _)) = ends.next() else {
            return Vec::new();
        };
        let mut lengths = Vec::new();
        let mut run = None;
        if first.runs_are_words() {
            let (mut end, mut last, mut more) = (first_end, first, 0);
            for (next_end, next) in ends.clone() {
                if !last.shares_a_category(next) {
                    break;
                }
                (end, last, more) = (next_end, next, more + 1);
            }
            if more <= MAX_RUN_CHARACTERS {
                lengths.push(end);
            }
            run = Some(end);
        }
        let related = ends.take_while(|(_, next)| first.shares_a_category(*next));
        let prefixes = std::iter::once(first_end).chain(related.map(|(end, _)| end));
        lengths.extend(
            prefixes
                .take(first.longest_unknown_word())
                .take_while(|end| Some(*end) != run),
        );
        if lengths.is_empty() && needs_one {
            lengths.push(first_end);
        }
        lengths
    }

    fn best_path(&self) -> io::Result<Vec<Token>> {
        let end = self.text.len();
        let (_, mut next) = self.best_before(end, 0)?;
        let mut tokens = Vec::new();
        while let Some(node) = next.map(|index| &self.nodes[index]) {
            let lexicon = if node.is_unknown {
                &self.dictionary.unknown
            } else {
                &self.dictionary.known
            };
            tokens.push(Token {
                surface: self.text[node.surface.clone()].to_owned(),
                follows_space: node.start < node.surface.start,
                is_unknown: node.is_unknown,
                category: node.category,
                feature: lexicon.feature(node.word)?,
            });
            next = node.before;
        }
        tokens.reverse();
        Ok(tokens)
    }
}
