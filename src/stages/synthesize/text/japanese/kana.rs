//! Kana in Latin letters, by the modified Hepburn system.

use std::collections::HashMap;
use std::sync::LazyLock;

/// Kana whose vowel decides how the kana before them is read.
const SMALL: &str = "ゃゅょぁぃぅぇぉ";

/// Kana, or two that are one syllable, each with what it is in Latin letters.
const TABLE: &str = "
    あ a い i う u え e お o  ぁ a ぃ i ぅ u ぇ e ぉ o
    か ka き ki く ku け ke こ ko  が ga ぎ gi ぐ gu げ ge ご go
    さ sa し shi す su せ se そ so  ざ za じ ji ず zu ぜ ze ぞ zo
    た ta ち chi つ tsu て te と to  だ da ぢ ji づ zu で de ど do
    な na に ni ぬ nu ね ne の no
    は ha ひ hi ふ fu へ he ほ ho  ば ba び bi ぶ bu べ be ぼ bo  ぱ pa ぴ pi ぷ pu ぺ pe ぽ po
    ま ma み mi む mu め me も mo
    や ya ゆ yu よ yo  ゃ ya ゅ yu ょ yo
    ら ra り ri る ru れ re ろ ro
    わ wa ゎ wa ゐ wi ゑ we を wo ん n  ゔ vu わ゙ va ゑ゙ ve を゙ vo ヷ va ヸ vi ヹ ve ヺ vo
    しゃ sha しゅ shu しょ sho  じゃ ja じゅ ju じょ jo  ちゃ cha ちゅ chu ちょ cho
    ゕ ka ゖ ke ー -
    ㇰ k ㇱ shi ㇲ su ㇳ to ㇴ nu ㇵ ha ㇶ hi ㇷ fu ㇷ゚ p ㇸ he ㇹ ho ㇺ mu ㇻ ra ㇼ ri ㇽ ru ㇾ re ㇿ ro
";

static SYLLABLES: LazyLock<HashMap<&str, &str>> = LazyLock::new(|| {
    let words: Vec<&str> = TABLE.split_whitespace().collect();
    words
        .chunks_exact(2)
        .map(|pair| (pair[0], pair[1]))
        .collect()
});

/// The syllable of one or two kana.
fn syllable(kana: &[char]) -> Option<&'static str> {
    SYLLABLES
        .get(kana.iter().collect::<String>().as_str())
        .copied()
}

/// Katakana as hiragana; Unicode has both in the same order.
fn hiragana(character: char) -> char {
    match character {
        'ァ'..='ヶ' | 'ヽ' | 'ヾ' => {
            char::from_u32(u32::from(character) - 0x60).unwrap_or(character)
        }
        other => other,
    }
}

/// Writes kana, of either kind, in Latin letters. Where the last one is a "っ" it stays, as it doubles the
/// first letter of the next word; what is no kana is left out.
pub(super) fn romanize(kana: &str) -> String {
    let kana: Vec<char> = kana.chars().map(hiragana).collect();
    let mut latin = String::with_capacity(kana.len() * 2);
    for (index, character) in kana.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|before| kana.get(before));
        add(
            &mut latin,
            before.copied(),
            *character,
            kana.get(index + 1).copied(),
        );
    }
    latin
}

fn add(latin: &mut String, before: Option<char>, kana: char, next: Option<char>) {
    if let Some(repeated) = repeated(before, kana) {
        return latin.push_str(&repeated);
    }
    // Two that are one syllable, written with the second one.
    if let Some(both) = before.and_then(|before| syllable(&[before, kana])) {
        return latin.push_str(both);
    }
    if next.is_some_and(|next| syllable(&[kana, next]).is_some()) {
        return;
    }
    if let Some(small) = next.filter(|next| SMALL.contains(*next)) {
        if kana != 'っ' {
            // The consonant of the one, the vowel of the other.
            let consonant = syllable(&[kana]).unwrap_or_default();
            latin.push_str(&consonant[..consonant.len().saturating_sub(1)]);
            latin.push_str(syllable(&[small]).unwrap_or_default());
        }
        return;
    }
    if SMALL.contains(kana) {
        return;
    }
    match kana {
        'ー' => {
            let long = before.and_then(|before| syllable(&[before]));
            latin.push(
                long.and_then(|vowel| vowel.chars().next_back())
                    .unwrap_or('-'),
            );
        }
        'っ' => latin.push(match next {
            None => 'っ',
            Some('ち') => 't',
            Some(next) if "あいうえおっ".contains(next) => '-',
            Some(next) => {
                let doubled = syllable(&[next]).and_then(|next| next.chars().next());
                match doubled {
                    Some(letter) => letter,
                    None => return,
                }
            }
        }),
        'ん' if next.is_some_and(|next| "あいうえおやゆよ".contains(next)) => {
            latin.push_str("n'");
        }
        _ => latin.push_str(syllable(&[kana]).unwrap_or_default()),
    }
}

/// What a mark of repetition stands for; `None` where there is none. The reference gives back the kana
/// itself for "ゝ", which no vocabulary knows; it is read here.
fn repeated(before: Option<char>, mark: char) -> Option<String> {
    let voiced = |kana: char| {
        // The voiced kana is the next one in Unicode; "っ" parts つ from づ only in front.
        let is_voiceable = "かきくけこさしすせそたちつてとはひふへほ".contains(kana);
        is_voiceable
            .then(|| char::from_u32(u32::from(kana) + 1))
            .flatten()
    };
    let kana = match mark {
        'ゝ' => before,
        'ゞ' => before.and_then(voiced),
        '々' | '〃' => None,
        _ => return None,
    };
    Some(
        kana.and_then(|kana| syllable(&[kana]))
            .unwrap_or_default()
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::romanize;

    #[test]
    fn kana_are_read_by_their_neighbours() {
        for (kana, latin) in [
            ("コンニチハ", "konnichiha"),
            ("きょう", "kyou"),
            ("シャシン", "shashin"),
            ("がっこう", "gakkou"),
            ("マッチ", "matchi"),
            ("ほんや", "hon'ya"),
            ("カード", "kaado"),
            ("ファックス", "fakkusu"),
            ("ー", "-"),
            ("のっ", "noっ"),
            ("いすゞ", "isuzu"),
            ("みゝ", "mimi"),
            ("ティー", "tii"),
            ("ヴァ", "va"),
            ("つづく", "tsuzuku"),
            ("ヶ月", "ke"),
        ] {
            assert_eq!(romanize(kana), latin, "{kana}");
        }
    }
}
