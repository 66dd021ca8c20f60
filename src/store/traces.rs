//! What the gateway keeps of the events that it has taken, in its own collections. Never what the daemon
//! itself writes, and never what people say: only languages, lengths and times are asked for.

use std::collections::{BTreeSet, HashMap};

use mongodb::bson::{Bson, Document, doc, oid::ObjectId};
use mongodb::options::FindOptions;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{MongoStore, StoreError};
use crate::domain::timestamp::unix_ms;

/// How much earlier than the daemon's a time of the gateway's clock may be.
const CLOCK_SKEW_MS: i64 = 2_000;

/// Longest language that is looked for.
const MAX_LANGUAGE_BYTES: usize = 16;

/// Something that is there once the gateway has taken an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trace {
    /// A text in a language.
    Text {
        /// The message.
        message_id: String,
        /// The language.
        language: String,
    },
    /// What was said in a recording.
    Transcription {
        /// The recording.
        owner: TraceOwner,
        /// Its language.
        language: String,
        /// Its length.
        duration_ms: Option<i64>,
    },
    /// A recording spoken in a language.
    Speech {
        /// The recording.
        owner: TraceOwner,
        /// The language.
        language: String,
    },
    /// A voice.
    Voice {
        /// Whose it is.
        user_id: String,
    },
}

/// What a recording belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TraceOwner {
    /// An attachment of a message.
    Attachment(String),
    /// Media of a post.
    PostMedia(String),
}

/// A trace, and since when.
#[derive(Debug, Clone)]
pub struct Sought {
    /// What is to be there.
    pub trace: Trace,
    /// Milliseconds since 1970: what is older comes from an earlier job.
    pub since_ms: i64,
}

impl Trace {
    /// The collection, the field that holds the id, the id, and the field that the trace is in.
    fn place(&self) -> (&'static str, &'static str, &str, String) {
        let of = |owner: &TraceOwner| match owner {
            TraceOwner::Attachment(_) => "MessageAttachment",
            TraceOwner::PostMedia(_) => "PostMedia",
        };
        match self {
            Self::Text {
                message_id,
                language,
            } => ("Message", "_id", message_id, translation(language)),
            Self::Transcription { owner, .. } => {
                (of(owner), "_id", owner.id(), "transcription".into())
            }
            Self::Speech { owner, language } => {
                (of(owner), "_id", owner.id(), translation(language))
            }
            Self::Voice { user_id } => ("UserVoiceModel", "userId", user_id, String::new()),
        }
    }

    /// The fields that tell whether it is there: without the words.
    fn fields(&self) -> Vec<String> {
        let (_, _, _, field) = self.place();
        match self {
            Self::Text { .. } | Self::Speech { .. } => {
                vec![format!("{field}.createdAt"), format!("{field}.updatedAt")]
            }
            Self::Transcription { .. } => {
                vec![format!("{field}.language"), format!("{field}.durationMs")]
            }
            Self::Voice { .. } => vec!["createdAt".into(), "updatedAt".into()],
        }
    }

    fn is_in(&self, document: &Document, since_ms: i64) -> bool {
        let at = match self {
            Self::Text { language, .. } | Self::Speech { language, .. } => document
                .get_document("translations")
                .and_then(|translations| translations.get_document(language))
                .ok(),
            // It has no time. Another one of the same recording says the same.
            Self::Transcription {
                language,
                duration_ms,
                ..
            } => {
                let Ok(found) = document.get_document("transcription") else {
                    return false;
                };
                let is_as_long = match (number(found.get("durationMs")), duration_ms) {
                    (Some(found), Some(duration_ms)) => found == *duration_ms,
                    _ => true,
                };
                return is_as_long
                    && found
                        .get_str("language")
                        .is_ok_and(|found| found == language);
            }
            Self::Voice { .. } => Some(document),
        };
        at.is_some_and(|at| is_since(at, since_ms))
    }
}

impl TraceOwner {
    fn id(&self) -> &str {
        match self {
            Self::Attachment(id) | Self::PostMedia(id) => id,
        }
    }
}

impl MongoStore {
    /// False for traces that leave none: ids that are no ObjectIds are nobody's in the database, and the
    /// name of a field must not be a path.
    pub fn can_find(trace: &Trace) -> bool {
        let is_name = |language: &str| {
            !language.is_empty()
                && language.len() <= MAX_LANGUAGE_BYTES
                && language
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        let (_, _, id, _) = trace.place();
        let is_language = match trace {
            Trace::Text { language, .. } | Trace::Speech { language, .. } => is_name(language),
            Trace::Transcription { .. } | Trace::Voice { .. } => true,
        };
        is_language && ObjectId::parse_str(id).is_ok()
    }

    /// Which of the traces are there, in their order. One query for each collection.
    ///
    /// # Errors
    /// [`StoreError`]; two seconds without the whole answer are a [`StoreError::Timeout`].
    pub async fn find_traces(&self, sought: &[Sought]) -> Result<Vec<bool>, StoreError> {
        let mut found = vec![false; sought.len()];
        let mut questions: HashMap<(&str, &str), Vec<(usize, ObjectId)>> = HashMap::new();
        for (index, sought) in sought.iter().enumerate() {
            let (collection, key, id, _) = sought.trace.place();
            if let Ok(id) = ObjectId::parse_str(id)
                && Self::can_find(&sought.trace)
            {
                questions
                    .entry((collection, key))
                    .or_default()
                    .push((index, id));
            }
        }
        self.within_budget(async {
            for ((collection, key), asked) in &questions {
                let documents = self.documents_of(collection, key, asked, sought).await?;
                for (index, id) in asked {
                    let Sought { trace, since_ms } = &sought[*index];
                    let document = documents.get(id);
                    found[*index] = document.is_some_and(|it| trace.is_in(it, *since_ms));
                }
            }
            Ok(found)
        })
        .await
    }

    async fn documents_of(
        &self,
        collection: &str,
        key: &str,
        asked: &[(usize, ObjectId)],
        sought: &[Sought],
    ) -> Result<HashMap<ObjectId, Document>, StoreError> {
        let ids: BTreeSet<ObjectId> = asked.iter().map(|(_, id)| *id).collect();
        let fields: BTreeSet<String> = asked
            .iter()
            .flat_map(|(index, _)| sought[*index].trace.fields())
            .collect();
        let mut projection: Document = fields
            .into_iter()
            .map(|field| (field, Bson::Int32(1)))
            .collect();
        projection.insert(key, 1);
        let options = FindOptions::builder()
            .projection(projection)
            .limit(ids.len() as i64)
            .build();
        let filter = doc! { key: { "$in": ids.into_iter().collect::<Vec<_>>() } };
        let documents = self.find(collection, filter, options).await?;
        Ok(documents
            .into_iter()
            .filter_map(|document| Some((document.get_object_id(key).ok()?, document)))
            .collect())
    }
}

fn translation(language: &str) -> String {
    format!("translations.{language}")
}

/// Whether something was written at that time or later; the gateway's maps are JSON, so their times may
/// be texts.
fn is_since(written: &Document, since_ms: i64) -> bool {
    ["updatedAt", "createdAt"]
        .into_iter()
        .filter_map(|field| match written.get(field)? {
            Bson::DateTime(at) => Some(at.timestamp_millis()),
            Bson::String(at) => OffsetDateTime::parse(at, &Rfc3339).ok().map(unix_ms),
            _ => None,
        })
        .any(|at_ms| at_ms >= since_ms.saturating_sub(CLOCK_SKEW_MS))
}

/// JavaScript's whole numbers are stored as any of the three.
fn number(value: Option<&Bson>) -> Option<i64> {
    match value? {
        Bson::Int32(value) => Some(i64::from(*value)),
        Bson::Int64(value) => Some(*value),
        Bson::Double(value) => Some(*value as i64),
        _ => None,
    }
}
