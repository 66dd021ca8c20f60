//! WAV from a program that writes it to a pipe, so that the lengths in it are made up.

use crate::domain::Pcm;

/// Rates that a voice may have.
const SAMPLE_RATES_HZ: std::ops::RangeInclusive<u32> = 8_000..=48_000;

/// Reads mono 16-bit PCM in a RIFF container; `None` when it is anything else.
///
/// A length of the data that goes beyond the end means: until the end.
pub(super) fn pcm(wav: &[u8]) -> Option<Pcm> {
    let mut rest = wav.strip_prefix(b"RIFF")?.get(4..)?.strip_prefix(b"WAVE")?;
    let mut sample_rate_hz = None;
    loop {
        let (id, after) = rest.split_at_checked(4)?;
        let (length, body) = after.split_at_checked(4)?;
        let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
        if id == b"data" {
            let data = body.get(..length).unwrap_or(body);
            let (samples, _) = data.as_chunks::<2>();
            let samples: Vec<f32> = samples
                .iter()
                .map(|bytes| f32::from(i16::from_le_bytes(*bytes)) / 32_768.0)
                .collect();
            return Some(Pcm::new(samples, sample_rate_hz?));
        }
        if id == b"fmt " {
            sample_rate_hz = Some(format(body.get(..length)?)?);
        }
        // Chunks begin at even places.
        rest = body.get(length.checked_next_multiple_of(2)?..)?;
    }
}

/// The sample rate, if the samples are of the only kind that is read.
fn format(chunk: &[u8]) -> Option<u32> {
    const MONO_PCM: [u8; 4] = [1, 0, 1, 0];
    const BITS: [u8; 2] = [16, 0];
    let rate = u32::from_le_bytes(chunk.get(4..8)?.try_into().ok()?);
    let is_read = chunk.starts_with(&MONO_PCM) && chunk.get(14..16)? == BITS;
    (is_read && SAMPLE_RATES_HZ.contains(&rate)).then_some(rate)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A file as espeak-ng writes it to a pipe: with lengths that are no lengths.
    pub(in super::super) fn streamed(samples: &[i16], rate_hz: u32) -> Vec<u8> {
        let mut wav = b"RIFF\x24\xf0\xff\x7fWAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
        wav.extend(rate_hz.to_le_bytes());
        wav.extend((2 * rate_hz).to_le_bytes());
        wav.extend(b"\x02\0\x10\0data\0\xf0\xff\x7f");
        wav.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
        wav
    }

    #[test]
    fn a_stream_is_read_to_its_end() {
        let pcm = pcm(&streamed(&[0, 16_384, -32_768], 22_050)).unwrap();
        assert_eq!(pcm.samples(), [0.0, 0.5, -1.0]);
        assert_eq!(pcm.sample_rate_hz(), 22_050);
    }

    #[test]
    fn a_length_that_fits_counts_and_other_chunks_are_passed_over() {
        let mut wav = streamed(&[1, 2, 3], 16_000);
        wav[40..44].copy_from_slice(&4_u32.to_le_bytes());
        wav.splice(36..36, *b"LIST\x03\0\0\0abc\0");
        assert_eq!(pcm(&wav).unwrap().samples().len(), 2);
    }

    #[test]
    fn anything_else_is_refused() {
        let good = streamed(&[1, 2], 22_050);
        for end in 0..44 {
            assert!(pcm(&good[..end]).is_none(), "cut at {end}");
        }
        for (at, byte) in [(20, 3), (22, 2), (34, 8), (24, 0), (0, b'X'), (8, b'X')] {
            let mut bad = good.clone();
            bad[at] = byte;
            if at == 24 {
                bad[25] = 0;
            }
            assert!(pcm(&bad).is_none(), "byte {at}");
        }
        assert!(pcm(b"").is_none());
        let mut endless = good[..36].to_vec();
        endless.extend(b"LIST\xff\xff\xff\xff");
        assert!(pcm(&endless).is_none());
    }
}
