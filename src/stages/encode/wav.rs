//! WAV with 16-bit samples.

use crate::domain::Pcm;

/// Bytes of a sample.
const SAMPLE_BYTES: u32 = 2;
/// Bytes between the length of the file and its samples.
const HEADER_REST_BYTES: u32 = 36;
/// The length of a stream whose length is not known yet: readers then read to its end.
const UNKNOWN_BYTES: u32 = u32::MAX;

/// The samples as a file.
pub fn wav(pcm: &Pcm) -> Vec<u8> {
    let data_bytes = u32::try_from(pcm.samples().len()).ok();
    let data_bytes = data_bytes.and_then(|samples| samples.checked_mul(SAMPLE_BYTES));
    let mut file = header(pcm.sample_rate_hz(), data_bytes.unwrap_or(UNKNOWN_BYTES));
    file.extend(samples(pcm));
    file
}

/// What a stream of that rate begins with; [`samples`] follow.
pub(super) fn stream_header(sample_rate_hz: u32) -> Vec<u8> {
    header(sample_rate_hz, UNKNOWN_BYTES)
}

/// Samples as they are in a file; those outside −1..1 are clipped, and what is no number becomes silence.
pub(super) fn samples(pcm: &Pcm) -> impl Iterator<Item = u8> {
    pcm.samples().iter().flat_map(|sample| {
        // A cast takes NaN for 0.
        let sample = (sample.clamp(-1.0, 1.0) * f32::from(i16::MAX)).round() as i16;
        sample.to_le_bytes()
    })
}

fn header(sample_rate_hz: u32, data_bytes: u32) -> Vec<u8> {
    const PCM: u16 = 1;
    const CHANNELS: u16 = 1;
    const FORMAT_BYTES: u32 = 16;
    let sample_bits = (SAMPLE_BYTES * 8) as u16;
    let mut header = Vec::new();
    header.extend(b"RIFF");
    header.extend(data_bytes.saturating_add(HEADER_REST_BYTES).to_le_bytes());
    header.extend(b"WAVEfmt ");
    header.extend(FORMAT_BYTES.to_le_bytes());
    header.extend(PCM.to_le_bytes());
    header.extend(CHANNELS.to_le_bytes());
    header.extend(sample_rate_hz.to_le_bytes());
    header.extend(sample_rate_hz.saturating_mul(SAMPLE_BYTES).to_le_bytes());
    header.extend((SAMPLE_BYTES as u16).to_le_bytes());
    header.extend(sample_bits.to_le_bytes());
    header.extend(b"data");
    header.extend(data_bytes.to_le_bytes());
    header
}
