//! Recordings in every container that clients send, made by ffmpeg, against ffmpeg's own decoding.

use std::ops::RangeInclusive;

use meeshy_translator::domain::{Deadline, Pcm};
use meeshy_translator::error::Reason;
use meeshy_translator::stages::StageError;
use meeshy_translator::stages::decode::{DecodeError, DecodeLimits, Decoded, decode, resample};

use crate::support::ffmpeg::Ffmpeg;
use crate::support::recordings::shared_folder;
use crate::support::wav::wav;

/// What a decoder's delay and padding may change: AAC's priming and Opus' last packet.
const LENGTH_TOLERANCE_MS: u64 = 60;

/// Rate at which the shift between two waveforms is looked for.
const SEARCH_RATE_HZ: u32 = 8_000;

/// Samples at that rate that it is looked for in.
const SEARCH_SAMPLES: usize = 3 * SEARCH_RATE_HZ as usize;

struct Format {
    name: &'static str,
    /// ffmpeg's output options, container included.
    options: &'static str,
    /// Container and codec that the decoder must report.
    container: &'static str,
    codec: &'static str,
}

const fn format(
    name: &'static str,
    options: &'static str,
    (container, codec): (&'static str, &'static str),
) -> Format {
    Format {
        name,
        options,
        container,
        codec,
    }
}

const FORMATS: [Format; 22] = [
    format("wav", "-c:a pcm_s16le -f wav", ("wave", "pcm_s16le")),
    format("wav float", "-c:a pcm_f32le -f wav", ("wave", "pcm_f32le")),
    format(
        "wav mu-law",
        "-ar 8000 -ac 1 -c:a pcm_mulaw -f wav",
        ("wave", "pcm_mulaw"),
    ),
    format("aiff", "-f aiff", ("aiff", "pcm_s16be")),
    format("flac", "-f flac", ("flac", "flac")),
    format("mp3", "-c:a libmp3lame -b:a 64k -f mp3", ("mp3", "mp3")),
    format("mp3 vbr", "-c:a libmp3lame -q:a 4 -f mp3", ("mp3", "mp3")),
    // What a recorder that cannot seek back writes: nothing tells the length.
    format(
        "mp3 vbr without header",
        "-c:a libmp3lame -q:a 4 -write_xing 0 -f mp3",
        ("mp3", "mp3"),
    ),
    format("ogg vorbis", "-c:a libvorbis -f ogg", ("ogg", "vorbis")),
    format("ogg opus", "-c:a libopus -f ogg", ("ogg", "opus")),
    format("webm opus", "-c:a libopus -f webm", ("matroska", "opus")),
    // As a browser's MediaRecorder: no duration, no cues, clusters of unknown size.
    format(
        "webm opus live",
        "-c:a libopus -f webm -live 1",
        ("matroska", "opus"),
    ),
    format("mka opus", "-c:a libopus -f matroska", ("matroska", "opus")),
    format(
        "mka mp3",
        "-c:a libmp3lame -f matroska",
        ("matroska", "mp3"),
    ),
    format("mp4 opus", "-c:a libopus -f mp4", ("isomp4", "opus")),
    format("m4a aac", "-c:a aac -f ipod", ("isomp4", "aac")),
    format("m4a alac", "-c:a alac -f ipod", ("isomp4", "alac")),
    format(
        "m4a aac, index first",
        "-c:a aac -movflags +faststart -f ipod",
        ("isomp4", "aac"),
    ),
    format(
        "fragmented mp4",
        "-c:a aac -movflags frag_keyframe+empty_moov+default_base_moof -frag_duration 500000 -f mp4",
        ("isomp4", "aac"),
    ),
    format("adts aac", "-c:a aac -f adts", ("aac", "aac")),
    format(
        "webm with video",
        "-f lavfi -i color=size=64x64:rate=10 -shortest -map 1:v -map 0:a -c:v libvpx -c:a libopus -f webm",
        ("matroska", "opus"),
    ),
    format(
        "mp4 with video",
        "-f lavfi -i color=size=64x64:rate=10 -shortest -map 1:v -map 0:a -c:v mpeg4 -c:a aac -f mp4",
        ("isomp4", "aac"),
    ),
];

#[test]
fn every_format_decodes_as_ffmpeg_decodes_it() {
    let Some(ffmpeg) = Ffmpeg::find() else { return };
    let source = ffmpeg.write("speech.wav", &wav_bytes(&speech_like(5.0)));
    for format in &FORMATS {
        let encoded = ffmpeg.encode(&source, format.options);
        let decoded = decode_within_defaults(&std::fs::read(&encoded).unwrap()).unwrap();
        assert_eq!(
            (decoded.container, decoded.codec),
            (format.container, format.codec),
            "{}",
            format.name
        );
        assert!(
            !decoded.truncated,
            "{}: whole, but taken for truncated",
            format.name
        );
        let reference = ffmpeg.decode(&encoded, decoded.pcm.sample_rate_hz(), decoded.channels);
        assert_same_audio(format.name, &decoded.pcm, &reference);
    }
}

#[test]
fn real_recordings_decode_as_ffmpeg_decodes_them() {
    let (Some(ffmpeg), Some(shared)) = (Ffmpeg::find(), shared_folder()) else {
        return;
    };
    for recording in [
        "audio/jfk/jfk.wav",
        "audio/leopard/test_fr.wav",
        "audio/ljspeech/LJ001-0001.flac",
        "audio/openvoice-base/demo1--es.wav",
    ] {
        for options in [
            "-ar 48000 -ac 1 -c:a libopus -f webm -live 1",
            "-ar 48000 -ac 1 -c:a libopus -f ogg",
            "-ar 44100 -ac 1 -c:a aac -f ipod",
            "-c:a libmp3lame -q:a 5 -write_xing 0 -f mp3",
            "-c:a flac -f flac",
        ] {
            let encoded = ffmpeg.encode(&shared.join(recording), options);
            let decoded = decode_within_defaults(&std::fs::read(&encoded).unwrap()).unwrap();
            let reference = ffmpeg.decode(&encoded, decoded.pcm.sample_rate_hz(), decoded.channels);
            assert_same_audio(&format!("{recording} {options}"), &decoded.pcm, &reference);
        }
    }
}

#[test]
fn truncated_recordings_give_what_they_hold() {
    let Some(ffmpeg) = Ffmpeg::find() else { return };
    let source = ffmpeg.write("speech.wav", &wav_bytes(&speech_like(6.0)));
    let mut failures = Vec::new();
    let mut compared = 0;
    for format in &FORMATS {
        let whole = std::fs::read(ffmpeg.encode(&source, format.options)).unwrap();
        for percent in [35, 60, 85] {
            let cut = &whole[..whole.len() * percent / 100];
            let file = ffmpeg.write("cut", cut);
            // Without an index ffmpeg finds nothing either.
            let Some(reference) = ffmpeg.try_decode(&file, 16_000, 1) else {
                continue;
            };
            // Of a fragment that was cut nothing is left; these are of 500 ms.
            let fragment_ms = if format.name == "fragmented mp4" {
                500
            } else {
                0
            };
            let lost_ms = LENGTH_TOLERANCE_MS + fragment_ms;
            let least_ms = reference.duration_ms().saturating_sub(lost_ms);
            if least_ms == 0 {
                continue;
            }
            compared += 1;
            let ours = decode_within_defaults(cut);
            if !ours.is_ok_and(|ours| ours.pcm.duration_ms() >= least_ms) {
                failures.push(format!("{} cut at {percent} %, {least_ms} ms", format.name));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(
        compared > 40,
        "ffmpeg found audio in {compared} cut files only"
    );
}

#[test]
fn codecs_without_decoder_are_named_as_such() {
    let Some(ffmpeg) = Ffmpeg::find() else { return };
    let source = ffmpeg.write("speech.wav", &wav_bytes(&speech_like(1.0)));
    for options in [
        "-ar 16000 -ac 1 -c:a libspeex -f ogg",
        "-c:a wmav2 -f asf",
        "-c:a ac3 -f ac3",
        "-c:a ac3 -f matroska",
        "-c:a ac3 -f mp4",
        "-c:a wavpack -f wv",
        "-ac 6 -c:a libopus -f ogg",
        "-ac 6 -c:a libopus -f webm",
        "-c:a adpcm_swf -ar 44100 -f flv",
    ] {
        let encoded = std::fs::read(ffmpeg.encode(&source, options)).unwrap();
        let error = decode_within_defaults(&encoded).unwrap_err();
        assert_eq!(
            error.reason(),
            Reason::UnsupportedCodec,
            "{options}: {error:?}"
        );
    }
    let silent_film = "-f lavfi -i color=size=64x64:rate=10 -map 1:v -t 1 -c:v mpeg4 -f mp4";
    let encoded = std::fs::read(ffmpeg.encode(&source, silent_film)).unwrap();
    assert_eq!(
        decode_within_defaults(&encoded).unwrap_err().reason(),
        Reason::NoAudio
    );
}

#[test]
fn kilobytes_that_hold_minutes_of_silence_stop_at_the_limit() {
    let Some(ffmpeg) = Ffmpeg::find() else { return };
    let limits = DecodeLimits {
        max_duration_ms: 60_000,
        ..DecodeLimits::default()
    };
    let second = ffmpeg.write(
        "silence.wav",
        &wav_bytes(&Pcm::new(vec![0.0; 48_000], 48_000)),
    );
    for options in [
        "-af apad=whole_dur=600 -ac 1 -c:a libopus -b:a 6k -f ogg",
        "-af apad=whole_dur=600 -ac 1 -ar 8000 -f flac",
        "-af apad=whole_dur=600 -ac 1 -ar 44100 -c:a alac -f ipod",
    ] {
        let bomb = std::fs::read(ffmpeg.encode(&second, options)).unwrap();
        let error = decode(&bomb, &limits, &Deadline::none()).unwrap_err();
        assert!(
            matches!(error, DecodeError::TooLong { .. }),
            "{options}: {error:?}"
        );
        assert!(
            bomb.len() < 512 * 1024,
            "{options}: {} bytes are no bomb",
            bomb.len()
        );
    }
}

#[test]
fn damaged_recordings_give_audio_or_an_error_within_the_limits() {
    let Some(ffmpeg) = Ffmpeg::find() else { return };
    let limits = DecodeLimits {
        max_duration_ms: 10_000,
        ..DecodeLimits::default()
    };
    let source = ffmpeg.write("speech.wav", &wav_bytes(&speech_like(1.5)));
    let intact: Vec<Vec<u8>> = FORMATS
        .iter()
        .map(|format| std::fs::read(ffmpeg.encode(&source, format.options)).unwrap())
        .collect();
    let mut random = XorShift(0x9e37_79b9_7f4a_7c15);
    let (mut decoded, mut refused, mut panicked) = (0, 0, 0);
    for round in 0..330 {
        let mut bytes = intact[round % intact.len()].clone();
        for _ in 0..1 + random.below(50) {
            // Headers are where damage is worst: half of it goes there.
            let reach = if random.below(2) == 0 {
                512.min(bytes.len())
            } else {
                bytes.len()
            };
            let position = random.below(reach);
            bytes[position] = random.below(256) as u8;
        }
        if random.below(4) == 0 {
            bytes.truncate(random.below(bytes.len()) + 1);
        }
        match decode(
            &bytes,
            &limits,
            &Deadline::after(std::time::Duration::from_secs(20)),
        ) {
            Ok(audio) => {
                decoded += 1;
                assert!(audio.pcm.duration_ms() <= limits.max_duration_ms);
                assert!(audio.pcm.samples().iter().all(|sample| sample.abs() <= 1.0));
            }
            Err(DecodeError::DecoderPanicked) => panicked += 1,
            Err(error) => {
                refused += 1;
                assert_ne!(
                    error.reason(),
                    Reason::DeadlineExceeded,
                    "round {round} hangs"
                );
            }
        }
    }
    eprintln!("{decoded} decoded, {refused} refused, {panicked} panics caught");
    assert!(
        decoded > 0 && refused > 0,
        "the damage is too weak or too strong to test anything"
    );
}

fn decode_within_defaults(recording: &[u8]) -> Result<Decoded, DecodeError> {
    decode(recording, &DecodeLimits::default(), &Deadline::none())
}

/// Compares lengths, and waveforms at the shift of at most the tolerance that fits best.
fn assert_same_audio(case: &str, ours: &Pcm, reference: &Pcm) {
    let difference_ms = ours.duration_ms().abs_diff(reference.duration_ms());
    assert!(
        difference_ms <= LENGTH_TOLERANCE_MS,
        "{case}: lengths differ by {difference_ms} ms"
    );
    let reach = (LENGTH_TOLERANCE_MS * u64::from(SEARCH_RATE_HZ) / 1000) as i64;
    let at_search_rate = |pcm| {
        let resampled = resample(pcm, SEARCH_RATE_HZ).unwrap();
        let samples = resampled.samples().iter().copied().take(SEARCH_SAMPLES);
        Pcm::new(samples.collect::<Vec<f32>>(), SEARCH_RATE_HZ)
    };
    let (_, shift) = best_shift(
        &at_search_rate(ours),
        &at_search_rate(reference),
        -reach..=reach,
    );
    let step = i64::from(ours.sample_rate_hz().div_ceil(SEARCH_RATE_HZ));
    let shift = shift * i64::from(ours.sample_rate_hz()) / i64::from(SEARCH_RATE_HZ);
    let (best, _) = best_shift(ours, reference, shift - step..=shift + step);
    assert!(best > 0.99, "{case}: correlation {best}");
}

/// The highest correlation, and how many samples `ours` is late then.
fn best_shift(ours: &Pcm, reference: &Pcm, shifts: RangeInclusive<i64>) -> (f64, i64) {
    let correlations = shifts.map(|shift| {
        let late = shift.max(0) as usize;
        let early = (-shift).max(0) as usize;
        (
            correlation(&ours.samples()[late..], &reference.samples()[early..]),
            shift,
        )
    });
    correlations
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .unwrap()
}

fn correlation(a: &[f32], b: &[f32]) -> f64 {
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (&a, &b) in a.iter().zip(b) {
        let (a, b) = (f64::from(a), f64::from(b));
        ab += a * b;
        aa += a * a;
        bb += b * b;
    }
    ab / (aa * bb).sqrt()
}

/// A gliding voice of 20 harmonics in syllables with pauses, 48 kHz.
pub fn speech_like(seconds: f64) -> Pcm {
    let sample_rate_hz = 48_000;
    let mut phase = 0.0;
    let samples: Vec<f32> = (0..(seconds * f64::from(sample_rate_hz)) as usize)
        .map(|n| {
            let time = n as f64 / f64::from(sample_rate_hz);
            phase += (140.0 + 40.0 * (time * 2.3).sin()) / f64::from(sample_rate_hz);
            let voice: f64 = (1..=20)
                .map(|harmonic| {
                    let harmonic = f64::from(harmonic);
                    (phase * harmonic * std::f64::consts::TAU).sin() / harmonic
                })
                .sum();
            let syllable = (time * 4.0 * std::f64::consts::PI).sin().max(0.0);
            (0.25 * voice * syllable) as f32
        })
        .collect();
    Pcm::new(samples, sample_rate_hz)
}

/// The samples as a stereo WAV file whose right channel is half as loud.
fn wav_bytes(pcm: &Pcm) -> Vec<u8> {
    let stereo = pcm
        .samples()
        .iter()
        .flat_map(|&sample| [sample, sample / 2.0]);
    wav(stereo, 2, pcm.sample_rate_hz())
}

/// Marsaglia's xorshift64: the same damage on every run.
struct XorShift(u64);

impl XorShift {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}
