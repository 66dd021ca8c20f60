//! What the pitch of a voice suggests about the speaker.
//!
//! Mean fundamental frequencies of speech lie around 120 Hz for men and 210 Hz for women, with standard
//! deviations between speakers of about 20 Hz and 25 Hz (Traunmüller and Eriksson, "The frequency range
//! of the voice fundamental in the speech of male and female adults", 1995); of children before
//! their voice breaks around 250 to 300 Hz (Baken and Orlikoff, "Clinical Measurement of Speech and
//! Voice", 2000). The middle class of each sex is its mean and one standard deviation to each side; where the
//! distributions of the sexes, or of women and children, overlap, nothing is claimed.

use crate::domain::measures::{
    EstimatedAgeRange, EstimatedGender, PitchMeasures, VoiceClassification, VoiceType,
};

/// Measures below this confidence say nothing about the speaker: less than a second of voice, or
/// noise as loud as the voice.
const MIN_CONFIDENCE: f32 = 0.25;

/// Few women speak at such a mean pitch.
const CHILD_FROM_HZ: f32 = 300.0;

/// Upper end of each class in Hz, with what is said about it. The last has no end.
const CLASSES: [(f32, VoiceType); 7] = [
    (100.0, VoiceType::LowMale),
    (140.0, VoiceType::MediumMale),
    (165.0, VoiceType::HighMale),
    (185.0, VoiceType::LowFemale),
    (235.0, VoiceType::MediumFemale),
    (CHILD_FROM_HZ, VoiceType::HighFemale),
    (f32::INFINITY, VoiceType::Child),
];

/// Men and women both speak at such a mean pitch.
const EITHER_GENDER_HZ: std::ops::Range<f32> = 155.0..175.0;

/// Women and children both speak at such a mean pitch.
const EITHER_AGE_HZ: std::ops::Range<f32> = 250.0..330.0;

/// Classifies by the mean pitch; `Unknown` without a pitch or with a low confidence.
pub(super) fn classify(pitch: &PitchMeasures, confidence: f32) -> VoiceClassification {
    let hz = pitch.mean_hz;
    if hz <= 0.0 || confidence < MIN_CONFIDENCE {
        return VoiceClassification {
            voice_type: VoiceType::Unknown,
            estimated_gender: EstimatedGender::Unknown,
            estimated_age_range: EstimatedAgeRange::Unknown,
        };
    }
    let class = CLASSES.into_iter().find(|(end_hz, _)| hz < *end_hz);
    VoiceClassification {
        voice_type: class.map_or(VoiceType::Unknown, |(_, voice_type)| voice_type),
        estimated_gender: if hz < EITHER_GENDER_HZ.start {
            EstimatedGender::Male
        } else if EITHER_GENDER_HZ.contains(&hz) || hz >= CHILD_FROM_HZ {
            EstimatedGender::Unknown
        } else {
            EstimatedGender::Female
        },
        estimated_age_range: if hz < EITHER_AGE_HZ.start {
            EstimatedAgeRange::Adult
        } else if EITHER_AGE_HZ.contains(&hz) {
            EstimatedAgeRange::Unknown
        } else {
            EstimatedAgeRange::Child
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(mean_hz: f32, confidence: f32) -> VoiceClassification {
        let pitch = PitchMeasures {
            mean_hz,
            ..PitchMeasures::default()
        };
        classify(&pitch, confidence)
    }

    #[test]
    fn classes_follow_the_pitch() {
        use {EstimatedAgeRange as Age, EstimatedGender as Gender, VoiceType as Type};
        for (hz, voice_type, gender, age) in [
            (85.0, Type::LowMale, Gender::Male, Age::Adult),
            (120.0, Type::MediumMale, Gender::Male, Age::Adult),
            (150.0, Type::HighMale, Gender::Male, Age::Adult),
            (160.0, Type::HighMale, Gender::Unknown, Age::Adult),
            (170.0, Type::LowFemale, Gender::Unknown, Age::Adult),
            (180.0, Type::LowFemale, Gender::Female, Age::Adult),
            (210.0, Type::MediumFemale, Gender::Female, Age::Adult),
            (240.0, Type::HighFemale, Gender::Female, Age::Adult),
            (280.0, Type::HighFemale, Gender::Female, Age::Unknown),
            (310.0, Type::Child, Gender::Unknown, Age::Unknown),
            (340.0, Type::Child, Gender::Unknown, Age::Child),
        ] {
            let expected = VoiceClassification {
                voice_type,
                estimated_gender: gender,
                estimated_age_range: age,
            };
            assert_eq!(at(hz, 0.9), expected, "{hz} Hz");
        }
    }

    #[test]
    fn nothing_is_said_without_a_pitch_or_confidence() {
        assert_eq!(at(0.0, 1.0).voice_type, VoiceType::Unknown);
        assert_eq!(at(120.0, 0.1), at(0.0, 1.0));
    }
}
