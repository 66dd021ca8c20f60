use std::path::Path;

use super::*;

const LANGUAGES: [(&str, &Numerals); 14] = [
    ("en", &ENGLISH),
    ("de", &GERMAN),
    ("fr", &FRENCH),
    ("es", &SPANISH),
    ("it", &ITALIAN),
    ("pt", &PORTUGUESE),
    ("nl", &DUTCH),
    ("pl", &POLISH),
    ("cs", &CZECH),
    ("ru", &RUSSIAN),
    ("tr", &TURKISH),
    ("hu", &HUNGARIAN),
    ("ko", &KOREAN),
    ("ar", &ARABIC),
];

/// An amount as num2words says it: hundredths always, even where there are none.
fn amount(numerals: &Numerals, currency: Currency, number: &str) -> String {
    let (units, hundredths) = number.split_once('.').unwrap_or((number, "0"));
    let hundredths = format!("{hundredths:0<2}").parse().unwrap();
    (numerals.money)(currency, units.parse().unwrap(), Some(hundredths)).unwrap_or_default()
}

fn read(numerals: &Numerals, kind: &str, number: &str) -> String {
    match kind {
        "cardinal" => numerals.read_cardinal(number),
        "ordinal" => numerals.read_ordinal(number),
        "decimal" => {
            let (whole, decimals) = number.split_once('.').unwrap();
            (numerals.decimal.unwrap())(whole.parse().unwrap(), decimals.trim_end_matches('0'))
        }
        "GBP" => amount(numerals, Currency::Pound, number),
        "USD" => amount(numerals, Currency::Dollar, number),
        "EUR" => amount(numerals, Currency::Euro, number),
        other => panic!("unknown kind {other}"),
    }
}

#[test]
fn every_language_reads_as_num2words_does() {
    let tables = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/num2words");
    let mut differences = Vec::new();
    for (language, numerals) in LANGUAGES {
        let table = std::fs::read_to_string(tables.join(format!("{language}.tsv"))).unwrap();
        for line in table.lines() {
            let [kind, number, words] = line.split('\t').collect::<Vec<_>>()[..] else {
                panic!("{language}: three columns expected: {line}");
            };
            let ours = read(numerals, kind, number);
            if ours != words {
                differences.push(format!(
                    "{language} {kind} {number}: {ours} instead of {words}"
                ));
            }
        }
    }
    assert!(
        differences.is_empty(),
        "{} differ:\n{}",
        differences.len(),
        differences.join("\n")
    );
}

/// Where the reference has no words or wrong ones.
#[test]
fn what_the_reference_cannot_read_is_read_correctly() {
    for (numerals, kind, number, words) in [
        (&CZECH, "ordinal", "3", "třetí"),
        (&CZECH, "ordinal", "2023", "dva tisíce dvacátý třetí"),
        (&CZECH, "ordinal", "1500", "tisíc pětistý"),
        (&CZECH, "ordinal", "2000", "dva tisící"),
        (&CZECH, "ordinal", "1000000", "miliontý"),
        (&POLISH, "ordinal", "0", "zerowy"),
        (&POLISH, "ordinal", "21000", "dwudziestojednotysięczny"),
        (&RUSSIAN, "ordinal", "20001", "двадцать тысяч первый"),
        (&TURKISH, "cardinal", "121345", "yüzyirmibirbinüçyüzkırkbeş"),
        (&HUNGARIAN, "ordinal", "1000000", "egymilliomodik"),
        (&HUNGARIAN, "ordinal", "102", "százkettedik"),
        (&KOREAN, "ordinal", "1001", "천 한 번째"),
        (
            &HUNGARIAN,
            "decimal",
            "1.0625",
            "egy egész nulla hat kettő öt",
        ),
    ] {
        assert_eq!(read(numerals, kind, number), words);
    }
    // A whole amount of 21 euros is not 20.
    assert_eq!(
        (PORTUGUESE.money)(Currency::Euro, 21, None).unwrap(),
        "vinte e um euros"
    );
}

#[test]
fn numbers_without_words_are_read_digit_by_digit() {
    for (language, numerals) in LANGUAGES {
        let largest = (numerals.limit - 1).to_string();
        let beyond = numerals.limit.to_string();
        for read in [Numerals::read_cardinal, Numerals::read_ordinal] {
            assert!(!read(numerals, &largest).is_empty(), "{language}");
            assert_eq!(
                read(numerals, &beyond).split(' ').count(),
                beyond.len(),
                "{language}"
            );
            let long = "9".repeat(10_000);
            assert_eq!(
                read(numerals, &long).split(' ').count(),
                long.len(),
                "{language}"
            );
        }
    }
}
