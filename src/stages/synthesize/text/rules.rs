//! What differs from language to language in the preparation of a text.

use super::numbers::{self, Numerals};

/// The rules of one language.
pub(super) struct LanguageRules {
    pub thousands: ThousandsSeparator,
    /// `None`: digits stay digits.
    pub numerals: Option<&'static Numerals>,
    /// What makes an ordinal of the digits before it; the first that fits counts.
    pub ordinal_suffixes: &'static [&'static str],
    /// Whether a dot makes an ordinal of the digits before it, where white space follows.
    pub ordinal_dot: OrdinalDot,
    /// Short forms and what they stand for, in lower case.
    pub abbreviations: &'static [(&'static str, &'static str)],
    /// What ends a short form.
    pub abbreviation_end: AbbreviationEnd,
    /// The words for `& @ % # $ £ °`, in the order of [`SYMBOLS`].
    pub symbols: [&'static str; 7],
}

/// Signs that are replaced by a word.
pub(super) const SYMBOLS: [char; 7] = ['&', '@', '%', '#', '$', '£', '°'];

/// The character between thousands, which is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ThousandsSeparator {
    Comma,
    Dot,
}

/// When `3.` is "third".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OrdinalDot {
    Never,
    /// Before white space.
    BeforeSpace,
    /// Before white space and at the end of the text.
    BeforeSpaceOrEnd,
}

/// What must follow a short form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AbbreviationEnd {
    /// A dot, which disappears with it.
    Dot,
    /// The end of the word.
    WordEnd,
}

/// The rules for a language code; `None` for Chinese and Japanese, and where XTTS does not speak the language.
pub(super) fn rules(language: &str) -> Option<&'static LanguageRules> {
    Some(match language {
        "en" => &ENGLISH,
        "de" => &GERMAN,
        "fr" => &FRENCH,
        "es" => &SPANISH,
        "it" => &ITALIAN,
        "pt" => &PORTUGUESE,
        "nl" => &DUTCH,
        "pl" => &POLISH,
        "cs" => &CZECH,
        "ru" => &RUSSIAN,
        "tr" => &TURKISH,
        "hu" => &HUNGARIAN,
        "ar" => &ARABIC,
        "hi" => &HINDI,
        "ko" => &KOREAN,
        _ => return None,
    })
}

/// What most languages share.
const BASE: LanguageRules = LanguageRules {
    thousands: ThousandsSeparator::Dot,
    numerals: None,
    ordinal_suffixes: &[],
    ordinal_dot: OrdinalDot::Never,
    abbreviations: &[],
    abbreviation_end: AbbreviationEnd::Dot,
    symbols: [""; 7],
};

#[rustfmt::skip]
static ENGLISH: LanguageRules = LanguageRules {
    thousands: ThousandsSeparator::Comma,
    numerals: Some(&numbers::ENGLISH),
    ordinal_suffixes: &["st", "nd", "rd", "th"],
    abbreviations: &[
        ("mrs", "misess"), ("mr", "mister"), ("dr", "doctor"), ("st", "saint"), ("co", "company"),
        ("jr", "junior"), ("maj", "major"), ("gen", "general"), ("drs", "doctors"), ("rev", "reverend"),
        ("lt", "lieutenant"), ("hon", "honorable"), ("sgt", "sergeant"), ("capt", "captain"),
        ("esq", "esquire"), ("ltd", "limited"), ("col", "colonel"), ("ft", "fort"),
    ],
    symbols: ["and", "at", "percent", "hash", "dollar", "pound", "degree"],
    ..BASE
};

#[rustfmt::skip]
static GERMAN: LanguageRules = LanguageRules {
    numerals: Some(&numbers::GERMAN),
    ordinal_suffixes: &["st", "nd", "rd", "th", "º", "ª"],
    ordinal_dot: OrdinalDot::BeforeSpaceOrEnd,
    abbreviations: &[
        ("fr", "frau"), ("dr", "doktor"), ("st", "sankt"), ("co", "firma"), ("jr", "junior"),
    ],
    symbols: ["und", "at", "prozent", "raute", "dollar", "pfund", "grad"],
    ..BASE
};

#[rustfmt::skip]
static FRENCH: LanguageRules = LanguageRules {
    numerals: Some(&numbers::FRENCH),
    ordinal_suffixes: &["º", "ª", "er", "re", "e", "ème"],
    abbreviations: &[
        ("mme", "madame"), ("mr", "monsieur"), ("dr", "docteur"), ("st", "saint"), ("co", "compagnie"),
        ("jr", "junior"), ("ltd", "limitée"),
    ],
    symbols: ["et", "arobase", "pour cent", "dièse", "dollar", "livre", "degrés"],
    ..BASE
};

#[rustfmt::skip]
static SPANISH: LanguageRules = LanguageRules {
    numerals: Some(&numbers::SPANISH),
    ordinal_suffixes: &["º", "ª", "er", "o", "a"],
    abbreviations: &[
        ("sra", "señora"), ("sr", "señor"), ("dr", "doctor"), ("dra", "doctora"), ("st", "santo"),
        ("co", "compañía"), ("jr", "junior"), ("ltd", "limitada"),
    ],
    symbols: ["y", "arroba", "por ciento", "numeral", "dolar", "libra", "grados"],
    ..BASE
};

#[rustfmt::skip]
static ITALIAN: LanguageRules = LanguageRules {
    numerals: Some(&numbers::ITALIAN),
    ordinal_suffixes: &["º", "°", "ª", "o", "a", "i", "e"],
    abbreviations: &[
        ("sig", "signore"), ("dr", "dottore"), ("st", "santo"), ("co", "compagnia"), ("jr", "junior"),
        ("ltd", "limitata"),
    ],
    symbols: ["e", "chiocciola", "per cento", "cancelletto", "dollaro", "sterlina", "gradi"],
    ..BASE
};

#[rustfmt::skip]
static PORTUGUESE: LanguageRules = LanguageRules {
    numerals: Some(&numbers::PORTUGUESE),
    ordinal_suffixes: &["º", "ª", "o", "a"],
    abbreviations: &[
        ("sra", "senhora"), ("sr", "senhor"), ("dr", "doutor"), ("dra", "doutora"), ("st", "santo"),
        ("co", "companhia"), ("jr", "júnior"), ("ltd", "limitada"),
    ],
    symbols: ["e", "arroba", "por cento", "cardinal", "dólar", "libra", "graus"],
    ..BASE
};

#[rustfmt::skip]
static DUTCH: LanguageRules = LanguageRules {
    numerals: Some(&numbers::DUTCH),
    ordinal_suffixes: &["de", "ste", "e"],
    abbreviations: &[
        ("dhr", "de heer"), ("mevr", "mevrouw"), ("dr", "dokter"), ("jhr", "jonkheer"),
    ],
    symbols: ["en", "bij", "procent", "hekje", "dollar", "pond", "graden"],
    ..BASE
};

#[rustfmt::skip]
static POLISH: LanguageRules = LanguageRules {
    numerals: Some(&numbers::POLISH),
    ordinal_suffixes: &["º", "ª", "st", "nd", "rd", "th"],
    abbreviations: &[
        ("p", "pani"), ("m", "pan"), ("dr", "doktor"), ("sw", "święty"), ("jr", "junior"),
    ],
    symbols: ["i", "małpa", "procent", "krzyżyk", "dolar", "funt", "stopnie"],
    ..BASE
};

#[rustfmt::skip]
static CZECH: LanguageRules = LanguageRules {
    numerals: Some(&numbers::CZECH),
    // The end of a text is the end of a sentence here: the reference fails at both.
    ordinal_dot: OrdinalDot::BeforeSpace,
    abbreviations: &[("dr", "doktor"), ("ing", "inženýr"), ("p", "pan")],
    symbols: ["a", "na", "procento", "křížek", "dolar", "libra", "stupně"],
    ..BASE
};

#[rustfmt::skip]
static RUSSIAN: LanguageRules = LanguageRules {
    thousands: ThousandsSeparator::Comma,
    numerals: Some(&numbers::RUSSIAN),
    ordinal_suffixes: &["-й", "-я", "-е", "-ое", "-ье", "-го"],
    abbreviations: &[("г-жа", "госпожа"), ("г-н", "господин"), ("д-р", "доктор")],
    abbreviation_end: AbbreviationEnd::WordEnd,
    symbols: ["и", "собака", "процентов", "номер", "доллар", "фунт", "градус"],
    ..BASE
};

#[rustfmt::skip]
static TURKISH: LanguageRules = LanguageRules {
    numerals: Some(&numbers::TURKISH),
    ordinal_suffixes: &[".", "inci", "nci", "uncu", "üncü"],
    abbreviations: &[("b", "bay"), ("byk", "büyük"), ("dr", "doktor")],
    symbols: ["ve", "at", "yüzde", "diyez", "dolar", "sterlin", "derece"],
    ..BASE
};

#[rustfmt::skip]
static HUNGARIAN: LanguageRules = LanguageRules {
    numerals: Some(&numbers::HUNGARIAN),
    ordinal_suffixes: &[".", "adik", "edik", "odik", "ödik", "ik"],
    abbreviations: &[("dr", "doktor"), ("b", "bácsi"), ("nőv", "nővér")],
    symbols: ["és", "kukac", "százalék", "kettőskereszt", "dollár", "font", "fok"],
    ..BASE
};

#[rustfmt::skip]
static ARABIC: LanguageRules = LanguageRules {
    numerals: Some(&numbers::ARABIC),
    ordinal_suffixes: &["ون", "ين", "ث", "ر", "ى"],
    symbols: ["و", "على", "في المئة", "رقم", "دولار", "جنيه", "درجة"],
    ..BASE
};

#[rustfmt::skip]
static HINDI: LanguageRules = LanguageRules {
    symbols: ["और", "ऐट दी रेट", "प्रतिशत", "हैश", "डॉलर", "पाउंड", "डिग्री"],
    ..BASE
};

#[rustfmt::skip]
static KOREAN: LanguageRules = LanguageRules {
    numerals: Some(&numbers::KOREAN),
    ordinal_suffixes: &["번째", "번", "차", "째"],
    symbols: ["그리고", "에", "퍼센트", "번호", "달러", "파운드", "도"],
    ..BASE
};
