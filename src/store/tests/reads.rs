//! What is read from the gateway's collections, of today and of its first schema.

use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Document, doc, oid::ObjectId};

use super::mongodb_server::TestMongo;
use crate::domain::Language;
use crate::store::{IdPolicy, Member, MongoOptions, MongoStore};

/// A server with documents of today's schema, or of the first one.
struct Gateway {
    server: TestMongo,
    store: MongoStore,
}

impl Gateway {
    fn start(ids: IdPolicy) -> Option<Self> {
        let server = TestMongo::start()?;
        let options = MongoOptions {
            ids,
            ..MongoOptions::default()
        };
        let store = MongoStore::new(&server.url(), options);
        Some(Self { server, store })
    }

    async fn insert(&self, collection: &str, documents: Vec<Document>) {
        let client = mongodb::Client::with_uri_str(self.server.url())
            .await
            .unwrap();
        let database = client.database(self.server.database());
        let collection = database.collection::<Document>(collection);
        collection.insert_many(documents).await.unwrap();
    }

    async fn members(&self, conversation_id: &str) -> Vec<(String, String)> {
        let members = self.store.members(conversation_id).await.unwrap();
        let mut members: Vec<_> = members
            .into_iter()
            .map(|Member { user_id, language }| (user_id, language.to_string()))
            .collect();
        members.sort();
        members
    }
}

const CONVERSATION: &str = "5f000000000000000000c001";

fn id(number: u32) -> ObjectId {
    ObjectId::parse_str(hex(number)).unwrap()
}

fn hex(number: u32) -> String {
    format!("5f0000000000000000{number:06x}")
}

fn conversation() -> ObjectId {
    ObjectId::parse_str(CONVERSATION).unwrap()
}

fn participant(user: u32) -> Document {
    doc! {
        "conversationId": conversation(), "type": "user", "userId": id(user),
        "language": "zu", "isActive": true,
    }
}

fn expected(members: &[(u32, &str)]) -> Vec<(String, String)> {
    members
        .iter()
        .map(|(user, language)| (hex(*user), (*language).to_owned()))
        .collect()
}

#[tokio::test]
async fn members_are_active_participants_with_the_language_that_weighs_most() {
    let Some(gateway) = Gateway::start(IdPolicy::ObjectIdsOnly) else {
        return;
    };
    let users = vec![
        doc! { "_id": id(1), "systemLanguage": "en", "regionalLanguage": "de", "customDestinationLanguage": "pt-BR" },
        doc! { "_id": id(2), "systemLanguage": "FR", "regionalLanguage": "de", "customDestinationLanguage": Bson::Null },
        doc! { "_id": id(3), "systemLanguage": "not a code", "regionalLanguage": "it" },
        doc! { "_id": id(4), "systemLanguage": "es" },
        doc! { "_id": id(5), "deviceLocale": "es" },
        doc! { "_id": id(9), "systemLanguage": 7 },
    ];
    gateway.insert("User", users).await;
    let mut people: Vec<Document> = [1, 2, 3, 4, 5, 6, 9, 10].map(participant).to_vec();
    people[3].insert("isActive", false);
    // A number is nobody's id.
    people[7].insert("userId", 7);
    people.push(doc! {
        "_id": id(7), "conversationId": conversation(), "type": "anonymous", "userId": Bson::Null,
        "language": "sv", "isActive": true,
    });
    people.push(doc! {
        "_id": id(8), "conversationId": conversation(), "type": "bot", "language": "ja",
        "isActive": true,
    });
    people.push(doc! {
        "conversationId": id(99), "type": "anonymous", "language": "ko", "isActive": true,
    });
    gateway.insert("Participant", people).await;
    // Left over from an earlier schema: today's collection counts.
    let left_over = doc! { "conversationId": conversation(), "userId": id(4), "isActive": true };
    gateway.insert("ConversationMember", vec![left_over]).await;

    assert_eq!(
        gateway.members(CONVERSATION).await,
        expected(&[(1, "pt"), (2, "fr"), (3, "it"), (7, "sv")])
    );
}

#[tokio::test]
async fn members_of_the_first_schema_have_switches() {
    let Some(gateway) = Gateway::start(IdPolicy::ObjectIdsOnly) else {
        return;
    };
    let user = |number, custom, system, regional| {
        doc! {
            "_id": id(number),
            "customDestinationLanguage": "pt", "systemLanguage": "fr", "regionalLanguage": "it",
            "useCustomDestination": custom, "translateToSystemLanguage": system,
            "translateToRegionalLanguage": regional,
        }
    };
    let mut without_custom = user(5, true, true, true);
    without_custom.insert("customDestinationLanguage", Bson::Null);
    let users = vec![
        user(1, true, true, true),
        user(2, false, true, true),
        user(3, false, false, true),
        user(4, false, false, false),
        without_custom,
    ];
    gateway.insert("User", users).await;
    let people = (1..=5)
        .map(|user| {
            let is_active = true;
            doc! { "conversationId": conversation(), "userId": id(user), "isActive": is_active }
        })
        .collect();
    gateway.insert("ConversationMember", people).await;
    assert_eq!(
        gateway.members(CONVERSATION).await,
        expected(&[(1, "pt"), (2, "fr"), (3, "it"), (5, "fr")])
    );
}

#[tokio::test]
async fn nobody_is_asked_for_where_nothing_is_translated_or_nothing_can_be_found() {
    let Some(gateway) = Gateway::start(IdPolicy::ObjectIdsOnly) else {
        return;
    };
    let conversations = vec![doc! { "_id": conversation(), "autoTranslateEnabled": false }];
    gateway.insert("Conversation", conversations).await;
    gateway.insert("Participant", vec![participant(1)]).await;
    let users = vec![doc! { "_id": id(1), "systemLanguage": "fr" }];
    gateway.insert("User", users).await;
    assert_eq!(gateway.members(CONVERSATION).await, []);
    for other in [
        "post_5f000000000000000000c001",
        "any",
        "",
        "5f000000000000000000c00z",
    ] {
        assert_eq!(gateway.members(other).await, [], "{other}");
    }
    assert_eq!(gateway.members(&hex(77)).await, [], "an unknown one");
}

#[tokio::test]
async fn plain_ids_are_looked_for_where_they_are_stored() {
    let Some(gateway) = Gateway::start(IdPolicy::Strings) else {
        return;
    };
    let person = doc! { "conversationId": "room", "userId": "ann", "isActive": true };
    gateway.insert("Participant", vec![person]).await;
    let user = doc! { "_id": "ann", "systemLanguage": "fr" };
    gateway.insert("User", vec![user]).await;
    let members = gateway.store.members("room").await.unwrap();
    let [member] = &members[..] else {
        panic!("{members:?}")
    };
    assert_eq!(
        (member.user_id.as_str(), member.language),
        ("ann", Language::FRENCH)
    );
}

fn recording(number: u32, change: Document) -> Document {
    let mut recording = doc! {
        "filePath": format!("attachments/2026/01/u/{number}.m4a"),
        "mimeType": "audio/mp4",
        "createdAt": DateTime::from_millis(1_700_000_000_000 + i64::from(number)),
    };
    recording.extend(change);
    recording
}

#[tokio::test]
async fn the_last_own_recordings_of_a_user_are_found() {
    let Some(gateway) = Gateway::start(IdPolicy::ObjectIdsOnly) else {
        return;
    };
    let own = |number, change: Document| {
        let mut document = recording(number, doc! { "uploadedBy": id(1) });
        document.extend(change);
        document
    };
    let recordings = vec![
        own(3, doc! {}),
        own(1, doc! {}),
        own(5, doc! { "mimeType": "audio/ogg", "isForwarded": false }),
        own(4, doc! { "isForwarded": true }),
        own(6, doc! { "mimeType": "image/png" }),
        own(7, doc! { "mimeType": "x-audio/wav" }),
        own(0, doc! { "filePath": 7 }),
        recording(8, doc! { "uploadedBy": id(2) }),
    ];
    gateway.insert("MessageAttachment", recordings).await;
    let history = async |user: &str, limit| gateway.store.audio_history(user, limit).await.unwrap();
    let file = |number: u32| format!("attachments/2026/01/u/{number}.m4a");
    assert_eq!(history(&hex(1), 20).await, [file(5), file(3), file(1)]);
    assert_eq!(history(&hex(1), 2).await, [file(5), file(3)]);
    assert_eq!(history(&hex(3), 20).await, <[String; 0]>::default());
    assert_eq!(history("post:1", 20).await, <[String; 0]>::default());
}

#[tokio::test]
async fn recordings_that_name_no_user_are_found_by_their_messages() {
    let Some(gateway) = Gateway::start(IdPolicy::ObjectIdsOnly) else {
        return;
    };
    let participants = vec![
        doc! { "_id": id(11), "userId": id(1) },
        doc! { "_id": id(12), "userId": id(2) },
    ];
    gateway.insert("Participant", participants).await;
    let messages = vec![
        doc! { "_id": id(21), "senderId": id(1), "createdAt": DateTime::from_millis(1) },
        doc! { "_id": id(22), "senderId": id(11), "createdAt": DateTime::from_millis(2), "deletedAt": Bson::Null },
        doc! { "_id": id(23), "senderId": id(12), "createdAt": DateTime::from_millis(3) },
        doc! { "_id": id(24), "senderId": id(11), "createdAt": DateTime::from_millis(4), "deletedAt": DateTime::from_millis(5) },
    ];
    gateway.insert("Message", messages).await;
    let recordings = [21, 22, 23, 24]
        .map(|message| recording(message, doc! { "messageId": id(message) }))
        .to_vec();
    gateway.insert("MessageAttachment", recordings).await;
    assert_eq!(
        gateway.store.audio_history(&hex(1), 20).await.unwrap(),
        [
            "attachments/2026/01/u/22.m4a",
            "attachments/2026/01/u/21.m4a"
        ]
    );
}

#[tokio::test]
async fn the_voice_print_of_a_user_comes_as_it_was_stored() {
    let Some(gateway) = Gateway::start(IdPolicy::ObjectIdsOnly) else {
        return;
    };
    let print = Binary {
        subtype: BinarySubtype::Generic,
        bytes: vec![1, 2, 3],
    };
    let voices = vec![
        doc! { "userId": id(1), "embedding": print },
        doc! { "userId": id(2), "embedding": Bson::Null, "embeddingPath": "somewhere" },
        doc! { "userId": id(4), "embedding": "text" },
    ];
    gateway.insert("UserVoiceModel", voices).await;
    let print = async |user: &str| gateway.store.voice_embedding(user).await.unwrap();
    assert_eq!(print(&hex(1)).await, Some(vec![1, 2, 3]));
    assert_eq!(print(&hex(2)).await, None);
    assert_eq!(print(&hex(3)).await, None);
    assert_eq!(print(&hex(4)).await, None);
    assert_eq!(print("system").await, None);
}

#[tokio::test]
async fn a_database_that_is_away_is_told_in_time() {
    let store = MongoStore::new("mongodb://127.0.0.1:1/none", MongoOptions::default());
    assert!(store.members(CONVERSATION).await.unwrap_err().is_absence());
    assert!(
        store
            .audio_history(&hex(1), 20)
            .await
            .unwrap_err()
            .is_absence()
    );
    assert!(
        store
            .voice_embedding(&hex(1))
            .await
            .unwrap_err()
            .is_absence()
    );
}
