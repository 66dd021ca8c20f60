//! What can be measured in a voice, and how alike two voices are.

use crate::domain::voice::SpeakerEmbedding;
use crate::domain::{Pcm, VoiceMeasures};
use crate::error::{ErrorCode, Stage};
use crate::pipeline::job::Job;
use crate::pipeline::recording::{self, in_background};
use crate::pipeline::{JobFailure, voice};
use crate::protocol::{AudioSource, VoiceApiResult};
use crate::stages::measure::{compare, measure};

pub(super) async fn analyze(
    job: &Job,
    audio: Vec<AudioSource>,
) -> Result<VoiceApiResult, JobFailure> {
    let recording = recording::decoded(job, audio).await?;
    let measures = measured(job, &recording.pcm).await?;
    Ok(VoiceApiResult::Analysis(Box::new(measures)))
}

pub(super) async fn compare_two(
    job: &Job,
    first: Vec<AudioSource>,
    second: Vec<AudioSource>,
) -> Result<VoiceApiResult, JobFailure> {
    let first = recording::decoded(job, first).await?.pcm;
    let second = recording::decoded(job, second).await?.pcm;
    let measures = (measured(job, &first).await?, measured(job, &second).await?);
    let speakers = tokio::join!(speaker(job, &first), speaker(job, &second));
    let similarity = match speakers {
        (Some(first), Some(second)) => Some(first.cosine_similarity(&second)),
        _ => None,
    };
    let comparison = compare(&measures.0, &measures.1, similarity);
    Ok(VoiceApiResult::Comparison(comparison))
}

/// Measures a recording.
pub(in crate::pipeline) async fn measured(
    job: &Job,
    pcm: &Pcm,
) -> Result<VoiceMeasures, JobFailure> {
    let code = ErrorCode::ProcessingFailed;
    job.stage(Stage::Measure, None, code, async {
        let (pcm, deadline) = (pcm.clone(), job.deadline.clone());
        in_background(Stage::Measure, move || {
            measure(&pcm, &deadline)
                .map_err(|error| JobFailure::of_stage(Stage::Measure, code, &error))
        })
        .await
    })
    .await
}

/// Who speaks, where that can be told: without it the measures alone are compared.
async fn speaker(job: &Job, pcm: &Pcm) -> Option<SpeakerEmbedding> {
    match voice::identify(job, pcm).await {
        Ok(embedding) => Some(embedding),
        Err(failure) => {
            failure.record(job.kind());
            None
        }
    }
}
