//! Russian.

use super::slavic::{Gender, Words};
use super::{Currency, Numerals, groups};

pub const RUSSIAN: Numerals = Numerals {
    limit: 10_u128.pow(33),
    cardinal,
    ordinal,
    decimal: Some(decimal),
    money: |currency, units, hundredths| {
        let unit = match currency {
            Currency::Pound => return None,
            Currency::Dollar => ["доллар", "доллара", "долларов"],
            Currency::Euro => ["евро"; 3],
        };
        Some(WORDS.amount([unit, ["цент", "цента", "центов"]], units, hundredths))
    },
};

#[rustfmt::skip]
const WORDS: Words = Words {
    zero: "ноль",
    ones: [
        ["", "один", "два", "три", "четыре", "пять", "шесть", "семь", "восемь", "девять"],
        ["", "одна", "две", "три", "четыре", "пять", "шесть", "семь", "восемь", "девять"],
    ],
    teens: [
        "десять", "одиннадцать", "двенадцать", "тринадцать", "четырнадцать", "пятнадцать",
        "шестнадцать", "семнадцать", "восемнадцать", "девятнадцать",
    ],
    tens: [
        "", "", "двадцать", "тридцать", "сорок", "пятьдесят", "шестьдесят", "семьдесят", "восемьдесят",
        "девяносто",
    ],
    hundreds: [
        "", "сто", "двести", "триста", "четыреста", "пятьсот", "шестьсот", "семьсот", "восемьсот",
        "девятьсот",
    ],
    scales: &[
        ["тысяча", "тысячи", "тысяч"],
        ["миллион", "миллиона", "миллионов"],
        ["миллиард", "миллиарда", "миллиардов"],
        ["триллион", "триллиона", "триллионов"],
        ["квадриллион", "квадриллиона", "квадриллионов"],
        ["квинтиллион", "квинтиллиона", "квинтиллионов"],
        ["секстиллион", "секстиллиона", "секстиллионов"],
        ["септиллион", "септиллиона", "септиллионов"],
        ["октиллион", "октиллиона", "октиллионов"],
        ["нониллион", "нониллиона", "нониллионов"],
    ],
    form,
    says_one_thousand: true,
};

/// "тысяча первый", but "одна тысяча один".
const BEFORE_ORDINAL: Words = Words {
    says_one_thousand: false,
    ..WORDS
};

#[rustfmt::skip]
const ORDINAL_ONES: [&str; 10] = [
    "нулевой", "первый", "второй", "третий", "четвёртый", "пятый", "шестой", "седьмой", "восьмой",
    "девятый",
];

#[rustfmt::skip]
const ORDINAL_TENS: [&str; 10] = [
    "", "", "двадцатый", "тридцатый", "сороковой", "пятидесятый", "шестидесятый", "семидесятый",
    "восьмидесятый", "девяностый",
];

/// What precedes a scale inside one word, mostly the genitive: "двухтысячный".
#[rustfmt::skip]
const COMPOUND_ONES: [&str; 10] = [
    "", "одно", "двух", "трёх", "четырёх", "пяти", "шести", "семи", "восьми", "девяти",
];

#[rustfmt::skip]
const COMPOUND_TENS: [&str; 10] = [
    "", "", "двадцати", "тридцати", "сорока", "пятидесяти", "шестидесяти", "семидесяти",
    "восьмидесяти", "девяносто",
];

#[rustfmt::skip]
const COMPOUND_HUNDREDS: [&str; 10] = [
    "", "сто", "двухсот", "трёхсот", "четырёхсот", "пятисот", "шестисот", "семисот", "восьмисот",
    "девятисот",
];

fn cardinal(number: u128) -> String {
    WORDS.cardinal(number, Gender::Masculine)
}

/// The form follows the last digit, the teens apart: "двадцать один доллар".
fn form(number: u128) -> usize {
    match (number % 10, number % 100) {
        (_, 11..=14) => 2,
        (1, _) => 0,
        (2..=4, _) => 1,
        _ => 2,
    }
}

fn ordinal(number: u128) -> String {
    let Some((exponent, group)) = groups(number, 1000).pop() else {
        return ORDINAL_ONES[0].to_owned();
    };
    let last = match exponent {
        0 => ordinal_below_thousand(group as usize),
        _ => format!(
            "{}{}ый",
            compound_below_thousand(group as usize),
            scale_stem(exponent)
        ),
    };
    match number - group * 1000_u128.pow(exponent as u32) {
        0 => last,
        before => format!(
            "{} {last}",
            BEFORE_ORDINAL.cardinal(before, Gender::Masculine)
        ),
    }
}

fn ordinal_below_thousand(number: usize) -> String {
    let (hundreds, rest) = (number / 100, number % 100);
    let (tens, ones) = (rest / 10, rest % 10);
    let last = match (tens, ones) {
        (0, 0) if hundreds == 1 => return "сотый".to_owned(),
        (0, 0) => return format!("{}ый", COMPOUND_HUNDREDS[hundreds]),
        (1, _) => format!("{}ый", WORDS.teens[ones].trim_end_matches('ь')),
        (_, 0) => ORDINAL_TENS[tens].to_owned(),
        (0, _) => ORDINAL_ONES[ones].to_owned(),
        _ => format!("{} {}", WORDS.tens[tens], ORDINAL_ONES[ones]),
    };
    match hundreds {
        0 => last,
        _ => format!("{} {last}", WORDS.hundreds[hundreds]),
    }
}

/// The number as the first part of one word; a lone one is not heard.
fn compound_below_thousand(number: usize) -> String {
    let (hundreds, tens, ones) = (number / 100, number / 10 % 10, number % 10);
    let rest = match (tens, ones) {
        (0, 1) if hundreds == 0 => String::new(),
        (1, _) => format!("{}и", WORDS.teens[ones].trim_end_matches('ь')),
        _ => format!("{}{}", COMPOUND_TENS[tens], COMPOUND_ONES[ones]),
    };
    format!("{}{rest}", COMPOUND_HUNDREDS[hundreds])
}

fn scale_stem(exponent: usize) -> String {
    match exponent {
        1 => "тысячн".to_owned(),
        _ => format!("{}н", WORDS.scales[exponent - 1][0]),
    }
}

/// `12,34` as "двенадцать целых тридцать четыре сотых": all of it counts feminine parts.
fn decimal(whole: u128, decimals: &str) -> String {
    let decimals = if decimals.is_empty() { "0" } else { decimals };
    let numerator: u128 = decimals.parse().unwrap_or_default();
    let stem = match decimals.len() % 3 {
        1 => "десят",
        2 => "сот",
        _ => "",
    };
    let denominator = match (decimals.len() / 3, stem) {
        (0, stem) => stem.to_owned(),
        (exponent, "") => scale_stem(exponent),
        (exponent, "сот") => format!("сто{}", scale_stem(exponent)),
        (exponent, stem) => format!("{stem}и{}", scale_stem(exponent)),
    };
    let whole_word = if form(whole) == 0 {
        "целая"
    } else {
        "целых"
    };
    let ending = if form(numerator) == 0 { "ая" } else { "ых" };
    format!(
        "{} {whole_word} {} {denominator}{ending}",
        WORDS.cardinal(whole, Gender::Feminine),
        WORDS.cardinal(numerator, Gender::Feminine),
    )
}
