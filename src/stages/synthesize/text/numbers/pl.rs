//! Polish.

use super::slavic::{Gender, Words, west_slavic_form};
use super::{Currency, Numerals, groups};

pub const POLISH: Numerals = Numerals {
    limit: 10_u128.pow(36),
    cardinal,
    ordinal,
    decimal: Some(|whole, decimals| WORDS.point("przecinek", whole, decimals)),
    money: |currency, units, hundredths| {
        let unit = match currency {
            Currency::Pound => return None,
            Currency::Dollar => [
                "dolar amerykański",
                "dolary amerykańskie",
                "dolarów amerykańskich",
            ],
            Currency::Euro => ["euro"; 3],
        };
        Some(WORDS.amount([unit, ["cent", "centy", "centów"]], units, hundredths))
    },
};

const ONES: [&str; 10] = [
    "",
    "jeden",
    "dwa",
    "trzy",
    "cztery",
    "pięć",
    "sześć",
    "siedem",
    "osiem",
    "dziewięć",
];

#[rustfmt::skip]
const WORDS: Words = Words {
    zero: "zero",
    ones: [ONES, ONES],
    teens: [
        "dziesięć", "jedenaście", "dwanaście", "trzynaście", "czternaście", "piętnaście", "szesnaście",
        "siedemnaście", "osiemnaście", "dziewiętnaście",
    ],
    tens: [
        "", "", "dwadzieścia", "trzydzieści", "czterdzieści", "pięćdziesiąt", "sześćdziesiąt",
        "siedemdziesiąt", "osiemdziesiąt", "dziewięćdziesiąt",
    ],
    hundreds: [
        "", "sto", "dwieście", "trzysta", "czterysta", "pięćset", "sześćset", "siedemset", "osiemset",
        "dziewięćset",
    ],
    scales: &[
        ["tysiąc", "tysiące", "tysięcy"],
        ["milion", "miliony", "milionów"],
        ["miliard", "miliardy", "miliardów"],
        ["bilion", "biliony", "bilionów"],
        ["biliard", "biliardy", "biliardów"],
        ["trylion", "tryliony", "trylionów"],
        ["tryliard", "tryliardy", "tryliardów"],
        ["kwadrylion", "kwadryliony", "kwadrylionów"],
        ["kwadryliard", "kwadryliardy", "kwadryliardów"],
        ["kwintylion", "kwintyliony", "kwintylionów"],
        ["kwintyliard", "kwintyliardy", "kwintyliardów"],
    ],
    form: west_slavic_form,
    says_one_thousand: false,
};

/// Up to nineteen: the ordinal, and the form it takes inside a compound ("dwutysięczny").
#[rustfmt::skip]
const ORDINALS_UP_TO_19: [(&str, &str); 20] = [
    ("zerowy", ""), ("pierwszy", "jedno"), ("drugi", "dwu"), ("trzeci", "trzy"), ("czwarty", "cztero"),
    ("piąty", "pięcio"), ("szósty", "sześcio"), ("siódmy", "siedmio"), ("ósmy", "ośmio"),
    ("dziewiąty", "dziewięcio"), ("dziesiąty", "dziesięcio"), ("jedenasty", "jedenasto"),
    ("dwunasty", "dwunasto"), ("trzynasty", "trzynasto"), ("czternasty", "czternasto"),
    ("piętnasty", "piętnasto"), ("szesnasty", "szesnasto"), ("siedemnasty", "siedemnasto"),
    ("osiemnasty", "osiemnasto"), ("dziewiętnasty", "dziewiętnasto"),
];

#[rustfmt::skip]
const ORDINAL_TENS: [(&str, &str); 10] = [
    ("", ""), ("", ""), ("dwudziesty", "dwudziesto"), ("trzydziesty", "trzydziesto"),
    ("czterdziesty", "czterdziesto"), ("pięćdziesiąty", "pięćdziesięcio"),
    ("sześćdziesiąty", "sześćdziesięcio"), ("siedemdziesiąty", "siedemdziesięcio"),
    ("osiemdziesiąty", "osiemdziesięcio"), ("dziewięćdziesiąty", "dziewięćdziesięcio"),
];

#[rustfmt::skip]
const ORDINAL_HUNDREDS: [(&str, &str); 10] = [
    ("", ""), ("setny", "stu"), ("dwusetny", "dwustu"), ("trzysetny", "trzystu"),
    ("czterysetny", "czterystu"), ("pięćsetny", "pięćset"), ("sześćsetny", "sześćset"),
    ("siedemsetny", "siedemset"), ("osiemsetny", "osiemset"), ("dziewięćsetny", "dziewięćset"),
];

fn cardinal(number: u128) -> String {
    WORDS.cardinal(number, Gender::Masculine)
}

/// Only the last group takes the ordinal form: "tysiąc dziewięćset drugi", "milion dwutysięczny".
fn ordinal(number: u128) -> String {
    let Some((exponent, group)) = groups(number, 1000).pop() else {
        return ORDINALS_UP_TO_19[0].0.to_owned();
    };
    let last = match exponent {
        0 => ordinal_below_thousand(group as usize),
        _ => format!(
            "{}{}",
            compound_below_thousand(group as usize),
            ordinal_scale(exponent)
        ),
    };
    match number - group * 1000_u128.pow(exponent as u32) {
        0 => last,
        before => format!("{} {last}", cardinal(before)),
    }
}

fn ordinal_below_thousand(number: usize) -> String {
    let (hundreds, rest) = (number / 100, number % 100);
    let mut words = Vec::new();
    match rest {
        0 => words.push(ORDINAL_HUNDREDS[hundreds].0),
        _ => words.push(WORDS.hundreds[hundreds]),
    }
    match rest {
        0 => {}
        1..=19 => words.push(ORDINALS_UP_TO_19[rest].0),
        _ if rest % 10 == 0 => words.push(ORDINAL_TENS[rest / 10].0),
        _ => words.extend([ORDINAL_TENS[rest / 10].0, ORDINALS_UP_TO_19[rest % 10].0]),
    }
    words.retain(|word| !word.is_empty());
    words.join(" ")
}

/// The number as the first part of one word; a lone one is not heard.
fn compound_below_thousand(number: usize) -> String {
    let (hundreds, rest) = (number / 100, number % 100);
    let hundreds = ORDINAL_HUNDREDS[hundreds].1;
    match rest {
        1 if hundreds.is_empty() => String::new(),
        0..=19 => format!("{hundreds}{}", ORDINALS_UP_TO_19[rest].1),
        _ => {
            let (tens, ones) = (ORDINAL_TENS[rest / 10].1, ORDINALS_UP_TO_19[rest % 10].1);
            format!("{hundreds}{tens}{ones}")
        }
    }
}

fn ordinal_scale(exponent: usize) -> String {
    match exponent {
        1 => "tysięczny".to_owned(),
        _ => format!("{}owy", WORDS.scales[exponent - 1][0]),
    }
}
