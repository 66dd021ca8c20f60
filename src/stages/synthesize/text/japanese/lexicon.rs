//! Words of a compiled MeCab dictionary (`sys.dic`, `unk.dic`).
//!
//! The file is not loaded, as UniDic has 180 MB of which a text touches little: what is needed is read
//! where it stands, from the page cache mostly.
//!
//! Layout, little endian: ten u32 (magic xor length of the file, version, kind, number of words, left and
//! right contexts, bytes of the trie, bytes of the words, bytes of the features, 0), 32 bytes of the
//! character set's name, trie, words, features.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::super::TextError;

const MAGIC: u32 = 0xEF71_8F77;
const VERSION: u32 = 102;
const HEADER_BYTES: usize = 72;
/// A trie node: i32 base, u32 check.
const NODE_BYTES: u64 = 8;
/// A word: u16 left context, u16 right context, u16 part of speech, i16 cost, u32 place of the feature,
/// u32 of no use here.
const WORD_BYTES: usize = 16;
/// Longest feature that is read; UniDic's have about 200 bytes.
const MAX_FEATURE_BYTES: u64 = 2048;

/// A compiled dictionary.
pub(super) struct Lexicon {
    file: File,
    trie: u64,
    words: u64,
    features: u64,
    end: u64,
}

/// A word without its surface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word {
    pub left_context: u16,
    pub right_context: u16,
    pub cost: i16,
    /// Place of its feature.
    feature: u32,
}

impl Lexicon {
    /// Opens the file and checks its header.
    ///
    /// # Errors
    /// The file cannot be read, or is no such dictionary in UTF-8.
    pub fn open(path: &Path) -> Result<Self, TextError> {
        let read = |source| TextError::Read {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(read)?;
        let length = file.metadata().map_err(read)?.len();
        let mut header = [0; HEADER_BYTES];
        file.read_exact_at(&mut header, 0).map_err(read)?;
        let field = |index: usize| u32_at(&header, index * 4);
        let damaged = |problem| TextError::BadDictionary {
            path: path.to_owned(),
            problem,
        };
        if u64::from(field(0) ^ MAGIC) != length {
            return Err(damaged("is cut short, or no MeCab dictionary"));
        }
        if field(1) != VERSION {
            return Err(damaged("is a MeCab dictionary of another version"));
        }
        let charset = header[40..].split(|byte| *byte == 0).next();
        if !charset.is_some_and(|name| {
            name.eq_ignore_ascii_case(b"utf8") || name.eq_ignore_ascii_case(b"utf-8")
        }) {
            return Err(damaged("is not in UTF-8"));
        }
        let trie = HEADER_BYTES as u64;
        let words = trie + u64::from(field(6));
        let features = words + u64::from(field(7));
        let end = features + u64::from(field(8));
        if end > length {
            return Err(damaged("has sizes that contradict each other"));
        }
        Ok(Self {
            file,
            trie,
            words,
            features,
            end,
        })
    }

    /// All words that `text` begins with: the bytes that they take, shortest first, and the words of that
    /// spelling.
    pub fn prefixes(&self, text: &[u8]) -> io::Result<Vec<(usize, Vec<Word>)>> {
        let mut found = Vec::new();
        let (root, _) = self.node(0)?;
        let mut base = root;
        for length in 0..=text.len() {
            // A child that stands for no byte holds the words that end here.
            let (value, check) = self.node(base)?;
            if check == base
                && let Ok(value) = u32::try_from(-1 - i64::from(value))
            {
                found.push((length, self.words(value)?));
            }
            let Some(byte) = text.get(length) else { break };
            let Some(child) = base.checked_add(i32::from(*byte) + 1) else {
                break;
            };
            let (next, check) = self.node(child)?;
            if check != base {
                break;
            }
            base = next;
        }
        Ok(found)
    }

    /// The words of exactly this spelling.
    pub fn exactly(&self, text: &str) -> io::Result<Vec<Word>> {
        let found = self.prefixes(text.as_bytes())?;
        let same = found.into_iter().find(|(length, _)| *length == text.len());
        Ok(same.map(|(_, words)| words).unwrap_or_default())
    }

    /// The comma-separated fields of a word.
    pub fn feature(&self, word: Word) -> io::Result<Vec<String>> {
        let start = self.features + u64::from(word.feature);
        let most = self.end.saturating_sub(start).min(MAX_FEATURE_BYTES);
        let mut bytes = vec![0; usize::try_from(most).unwrap_or(0)];
        self.file.read_exact_at(&mut bytes, start)?;
        let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        Ok(fields(&String::from_utf8_lossy(text)))
    }

    /// A node of the trie: its base, and its parent's base. Outside the trie are empty nodes.
    fn node(&self, index: i32) -> io::Result<(i32, i32)> {
        let Ok(index) = u64::try_from(index) else {
            return Ok((0, -1));
        };
        let place = self.trie + index * NODE_BYTES;
        if place + NODE_BYTES > self.words {
            return Ok((0, -1));
        }
        let mut bytes = [0; NODE_BYTES as usize];
        self.file.read_exact_at(&mut bytes, place)?;
        let [base, check] = [u32_at(&bytes, 0), u32_at(&bytes, 4)];
        Ok((base.cast_signed(), check.cast_signed()))
    }

    /// A value of the trie is the number of the first word times 256, plus how many follow.
    fn words(&self, value: u32) -> io::Result<Vec<Word>> {
        let count = (value & 0xFF) as usize;
        let start = self.words + u64::from(value >> 8) * WORD_BYTES as u64;
        let mut bytes = vec![0; count * WORD_BYTES];
        self.file.read_exact_at(&mut bytes, start)?;
        Ok(bytes
            .chunks_exact(WORD_BYTES)
            .map(|bytes| Word {
                left_context: u16_at(bytes, 0),
                right_context: u16_at(bytes, 2),
                cost: u16_at(bytes, 6).cast_signed(),
                feature: u32_at(bytes, 8),
            })
            .collect())
    }
}

/// What a word costs after another (`matrix.bin`): two u16, the numbers of right and of left contexts,
/// then an i16 for each pair, right contexts varying fastest.
pub(super) struct Connections {
    file: File,
    right_contexts: u64,
    left_contexts: u64,
}

impl Connections {
    /// Opens the file and checks its length.
    ///
    /// # Errors
    /// The file cannot be read, or has not the length that its sizes ask for.
    pub fn open(path: &Path) -> Result<Self, TextError> {
        let read = |source| TextError::Read {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(read)?;
        let mut sizes = [0; 4];
        file.read_exact_at(&mut sizes, 0).map_err(read)?;
        let [right_contexts, left_contexts] = [0, 2].map(|at| u64::from(u16_at(&sizes, at)));
        if file.metadata().map_err(read)?.len() != 4 + 2 * right_contexts * left_contexts {
            return Err(TextError::BadDictionary {
                path: path.to_owned(),
                problem: "is cut short, or no MeCab matrix",
            });
        }
        Ok(Self {
            file,
            right_contexts,
            left_contexts,
        })
    }

    /// The cost of a word with this left context after one with that right context.
    pub fn cost(&self, right_context: u16, left_context: u16) -> io::Result<i16> {
        let [right, left] = [right_context, left_context].map(u64::from);
        if right >= self.right_contexts || left >= self.left_contexts {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut bytes = [0; 2];
        self.file
            .read_exact_at(&mut bytes, 4 + 2 * (right + self.right_contexts * left))?;
        Ok(i16::from_le_bytes(bytes))
    }
}

/// How characters that begin no known word are made words (`char.bin`): u32 number of categories, 32
/// bytes for each name, then a u32 for each character below U+FFFF.
pub(super) struct Characters {
    names: Vec<String>,
    /// Categories as a bit mask in the lowest 18 bits; then the category that unknown words belong to (8
    /// bits), the most characters of one (4 bits), whether all characters of a run make one, and whether
    /// they compete with known words.
    characters: Vec<u32>,
}

/// What `char.bin` says about one character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Character(u32);

impl Character {
    pub fn shares_a_category(self, other: Self) -> bool {
        self.0 & other.0 & 0x3_FFFF != 0
    }

    pub fn category(self) -> usize {
        (self.0 >> 18 & 0xFF) as usize
    }

    pub fn longest_unknown_word(self) -> usize {
        (self.0 >> 26 & 0xF) as usize
    }

    pub fn runs_are_words(self) -> bool {
        self.0 >> 30 & 1 == 1
    }

    pub fn competes_with_known_words(self) -> bool {
        self.0 >> 31 & 1 == 1
    }
}

impl Characters {
    /// Reads the file.
    ///
    /// # Errors
    /// The file cannot be read, or has not the length that its sizes ask for.
    pub fn load(path: &Path) -> Result<Self, TextError> {
        const NAME_BYTES: usize = 32;
        const CHARACTERS: usize = 0xFFFF;
        let bytes = std::fs::read(path).map_err(|source| TextError::Read {
            path: path.to_owned(),
            source,
        })?;
        let damaged = || TextError::BadDictionary {
            path: path.to_owned(),
            problem: "is cut short, or no MeCab character table",
        };
        let (count, rest) = bytes.split_first_chunk().ok_or_else(damaged)?;
        let count = u32::from_le_bytes(*count) as usize;
        // A category is a bit of 18.
        if count > 18 || rest.len() != count * NAME_BYTES + CHARACTERS * 4 {
            return Err(damaged());
        }
        let (names, characters) = rest.split_at(count * NAME_BYTES);
        let name = |bytes: &[u8]| {
            let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
            String::from_utf8_lossy(name).into_owned()
        };
        let characters: Vec<u32> = characters
            .chunks_exact(4)
            .map(|bytes| u32_at(bytes, 0))
            .collect();
        if characters
            .iter()
            .any(|bits| Character(*bits).category() >= count)
        {
            return Err(damaged());
        }
        Ok(Self {
            names: names.chunks_exact(NAME_BYTES).map(name).collect(),
            characters,
        })
    }

    /// Names of the categories.
    pub fn categories(&self) -> &[String] {
        &self.names
    }

    /// Characters beyond the table count as U+0000.
    pub fn get(&self, character: char) -> Character {
        let index = u32::from(character) as usize;
        let bits = self.characters.get(index).or(self.characters.first());
        Character(bits.copied().unwrap_or_default())
    }
}

/// Splits at commas outside double quotes, and takes the quotes off.
fn fields(line: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut is_quoted = false;
    for character in line.chars() {
        match character {
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => fields.push(std::mem::take(&mut field)),
            other => field.push(other),
        }
    }
    fields.push(field);
    fields
}

/// The files of a compiled dictionary.
pub(super) struct Dictionary {
    pub known: Lexicon,
    pub unknown: Lexicon,
    pub connections: Connections,
    pub characters: Characters,
}

impl Dictionary {
    /// Opens the four files of a MeCab dictionary.
    ///
    /// # Errors
    /// One of them cannot be read or is damaged.
    pub fn open(directory: &Path) -> Result<Self, TextError> {
        let path = |name: &str| -> PathBuf { directory.join(name) };
        Ok(Self {
            known: Lexicon::open(&path("sys.dic"))?,
            unknown: Lexicon::open(&path("unk.dic"))?,
            connections: Connections::open(&path("matrix.bin"))?,
            characters: Characters::load(&path("char.bin"))?,
        })
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
