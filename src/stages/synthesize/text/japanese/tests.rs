use super::*;

/// A word of the small dictionary: surface, part of speech, its subtype, lemma, pronunciation, kana.
type Entry = (&'static str, [&'static str; 5]);

#[rustfmt::skip]
const ENTRIES: [Entry; 18] = [
    ("東京", ["名詞", "固有名詞", "トウキョウ", "トーキョー", "トウキョウ"]),
    ("京都", ["名詞", "固有名詞", "キョウト", "キョート", "キョウト"]),
    ("都", ["接尾辞", "名詞的", "都", "ト", "ト"]),
    ("に", ["助詞", "格助詞", "に", "ニ", "ニ"]),
    ("は", ["助詞", "係助詞", "は", "ワ", "ハ"]),
    ("へ", ["助詞", "格助詞", "へ", "エ", "ヘ"]),
    ("の", ["助詞", "格助詞", "の", "ノ", "ノ"]),
    ("て", ["助詞", "接続助詞", "て", "テ", "テ"]),
    ("お", ["接頭辞", "*", "御", "オ", "オ"]),
    ("酒", ["名詞", "普通名詞", "酒", "サケ", "サケ"]),
    ("乗っ", ["動詞", "一般", "乗る", "ノッ", "ノッ"]),
    ("た", ["助動詞", "*", "た", "タ", "タ"]),
    ("です", ["助動詞", "*", "です", "デス", "デス"]),
    ("バター", ["名詞", "普通名詞", "バター-butter", "バター", "バター"]),
    ("私", ["代名詞", "*", "私-代名詞", "ワタクシ", "ワタクシ"]),
    ("、", ["補助記号", "読点", "、", "*", "*"]),
    ("「", ["補助記号", "括弧開", "「", "*", "*"]),
    ("」", ["補助記号", "括弧閉", "」", "*", "*"]),
];

/// `(name, unknown words compete, runs are words, longest, characters)`.
type Category = (&'static str, bool, bool, u32, fn(char) -> bool);

#[rustfmt::skip]
const CATEGORIES: [Category; 8] = [
    ("DEFAULT", false, true, 0, |_| false),
    ("SPACE", false, true, 0, |c| c == ' '),
    ("KANJI", false, false, 2, |c| matches!(c, '一'..='龥')),
    ("SYMBOL", true, true, 0, |c| c.is_ascii_punctuation()),
    ("NUMERIC", true, true, 0, |c| c.is_ascii_digit()),
    ("ALPHA", true, true, 0, |c| c.is_ascii_alphabetic()),
    ("HIRAGANA", false, true, 2, |c| matches!(c, 'ぁ'..='ゟ')),
    ("KATAKANA", true, true, 2, |c| matches!(c, 'ァ'..='ヿ')),
];

/// Writes the four files of a dictionary in which every word costs 100 and every connection nothing; unknown
/// words cost 10,000.
pub(in crate::stages::synthesize) fn write_small_dictionary(directory: &Path) {
    std::fs::create_dir_all(directory).unwrap();
    let known: Vec<(Vec<u8>, i16, String)> = ENTRIES
        .iter()
        .map(|(surface, [part, subtype, lemma, pronunciation, kana])| {
            let mut fields = vec!["*"; field::COUNT];
            fields[field::PART_OF_SPEECH] = part;
            fields[field::SUBTYPE] = subtype;
            fields[field::LEMMA] = lemma;
            fields[field::PRONUNCIATION] = pronunciation;
            fields[field::KANA] = kana;
            (surface.as_bytes().to_vec(), 100, fields.join(","))
        })
        .collect();
    let unknown: Vec<(Vec<u8>, i16, String)> = CATEGORIES
        .iter()
        .map(|(name, ..)| {
            let part = if *name == "SYMBOL" {
                "補助記号"
            } else {
                "名詞"
            };
            (
                name.as_bytes().to_vec(),
                10_000,
                format!("{part},*,*,*,*,*"),
            )
        })
        .collect();
    std::fs::write(directory.join("sys.dic"), lexicon_file(known)).unwrap();
    std::fs::write(directory.join("unk.dic"), lexicon_file(unknown)).unwrap();
    std::fs::write(directory.join("matrix.bin"), [1, 0, 1, 0, 0, 0]).unwrap();
    std::fs::write(directory.join("char.bin"), character_file()).unwrap();
}

fn character_file() -> Vec<u8> {
    let mut bytes = (CATEGORIES.len() as u32).to_le_bytes().to_vec();
    for (name, ..) in CATEGORIES {
        let mut padded = [0; 32];
        padded[..name.len()].copy_from_slice(name.as_bytes());
        bytes.extend(padded);
    }
    for code in 0..0xFFFF {
        let character = char::from_u32(code).unwrap_or('\u{0}');
        let category = CATEGORIES
            .iter()
            .position(|(.., has)| has(character))
            .unwrap_or(0);
        let (_, competes, runs, longest, _) = CATEGORIES[category];
        let bits = 1 << category
            | (category as u32) << 18
            | longest << 26
            | u32::from(runs) << 30
            | u32::from(competes) << 31;
        bytes.extend(bits.to_le_bytes());
    }
    bytes
}

fn lexicon_file(mut words: Vec<(Vec<u8>, i16, String)>) -> Vec<u8> {
    words.sort();
    let (mut tokens, mut features) = (Vec::new(), Vec::new());
    for (_, cost, feature) in &words {
        tokens.extend([0; 6]);
        tokens.extend(cost.to_le_bytes());
        tokens.extend((features.len() as u32).to_le_bytes());
        tokens.extend([0; 4]);
        features.extend(feature.bytes());
        features.push(0);
    }
    let mut trie = Trie::default();
    let keys: Vec<&[u8]> = words.iter().map(|(surface, ..)| &surface[..]).collect();
    trie.place(0, &keys, 0, 0);
    let trie = trie.bytes();
    let length = 72 + trie.len() + tokens.len() + features.len();
    let count = words.len();
    let header = [
        102,
        0,
        count,
        1,
        1,
        trie.len(),
        tokens.len(),
        features.len(),
        0,
    ];
    let mut bytes = (0xEF71_8F77 ^ length as u32).to_le_bytes().to_vec();
    bytes.extend(
        header
            .iter()
            .flat_map(|field| (*field as u32).to_le_bytes()),
    );
    let mut charset = [0; 32];
    charset[..5].copy_from_slice(b"UTF-8");
    bytes.extend(charset);
    bytes.extend([trie, tokens, features].concat());
    bytes
}

/// A double array: the child for `label` of a node with base b is b + label, and checks with b.
#[derive(Default)]
struct Trie {
    nodes: Vec<Option<(i32, u32)>>,
}

impl Trie {
    /// Places the children of `node`, whose keys share their first `depth` bytes; the first of them has the
    /// number `first`. Labels are bytes plus one, and 0 where a key ends.
    fn place(&mut self, node: usize, keys: &[&[u8]], depth: usize, first: usize) {
        let label = |key: &[u8]| key.get(depth).map_or(0, |byte| usize::from(*byte) + 1);
        let groups: Vec<&[&[u8]]> = keys.chunk_by(|a, b| label(a) == label(b)).collect();
        let base = (1..)
            .find(|base| {
                // The node that a base names must be free as well: its check would not be unique.
                let labels = groups.iter().map(|group| label(group[0]));
                labels
                    .chain([0])
                    .all(|label| self.nodes.get(base + label).is_none_or(Option::is_none))
            })
            .unwrap();
        self.set(node, base as i32, None);
        let labels = groups.iter().map(|group| label(group[0])).chain([0]);
        for label in labels {
            self.set(base + label, 0, Some(base as u32));
        }
        if label(groups[0][0]) != 0 {
            // Only reserved: nothing ends here.
            self.set(base, 0, Some(0));
        }
        let mut number = first;
        for group in groups {
            let child = base + label(group[0]);
            if label(group[0]) == 0 {
                self.set(
                    child,
                    -1 - ((number << 8 | group.len()) as i32),
                    Some(base as u32),
                );
            } else {
                self.place(child, group, depth + 1, number);
            }
            number += group.len();
        }
    }

    fn set(&mut self, index: usize, base: i32, check: Option<u32>) {
        if self.nodes.len() <= index {
            self.nodes.resize(index + 1, None);
        }
        let kept = self.nodes[index].map_or(0, |(_, check)| check);
        self.nodes[index] = Some((base, check.unwrap_or(kept)));
    }

    fn bytes(&self) -> Vec<u8> {
        let nodes = self.nodes.iter().map(|node| node.unwrap_or((0, 0)));
        nodes
            .flat_map(|(base, check)| [base.to_le_bytes(), check.to_le_bytes()].concat())
            .collect()
    }
}

fn unidic() -> (tempfile::TempDir, UniDic) {
    let directory = tempfile::tempdir().unwrap();
    write_small_dictionary(directory.path());
    let unidic = UniDic::open(directory.path()).unwrap();
    (directory, unidic)
}

#[test]
fn words_are_read_and_spaced() {
    let (_directory, unidic) = unidic();
    for (text, latin) in [
        ("東京都に", "tokyoto ni"),
        ("京都は", "kyoto wa"),
        ("東京へ", "tokyo e"),
        ("お酒", "osake"),
        ("乗った", "notta"),
        ("乗って", "notte"),
        ("酒です", "sake desu"),
        ("バターの", "butter no"),
        ("私の", "watakushi no"),
        ("酒、「酒」に", "sake, \"sake\" ni"),
        ("", ""),
        (" \u{3000}\n", ""),
    ] {
        assert_eq!(unidic.romanize(text).unwrap(), latin, "{text}");
    }
}

#[test]
fn what_no_entry_knows_is_read_where_it_can_be() {
    let (_directory, unidic) = unidic();
    for (text, latin) in [
        ("コーヒー", "koohii"),
        ("ｺｰﾋｰの", "koohii no"),
        ("２０酒", "20 sake"),
        ("it's OK 酒", "it's ok sake"),
        ("鬱鬱", "??"),
        ("é", "?"),
        ("𠮷", "?"),
        ("a_b-c", "a_b-c"),
    ] {
        assert_eq!(unidic.romanize(text).unwrap(), latin, "{text}");
    }
}

#[test]
fn long_runs_take_bounded_memory() {
    let (_directory, unidic) = unidic();
    let text = "カ".repeat(2000);
    assert_eq!(
        unidic.romanize(&text).unwrap().replace(' ', ""),
        "ka".repeat(2000)
    );
}

#[test]
fn damaged_dictionaries_are_refused() {
    let (directory, _) = unidic();
    let path = |name: &str| directory.path().join(name);
    for (name, problem) in [
        ("sys.dic", "cut short"),
        ("unk.dic", "cut short"),
        ("matrix.bin", "cut short"),
        ("char.bin", "cut short"),
    ] {
        let whole = std::fs::read(path(name)).unwrap();
        std::fs::write(path(name), &whole[..whole.len() - 1]).unwrap();
        let error = UniDic::open(directory.path()).err().unwrap();
        assert!(error.to_string().contains(problem), "{name}: {error}");
        std::fs::write(path(name), whole).unwrap();
    }
    std::fs::remove_file(path("sys.dic")).unwrap();
    let error = UniDic::open(directory.path()).err().unwrap();
    assert!(error.to_string().contains("cannot read"), "{error}");
}

#[test]
fn no_damage_inside_makes_it_panic() {
    let (directory, _) = unidic();
    for name in ["sys.dic", "unk.dic"] {
        let path = directory.path().join(name);
        let whole = std::fs::read(&path).unwrap();
        for at in (40..whole.len()).step_by(41) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0xFF;
            std::fs::write(&path, &damaged).unwrap();
            if let Ok(unidic) = UniDic::open(directory.path()) {
                drop(unidic.romanize("東京都に乗った、「バター」カ 20 é"));
            }
        }
        std::fs::write(&path, whole).unwrap();
    }
}
