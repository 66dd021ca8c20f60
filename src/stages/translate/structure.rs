//! What of a text is translated and what is kept byte for byte.
//!
//! Kept: line breaks and empty lines, leading and trailing spaces of lines, tabs, bullets and other
//! line prefixes, fenced code blocks, inline code, URLs, e-mail addresses, @mentions, #tags, emoji,
//! and whatever holds no letter (numbers, times, lone punctuation). Each kept span stays at its
//! place, and the prose on both sides of it is translated on its own. Numbers *inside* a sentence stay
//! in the sentence, because a cut there would break the grammar around them; a model that does not
//! copy them gets the sentence again without them ([`guard`](super::guard)).

use std::collections::HashMap;
use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

/// A stretch of a text, as a byte range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Kept byte for byte.
    Verbatim(Range<usize>),
    /// Prose: holds a letter, neither starts nor ends with white space.
    Translate(Range<usize>),
}

impl Part {
    /// The byte range in the text.
    pub fn range(&self) -> Range<usize> {
        match self {
            Self::Verbatim(range) | Self::Translate(range) => range.clone(),
        }
    }
}

/// A text in parts; their ranges follow each other and cover the text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Structure {
    /// The parts in order; no two verbatim ones are neighbours.
    pub parts: Vec<Part>,
    /// Emoji outside code, each sequence (ZWJ, skin tone, flag, keycap) counted once.
    pub emojis: usize,
}

impl Structure {
    /// What of the text is translated.
    pub fn prose<'t>(&self, text: &'t str) -> impl Iterator<Item = &'t str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Translate(range) => Some(&text[range.clone()]),
            Part::Verbatim(_) => None,
        })
    }
}

/// Splits a text into what is translated and what is kept. Linear in the text's length.
pub fn parse(text: &str) -> Structure {
    let mut parser = Parser {
        text,
        structure: Structure::default(),
    };
    let mut fence: Option<Fence> = None;
    let mut start = 0;
    for line in text.split_inclusive(is_line_break) {
        let end = start + line.len();
        let body = start..start + line.trim_end_matches(is_line_break).len();
        match &fence {
            Some(open) => {
                if open.is_closed_by(&text[body]) {
                    fence = None;
                }
                parser.verbatim(start..end);
            }
            None => {
                fence = Fence::opened_by(&text[body.clone()]);
                if fence.is_some() {
                    parser.verbatim(start..end);
                } else {
                    parser.line(body.clone());
                    parser.verbatim(body.end..end);
                }
            }
        }
        start = end;
    }
    parser.structure
}

/// Puts a text together again from its verbatim parts and one translation for each other part.
///
/// A part without a translation keeps its own text.
pub fn rebuild<'a>(
    text: &str,
    structure: &Structure,
    translations: impl IntoIterator<Item = &'a str>,
) -> String {
    let mut translations = translations.into_iter();
    let mut rebuilt = String::with_capacity(text.len());
    for part in &structure.parts {
        match part {
            Part::Verbatim(range) => rebuilt.push_str(&text[range.clone()]),
            Part::Translate(range) => {
                rebuilt.push_str(translations.next().unwrap_or(&text[range.clone()]));
            }
        }
    }
    rebuilt
}

/// Tells whether there is anything to translate in a stretch of text.
pub fn has_letters(text: &str) -> bool {
    text.chars().any(char::is_alphabetic)
}

/// A model's output without what would add lines, cells or outer spaces to the text around it.
pub fn on_one_line(output: &str) -> String {
    let breaks_line = |c| is_line_break(c) || c == '\t';
    output.trim().replace(breaks_line, " ")
}

fn is_line_break(c: char) -> bool {
    matches!(
        c,
        '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}'
    )
}

/// An open fenced code block (CommonMark 0.31, section 4.5, but for indentation).
struct Fence {
    mark: char,
    length: usize,
}

impl Fence {
    fn opened_by(line: &str) -> Option<Self> {
        let (mark, length, rest) = Self::marks(line)?;
        // "```code```" on one line is inline code.
        let is_inline = mark == '`' && rest.contains('`');
        (length >= 3 && !is_inline).then_some(Self { mark, length })
    }

    fn is_closed_by(&self, line: &str) -> bool {
        Self::marks(line).is_some_and(|(mark, length, rest)| {
            mark == self.mark && length >= self.length && rest.trim().is_empty()
        })
    }

    /// The line's first mark, how many of it follow each other, and what comes after them. Blocks in
    /// lists and quotes stand behind prefixes, so indentation of any depth is no code of its own.
    fn marks(line: &str) -> Option<(char, usize, &str)> {
        let prefix = LINE_PREFIX.find(line).map_or(0, |found| found.end());
        let unindented = line[prefix..].trim_start();
        let mark = unindented
            .chars()
            .next()
            .filter(|c| matches!(c, '`' | '~'))?;
        let rest = unindented.trim_start_matches(mark);
        Some((mark, unindented.len() - rest.len(), rest))
    }
}

struct Parser<'t> {
    text: &'t str,
    structure: Structure,
}

impl Parser<'_> {
    /// One line without its break.
    fn line(&mut self, line: Range<usize>) {
        let prefix = LINE_PREFIX
            .find(&self.text[line.clone()])
            .map_or(0, |found| found.end());
        let start = line.start + prefix;
        self.verbatim(line.start..start);
        let mut cell = start;
        for (tab, _) in self.text[start..line.end].match_indices('\t') {
            self.cell(cell..start + tab);
            self.verbatim(start + tab..start + tab + 1);
            cell = start + tab + 1;
        }
        self.cell(cell..line.end);
    }

    /// What lies between two tabs: inline code and the rest.
    fn cell(&mut self, cell: Range<usize>) {
        let mut start = cell.start;
        for code in code_spans(&self.text[cell.clone()]) {
            let code = cell.start + code.start..cell.start + code.end;
            self.spans(start..code.start);
            self.verbatim(code.clone());
            start = code.end;
        }
        self.spans(start..cell.end);
    }

    /// A stretch without code: protected spans and the prose around them.
    fn spans(&mut self, stretch: Range<usize>) {
        let text = &self.text[stretch.clone()];
        let mut prose = stretch.start;
        for found in SPAN.captures_iter(text) {
            let Some(span) = found.get(0) else { continue };
            let needs_boundary = found.name("mention").is_some() || found.name("tag").is_some();
            let follows_a_word = text[..span.start()]
                .chars()
                .next_back()
                .is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '&'));
            if needs_boundary && follows_a_word {
                continue;
            }
            if found.name("emoji").is_some() {
                self.structure.emojis += 1;
            }
            let span = stretch.start + span.start()..stretch.start + span.end();
            self.prose(prose..span.start);
            self.verbatim(span.clone());
            prose = span.end;
        }
        self.prose(prose..stretch.end);
    }

    fn prose(&mut self, range: Range<usize>) {
        let text = &self.text[range.clone()];
        if !has_letters(text) {
            return self.verbatim(range);
        }
        let start = range.start + (text.len() - text.trim_start().len());
        let end = range.start + text.trim_end().len();
        self.verbatim(range.start..start);
        self.structure.parts.push(Part::Translate(start..end));
        self.verbatim(end..range.end);
    }

    fn verbatim(&mut self, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        match self.structure.parts.last_mut() {
            Some(Part::Verbatim(last)) => last.end = range.end,
            _ => self.structure.parts.push(Part::Verbatim(range)),
        }
    }
}

/// Byte ranges of inline code: a run of backticks up to the next run of the same length.
fn code_spans(text: &str) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (at, _) in text.match_indices('`') {
        match runs.last_mut() {
            Some(run) if run.end == at => run.end += 1,
            _ => runs.push(at..at + 1),
        }
    }
    // Runs of each length, last one first, so that looking for a closing run never rescans.
    let mut runs_by_length: HashMap<usize, Vec<usize>> = HashMap::new();
    for (index, run) in runs.iter().enumerate().rev() {
        runs_by_length.entry(run.len()).or_default().push(index);
    }
    let mut spans = Vec::new();
    let mut next = 0;
    while let Some(opening) = runs.get(next) {
        let later = runs_by_length.entry(opening.len()).or_default();
        while later.last().is_some_and(|index| *index <= next) {
            later.pop();
        }
        let closing = later.last().copied();
        if let Some(closing) = closing {
            spans.push(opening.start..runs[closing].end);
        }
        next = closing.unwrap_or(next) + 1;
    }
    spans
}

/// What opens a line and is no prose: indentation, quotes, bullets, headings, numbers, check boxes.
static LINE_PREFIX: LazyLock<Regex> = LazyLock::new(|| {
    constant_pattern(
        r"(?x)^ (?:
            [\ \t]*
            (?: >+ [\ \t]*
              | (?: [-*+•‣◦▪●○■□–—] | \#{1,6} | \d{1,9}[.)] | \p{L}\) | \[[\ xX]\] ) [\ \t]+
            )
        )+",
    )
});

/// Spans that are kept. An emoji is a flag, a keycap, or a pictograph with what modifies and joins it
/// (UTS #51, section 1.4.9); signs that are part of prose, such as ™, are none.
static SPAN: LazyLock<Regex> = LazyLock::new(|| {
    constant_pattern(
        r"(?x)
          (?<url> (?i: https?:// | \b www\. ) \S+ )
        | (?<email> [\p{L}\p{N}._%+-]+ @ [\p{L}\p{N}-]+ (?: \. [\p{L}\p{N}-]+ )+ )
        | (?<mention> @ [\p{L}\p{N}_] (?: [\p{L}\p{M}\p{N}_.-]* [\p{L}\p{M}\p{N}_] )? )
        | (?<tag> \# [\p{L}\p{N}_] [\p{L}\p{M}\p{N}_]* )
        | (?<emoji>
            \p{Regional_Indicator} \p{Regional_Indicator}
          | [0-9\#*] \x{FE0F}? \x{20E3}
          | (?: \p{Emoji_Presentation}
              | [\p{Extended_Pictographic}--[©®™ℹ‼⁉]]
              | [©®™ℹ‼⁉] \x{FE0F} )
            [\p{Emoji_Modifier}\x{FE0E}\x{FE0F}\x{20E3}\x{E0020}-\x{E007F}]*
            (?: \x{200D} [\p{Emoji_Presentation}\p{Extended_Pictographic}]
                [\p{Emoji_Modifier}\x{FE0E}\x{FE0F}\x{E0020}-\x{E007F}]* )*
          )",
    )
});

#[expect(
    clippy::expect_used,
    reason = "the patterns are constants of this stage, and its tests build every one"
)]
pub(super) fn constant_pattern(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a constant pattern")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The parts as text, what is translated in angle brackets.
    fn marked(text: &str) -> String {
        parse(text)
            .parts
            .iter()
            .map(|part| match part {
                Part::Verbatim(range) => text[range.clone()].to_owned(),
                Part::Translate(range) => format!("⟨{}⟩", &text[range.clone()]),
            })
            .collect()
    }

    #[test]
    fn lines_and_their_spaces_are_kept() {
        assert_eq!(
            marked("a b\n\n\n  c d  \r\ne"),
            "⟨a b⟩\n\n\n  ⟨c d⟩  \r\n⟨e⟩"
        );
        assert_eq!(marked("a\tb\u{2028}c"), "⟨a⟩\t⟨b⟩\u{2028}⟨c⟩");
        assert_eq!(marked(" \n\t\n"), " \n\t\n");
        assert_eq!(marked(""), "");
    }

    #[test]
    fn line_prefixes_are_kept() {
        assert_eq!(
            marked("- pain\n  * lait\n12. oeufs\n> > cité\n## Titre\n- [x] fait\nb) riz"),
            "- ⟨pain⟩\n  * ⟨lait⟩\n12. ⟨oeufs⟩\n> > ⟨cité⟩\n## ⟨Titre⟩\n- [x] ⟨fait⟩\nb) ⟨riz⟩"
        );
        assert_eq!(marked("-5 degrés, 3.5 km"), "⟨-5 degrés, 3.5 km⟩");
    }

    #[test]
    fn code_is_kept() {
        let fenced = "voici\n```rust\nlet a = \"bonjour\";\n``\n```\nfin";
        assert_eq!(
            marked(fenced),
            "⟨voici⟩\n```rust\nlet a = \"bonjour\";\n``\n```\n⟨fin⟩"
        );
        assert_eq!(marked("~~~\njamais fermé"), "~~~\njamais fermé");
        assert_eq!(
            marked("lance `cargo run` ou ``a ` b`` puis ` seul"),
            "⟨lance⟩ `cargo run` ⟨ou⟩ ``a ` b`` ⟨puis ` seul⟩"
        );
        assert_eq!(marked("```en ligne``` ici"), "```en ligne``` ⟨ici⟩");
        let nested = "1. voici\n      ```\n      code\n      ```\n> ~~~\n> code\n> ~~~\nfin";
        assert_eq!(
            marked(nested),
            "1. ⟨voici⟩\n      ```\n      code\n      ```\n> ~~~\n> code\n> ~~~\n⟨fin⟩"
        );
    }

    #[test]
    fn spans_are_kept_at_their_place() {
        assert_eq!(
            marked("voir https://a.b/c?d=(e), merci"),
            "⟨voir⟩ https://a.b/c?d=(e), ⟨merci⟩"
        );
        assert_eq!(
            marked("voir www.a.b/c et WWW.d.e, non awww.f"),
            "⟨voir⟩ www.a.b/c ⟨et⟩ WWW.d.e, ⟨non awww.f⟩"
        );
        assert_eq!(
            marked("écris à zoé.b+x@exemple.fr ou @marc.d. #été"),
            "⟨écris à⟩ zoé.b+x@exemple.fr ⟨ou⟩ @marc.d. #été"
        );
        assert_eq!(marked("C#3 et a@b"), "⟨C#3 et a@b⟩");
        assert_eq!(marked("12:30 !"), "12:30 !");
    }

    #[test]
    fn emoji_sequences_are_whole_and_counted() {
        let text = "salut 👩🏽‍🚀 ça 👨‍👩‍👧‍👦va? 🇫🇷🇨🇲 1️⃣ ❤️ ❤ ☺ 🏴󠁧󠁢󠁳󠁣󠁴󠁿 Windows™ ok";
        let structure = parse(text);
        assert_eq!(structure.emojis, 9);
        assert_eq!(
            marked(text),
            "⟨salut⟩ 👩🏽‍🚀 ⟨ça⟩ 👨‍👩‍👧‍👦⟨va?⟩ 🇫🇷🇨🇲 1️⃣ ❤️ ❤ ☺ 🏴󠁧󠁢󠁳󠁣󠁴󠁿 ⟨Windows™ ok⟩"
        );
    }

    #[test]
    fn translations_take_the_place_of_prose_only() {
        let text = "- bonjour @zoé !\n\n```\ncode\n```\nfin";
        let structure = parse(text);
        assert_eq!(
            rebuild(text, &structure, ["HELLO", "END"]),
            "- HELLO @zoé !\n\n```\ncode\n```\nEND"
        );
    }

    #[test]
    fn hostile_texts_take_linear_time() {
        for text in [
            "` `` ".repeat(20_000),
            "@a-".repeat(30_000),
            "a.".repeat(50_000),
        ] {
            let covered: usize = parse(&text).parts.iter().map(|p| p.range().len()).sum();
            assert_eq!(covered, text.len());
        }
    }

    proptest! {
        #[test]
        fn parts_cover_the_text(text in r"([ \t\n\r`~#@:/.a-zé0-9😀🇫❤️\x{200D}•>-]|```|https://|\PC){0,80}") {
            let structure = parse(&text);
            let mut at = 0;
            for part in &structure.parts {
                prop_assert_eq!(part.range().start, at);
                prop_assert!(!part.range().is_empty());
                at = part.range().end;
                if let Part::Translate(range) = part {
                    let prose = &text[range.clone()];
                    prop_assert!(has_letters(prose));
                    prop_assert_eq!(prose.trim(), prose);
                }
            }
            prop_assert_eq!(at, text.len());
        }

        #[test]
        fn protected_spans_survive_in_order(
            spans in prop::collection::vec(prop::sample::select(vec![
                "https://exemple.fr/a?b=c#d", "zoé@exemple.fr", "@marc_d", "#été2024", "👨‍👩‍👧‍👦",
                "🇨🇲", "👍🏿", "`let x = 1;`", "\n\n\n", "\n```\nfn main() {}\n```\n", "\n- ", "1️⃣",
            ]), 0..12),
            words in prop::collection::vec("[a-zé]{1,8}( [a-zé,.!0-9]{1,8}){0,3}", 12),
        ) {
            let mut text = String::new();
            for (span, word) in spans.iter().zip(&words) {
                text.push_str(word);
                text.push(' ');
                text.push_str(span);
                text.push(' ');
            }
            let structure = parse(&text);
            let prose = structure.parts.iter().filter(|p| matches!(p, Part::Translate(_))).count();
            let rebuilt = rebuild(&text, &structure, vec!["XX"; prose]);
            let mut rest = rebuilt.as_str();
            for span in &spans {
                let found = rest.find(span);
                prop_assert!(found.is_some(), "a span is lost");
                rest = &rest[found.unwrap_or_default() + span.len()..];
            }
            prop_assert!(!rebuilt.chars().any(|c| c == 'X') || prose > 0);
        }
    }
}
