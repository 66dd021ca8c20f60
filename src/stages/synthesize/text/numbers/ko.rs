//! Korean.

use super::{Currency, Numerals, groups, point};

pub const KOREAN: Numerals = Numerals {
    limit: 10_u128.pow(36),
    cardinal,
    ordinal,
    decimal: Some(|whole, decimals| point(cardinal, "점", whole, decimals)),
    money: |currency, units, hundredths| match currency {
        Currency::Pound | Currency::Euro => None,
        // Cents are said even where there are none.
        Currency::Dollar => {
            let dollars = cardinal(units).replace(' ', "");
            Some(format!(
                "{dollars}달러 {}센트",
                cardinal(hundredths.unwrap_or(0))
            ))
        }
    },
};

const ONES: [&str; 10] = ["영", "일", "이", "삼", "사", "오", "육", "칠", "팔", "구"];

/// Powers of ten inside a group of four digits.
const PLACES: [(usize, &str); 4] = [(1000, "천"), (100, "백"), (10, "십"), (1, "")];

/// Powers of ten thousand.
const SCALES: [&str; 9] = ["", "만", "억", "조", "경", "해", "자", "양", "구"];

/// Native numbers, which are used for counting, before a noun.
const NATIVE_ONES: [&str; 10] = [
    "", "한", "두", "세", "네", "다섯", "여섯", "일곱", "여덟", "아홉",
];

const NATIVE_TENS: [&str; 10] = [
    "", "열", "스물", "서른", "마흔", "쉰", "예순", "일흔", "여든", "아흔",
];

fn cardinal(number: u128) -> String {
    if number == 0 {
        return ONES[0].to_owned();
    }
    let read_group = |(exponent, group): (usize, u128)| match (exponent, group) {
        // "만", but "일억".
        (1, 1) => SCALES[1].to_owned(),
        _ => below_ten_thousand(group as usize) + SCALES[exponent],
    };
    groups(number, 10_000)
        .into_iter()
        .map(read_group)
        .collect::<Vec<_>>()
        .join(" ")
}

/// One is heard in the last place only.
fn below_ten_thousand(number: usize) -> String {
    let mut words = String::new();
    for (power, place) in PLACES {
        match number / power % 10 {
            0 => {}
            1 if power > 1 => words.push_str(place),
            digit => words.extend([ONES[digit], place]),
        }
    }
    words
}

/// The last two digits are native: "백 스물세 번째".
fn ordinal(number: u128) -> String {
    if number == 1 {
        return "첫 번째".to_owned();
    }
    let rest = (number % 100) as usize;
    let last = format!("{}{}", NATIVE_TENS[rest / 10], NATIVE_ONES[rest % 10]);
    match (number - rest as u128, last.as_str()) {
        (0, "") => format!("{} 번째", ONES[0]),
        (0, _) => format!("{last} 번째"),
        (before, "") => format!("{} 번째", cardinal(before)),
        (before, _) => format!("{} {last} 번째", cardinal(before)),
    }
}
