//! Czech.

use super::slavic::{Gender, Words, west_slavic_form};
use super::{Currency, Numerals, groups};

pub const CZECH: Numerals = Numerals {
    limit: 10_u128.pow(33),
    cardinal,
    ordinal,
    decimal: Some(|whole, decimals| WORDS.point("celá", whole, decimals)),
    money: |currency, units, hundredths| match currency {
        Currency::Pound | Currency::Dollar => None,
        Currency::Euro => {
            Some(WORDS.amount([["euro"; 3], ["cent", "centy", "centů"]], units, hundredths))
        }
    },
};

const ONES: [&str; 10] = [
    "", "jedna", "dva", "tři", "čtyři", "pět", "šest", "sedm", "osm", "devět",
];

#[rustfmt::skip]
const WORDS: Words = Words {
    zero: "nula",
    ones: [ONES, ONES],
    teens: [
        "deset", "jedenáct", "dvanáct", "třináct", "čtrnáct", "patnáct", "šestnáct", "sedmnáct",
        "osmnáct", "devatenáct",
    ],
    tens: [
        "", "", "dvacet", "třicet", "čtyřicet", "padesát", "šedesát", "sedmdesát", "osmdesát",
        "devadesát",
    ],
    hundreds: [
        "", "sto", "dvěstě", "třista", "čtyřista", "pětset", "šestset", "sedmset", "osmset", "devětset",
    ],
    scales: &[
        ["tisíc", "tisíce", "tisíc"],
        ["milion", "miliony", "milionů"],
        ["miliarda", "miliardy", "miliard"],
        ["bilion", "biliony", "bilionů"],
        ["biliarda", "biliardy", "biliard"],
        ["trilion", "triliony", "trilionů"],
        ["triliarda", "triliardy", "triliard"],
        ["kvadrilion", "kvadriliony", "kvadrilionů"],
        ["kvadriliarda", "kvadriliardy", "kvadriliard"],
        ["quintillion", "quintilliony", "quintillionů"],
    ],
    form: west_slavic_form,
    says_one_thousand: false,
};

#[rustfmt::skip]
const ORDINALS_UP_TO_19: [&str; 20] = [
    "nultý", "první", "druhý", "třetí", "čtvrtý", "pátý", "šestý", "sedmý", "osmý", "devátý", "desátý",
    "jedenáctý", "dvanáctý", "třináctý", "čtrnáctý", "patnáctý", "šestnáctý", "sedmnáctý", "osmnáctý",
    "devatenáctý",
];

#[rustfmt::skip]
const ORDINAL_TENS: [&str; 10] = [
    "", "", "dvacátý", "třicátý", "čtyřicátý", "padesátý", "šedesátý", "sedmdesátý", "osmdesátý",
    "devadesátý",
];

#[rustfmt::skip]
const ORDINAL_HUNDREDS: [&str; 10] = [
    "", "stý", "dvoustý", "třístý", "čtyřstý", "pětistý", "šestistý", "sedmistý", "osmistý", "devítistý",
];

fn cardinal(number: u128) -> String {
    WORDS.cardinal(number, Gender::Masculine)
}

/// The last two digits are ordinals, what precedes them is not: "dva tisíce dvacátý třetí".
fn ordinal(number: u128) -> String {
    let rest = (number % 100) as usize;
    let last = match rest {
        0 => return ordinal_of_round_number(number),
        1..=19 => ORDINALS_UP_TO_19[rest].to_owned(),
        _ if rest.is_multiple_of(10) => ORDINAL_TENS[rest / 10].to_owned(),
        _ => format!(
            "{} {}",
            ORDINAL_TENS[rest / 10],
            ORDINALS_UP_TO_19[rest % 10]
        ),
    };
    after_cardinal(number - rest as u128, &last)
}

fn ordinal_of_round_number(number: u128) -> String {
    let Some((exponent, group)) = groups(number, 1000).pop() else {
        return ORDINALS_UP_TO_19[0].to_owned();
    };
    let last = match exponent {
        0 => {
            let hundreds = (group / 100) as usize;
            return after_cardinal(number - group, ORDINAL_HUNDREDS[hundreds]);
        }
        1 => "tisící".to_owned(),
        _ => {
            let scale = WORDS.scales[exponent - 1][0];
            format!("{}tý", scale.strip_suffix('a').map_or(scale, |stem| stem))
        }
    };
    // "tisící" alone is the thousandth, "dva tisící" the two thousandth.
    let power = 1000_u128.pow(exponent as u32);
    let before = number - group * power;
    match group {
        1 => after_cardinal(before, &last),
        _ => after_cardinal(before, &format!("{} {last}", cardinal(group))),
    }
}

fn after_cardinal(number: u128, last: &str) -> String {
    match number {
        0 => last.to_owned(),
        _ => format!("{} {last}", cardinal(number)),
    }
}
