//! What the gateway's own collections say: who is in a conversation, what a user recorded, and the
//! voice that the gateway keeps. Only the fields that are needed are asked for, never what people say.

use std::collections::HashMap;
use std::time::Duration;

use mongodb::bson::{Bson, Document, doc};
use mongodb::options::FindOptions;

use super::mongo::in_time;
use super::{MongoStore, StoreError};
use crate::domain::Language;

/// For everything that one question asks: a job waits for it.
const BUDGET: Duration = Duration::from_secs(2);
/// Members of a conversation that are looked at; the rest of a larger one most likely speaks no
/// other languages.
const MAX_MEMBERS: i64 = 1_000;
/// Latest messages of a user among which recordings are looked for, where attachments don't name
/// their user.
const MAX_MESSAGES: i64 = 1_000;

/// Somebody in a conversation, with the language that messages are wanted in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The user; of somebody without an account, the participant.
    pub user_id: String,
    /// What the member wants to hear.
    pub language: Language,
}

/// Languages of a user in the order of their weight, each with the flag that the gateway's first
/// schema made it depend on.
const PREFERENCES: [(&str, &str); 3] = [
    ("customDestinationLanguage", "useCustomDestination"),
    ("systemLanguage", "translateToSystemLanguage"),
    ("regionalLanguage", "translateToRegionalLanguage"),
];

impl MongoStore {
    /// The active members of a conversation who have a language; none where nothing is to be
    /// translated, or where the id is none that is stored.
    ///
    /// # Errors
    /// [`StoreError`]; two seconds without the whole answer are a [`StoreError::Timeout`].
    pub async fn members(&self, conversation_id: &str) -> Result<Vec<Member>, StoreError> {
        let Some(id) = self.id(conversation_id) else {
            return Ok(Vec::new());
        };
        self.within_budget(async {
            let conversation = self.find(
                "Conversation",
                doc! { "_id": &id },
                any(&["autoTranslateEnabled"], 1),
            );
            let is_off = |found: &Document| has(found, "autoTranslateEnabled", false);
            if conversation.await?.iter().any(is_off) {
                return Ok(Vec::new());
            }
            let active = doc! { "conversationId": id, "isActive": true };
            let person = any(&["userId", "type", "language"], MAX_MEMBERS);
            let mut people = self
                .find("Participant", active.clone(), person.clone())
                .await?;
            if people.is_empty() {
                people = self.find("ConversationMember", active, person).await?;
            }
            let languages = self.languages_of(&people).await?;
            Ok(people
                .iter()
                .filter_map(|person| member(person, &languages))
                .collect())
        })
        .await
    }

    /// The files of the last `limit` recordings that a user made, newest first, as paths below the
    /// uploads folder; forwarded recordings are other people's and left out.
    ///
    /// # Errors
    /// [`StoreError`]; two seconds without the whole answer are a [`StoreError::Timeout`].
    pub async fn audio_history(
        &self,
        user_id: &str,
        limit: u32,
    ) -> Result<Vec<String>, StoreError> {
        let Some(user) = self.id(user_id) else {
            return Ok(Vec::new());
        };
        self.within_budget(async {
            let uploaded = self.recordings(doc! { "uploadedBy": &user }, limit).await?;
            if !uploaded.is_empty() {
                return Ok(uploaded);
            }
            // Where recordings don't name their user, their messages do: as user or as participant.
            let participants = self.find(
                "Participant",
                doc! { "userId": &user },
                any(&["_id"], MAX_MEMBERS),
            );
            let mut senders = ids_of(participants.await?);
            senders.push(user);
            let sent = doc! { "senderId": { "$in": senders }, "deletedAt": Bson::Null };
            let messages = self.find("Message", sent, newest(&["_id"], MAX_MESSAGES));
            let messages = ids_of(messages.await?);
            if messages.is_empty() {
                return Ok(Vec::new());
            }
            self.recordings(doc! { "messageId": { "$in": messages } }, limit)
                .await
        })
        .await
    }

    /// The voice print that the gateway keeps of a user, in whatever form it was once given.
    ///
    /// # Errors
    /// [`StoreError`]; two seconds without the whole answer are a [`StoreError::Timeout`].
    pub async fn voice_embedding(&self, user_id: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(user) = self.id(user_id) else {
            return Ok(None);
        };
        let of_user = doc! { "userId": user };
        let found = self.find("UserVoiceModel", of_user, any(&["embedding"], 1));
        let found = self.within_budget(found).await?;
        Ok(found
            .into_iter()
            .find_map(|mut voice| match voice.remove("embedding") {
                Some(Bson::Binary(embedding)) => Some(embedding.bytes),
                _ => None,
            }))
    }

    /// Runs a question that somebody waits for.
    pub(super) async fn within_budget<T>(
        &self,
        question: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.guarded(async {
            tokio::time::timeout(BUDGET, question)
                .await
                .unwrap_or(Err(StoreError::Timeout))
        })
        .await
    }

    /// Files of recordings that `filter` finds, newest first.
    async fn recordings(&self, filter: Document, limit: u32) -> Result<Vec<String>, StoreError> {
        let mut filter = filter;
        filter.insert("mimeType", doc! { "$regex": "^audio/" });
        filter.insert("isForwarded", doc! { "$ne": true });
        // To the server, 0 would mean all.
        let limit = i64::from(limit.max(1));
        let found = self.find("MessageAttachment", filter, newest(&["filePath"], limit));
        Ok(found
            .await?
            .iter()
            .filter_map(|recording| recording.get_str("filePath").ok())
            .map(str::to_owned)
            .collect())
    }

    /// The languages of those who are users and have one, by id.
    async fn languages_of(
        &self,
        people: &[Document],
    ) -> Result<HashMap<String, Language>, StoreError> {
        let users: Vec<&Bson> = people.iter().filter_map(user_of).collect();
        if users.is_empty() {
            return Ok(HashMap::new());
        }
        let wanted = PREFERENCES.map(|(language, flag)| [language, flag]);
        let of_users = doc! { "_id": { "$in": users } };
        let found = self.find("User", of_users, any(wanted.as_flattened(), MAX_MEMBERS));
        Ok(found
            .await?
            .iter()
            .filter_map(|user| Some((id_text(user.get("_id")?)?, preferred_language(user)?)))
            .collect())
    }

    pub(super) async fn find(
        &self,
        collection: &str,
        filter: Document,
        options: FindOptions,
    ) -> Result<Vec<Document>, StoreError> {
        let documents = self.database().await?.collection::<Document>(collection);
        in_time(async {
            let mut cursor = documents.find(filter).with_options(options).await?;
            let mut found = Vec::new();
            while cursor.advance().await? {
                found.push(cursor.deserialize_current()?);
            }
            Ok(found)
        })
        .await
    }
}

/// Asks for so many documents, and for these fields of them.
fn any(fields: &[&str], limit: i64) -> FindOptions {
    let projection: Document = fields
        .iter()
        .map(|field| ((*field).to_owned(), Bson::Int32(1)))
        .collect();
    FindOptions::builder()
        .projection(projection)
        .limit(limit)
        .build()
}

/// Asks for the documents that were made last.
fn newest(fields: &[&str], limit: i64) -> FindOptions {
    let mut options = any(fields, limit);
    options.sort = Some(doc! { "createdAt": -1 });
    options
}

/// Somebody with an account is wanted in the account's language, anybody else who is a person in
/// the one chosen on joining.
fn member(person: &Document, languages: &HashMap<String, Language>) -> Option<Member> {
    if let Some(user) = user_of(person) {
        let user_id = id_text(user)?;
        let language = *languages.get(&user_id)?;
        return Some(Member { user_id, language });
    }
    if has(person, "type", "bot") {
        return None;
    }
    Some(Member {
        user_id: id_text(person.get("_id")?)?,
        language: language(person, "language")?,
    })
}

fn has(document: &Document, field: &str, value: impl Into<Bson>) -> bool {
    document.get(field) == Some(&value.into())
}

fn user_of(person: &Document) -> Option<&Bson> {
    person.get("userId").filter(|id| **id != Bson::Null)
}

/// The first of a user's languages; in the gateway's first schema, the first that is switched on.
fn preferred_language(user: &Document) -> Option<Language> {
    let has_flags = PREFERENCES.iter().any(|(_, flag)| user.contains_key(flag));
    PREFERENCES
        .iter()
        .filter(|(_, flag)| !has_flags || has(user, flag, true))
        .find_map(|(field, _)| language(user, field))
}

fn language(document: &Document, field: &str) -> Option<Language> {
    Language::parse(document.get_str(field).ok()?)
}

fn ids_of(documents: Vec<Document>) -> Vec<Bson> {
    documents
        .into_iter()
        .filter_map(|mut document| document.remove("_id"))
        .collect()
}

/// An id as requests write it.
fn id_text(id: &Bson) -> Option<String> {
    match id {
        Bson::ObjectId(id) => Some(id.to_hex()),
        Bson::String(id) => Some(id.clone()),
        _ => None,
    }
}
