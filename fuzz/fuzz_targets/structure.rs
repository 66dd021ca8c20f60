//! A text in parts that follow each other, cover it, and make it again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meeshy_translator_fuzz::stages::translate::structure::{Part, has_letters, parse, rebuild};

fuzz_target!(|text: &str| {
    let structure = parse(text);
    let mut end = 0;
    let mut was_verbatim = false;
    for part in &structure.parts {
        let range = part.range();
        assert!(range.start == end && range.end > end, "{part:?}");
        end = range.end;
        let is_verbatim = matches!(part, Part::Verbatim(_));
        assert!(!(is_verbatim && was_verbatim), "{part:?}");
        was_verbatim = is_verbatim;
    }
    assert_eq!(end, text.len());
    for prose in structure.prose(text) {
        assert!(has_letters(prose) && prose.trim() == prose, "{prose:?}");
    }
    assert_eq!(rebuild(text, &structure, structure.prose(text)), text);
    assert_eq!(rebuild(text, &structure, []), text);
});
