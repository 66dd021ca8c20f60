//! The languages that a conversation needs, when a request does not say.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::JobFailure;
use super::job::Job;
use crate::domain::Language;
use crate::error::{Stage, error_chain};
use crate::protocol::{AudioProcessRequest, TargetLanguages};
use crate::store::{Member, MongoStore, StoreError};

/// How long members are remembered (contract/rules.md, section 4).
const MEMORY: Duration = Duration::from_secs(300);
/// Conversations that are remembered at once.
const MAX_REMEMBERED: usize = 1_000;

/// Who is in which conversation, as the database says it or said it a moment ago.
#[derive(Default)]
pub struct Conversations {
    remembered: Mutex<HashMap<String, Remembered>>,
}

/// The members of a conversation, and when they were looked up.
type Remembered = (Instant, Arc<[Member]>);

impl Conversations {
    async fn members(
        &self,
        database: &MongoStore,
        conversation_id: &str,
    ) -> Result<Arc<[Member]>, StoreError> {
        if let Some(members) = self.remembered(conversation_id) {
            return Ok(members);
        }
        let members: Arc<[Member]> = database.members(conversation_id).await?.into();
        self.remember(conversation_id, Arc::clone(&members));
        Ok(members)
    }

    fn remembered(&self, conversation_id: &str) -> Option<Arc<[Member]>> {
        let remembered = self.remembered.lock();
        let remembered = remembered.unwrap_or_else(PoisonError::into_inner);
        let (at, members) = remembered.get(conversation_id)?;
        (at.elapsed() < MEMORY).then(|| Arc::clone(members))
    }

    fn remember(&self, conversation_id: &str, members: Arc<[Member]>) {
        let remembered = self.remembered.lock();
        let mut remembered = remembered.unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= MAX_REMEMBERED {
            remembered.retain(|_, (at, _)| at.elapsed() < MEMORY);
        }
        // All of them are fresh: to look some up once more is cheap.
        if remembered.len() >= MAX_REMEMBERED {
            remembered.clear();
        }
        remembered.insert(conversation_id.to_owned(), (Instant::now(), members));
    }
}

/// The languages of everybody in the request's conversation but its sender, each once.
///
/// None when they cannot be found out: then the message is transcribed only. A job that goes on
/// after a crash keeps the languages that it has begun with.
pub(super) async fn target_languages(
    job: &Job,
    request: &AudioProcessRequest,
) -> Result<TargetLanguages, JobFailure> {
    if let Some((languages, _)) = job.restored::<Vec<Language>>(Stage::Translate, "").await {
        return Ok(languages.into_iter().collect());
    }
    let Some(conversation_id) = &request.conversation_id else {
        tracing::warn!("neither target languages nor a conversation: transcription only");
        return Ok(TargetLanguages::default());
    };
    let Some(database) = &job.pipeline.database else {
        tracing::warn!("no target languages and no database to ask: transcription only");
        return Ok(TargetLanguages::default());
    };
    let conversations = &job.pipeline.conversations;
    let members = match conversations.members(database, conversation_id).await {
        Ok(members) => members,
        Err(error) => {
            let error = error_chain(&error);
            tracing::warn!(error, "members are not known: transcription only");
            return Ok(TargetLanguages::default());
        }
    };
    let mut languages: Vec<Language> = Vec::new();
    for member in members.iter() {
        if member.user_id != request.sender_id && !languages.contains(&member.language) {
            languages.push(member.language);
        }
    }
    job.checkpoint(Stage::Translate, "", &languages, None)
        .await?;
    Ok(languages.into_iter().collect())
}
