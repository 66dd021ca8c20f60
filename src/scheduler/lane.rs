//! Where jobs wait, by what they are.

use crate::pipeline::AUDIO_LANES;
use crate::protocol::{PoolType, Request, VoiceCall, VoiceProfileCall};

/// Where a job waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Short texts.
    TextFast,
    /// Other texts, and stories.
    TextNormal,
    /// Texts that nobody waits for.
    TextAny,
    /// Recordings that are heard or spoken.
    Audio,
    /// The same of jobs that may wait.
    AudioLow,
    /// Recordings from which a voice is measured, compared or registered.
    Analysis,
    /// What takes no model: questions that are answered from what is known, and deletions.
    Query,
}

impl Lane {
    pub(super) const ALL: [Self; 7] = [
        Self::Query,
        Self::TextFast,
        Self::TextNormal,
        Self::TextAny,
        Self::Analysis,
        Self::Audio,
        Self::AudioLow,
    ];

    /// The lane of a request; a ping has none.
    pub fn of(request: &Request) -> Option<Self> {
        match request {
            Request::Ping => None,
            Request::AudioProcess(_) | Request::TranscriptionOnly(_) => Some(Self::Audio),
            Request::StoryText(request) => Some(Self::of_text(request.text.expose(), false)),
            Request::Translation(request) => Some(Self::of_text(
                request.text.expose(),
                request.is_low_priority(),
            )),
            Request::VoiceApi(request) => Some(match &request.call {
                VoiceCall::TranslateAsync(_, options) if options.priority == 0 => Self::AudioLow,
                VoiceCall::Translate(_) | VoiceCall::TranslateAsync(..) => Self::Audio,
                VoiceCall::Analyze(_)
                | VoiceCall::Compare(..)
                | VoiceCall::ProfileCreate(_)
                | VoiceCall::ProfileUpdate(_) => Self::Analysis,
                VoiceCall::JobStatus(_)
                | VoiceCall::JobCancel(_)
                | VoiceCall::Feedback(_)
                | VoiceCall::History(_)
                | VoiceCall::Stats(_)
                | VoiceCall::AdminMetrics
                | VoiceCall::Health
                | VoiceCall::Languages
                | VoiceCall::ProfileGet(_)
                | VoiceCall::ProfileDelete(_)
                | VoiceCall::ProfileList(_) => Self::Query,
            }),
            Request::VoiceProfile(request) => Some(match &request.call {
                VoiceProfileCall::Analyze(_) | VoiceProfileCall::Verify(..) => Self::Analysis,
                VoiceProfileCall::Compare(..) => Self::Query,
            }),
        }
    }

    /// The lane of a text.
    pub fn of_text(text: &str, is_low_priority: bool) -> Self {
        match PoolType::of_text(text, is_low_priority) {
            PoolType::Fast => Self::TextFast,
            PoolType::Normal => Self::TextNormal,
            PoolType::Any => Self::TextAny,
        }
    }

    /// The lane's name in the ledger, in metrics and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TextFast => "text_fast",
            Self::TextNormal => "text_normal",
            Self::TextAny => "text_any",
            Self::Audio => AUDIO_LANES[0],
            Self::AudioLow => AUDIO_LANES[1],
            Self::Analysis => "analysis",
            Self::Query => "query",
        }
    }

    /// The lane of that name; what is unknown waits with the recordings.
    pub fn from_name(name: &str) -> Self {
        Self::ALL
            .into_iter()
            .find(|lane| lane.as_str() == name)
            .unwrap_or(Self::Audio)
    }

    /// The slots that jobs of the lane share.
    pub(super) fn slots(self) -> Slots {
        match self {
            Self::TextFast | Self::TextNormal | Self::TextAny => Slots::Text,
            Self::Audio | Self::AudioLow => Slots::Audio,
            Self::Analysis => Slots::Analysis,
            Self::Query => Slots::Query,
        }
    }

    /// True when its jobs need audio services.
    pub fn needs_audio(self) -> bool {
        matches!(self, Self::Audio | Self::AudioLow | Self::Analysis)
    }
}

/// Jobs that may run at once share slots of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slots {
    Text,
    Audio,
    Analysis,
    Query,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_by_length_and_priority() {
        assert_eq!(Lane::of_text(&"é".repeat(99), false), Lane::TextFast);
        assert_eq!(Lane::of_text(&"é".repeat(100), false), Lane::TextNormal);
        assert_eq!(Lane::of_text("short", true), Lane::TextAny);
        for lane in Lane::ALL {
            assert_eq!(Lane::from_name(lane.as_str()), lane);
        }
    }
}
