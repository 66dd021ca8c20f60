//! Figures in a Chinese text: dates, amounts, telephone numbers, fractions, shares, counts.
//!
//! The order of the rules is the reference's, and each works on what those before it have left. What
//! stands before a figure decides, so a text is read between two marks (`^` and `$`).

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// What makes an amount of the number before it, a unit of money or its multiple.
const MONEY: &str = "[亿万千百元块角毛分]";

/// What is counted: measure words, units and parts of time.
const MEASURE_WORDS: &str = concat!(
    "(?:[匹张座回场尾条个首阙阵网炮顶丘棵只支袭辆挑担颗壳窠曲墙群腔砣客贯扎捆刀令打手罗坡山岭江溪钟队单双对出口",
    "头脚板跳枝件贴针线管名位身堂课本页家户层丝毫厘分钱两斤铢石钧锱忽寸尺丈里寻常铺程撮勺合升斗盘碗碟叠桶笼盆盒",
    "杯斛锅簋篮罐瓶壶卮盏箩箱煲啖袋钵年月日季刻时周天秒旬纪岁世更夜春夏秋冬代伏辈丸泡粒幢堆根道面片块]",
    "|[千毫微]克|[千分厘毫]米)"
);

/// A number, with or without decimals.
const NUMBER: &str = r"[0-9]+(?:\.[0-9]+)?";

struct Patterns {
    date: Regex,
    money: Regex,
    mobile_number: Regex,
    fixed_number: Regex,
    fraction: Regex,
    share: Regex,
    count: Regex,
    code: Regex,
    number: Regex,
    /// "P2P", whose two is no number.
    two_between_letters: Regex,
}

static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| Patterns {
    date: pattern(concat!(
        r"([^0-9])(",
        r"(?:[089][0-9]|(?:19|20)[0-9]{2})年(?:[0-9]{1,2}月(?:[0-9]{1,2}[日号])?)?",
        r"|[0-9]{1,2}月(?:[0-9]{1,2}[日号])?)",
    )),
    money: pattern(&format!("({NUMBER})([多余几]?{MONEY})")),
    mobile_number: pattern(
        r"([^0-9])((?:\+?86 ?)?1(?:[38][0-9]|5[0-35-9]|7[678]|9[89])[0-9]{8})([^0-9])",
    ),
    fixed_number: pattern(r"([^0-9])((?:0(?:10|2[1-3]|[3-9][0-9]{2})-?)?[1-9][0-9]{6,7})([^0-9])"),
    fraction: pattern("([0-9]+)/([0-9]+)"),
    share: pattern(&format!("({NUMBER})[%％]")),
    count: pattern(&format!("({NUMBER})([多余几]?{MEASURE_WORDS})")),
    code: pattern("[0-9]{4,32}"),
    number: pattern(NUMBER),
    two_between_letters: pattern("([a-zA-Z])二([a-zA-Z])"),
});

#[expect(
    clippy::expect_used,
    reason = "the patterns are constants, all compiled by the tests"
)]
fn pattern(source: &str) -> Regex {
    Regex::new(source).expect("a valid pattern")
}

/// Puts words in place of all digits.
pub(super) fn read_figures(text: &str) -> String {
    let patterns = &*PATTERNS;
    let text = format!("^{text}$");
    let text = replace(&patterns.date, &text, |found| {
        format!("{}{}", &found[1], date(&found[2]))
    });
    let text = replace(&patterns.money, &text, counted);
    let text = replace(&patterns.mobile_number, &text, telephone_number);
    let text = replace(&patterns.fixed_number, &text, telephone_number);
    let text = replace(&patterns.fraction, &text, |found| {
        format!("{}分之{}", cardinal(&found[2]), cardinal(&found[1]))
    });
    let text = replace(&patterns.share, &text, |found| {
        format!("百分之{}", cardinal(&found[1]))
    });
    let text = replace(&patterns.count, &text, counted);
    let text = replace(&patterns.code, &text, |found| digit_by_digit(&found[0]));
    let text = numbers(&text);
    let text = replace(&patterns.two_between_letters, &text, |found| {
        format!("{}2{}", &found[1], &found[2])
    });
    // The marks, and with them what looks like them, as in the reference.
    text.trim_start_matches('^')
        .trim_end_matches('$')
        .to_owned()
}

fn replace(pattern: &Regex, text: &str, read: impl Fn(&Captures<'_>) -> String) -> String {
    pattern.replace_all(text, read).into_owned()
}

/// Years are read digit by digit, months and days are not.
fn date(text: &str) -> String {
    match text.split_once('年') {
        Some((year, rest)) => format!("{}年{}", digit_by_digit(year), numbers(rest)),
        None => numbers(text),
    }
}

/// A cardinal and what is counted.
fn counted(found: &Captures<'_>) -> String {
    format!("{}{}", cardinal(&found[1]), &found[2])
}

fn telephone_number(found: &Captures<'_>) -> String {
    let digits = digit_by_digit(&found[2]);
    format!("{}{digits}{}", &found[1], &found[3])
}

/// Reads all numbers of `text` as cardinals.
fn numbers(text: &str) -> String {
    replace(&PATTERNS.number, text, |found| cardinal(&found[0]))
}

const DIGITS: [char; 10] = ['零', '一', '二', '三', '四', '五', '六', '七', '八', '九'];

/// Powers of ten with a name.
#[rustfmt::skip]
const UNITS: [(usize, char); 14] = [
    (1, '十'), (2, '百'), (3, '千'), (4, '万'), (8, '亿'), (12, '兆'), (16, '京'), (20, '垓'),
    (24, '秭'), (28, '穰'), (32, '沟'), (36, '涧'), (40, '正'), (44, '载'),
];

/// Longer numbers have no name.
const MAX_NAMED_DIGITS: usize = 48;

/// One character for each digit; all else is left out.
fn digit_by_digit(text: &str) -> String {
    text.bytes()
        .filter_map(|byte| DIGITS.get(usize::from(byte.wrapping_sub(b'0'))))
        .collect()
}

#[derive(Clone, Copy, PartialEq)]
enum Symbol {
    Digit(u8),
    /// Its power of ten, and its name.
    Unit(usize, char),
}

/// Reads ASCII digits, with or without a point and more digits behind it.
fn cardinal(number: &str) -> String {
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    let digits: Vec<u8> = whole.bytes().map(|byte| byte.wrapping_sub(b'0')).collect();
    let mut symbols = Vec::new();
    match digits.len() {
        0..=1 => symbols.extend(digits.iter().copied().map(Symbol::Digit)),
        2..=MAX_NAMED_DIGITS => name(&digits, &mut symbols),
        _ => return digit_by_digit(number),
    }
    let mut words: String = (0..symbols.len())
        .map(|index| match symbols[index] {
            Symbol::Digit(2) if is_liang(&symbols, index) => '两',
            Symbol::Digit(digit) => DIGITS[usize::from(digit)],
            Symbol::Unit(_, name) => name,
        })
        .collect();
    // "一十二" is said "十二".
    if words.starts_with("一十") {
        words.remove(0);
    }
    if decimals.is_empty() {
        return words;
    }
    if words.is_empty() {
        words.push(DIGITS[0]);
    }
    format!("{words}点{}", digit_by_digit(decimals))
}

/// Names digits by their units; a zero stands for all that are left out inside a number.
fn name(digits: &[u8], symbols: &mut Vec<Symbol>) {
    let zeros = digits.iter().take_while(|digit| **digit == 0).count();
    let significant = &digits[zeros..];
    match significant {
        [] => {}
        [digit] => {
            if zeros > 0 {
                symbols.push(Symbol::Digit(0));
            }
            symbols.push(Symbol::Digit(*digit));
        }
        _ => {
            let unit = UNITS.iter().rfind(|(power, _)| *power < significant.len());
            let Some((power, unit)) = unit.copied() else {
                return;
            };
            let (above, below) = digits.split_at(digits.len() - power);
            name(above, symbols);
            symbols.push(Symbol::Unit(power, unit));
            name(below, symbols);
        }
    }
}

/// Two of a unit is "两", but for tens and what follows them.
fn is_liang(symbols: &[Symbol], index: usize) -> bool {
    let is_unit_but_ten = |symbol: &Symbol| matches!(symbol, Symbol::Unit(power, _) if *power != 1);
    let before = index.checked_sub(1).and_then(|before| symbols.get(before));
    symbols.get(index + 1).is_some_and(is_unit_but_ten) && before.is_none_or(is_unit_but_ten)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_with_their_units() {
        for (number, words) in [
            ("0", "零"),
            ("7", "七"),
            ("007", "零七"),
            ("10", "十"),
            ("22", "二十二"),
            ("103", "一百零三"),
            ("200", "两百"),
            ("212", "两百一十二"),
            ("2024", "两千零二十四"),
            ("20000", "两万"),
            ("120000", "十二万"),
            ("200000002", "两亿零二"),
            ("0.50", "零点五零"),
            ("00.5", "零点五"),
            ("1250.75", "一千两百五十点七五"),
        ] {
            assert_eq!(cardinal(number), words, "{number}");
        }
        let long = "9".repeat(10_000);
        assert_eq!(cardinal(&long).chars().count(), 10_000);
        assert_eq!(
            cardinal(&long[..48]).chars().filter(|c| *c == '载').count(),
            1
        );
    }

    #[test]
    fn figures_are_read_by_what_stands_around_them() {
        for (text, read) in [
            ("2023年5月2日", "二零二三年五月二日"),
            ("1850年12月", "一千八百五十年十二月"),
            ("90年", "九零年"),
            ("12元5角", "十二元五角"),
            ("3多块", "三多块"),
            ("给我打13912345678。", "给我打一三九一二三四五六七八。"),
            ("010-12345678号", "零一零一二三四五六七八号"),
            ("1/4和25%和3.5％", "四分之一和百分之二十五和百分之三点五"),
            ("2条狗", "二条狗"),
            ("编号4821", "编号四八二一"),
            ("P2P和2", "P2P和二"),
            ("^2$", "二"),
        ] {
            assert_eq!(read_figures(text), read, "{text}");
        }
    }
}
