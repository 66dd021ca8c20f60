//! Portuguese, as spoken in Portugal.

use super::{Currency, Numerals, counted, groups, join_amount, point};

pub const PORTUGUESE: Numerals = Numerals {
    limit: 10_u128.pow(27),
    cardinal,
    ordinal,
    decimal: Some(|whole, decimals| point(cardinal, "vírgula", whole, decimals)),
    money,
};

#[rustfmt::skip]
const UP_TO_19: [&str; 20] = [
    "zero", "um", "dois", "três", "quatro", "cinco", "seis", "sete", "oito", "nove", "dez", "onze",
    "doze", "treze", "catorze", "quinze", "dezasseis", "dezassete", "dezoito", "dezanove",
];

#[rustfmt::skip]
const TENS: [&str; 10] = [
    "", "", "vinte", "trinta", "quarenta", "cinquenta", "sessenta", "setenta", "oitenta", "noventa",
];

#[rustfmt::skip]
const HUNDREDS: [&str; 10] = [
    "", "cento", "duzentos", "trezentos", "quatrocentos", "quinhentos", "seiscentos", "setecentos",
    "oitocentos", "novecentos",
];

/// Powers of a million, singular and plural.
#[rustfmt::skip]
const SCALES: [(&str, &str); 5] = [
    ("", ""), ("milhão", "milhões"), ("bilião", "biliões"), ("trilião", "triliões"),
    ("quatrilião", "quatriliões"),
];

/// Words after which "e" is left out before hundreds that are followed by more.
#[rustfmt::skip]
const NO_JOINT_AFTER: [&str; 7] = [
    "mil", "milhão", "milhões", "mil milhões", "bilião", "biliões", "mil biliões",
];

/// Ones, tens and hundreds.
#[rustfmt::skip]
const ORDINALS: [[&str; 10]; 3] = [
    ["", "primeiro", "segundo", "terceiro", "quarto", "quinto", "sexto", "sétimo", "oitavo", "nono"],
    ["", "décimo", "vigésimo", "trigésimo", "quadragésimo", "quinquagésimo", "sexagésimo",
     "septuagésimo", "octogésimo", "nonagésimo"],
    ["", "centésimo", "ducentésimo", "tricentésimo", "quadrigentésimo", "quingentésimo",
     "seiscentésimo", "septigentésimo", "octigentésimo", "nongentésimo"],
];

/// Powers of a thousand.
#[rustfmt::skip]
const ORDINAL_SCALES: [&str; 6] = [
    "", "milésimo", "milionésimo", "milésimo milionésimo", "bilionésimo", "milésimo bilionésimo",
];

fn cardinal(number: u128) -> String {
    if number == 0 {
        return UP_TO_19[0].to_owned();
    }
    let read_group = |(exponent, group): (usize, u128)| {
        let (singular, plural) = SCALES[exponent];
        match (exponent, group) {
            (0, _) => below_million(group as usize),
            (_, 1) => format!("um {singular}"),
            _ => format!("{} {plural}", below_million(group as usize)),
        }
    };
    let words = groups(number, 1_000_000)
        .into_iter()
        .map(read_group)
        .collect::<Vec<_>>()
        .join(" e ");
    NO_JOINT_AFTER.iter().fold(words, |words, scale| {
        let joint = format!("{scale} e ");
        let is_followed_by_long_hundreds = words.match_indices(&joint).any(|(at, _)| {
            words[at + joint.len()..]
                .split_once(' ')
                .is_some_and(|(hundreds, rest)| {
                    (hundreds.ends_with("ento") || hundreds.ends_with("entos"))
                        && rest.contains('e')
                })
        });
        if is_followed_by_long_hundreds {
            words.replace(&joint, &format!("{scale} "))
        } else {
            words
        }
    })
}

fn below_million(number: usize) -> String {
    let thousands = match number / 1000 {
        0 => return below_thousand(number),
        1 => "mil".to_owned(),
        thousands => below_thousand(thousands) + " mil",
    };
    match number % 1000 {
        0 => thousands,
        rest => format!("{thousands} e {}", below_thousand(rest)),
    }
}

fn below_thousand(number: usize) -> String {
    match (number / 100, number % 100) {
        (0, rest) => below_hundred(rest),
        (1, 0) => "cem".to_owned(),
        (hundreds, 0) => HUNDREDS[hundreds].to_owned(),
        (hundreds, rest) => format!("{} e {}", HUNDREDS[hundreds], below_hundred(rest)),
    }
}

fn below_hundred(number: usize) -> String {
    match (number / 10, number % 10) {
        (0 | 1, _) => UP_TO_19[number].to_owned(),
        (tens, 0) => TENS[tens].to_owned(),
        (tens, ones) => format!("{} e {}", TENS[tens], UP_TO_19[ones]),
    }
}

/// Every digit is an ordinal of its own: "segundo milésimo vigésimo terceiro".
fn ordinal(number: u128) -> String {
    if number >= 10_u128.pow(18) {
        return cardinal(number);
    }
    let mut words = Vec::new();
    for (exponent, group) in groups(number, 1000) {
        let group = group as usize;
        for (place, digit) in [(2, group / 100), (1, group / 10 % 10), (0, group % 10)] {
            words.push(ORDINALS[place][digit]);
        }
        words.push(ORDINAL_SCALES[exponent]);
    }
    words.retain(|word| !word.is_empty());
    match words.as_slice() {
        // "milésimo", not "primeiro milésimo".
        ["primeiro", rest @ ..] if !rest.is_empty() => rest.join(" "),
        words => words.join(" "),
    }
}

fn money(currency: Currency, units: u128, hundredths: Option<u128>) -> Option<String> {
    let cents = ["cêntimo", "cêntimos"];
    let (unit, hundredth) = match currency {
        Currency::Pound => (["libra", "libras"], ["péni", "pence"]),
        Currency::Dollar => (["dólar", "dólares"], cents),
        Currency::Euro => (["euro", "euros"], cents),
    };
    let hundredths = hundredths
        // "zero pence" is said, "zero cêntimos" is not.
        .filter(|number| *number > 0 || currency == Currency::Pound)
        .map(|number| counted(cardinal, hundredth, number));
    Some(join_amount(
        " e ",
        counted(before_noun, unit, units),
        hundredths,
    ))
}

/// "um milhão de euros", as the scale is a noun.
fn before_noun(number: u128) -> String {
    let cardinal = cardinal(number);
    let ends_with_scale = number >= 1_000_000 && number.is_multiple_of(1_000_000);
    if ends_with_scale {
        cardinal + " de"
    } else {
        cardinal
    }
}
