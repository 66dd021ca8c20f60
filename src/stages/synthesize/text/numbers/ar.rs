//! Arabic.

use super::{Numerals, groups};

pub const ARABIC: Numerals = Numerals {
    limit: 10_u128.pow(27),
    cardinal,
    ordinal,
    decimal: Some(decimal),
    // The reference calls every amount riyals; the sign is read as a word instead.
    money: |_, _, _| None,
};

#[rustfmt::skip]
const MASCULINE: [&str; 20] = [
    "صفر", "واحد", "اثنان", "ثلاثة", "أربعة", "خمسة", "ستة", "سبعة", "ثمانية", "تسعة", "عشرة",
    "أحد عشر", "اثنا عشر", "ثلاثة عشر", "أربعة عشر", "خمسة عشر", "ستة عشر", "سبعة عشر",
    "ثمانية عشر", "تسعة عشر",
];

#[rustfmt::skip]
const FEMININE: [&str; 20] = [
    "صفر", "إحدى", "اثنتان", "ثلاث", "أربع", "خمس", "ست", "سبع", "ثمان", "تسع", "عشر",
    "إحدى عشرة", "اثنتا عشرة", "ثلاث عشرة", "أربع عشرة", "خمس عشرة", "ست عشرة", "سبع عشرة",
    "ثماني عشرة", "تسع عشرة",
];

#[rustfmt::skip]
const ORDINALS: [&str; 20] = [
    "صفر", "اول", "ثاني", "ثالث", "رابع", "خامس", "سادس", "سابع", "ثامن", "تاسع", "عاشر",
    "حادي عشر", "ثاني عشر", "ثالث عشر", "رابع عشر", "خامس عشر", "سادس عشر", "سابع عشر",
    "ثامن عشر", "تاسع عشر",
];

const TENS: [&str; 10] = [
    "",
    "",
    "عشرون",
    "ثلاثون",
    "أربعون",
    "خمسون",
    "ستون",
    "سبعون",
    "ثمانون",
    "تسعون",
];

#[rustfmt::skip]
const HUNDREDS: [&str; 10] = [
    "", "مائة", "مئتان", "ثلاثمائة", "أربعمائة", "خمسمائة", "ستمائة", "سبعمائة", "ثمانمائة", "تسعمائة",
];

/// A power of a thousand in the forms that numbers ask for.
struct Scale {
    one: &'static str,
    /// Two of it, before more.
    two: &'static str,
    /// Two of it, alone.
    two_alone: &'static str,
    /// After three to ten.
    few: &'static str,
    /// After all other numbers, before more.
    many: &'static str,
}

#[rustfmt::skip]
const SCALES: [Scale; 9] = [
    Scale { one: "", two: "", two_alone: "", few: "", many: "" },
    Scale { one: "ألف", two: "ألفان", two_alone: "ألفا", few: "آلاف", many: "ألفاً" },
    Scale { one: "مليون", two: "مليونان", two_alone: "مليونا", few: "ملايين", many: "مليوناً" },
    Scale { one: "مليار", two: "ملياران", two_alone: "مليارا", few: "مليارات", many: "ملياراً" },
    Scale { one: "تريليون", two: "تريليونان", two_alone: "تريليونا", few: "تريليونات", many: "تريليوناً" },
    Scale { one: "كوادريليون", two: "كوادريليونان", two_alone: "كوادريليونا", few: "كوادريليونات", many: "كوادريليوناً" },
    Scale { one: "كوينتليون", two: "كوينتليونان", two_alone: "كوينتليونا", few: "كوينتليونات", many: "كوينتليوناً" },
    Scale { one: "سكستيليون", two: "سكستيليونان", two_alone: "سكستيليونا", few: "سكستيليونات", many: "سكستيليوناً" },
    Scale { one: "سبتيليون", two: "سبتيليونان", two_alone: "سبتيليونا", few: "سبتيليونات", many: "سبتيليوناً" },
];

/// Between all parts of a number.
const AND: &str = " و ";

fn cardinal(number: u128) -> String {
    if number == 0 {
        return MASCULINE[0].to_owned();
    }
    let groups = groups(number, 1000);
    let is_alone = groups.len() == 1;
    let is_last = |exponent| groups.last().is_some_and(|(last, _)| *last == exponent);
    let read_group = |(exponent, group): &(usize, u128)| {
        let scale = &SCALES[*exponent];
        let words = below_thousand(*group as usize, &MASCULINE);
        match (exponent, group) {
            (0, _) => words,
            (_, 1) => scale.one.to_owned(),
            (_, 2) if is_alone => scale.two_alone.to_owned(),
            (_, 2) => scale.two.to_owned(),
            (_, 3..=10) => format!("{words} {}", scale.few),
            // The scale stands for its one as well: "a hundred and a thousand thousand" for 101,000.
            _ if group % 100 == 1 => {
                format!(
                    "{}{AND}{} {}",
                    HUNDREDS[*group as usize / 100],
                    scale.one,
                    scale.one
                )
            }
            _ if is_last(*exponent) => format!("{words} {}", scale.one),
            _ => format!("{words} {}", scale.many),
        }
    };
    groups.iter().map(read_group).collect::<Vec<_>>().join(AND)
}

/// The ones come before the tens.
fn below_thousand(number: usize, ones: &[&'static str; 20]) -> String {
    let (hundreds, rest) = (number / 100, number % 100);
    let hundreds = match (hundreds, rest) {
        (2, 0) => "مئتا",
        _ => HUNDREDS[hundreds],
    };
    let parts = match (rest / 10, rest % 10) {
        (0 | 1, _) if rest > 0 => [hundreds, ones[rest], ""],
        (tens, 0) => [hundreds, "", TENS[tens]],
        (tens, units) => [hundreds, ones[units], TENS[tens]],
    };
    parts
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(AND)
}

fn ordinal(number: u128) -> String {
    match number {
        0..20 => ORDINALS[number as usize].to_owned(),
        20..100 => below_thousand(number as usize, &FEMININE),
        _ => cardinal(number),
    }
}

/// Hundredths are read, finer parts are not, and neither is a zero before them.
fn decimal(whole: u128, decimals: &str) -> String {
    let hundredths: usize = format!("{decimals:0<2}")
        .get(..2)
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0);
    match (whole, hundredths) {
        (_, 0) => cardinal(whole),
        (0, _) => format!(", {}", below_thousand(hundredths, &FEMININE)),
        _ => format!(
            "{} , {}",
            cardinal(whole),
            below_thousand(hundredths, &FEMININE)
        ),
    }
}
