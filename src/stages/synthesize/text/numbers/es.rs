//! Spanish.

use super::{Currency, Numerals, counted, groups, join_amount, point};

pub const SPANISH: Numerals = Numerals {
    limit: 10_u128.pow(27),
    cardinal,
    ordinal,
    decimal: Some(|whole, decimals| point(cardinal, "punto", whole, decimals)),
    money,
};

#[rustfmt::skip]
const UP_TO_29: [&str; 30] = [
    "cero", "uno", "dos", "tres", "cuatro", "cinco", "seis", "siete", "ocho", "nueve", "diez", "once",
    "doce", "trece", "catorce", "quince", "dieciséis", "diecisiete", "dieciocho", "diecinueve",
    "veinte", "veintiuno", "veintidós", "veintitrés", "veinticuatro", "veinticinco", "veintiséis",
    "veintisiete", "veintiocho", "veintinueve",
];

#[rustfmt::skip]
const TENS: [&str; 10] = [
    "", "", "", "treinta", "cuarenta", "cincuenta", "sesenta", "setenta", "ochenta", "noventa",
];

#[rustfmt::skip]
const HUNDREDS: [&str; 10] = [
    "", "ciento", "doscientos", "trescientos", "cuatrocientos", "quinientos", "seiscientos",
    "setecientos", "ochocientos", "novecientos",
];

/// Powers of a million, singular and plural.
#[rustfmt::skip]
const SCALES: [(&str, &str); 5] = [
    ("", ""), ("millón", "millones"), ("billón", "billones"), ("trillón", "trillones"),
    ("cuatrillón", "cuatrillones"),
];

#[rustfmt::skip]
const ORDINAL_ONES: [&str; 11] = [
    "", "primero", "segundo", "tercero", "cuarto", "quinto", "sexto", "séptimo", "octavo", "noveno",
    "décimo",
];

#[rustfmt::skip]
const ORDINAL_TENS: [&str; 10] = [
    "", "décimo", "vigésimo", "trigésimo", "quadragésimo", "quincuagésimo", "sexagésimo",
    "septuagésimo", "octogésimo", "nonagésimo",
];

#[rustfmt::skip]
const ORDINAL_HUNDREDS: [&str; 10] = [
    "", "centésimo", "ducentésimo", "tricentésimo", "cuadrigentésimo", "quingentésimo", "sexcentésimo",
    "septigentésimo", "octigentésimo", "noningentésimo",
];

/// Powers of a thousand.
#[rustfmt::skip]
const ORDINAL_SCALES: [&str; 6] = [
    "", "milésimo", "millonésimo", "billonésimo", "trillonésimo", "cuadrillonésimo",
];

fn cardinal(number: u128) -> String {
    if number == 0 {
        return UP_TO_29[0].to_owned();
    }
    let read_group = |(exponent, group): (usize, u128)| {
        let (singular, plural) = SCALES[exponent];
        match (exponent, group) {
            (0, _) => below_million(group as usize),
            (_, 1) => format!("un {singular}"),
            _ => format!("{} {plural}", below_million(group as usize)),
        }
    };
    groups(number, 1_000_000)
        .into_iter()
        .map(read_group)
        .collect::<Vec<_>>()
        .join(" ")
}

fn below_million(number: usize) -> String {
    let thousands = match number / 1000 {
        0 => return below_thousand(number),
        1 => "mil".to_owned(),
        thousands => below_thousand(thousands) + " mil",
    };
    match number % 1000 {
        0 => thousands,
        rest => format!("{thousands} {}", below_thousand(rest)),
    }
}

fn below_thousand(number: usize) -> String {
    match (number / 100, number % 100) {
        (0, rest) => below_hundred(rest),
        (1, 0) => "cien".to_owned(),
        (hundreds, 0) => HUNDREDS[hundreds].to_owned(),
        (hundreds, rest) => format!("{} {}", HUNDREDS[hundreds], below_hundred(rest)),
    }
}

fn below_hundred(number: usize) -> String {
    match (number / 10, number % 10) {
        (0..=2, _) => UP_TO_29[number].to_owned(),
        (tens, 0) => TENS[tens].to_owned(),
        (tens, ones) => format!("{} y {}", TENS[tens], UP_TO_29[ones]),
    }
}

fn ordinal(number: u128) -> String {
    if number >= 10_u128.pow(18) {
        return cardinal(number);
    }
    if number > 1000 {
        let exponent = number.ilog(1000);
        let power = 1000_u128.pow(exponent);
        let count = match number / power {
            1 => String::new(),
            count => cardinal(count),
        };
        let rest = ordinal(number % power);
        return format!("{count}{} {rest}", ORDINAL_SCALES[exponent as usize])
            .trim_end()
            .to_owned();
    }
    let number = number as usize;
    match number {
        0..=10 => ORDINAL_ONES[number].to_owned(),
        11 | 12 => format!("décimo{}", ORDINAL_ONES[number - 10]),
        1000 => "milésimo".to_owned(),
        _ => [
            ORDINAL_HUNDREDS[number / 100],
            &below_hundred_ordinal(number % 100),
        ]
        .join(" ")
        .trim()
        .to_owned(),
    }
}

fn below_hundred_ordinal(number: usize) -> String {
    match number {
        0..=12 => ordinal(number as u128),
        _ => format!(
            "{} {}",
            ORDINAL_TENS[number / 10],
            ORDINAL_ONES[number % 10]
        ),
    }
}

fn money(currency: Currency, units: u128, hundredths: Option<u128>) -> Option<String> {
    let (units, hundredth) = match currency {
        Currency::Pound => (
            counted(before_feminine, ["libra", "libras"], units),
            ["penique", "peniques"],
        ),
        Currency::Dollar => (
            counted(before_masculine, ["dólar", "dólares"], units),
            ["centavo", "centavos"],
        ),
        Currency::Euro => (
            counted(before_masculine, ["euro", "euros"], units),
            ["céntimo", "céntimos"],
        ),
    };
    let hundredths = hundredths.map(|number| counted(before_masculine, hundredth, number));
    Some(join_amount(" con ", units, hundredths))
}

/// "un euro", "veintiún euros".
fn before_masculine(number: u128) -> String {
    cardinal(number)
        .replace("veintiuno", "veintiún")
        .replace("uno", "un")
}

/// "una libra", "doscientas libras".
fn before_feminine(number: u128) -> String {
    cardinal(number)
        .replace("uno", "una")
        .replace("cientos", "cientas")
}
