//! Thousands of broken recordings of every container that clients send, the same for the same seed.
//!
//! [`intact_files`] makes the recordings with ffmpeg, [`broken_files`] breaks them, and [`bombs`] are made by
//! hand: small files that announce, or hold, far too much.

use std::path::Path;
use std::process::{Command, Stdio};

/// A file's name, which says what was done to it, and its bytes.
pub type AudioFile = (String, Vec<u8>);

/// Containers and codecs, with ffmpeg's options for them.
const FORMATS: [(&str, &str); 12] = [
    ("wav", "-c:a pcm_s16le -f wav"),
    ("aiff", "-c:a pcm_s16be -f aiff"),
    ("flac", "-c:a flac -f flac"),
    ("mp3", "-c:a libmp3lame -b:a 64k -f mp3"),
    ("opus", "-c:a libopus -f ogg"),
    ("vorbis", "-c:a libvorbis -f ogg"),
    ("webm", "-c:a libopus -f webm -live 1"),
    ("mka", "-c:a libmp3lame -f matroska"),
    ("m4a", "-c:a aac -f ipod"),
    ("alac", "-c:a alac -f ipod"),
    ("mp4", "-c:a aac -movflags frag_keyframe+empty_moov -f mp4"),
    ("aac", "-c:a aac -f adts"),
];

/// Where headers are; what lies behind is mostly samples.
const HEADER_BYTES: usize = 512;

/// Names of atoms, chunks and pages: the field before or after one is a size, a count or a rate.
const TAGS: [&[u8]; 26] = [
    b"RIFF",
    b"fmt ",
    b"data",
    b"FORM",
    b"COMM",
    b"SSND",
    b"fLaC",
    b"OggS",
    b"OpusHead",
    b"OpusTags",
    b"vorbis",
    b"Xing",
    b"Info",
    b"ID3",
    b"ftyp",
    b"moov",
    b"mvhd",
    b"mdhd",
    b"stsd",
    b"stsz",
    b"stsc",
    b"stco",
    b"stts",
    b"esds",
    b"mdat",
    b"moof",
];

/// Matroska's elements that hold others, a codec's setup, channels, a rate or samples.
const ELEMENTS: [&[u8]; 10] = [
    b"\x1a\x45\xdf\xa3",
    b"\x18\x53\x80\x67",
    b"\x15\x49\xa9\x66",
    b"\x16\x54\xae\x6b",
    b"\x63\xa2",
    b"\x86",
    b"\x9f",
    b"\xb5",
    b"\x1f\x43\xb6\x75",
    b"\xa3",
];

/// The first two seconds of `recording` in every format, the same each time; `None` without ffmpeg. Writes
/// one file into `folder`.
///
/// # Panics
/// ffmpeg fails.
pub fn intact_files(recording: &Path, folder: &Path) -> Option<Vec<AudioFile>> {
    let file = folder.join("encoded");
    let mut files = Vec::new();
    for (name, options) in FORMATS {
        let status = Command::new("ffmpeg")
            .args(["-v", "error", "-y", "-t", "2", "-i"])
            .arg(recording)
            .args([
                "-map_metadata",
                "-1",
                "-fflags",
                "+bitexact",
                "-flags:a",
                "+bitexact",
            ])
            .args(options.split_whitespace())
            .arg(&file)
            .stdin(Stdio::null())
            .status()
            .ok()?;
        assert!(status.success(), "ffmpeg {options}");
        files.push((
            name.to_owned(),
            std::fs::read(&file).expect("ffmpeg's file"),
        ));
    }
    Some(files)
}

/// Breaks each file in every way, one after the other; the bombs come last. At least 2,000 for the twelve
/// [`intact_files`].
pub fn broken_files(intact: &[AudioFile], seed: u64) -> impl Iterator<Item = AudioFile> {
    let each = intact
        .iter()
        .enumerate()
        .flat_map(move |(index, (name, bytes))| {
            let mut random = Random(seed ^ ((index as u64 + 1) << 32));
            let other = &intact[random.below(intact.len())];
            let mut broken = truncations(bytes);
            broken.extend(bit_flips(bytes, &mut random));
            broken.extend(extreme_fields(bytes, &mut random));
            broken.extend(tagged_fields(bytes));
            broken.extend(element_lengths(bytes));
            broken.extend(mixtures(bytes, other));
            broken.extend(holes(bytes, &mut random));
            // Ogg's readers drop a page whose checksum is wrong before they look at anything in it.
            if bytes.starts_with(b"OggS") {
                for (_, bytes) in &mut broken {
                    fix_ogg_checksums(bytes);
                }
            }
            broken
                .into_iter()
                .map(move |(what, bytes)| (format!("{name} {what}"), bytes))
        });
    each.chain(bombs())
}

/// Small files that announce or hold far too much, and those that are hardly files.
pub fn bombs() -> Vec<AudioFile> {
    let mut files = vec![
        ("empty".to_owned(), Vec::new()),
        (
            "flac of ten hours".to_owned(),
            silent_flac(8_000, 10 * 3_600),
        ),
        (
            "flac of ten hours at its highest rate".to_owned(),
            silent_flac(655_350, 36_000),
        ),
        ("opus of an hour".to_owned(), silent_opus(3_600)),
    ];
    files.extend(
        (0..=255_u8)
            .step_by(15)
            .map(|byte| (format!("byte {byte}"), vec![byte])),
    );
    for version in 2..=4 {
        for (size, bytes) in [
            ("nothing", [0; 4]),
            ("all", [0x7f; 4]),
            ("too much", [0xff; 4]),
        ] {
            for flags in [0, 0x40, 0x80, 0xf0] {
                let mut tag = b"ID3".to_vec();
                tag.extend([version, 0, flags]);
                tag.extend(bytes);
                // One frame of a text, as large as can be said.
                tag.extend(b"TIT2\xff\xff\xff\xff\0\0\x01\xff\xfe");
                tag.extend([0; 10]);
                files.push((format!("id3 2.{version} flags {flags:x} of {size}"), tag));
            }
        }
    }
    for (what, length) in [
        ("unknown", &b"\x01\xff\xff\xff\xff\xff\xff\xff"[..]),
        ("2^56", b"\x01\xff\xff\xff\xff\xff\xff\xfe"),
        ("2^48", b"\x01\x01\0\0\0\0\0\0"),
        ("2^34", b"\x01\0\0\x04\0\0\0\0"),
        ("2^31", b"\x08\x7f\xff\xff\xff"),
        ("0", b"\x80"),
    ] {
        for inner in ELEMENTS {
            let mut file =
                b"\x1a\x45\xdf\xa3\x9f\x42\x82\x84webm\x42\x87\x81\x02\x42\x85\x81\x02".to_vec();
            file[4] = 0x80 | (file.len() as u8 - 5);
            file.extend(b"\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff");
            file.extend(b"\x16\x54\xae\x6b\x01\xff\xff\xff\xff\xff\xff\xff\xae\xff");
            file.extend(inner);
            file.extend(length);
            file.extend([0xee; 64]);
            files.push((format!("element {} of {what}", digits(inner)), file));
        }
    }
    for (what, channels, rate, bits, size) in [
        ("255 channels", 255, 48_000, 16, 4_096),
        ("65535 channels", 65_535, 48_000, 16, 4_096),
        ("no channels", 0, 48_000, 16, 4_096),
        ("4 GHz", 1, 4_000_000_000, 16, 4_096),
        ("no rate", 1, 0, 16, 4_096),
        ("no bits", 1, 48_000, 0, 4_096),
        ("255 bits", 1, 48_000, 255, 4_096),
        ("no size", 1, 48_000, 16, 0),
        ("half the size there is", 1, 48_000, 16, 0x7fff_ffff),
        ("2^31 bytes", 1, 48_000, 16, 0x8000_0000),
        ("2^32 - 1 bytes", 1, 48_000, 16, 0xffff_ffff),
    ] {
        files.push((format!("wav of {what}"), wav(channels, rate, bits, size)));
    }
    files
}

fn truncations(bytes: &[u8]) -> Vec<AudioFile> {
    let early = [1, 2, 3, 4, 8, 12, 27, 28, 44, 100, 300];
    let lengths = early.into_iter().chain((1_024..).step_by(1_024));
    lengths
        .take_while(|length| *length < bytes.len())
        .map(|length| (format!("cut at {length}"), bytes[..length].to_vec()))
        .collect()
}

/// Half of them in the headers only.
fn bit_flips(bytes: &[u8], random: &mut Random) -> Vec<AudioFile> {
    let flip = |number: usize| {
        let range = if number.is_multiple_of(2) {
            HEADER_BYTES
        } else {
            bytes.len()
        };
        let mut broken = bytes.to_vec();
        for _ in 0..1 << (number % 7) {
            let at = random.below(range.min(bytes.len()));
            broken[at] ^= 1 << random.below(8);
        }
        (format!("flipped {number}"), broken)
    };
    (0..60).map(flip).collect()
}

/// Fields of 2, 4 and 8 bytes at any place of the headers.
fn extreme_fields(bytes: &[u8], random: &mut Random) -> Vec<AudioFile> {
    let values: [&[u8]; 8] = [
        b"\0\0",
        b"\xff\xff",
        b"\0\0\0\0",
        b"\xff\xff\xff\x7f",
        b"\x7f\xff\xff\xff",
        b"\x80\0\0\0",
        b"\xff\xff\xff\xff",
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
    ];
    let mut broken = Vec::new();
    for round in 0..6 {
        for value in values {
            let at = random.below(HEADER_BYTES.min(bytes.len() - value.len()));
            let what = format!("{} at {at} ({round})", digits(value));
            broken.push((what, replaced(bytes, at, value)));
        }
    }
    broken
}

/// The fields on both sides of each tag's first occurrence.
fn tagged_fields(bytes: &[u8]) -> Vec<AudioFile> {
    let mut broken = Vec::new();
    for tag in TAGS {
        let Some(at) = find(bytes, tag) else { continue };
        let places = [
            at.wrapping_sub(4),
            at + tag.len(),
            at + tag.len() + 4,
            at + tag.len() + 8,
        ];
        for place in places {
            for value in [
                b"\0\0\0\0",
                b"\0\0\0\x01",
                b"\x7f\xff\xff\xff",
                b"\xff\xff\xff\xff",
            ] {
                if place < bytes.len().saturating_sub(4) {
                    let what = format!("{} beside {}", digits(value), String::from_utf8_lossy(tag));
                    broken.push((format!("{what} at {place}"), replaced(bytes, place, value)));
                }
            }
        }
    }
    broken
}

/// Matroska's lengths: one byte after an element becomes eight that say much more.
fn element_lengths(bytes: &[u8]) -> Vec<AudioFile> {
    if !bytes.starts_with(ELEMENTS[0]) {
        return Vec::new();
    }
    let mut broken = Vec::new();
    for element in ELEMENTS {
        let Some(at) = find(bytes, element).map(|at| at + element.len()) else {
            continue;
        };
        for length in [
            &b"\x01\xff\xff\xff\xff\xff\xff\xfe"[..],
            b"\x01\0\0\x04\0\0\0\0",
            b"\x08\x7f\xff\xff\xff",
            b"\x80",
        ] {
            let rest = bytes.get(at + 1..).unwrap_or_default();
            let what = format!("element {} of {}", digits(element), digits(length));
            broken.push((what, [&bytes[..at], length, rest].concat()));
        }
    }
    broken
}

/// Another container's beginning or end, and one file after the other.
fn mixtures(bytes: &[u8], (name, other): &AudioFile) -> Vec<AudioFile> {
    let mut broken = vec![
        (format!("before {name}"), [bytes, other].concat()),
        (format!("after {name}"), [other, bytes].concat()),
        ("twice".to_owned(), [bytes, bytes].concat()),
    ];
    for length in [4, 16, 64, 512, 2_048] {
        let (head, tail) = (&other[..length.min(other.len())], bytes.get(length..));
        let what = format!("with {length} bytes of {name}");
        broken.push((what, [head, tail.unwrap_or_default()].concat()));
        let noise: Vec<u8> = bytes.iter().rev().take(length).copied().collect();
        broken.push((
            format!("after {length} bytes of its end"),
            [&noise, bytes].concat(),
        ));
    }
    broken
}

/// Zeros where samples or headers were, and bytes that are missing.
fn holes(bytes: &[u8], random: &mut Random) -> Vec<AudioFile> {
    let mut broken = Vec::new();
    for number in 0..8 {
        let start = random.below(bytes.len());
        let end = start + random.below(bytes.len() - start) / (number + 1);
        let mut zeroed = bytes.to_vec();
        zeroed[start..end].fill(0);
        broken.push((format!("zeroed {start} to {end}"), zeroed));
        let missing = [&bytes[..start], &bytes[end..]].concat();
        broken.push((format!("without {start} to {end}"), missing));
    }
    broken
}

/// FLAC frames of one constant each: a dozen bytes for 65,535 samples of silence.
fn silent_flac(rate_hz: u32, seconds: u64) -> Vec<u8> {
    const BLOCK: u64 = 65_535;
    let samples = u64::from(rate_hz) * seconds;
    let mut file = b"fLaC\x80\0\0\x22".to_vec();
    file.extend([0xff; 4]);
    file.extend([0; 6]);
    // Rate in 20 bits, channels less one in 3, bits less one in 5, samples in 36.
    let packed = u64::from(rate_hz) << 44 | 15 << 36 | (samples & 0xf_ffff_ffff);
    file.extend(packed.to_be_bytes());
    file.extend([0; 16]);
    for number in 0..(samples / BLOCK).min(4_400) as u32 {
        // Fixed blocks, their length less one in 16 bits, rate and bits as in the header, mono.
        let mut frame = vec![0xff, 0xf8, 0x70, 0x00];
        frame.extend(utf8_number(number));
        frame.extend((BLOCK as u16 - 1).to_be_bytes());
        frame.push(crc(&frame, 0x07, 8) as u8);
        frame.extend([0, 0, 0]);
        let check = crc(&frame, 0x8005, 16) as u16;
        frame.extend(check.to_be_bytes());
        file.extend(frame);
    }
    file
}

/// A frame number as FLAC writes it: like UTF-8, but of any number.
fn utf8_number(number: u32) -> Vec<u8> {
    let low = |shift: u32| 0x80 | (number >> shift & 0x3f) as u8;
    match number {
        0..0x80 => vec![number as u8],
        0x80..0x800 => vec![0xc0 | (number >> 6) as u8, low(0)],
        _ => vec![0xe0 | (number >> 12 & 0xf) as u8, low(6), low(0)],
    }
}

/// Opus packets of two bytes, each of 120 ms in which nothing is sent.
fn silent_opus(seconds: u32) -> Vec<u8> {
    const PACKETS: usize = 250;
    let mut file = Vec::new();
    let mut page = |flags: u8, granule: u64, packets: &[&[u8]]| {
        file.extend(b"OggS\0");
        file.push(flags);
        file.extend(granule.to_le_bytes());
        file.extend([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, packets.len() as u8]);
        file.extend(packets.iter().map(|packet| packet.len() as u8));
        file.extend(packets.concat());
    };
    page(2, 0, &[b"OpusHead\x01\x01\0\0\x80\xbb\0\0\0\0\0"]);
    page(0, 0, &[b"OpusTags\0\0\0\0\0\0\0\0"]);
    // SILK of 60 ms, two frames of no bytes.
    let packets = [&b"\x1b\x02"[..]; PACKETS];
    for number in 1..=u64::from(seconds / 30) {
        page(0, number * PACKETS as u64 * 5_760, &packets);
    }
    fix_ogg_checksums(&mut file);
    file
}

/// A WAV file with a kilobyte of samples and a header that says anything.
fn wav(channels: u16, rate_hz: u32, bits: u16, data_bytes: u32) -> Vec<u8> {
    let block = channels.wrapping_mul(bits / 8);
    let mut file = b"RIFF".to_vec();
    file.extend(data_bytes.saturating_add(36).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0");
    file.extend(channels.to_le_bytes());
    file.extend(rate_hz.to_le_bytes());
    file.extend(rate_hz.wrapping_mul(block.into()).to_le_bytes());
    file.extend(block.to_le_bytes());
    file.extend(bits.to_le_bytes());
    file.extend(b"data");
    file.extend(data_bytes.to_le_bytes());
    file.extend((0..1_024_u32).map(|n| (n * 37) as u8));
    file
}

/// Gives each page of an Ogg file the checksum that fits what it holds now.
fn fix_ogg_checksums(file: &mut [u8]) {
    let mut at = 0;
    while let Some(found) = file.get(at..).and_then(|rest| find(rest, b"OggS")) {
        let start = at + found;
        let Some(&segments) = file.get(start + 26) else {
            return;
        };
        let lacing = start + 27..start + 27 + usize::from(segments);
        let Some(body) = file.get(lacing.clone()) else {
            return;
        };
        let end = lacing.end
            + body
                .iter()
                .map(|length| usize::from(*length))
                .sum::<usize>();
        let Some(page) = file.get_mut(start..end) else {
            return;
        };
        page[22..26].fill(0);
        let check = crc(page, 0x04c1_1db7, 32) as u32;
        page[22..26].copy_from_slice(&check.to_le_bytes());
        at = end;
    }
}

/// A checksum of `width` bits over `polynomial`, highest bit first, that begins with 0.
fn crc(bytes: &[u8], polynomial: u64, width: u32) -> u64 {
    let (top, mask) = (1 << (width - 1), (1 << width) - 1);
    bytes.iter().fold(0, |check, byte| {
        (0..8).fold(check ^ u64::from(*byte) << (width - 8), |check, _| {
            let shifted = check << 1 & mask;
            if check & top == 0 {
                shifted
            } else {
                shifted ^ polynomial
            }
        })
    })
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

fn replaced(bytes: &[u8], at: usize, value: &[u8]) -> Vec<u8> {
    let mut broken = bytes.to_vec();
    if let Some(field) = broken.get_mut(at..at + value.len()) {
        field.copy_from_slice(value);
    }
    broken
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SplitMix64: the same numbers everywhere for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `end`, which is at least 1.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}
