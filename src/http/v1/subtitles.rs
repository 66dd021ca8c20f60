//! Transcriptions as subtitles.

use crate::http::jobs::{SegmentReport, TranscriptionReport};

/// SubRip: numbered cues.
pub fn srt(heard: &TranscriptionReport) -> String {
    let mut text = String::new();
    for (number, cue) in (1..).zip(cues(heard)) {
        let (from, to) = (time(cue.start_ms, ','), time(cue.end_ms, ','));
        text.push_str(&format!(
            "{number}\n{from} --> {to}\n{}\n\n",
            line(&cue.text)
        ));
    }
    text
}

/// WebVTT.
pub fn vtt(heard: &TranscriptionReport) -> String {
    let mut text = "WEBVTT\n\n".to_owned();
    for cue in cues(heard) {
        let (from, to) = (time(cue.start_ms, '.'), time(cue.end_ms, '.'));
        // What would be markup is text.
        let words = line(&cue.text).replace('&', "&amp;").replace('<', "&lt;");
        text.push_str(&format!("{from} --> {to}\n{words}\n\n"));
    }
    text
}

/// The parts of a transcription; one for all of it where it has none.
fn cues(heard: &TranscriptionReport) -> Vec<SegmentReport> {
    let segments: Vec<SegmentReport> = heard.segments.iter().flatten().cloned().collect();
    if !segments.is_empty() || heard.text.is_empty() {
        return segments;
    }
    vec![SegmentReport {
        text: heard.text.clone(),
        start_ms: 0,
        end_ms: heard.duration_ms,
        confidence: None,
    }]
}

/// A cue ends at an empty line, and its times at an arrow.
fn line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").replace("-->", "→")
}

fn time(ms: u64, separator: char) -> String {
    let (seconds, minutes) = (ms / 1_000 % 60, ms / 60_000 % 60);
    let (hours, ms) = (ms / 3_600_000, ms % 1_000);
    format!("{hours:02}:{minutes:02}:{seconds:02}{separator}{ms:03}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(segments: Option<Vec<SegmentReport>>) -> TranscriptionReport {
        TranscriptionReport {
            text: "Hello --> you. A < B".to_owned(),
            language: "en".to_owned(),
            confidence: 1.0,
            duration_ms: 3_723_004,
            source: "whisper".to_owned(),
            segments,
        }
    }

    #[test]
    fn cues_have_times_and_hold_no_marks_of_the_format() {
        let segment = |text: &str, start_ms, end_ms| SegmentReport {
            text: text.to_owned(),
            start_ms,
            end_ms,
            confidence: None,
        };
        let parts = vec![
            segment("Hello -->\n\nyou.", 40, 1_500),
            segment("A < B", 1_500, 3_723_004),
        ];
        let heard = heard(Some(parts));
        assert_eq!(
            srt(&heard),
            "1\n00:00:00,040 --> 00:00:01,500\nHello → you.\n\n\
             2\n00:00:01,500 --> 01:02:03,004\nA < B\n\n"
        );
        assert_eq!(
            vtt(&heard),
            "WEBVTT\n\n00:00:00.040 --> 00:00:01.500\nHello → you.\n\n\
             00:00:01.500 --> 01:02:03.004\nA &lt; B\n\n"
        );
    }

    #[test]
    fn a_transcription_without_parts_is_one_cue_and_silence_none() {
        assert!(srt(&heard(None)).starts_with("1\n00:00:00,000 --> 01:02:03,004\n"));
        let silence = TranscriptionReport {
            text: String::new(),
            ..heard(None)
        };
        assert_eq!(srt(&silence), "");
        assert_eq!(vtt(&silence), "WEBVTT\n\n");
    }
}
