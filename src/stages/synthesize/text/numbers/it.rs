//! Italian.

use super::{Currency, Numerals, counted, digit_words, groups, join_amount};

pub const ITALIAN: Numerals = Numerals {
    limit: 10_u128.pow(36),
    cardinal,
    ordinal,
    decimal: Some(decimal),
    money,
};

#[rustfmt::skip]
const UP_TO_19: [&str; 20] = [
    "zero", "uno", "due", "tre", "quattro", "cinque", "sei", "sette", "otto", "nove", "dieci",
    "undici", "dodici", "tredici", "quattordici", "quindici", "sedici", "diciassette", "diciotto",
    "diciannove",
];

#[rustfmt::skip]
const TENS: [&str; 10] = [
    "", "", "venti", "trenta", "quaranta", "cinquanta", "sessanta", "settanta", "ottanta", "novanta",
];

/// Singular and plural.
#[rustfmt::skip]
const SCALES: [(&str, &str); 12] = [
    ("", ""), ("", ""), ("milione", "milioni"), ("miliardo", "miliardi"), ("bilione", "bilioni"),
    ("biliardo", "biliardi"), ("trilione", "trilioni"), ("triliardo", "triliardi"),
    ("quadrilione", "quadrilioni"), ("quadriliardo", "quadriliardi"), ("quintilione", "quintilioni"),
    ("quintiliardo", "quintiliardi"),
];

#[rustfmt::skip]
const ORDINALS_UP_TO_19: [&str; 20] = [
    "zero", "primo", "secondo", "terzo", "quarto", "quinto", "sesto", "settimo", "ottavo", "nono",
    "decimo", "undicesimo", "dodicesimo", "tredicesimo", "quattordicesimo", "quindicesimo",
    "sedicesimo", "diciassettesimo", "diciottesimo", "diciannovesimo",
];

/// Vowels that meet inside a number word, and which of them stays.
const CONTRACTIONS: [(&str, &str); 5] = [
    ("oo", "o"),
    ("ao", "o"),
    ("io", "o"),
    ("au", "u"),
    ("iu", "u"),
];

fn cardinal(number: u128) -> String {
    // From the lowest group upwards, as the joint depends on what follows.
    let mut words = match (number % 1_000_000) as usize {
        0 if number > 0 => String::new(),
        rest => below_million(rest),
    };
    for (exponent, group) in groups(number / 1_000_000, 1000).into_iter().rev() {
        let (singular, plural) = SCALES[exponent + 2];
        let scale = match group {
            1 => format!("un {singular}"),
            _ => format!("{} {plural}", below_thousand(group as usize)),
        };
        words = accented(&match words.as_str() {
            "" => scale,
            rest if rest.contains(" e ") => format!("{scale}, {rest}"),
            rest => format!("{scale} e {rest}"),
        });
    }
    words
}

fn below_million(number: usize) -> String {
    let thousands = match number / 1000 {
        0 => return below_thousand(number),
        1 => "mille".to_owned(),
        thousands => below_thousand(thousands) + "mila",
    };
    match number % 1000 {
        0 => accented(&thousands),
        rest => accented(&(thousands + &below_thousand(rest))),
    }
}

fn below_thousand(number: usize) -> String {
    let hundreds = match number / 100 {
        0 => return below_hundred(number),
        1 => "cento".to_owned(),
        hundreds => format!("{}cento", UP_TO_19[hundreds]),
    };
    match number % 100 {
        0 => hundreds,
        rest => accented(&contracted(hundreds + &below_hundred(rest))),
    }
}

fn below_hundred(number: usize) -> String {
    match (number / 10, number % 10) {
        (0 | 1, _) => UP_TO_19[number].to_owned(),
        (tens, 0) => TENS[tens].to_owned(),
        (tens, ones) => accented(&contracted(format!("{}{}", TENS[tens], UP_TO_19[ones]))),
    }
}

fn contracted(word: String) -> String {
    CONTRACTIONS
        .iter()
        .fold(word, |word, (from, to)| word.replace(from, to))
}

/// Puts the accent of "ventitré", each time a number is put together from smaller ones. As in the
/// reference, what has an accent loses it: 23 has one, 123 none, 1123 has it again.
fn accented(words: &str) -> String {
    let accent = |word: &str| match word.strip_suffix("tre") {
        Some(stem) if !stem.is_empty() => format!("{}tré", stem.replace("tré", "tre")),
        _ => word.replace("tré", "tre"),
    };
    words.split(' ').map(accent).collect::<Vec<_>>().join(" ")
}

fn ordinal(number: u128) -> String {
    if number < 20 {
        return ORDINALS_UP_TO_19[number as usize].to_owned();
    }
    let cardinal = cardinal(number);
    let is_teen = (11..20).contains(&(number % 100));
    match number % 10 {
        // The last vowel is heard in these two only.
        3 if !is_teen => format!("{}eesimo", cardinal.trim_end_matches(['e', 'é'])),
        6 if !is_teen => cardinal + "esimo",
        _ => {
            let mut stem = cardinal;
            stem.pop();
            if stem.ends_with("mil") {
                stem.push('l');
            }
            stem + "esimo"
        }
    }
}

/// A whole number keeps its zero: "dieci virgola zero".
fn decimal(whole: u128, decimals: &str) -> String {
    let decimals = if decimals.is_empty() { "0" } else { decimals };
    let decimals = digit_words(cardinal, decimals).join(" ");
    accented(&format!("{} virgola {decimals}", cardinal(whole)))
}

fn money(currency: Currency, units: u128, hundredths: Option<u128>) -> Option<String> {
    let (units, hundredth) = match currency {
        Currency::Pound if units == 1 => ("una sterlina".to_owned(), ["penny"; 2]),
        Currency::Pound => (
            counted(before_noun, ["sterlina", "sterline"], units),
            ["penny"; 2],
        ),
        Currency::Dollar => (
            counted(before_noun, ["dollaro", "dollari"], units),
            ["centesimo", "centesimi"],
        ),
        Currency::Euro => (
            counted(before_noun, ["euro", "euro"], units),
            ["centesimo", "centesimi"],
        ),
    };
    let hundredths = hundredths.map(|number| counted(before_noun, hundredth, number));
    Some(join_amount(" e ", units, hundredths))
}

/// "un euro", not "uno euro".
fn before_noun(number: u128) -> String {
    cardinal(number).replace("uno", "un")
}
