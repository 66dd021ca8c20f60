//! Chinese: figures in words, punctuation as commas, characters as pinyin.

mod figures;
mod pinyin;

use super::digits;

pub(super) use pinyin::Pinyin;
#[cfg(test)]
pub(super) use pinyin::tests;

/// The words for what [`rules::SYMBOLS`](super::rules::SYMBOLS) has. Of these signs only the last two are no
/// punctuation, which is a comma by then.
pub(super) const SYMBOLS: [&str; 7] = ["和", "在", "百分之", "号", "美元", "英镑", "度"];

/// What becomes a comma: all ASCII punctuation, and these.
#[rustfmt::skip]
const PUNCTUATION: &str = concat!(
    "！？｡。＂＃＄％＆＇（）＊＋，－／：；＜＝＞＠［＼］＾＿｀｛｜｝～｟｠｢｣､、〃《》「」『』【】〔〕〖〗〘〙〚〛〜〝〞〟",
    "〰〾〿–—‘’‛“”„‟…‧﹏·〈〉",
);

/// Figures in words and punctuation as commas, in Chinese characters still.
pub(super) fn read_figures(text: &str) -> String {
    let is_punctuation = |c: char| c.is_ascii_punctuation() || PUNCTUATION.contains(c);
    figures::read_figures(&digits::in_ascii(text)).replace(is_punctuation, ",")
}
