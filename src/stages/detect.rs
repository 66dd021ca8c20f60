//! The language of a text, from its letters.

use whatlang::Lang;

use super::translate::structure;
use crate::domain::Language;

/// Fewest letters from which a language is read (contract/rules.md, section 3).
const MIN_LETTERS: usize = 4;
/// Least confidence with which a language is accepted (same place).
const MIN_CONFIDENCE: f64 = 0.80;

/// The language of a text and how sure that is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detected {
    /// The language.
    pub language: Language,
    /// How far ahead of the next best language it is, 0.8..1.
    pub confidence: f32,
}

/// Finds the language of a text; `None` when it is too short or could be several languages, and the
/// caller's default applies.
///
/// Only prose counts: no code, addresses or mentions. The measure is one of letter sequences: a script or letters
/// of its own (Greek, Thai, Korean, Polish) are enough at four letters; elsewhere it takes a sentence
/// or two. Of the sixteen short messages in the tests, six are recognised, ten left open, none wrong.
pub fn detect_language(text: &str) -> Option<Detected> {
    let text = structure::parse(text)
        .prose(text)
        .collect::<Vec<_>>()
        .join(" ");
    if text.chars().filter(|c| c.is_alphabetic()).count() < MIN_LETTERS {
        return None;
    }
    let found = whatlang::detect(&text)?;
    if found.confidence() < MIN_CONFIDENCE {
        return None;
    }
    Some(Detected {
        language: Language::parse(code(found.lang()))?,
        confidence: found.confidence() as f32,
    })
}

/// The ISO 639-1 code of each language that whatlang tells apart.
#[rustfmt::skip]
fn code(language: Lang) -> &'static str {
    match language {
        Lang::Afr => "af", Lang::Aka => "ak", Lang::Amh => "am", Lang::Ara => "ar", Lang::Aze => "az",
        Lang::Bel => "be", Lang::Ben => "bn", Lang::Bul => "bg", Lang::Cat => "ca", Lang::Ces => "cs",
        Lang::Cmn => "zh", Lang::Cym => "cy", Lang::Dan => "da", Lang::Deu => "de", Lang::Ell => "el",
        Lang::Eng => "en", Lang::Epo => "eo", Lang::Est => "et", Lang::Fin => "fi", Lang::Fra => "fr",
        Lang::Guj => "gu", Lang::Heb => "he", Lang::Hin => "hi", Lang::Hrv => "hr", Lang::Hun => "hu",
        Lang::Hye => "hy", Lang::Ind => "id", Lang::Ita => "it", Lang::Jav => "jv", Lang::Jpn => "ja",
        Lang::Kan => "kn", Lang::Kat => "ka", Lang::Khm => "km", Lang::Kor => "ko", Lang::Lat => "la",
        Lang::Lav => "lv", Lang::Lit => "lt", Lang::Mal => "ml", Lang::Mar => "mr", Lang::Mkd => "mk",
        Lang::Mya => "my", Lang::Nep => "ne", Lang::Nld => "nl", Lang::Nob => "no", Lang::Ori => "or",
        Lang::Pan => "pa", Lang::Pes => "fa", Lang::Pol => "pl", Lang::Por => "pt", Lang::Ron => "ro",
        Lang::Rus => "ru", Lang::Sin => "si", Lang::Slk => "sk", Lang::Slv => "sl", Lang::Sna => "sn",
        Lang::Spa => "es", Lang::Srp => "sr", Lang::Swe => "sv", Lang::Tam => "ta", Lang::Tel => "te",
        Lang::Tgl => "tl", Lang::Tha => "th", Lang::Tuk => "tk", Lang::Tur => "tr", Lang::Ukr => "uk",
        Lang::Urd => "ur", Lang::Uzb => "uz", Lang::Vie => "vi", Lang::Yid => "yi", Lang::Zul => "zu",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detected(text: &str) -> Option<String> {
        detect_language(text).map(|found| found.language.to_string())
    }

    /// A chat message (short) and a few sentences (long) in each language.
    #[rustfmt::skip]
    const SAMPLES: &[(&str, &str, &str)] = &[
        ("en", "Are you coming tonight?", "I have just left the office and the traffic is terrible, so I will probably be half an hour late. Please start without me and keep something to eat."),
        ("fr", "Tu viens ce soir ?", "Je viens de quitter le bureau et il y a beaucoup de circulation, donc j'aurai sans doute une demi-heure de retard. Commencez sans moi et gardez-moi quelque chose."),
        ("es", "¿Vienes esta noche?", "Acabo de salir de la oficina y hay muchísimo tráfico, así que seguramente llegaré media hora tarde. Empezad sin mí y guardadme algo de comer."),
        ("pt", "Você vem hoje à noite?", "Acabei de sair do escritório e o trânsito está horrível, então provavelmente vou chegar meia hora atrasado. Comecem sem mim e guardem alguma coisa para eu comer."),
        ("de", "Kommst du heute Abend?", "Ich habe gerade das Büro verlassen und der Verkehr ist schrecklich, deshalb komme ich wahrscheinlich eine halbe Stunde später. Fangt bitte ohne mich an."),
        ("it", "Vieni stasera?", "Sono appena uscito dall'ufficio e c'è molto traffico, quindi probabilmente arriverò con mezz'ora di ritardo. Cominciate senza di me e tenetemi qualcosa da mangiare."),
        ("nl", "Kom je vanavond?", "Ik ben net van kantoor vertrokken en het is heel druk op de weg, dus ik kom waarschijnlijk een half uur later. Begin maar zonder mij en bewaar iets te eten."),
        ("pl", "Przyjdziesz dziś wieczorem?", "Właśnie wyszedłem z biura i są straszne korki, więc pewnie spóźnię się pół godziny. Zacznijcie beze mnie i zostawcie mi coś do jedzenia."),
        ("tr", "Bu akşam geliyor musun?", "Ofisten yeni çıktım ve trafik çok kötü, bu yüzden büyük ihtimalle yarım saat gecikeceğim. Lütfen bensiz başlayın ve bana yiyecek bir şeyler ayırın."),
        ("ru", "Ты придёшь сегодня?", "Я только что вышел из офиса, на дорогах ужасные пробки, поэтому я, наверное, опоздаю на полчаса. Начинайте без меня и оставьте мне что-нибудь поесть."),
        ("ar", "هل ستأتي الليلة؟", "لقد غادرت المكتب للتو وحركة المرور سيئة جدا، لذلك سأتأخر نصف ساعة على الأرجح. ابدؤوا من دوني واتركوا لي شيئا آكله."),
        ("zh", "你今晚来吗？", "我刚离开办公室，路上很堵，所以我可能会晚到半个小时。请你们先开始，给我留点吃的。"),
        ("ja", "今夜来ますか？", "今オフィスを出たところですが、道がとても混んでいるので、三十分ほど遅れると思います。先に始めていてください。"),
        ("ko", "오늘 밤에 와?", "방금 사무실을 나왔는데 길이 너무 막혀서 아마 삼십 분쯤 늦을 것 같아요. 저 없이 먼저 시작하세요."),
        ("el", "Θα έρθεις απόψε;", "Μόλις έφυγα από το γραφείο και έχει πολλή κίνηση, οπότε μάλλον θα αργήσω μισή ώρα. Ξεκινήστε χωρίς εμένα."),
        ("th", "คืนนี้มาไหม", "ผมเพิ่งออกจากที่ทำงานและรถติดมาก ผมคงจะไปสายครึ่งชั่วโมง เริ่มกันก่อนได้เลยนะครับ"),
    ];

    #[test]
    fn sentences_are_told_apart() {
        for (language, _, long) in SAMPLES {
            assert_eq!(detected(long).as_deref(), Some(*language));
        }
    }

    #[test]
    fn short_messages_are_right_or_left_open() {
        for (language, short, _) in SAMPLES {
            let found = detected(short);
            let own_letters = ["pl", "zh", "ja", "ko", "el", "th"].contains(language);
            assert_eq!(found.as_deref(), own_letters.then_some(*language));
        }
    }

    #[test]
    fn what_is_no_language_is_left_open() {
        for text in [
            "",
            "   ",
            "ok",
            "oui",
            "123 456",
            "👍🏽🎉",
            "https://example.org/das-ist-ein-langer-pfad-mit-vielen-woertern",
            "@alexander.der.grosse #unvergesslich",
        ] {
            assert_eq!(detected(text), None, "{text}");
        }
    }

    #[test]
    fn only_prose_counts() {
        let text = "@maria_fernanda https://example.com/que-tal-estas-hoy-amigo Μόλις έφυγα από το γραφείο\n\
                    ```\nif the_house_is_open { then_we_go_in_and_have_a_look_around }\n```";
        assert_eq!(detected(text).as_deref(), Some("el"));
    }
}
