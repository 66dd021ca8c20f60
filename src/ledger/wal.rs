//! The write-ahead log as a file: whether it is what was written, and its pages.
//!
//! SQLite ends a log at the first frame whose checksum is wrong and says nothing about those behind it: a
//! bit that changes in the middle would undo every later commit in silence. The format is that of
//! <https://www.sqlite.org/fileformat2.html#walformat>.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::Path;

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// The page size of our databases, SQLite's default.
pub(super) const PAGE_BYTES: usize = 4096;
/// Begins a log whose checksums are taken over little-endian words; the next number means big-endian.
const MAGIC: u32 = 0x377f_0682;

/// The log of a database.
pub(super) struct Wal {
    bytes: Vec<u8>,
    /// The numbers that tell this generation of frames from those of an earlier one.
    salts: [u32; 2],
    is_header_intact: bool,
}

/// One page of a commit.
struct Frame<'a> {
    page_number: u32,
    is_commit: bool,
    page: &'a [u8],
    is_intact: bool,
}

impl Wal {
    /// Reads the log; `None` when there is none or nothing was committed to it.
    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if bytes.len() < HEADER_BYTES + FRAME_HEADER_BYTES + PAGE_BYTES {
            return Ok(None);
        }
        let is_header_intact = word(&bytes, 0) & !1 == MAGIC
            && word(&bytes, 8) as usize == PAGE_BYTES
            && checksum(is_big_endian(&bytes), [0, 0], &bytes[..24]) == words(&bytes, 24);
        let salts = if is_header_intact {
            16
        } else {
            HEADER_BYTES + 8
        };
        Ok(Some(Self {
            salts: words(&bytes, salts),
            bytes,
            is_header_intact,
        }))
    }

    /// True when a commit, or a page of one, is not what was written. A power cut in the middle of a write
    /// can look the same.
    pub(super) fn is_damaged(&self) -> bool {
        if !self.is_header_intact {
            return true;
        }
        let mut is_broken = false;
        self.frames().any(|frame| {
            is_broken |= !frame.is_intact;
            is_broken && frame.is_commit
        })
    }

    /// Writes every committed page into a copy of the database, those too whose checksum is wrong: most of
    /// such a page is good, and rows are checked one by one.
    pub(super) fn apply(&self, database: &mut File) -> io::Result<()> {
        let frames: Vec<Frame<'_>> = self.frames().collect();
        let committed = frames
            .iter()
            .rposition(|frame| frame.is_commit)
            .map_or(0, |last| last + 1);
        let pages = database.metadata()?.len() / PAGE_BYTES as u64 + frames.len() as u64;
        for frame in &frames[..committed] {
            let number = u64::from(frame.page_number);
            if (1..=pages).contains(&number) {
                database.seek(SeekFrom::Start((number - 1) * PAGE_BYTES as u64))?;
                database.write_all(frame.page)?;
            }
        }
        Ok(())
    }

    /// The frames of this generation.
    fn frames(&self) -> impl Iterator<Item = Frame<'_>> {
        let is_big_endian = is_big_endian(&self.bytes);
        let mut running = words(&self.bytes, 24);
        self.bytes[HEADER_BYTES..]
            .chunks_exact(FRAME_HEADER_BYTES + PAGE_BYTES)
            .map(move |frame| {
                let (header, page) = frame.split_at(FRAME_HEADER_BYTES);
                let salts = words(header, 8);
                let sum = checksum(is_big_endian, running, &header[..8]);
                let sum = checksum(is_big_endian, sum, page);
                running = words(header, 16);
                let frame = Frame {
                    page_number: word(header, 0),
                    is_commit: word(header, 4) != 0,
                    page,
                    is_intact: salts == self.salts && sum == running,
                };
                // One of the two may have changed; the next generation changes both.
                let is_ours = salts[0] == self.salts[0] || salts[1] == self.salts[1];
                (is_ours, frame)
            })
            .filter_map(|(is_ours, frame)| is_ours.then_some(frame))
    }
}

fn is_big_endian(bytes: &[u8]) -> bool {
    word(bytes, 0) & 1 == 1
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_be_bytes(word)
}

fn words(bytes: &[u8], at: usize) -> [u32; 2] {
    [word(bytes, at), word(bytes, at + 4)]
}

fn checksum(is_big_endian: bool, mut sum: [u32; 2], bytes: &[u8]) -> [u32; 2] {
    for pair in bytes.chunks_exact(8) {
        let mut next = words(pair, 0);
        if !is_big_endian {
            next = next.map(u32::swap_bytes);
        }
        sum[0] = sum[0].wrapping_add(next[0]).wrapping_add(sum[1]);
        sum[1] = sum[1].wrapping_add(next[1]).wrapping_add(sum[0]);
    }
    sum
}
