//! Voices that are made from more than the recording at hand, and who is known from elsewhere.

use std::path::Path;

use mongodb::bson::{DateTime, doc, oid::ObjectId, spec::BinarySubtype};
use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::database::{Database, shared_server};
use crate::support::gateway::Gateway;
use crate::support::recordings;
use crate::support::voice_job::{Answer, Expected, repeated_recording};
use crate::support::voices::{
    FRENCH, change_metadata, clone_log, message_of, stored_metadata, voice_folder,
};

/// Lengths of the speaker embedding and of the header before it in `voice.bin`.
const HEADER_BYTES: usize = 20;

fn profile_of(answer: &Answer) -> &Value {
    &answer.completed().json["newVoiceProfile"]
}

fn duration_of(answer: &Answer) -> u64 {
    answer.completed().json["transcription"]["durationMs"]
        .as_u64()
        .unwrap()
}

/// The first array of a stored voice: who speaks.
fn identity(voice: &[u8]) -> Vec<f32> {
    let length = u32::from_le_bytes(voice[8..12].try_into().unwrap()) as usize;
    voice[HEADER_BYTES..HEADER_BYTES + 4 * length]
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
        .collect()
}

fn stored_voice(daemon: &Daemon, user_id: &str) -> Vec<u8> {
    std::fs::read(voice_folder(daemon, user_id).join("voice.bin")).unwrap()
}

#[test]
fn a_short_recording_makes_a_voice_together_with_those_of_earlier_messages() {
    let mut daemon = Daemon::start_with(&[("TRANSLATOR_FAULT", "embed:fail")]);
    let mut gateway = Gateway::connect(daemon.ports);
    let ogg = recordings::bundled();
    let wav = repeated_recording(1);
    let other = recordings::second_speaker();
    // While no voice can be made, messages come in.
    let mut heard_ms = 0;
    for (name, recording) in [("one", &ogg), ("two", &wav), ("two-again", &wav)] {
        let message = message_of("ann", name);
        let answer = Answer::to(&mut gateway, &daemon, &message, &[recording], FRENCH);
        assert_eq!(answer.translated("fr")["voiceCloned"], false);
        heard_ms += duration_of(&answer);
    }
    heard_ms -= duration_of_wav(&wav);
    let mut forwarded = message_of("forwarder", "forwarded");
    forwarded["originalSenderId"] = json!("ann");
    Answer::to(&mut gateway, &daemon, &forwarded, &[&other], FRENCH);
    let mut without_consent = message_of("ann", "without-consent");
    without_consent["generateVoiceClone"] = json!(false);
    Answer::to(&mut gateway, &daemon, &without_consent, &[&other], FRENCH);
    let noise = message_of("ann", "no-audio");
    gateway.send(&noise, &[b"this is no recording"]);
    gateway.events_of("message-no-audio", &["audio_process_error"]);
    let bobs = message_of("bob", "bobs");
    Answer::to(&mut gateway, &daemon, &bobs, &[&other], FRENCH);

    daemon.terminate();
    daemon.restart_with(&[]);
    let mut gateway = Gateway::connect(daemon.ports);
    let short = flac_like(&wav);
    let message = message_of("ann", "three");
    let answer = Answer::to(&mut gateway, &daemon, &message, &[&short], FRENCH);
    let profile = profile_of(&answer);
    assert_eq!(profile["audioCount"], 3, "{profile}");
    assert_eq!(profile["totalDurationMs"], heard_ms + duration_of(&answer));
    // From 10 to 30 seconds, and two further recordings.
    assert_eq!(profile["qualityScore"], 0.6);
    assert_eq!(profile["version"], 1);
    let lines = clone_log(&daemon);
    let references = lines[0]["reference_sha256"].as_array().unwrap();
    assert_eq!(references.len(), 3);
}

/// The same recording in other bytes: what is heard is the same, and the file is new.
fn flac_like(wav: &[u8]) -> Vec<u8> {
    let mut other = wav.to_vec();
    let last = other.len() - 1;
    other[last] ^= 1;
    other
}

fn duration_of_wav(wav: &[u8]) -> u64 {
    let rate = u64::from(u32::from_le_bytes(wav[24..28].try_into().unwrap()));
    (wav.len() as u64 - 44) / 2 * 1000 / rate
}

#[test]
fn a_long_recording_makes_a_voice_alone() {
    let mut daemon = Daemon::start_with(&[("TRANSLATOR_FAULT", "embed:fail")]);
    let mut gateway = Gateway::connect(daemon.ports);
    let earlier = message_of("ann", "earlier");
    Answer::to(
        &mut gateway,
        &daemon,
        &earlier,
        &[&recordings::bundled()],
        FRENCH,
    );
    daemon.terminate();
    daemon.restart_with(&[]);
    let mut gateway = Gateway::connect(daemon.ports);
    let message = message_of("ann", "long");
    let recording = repeated_recording(2);
    let answer = Answer::to(&mut gateway, &daemon, &message, &[&recording], FRENCH);
    assert_eq!(profile_of(&answer)["audioCount"], 1);
}

#[test]
fn earlier_recordings_and_the_voice_print_come_from_the_gateways_database() {
    let Some(server) = shared_server() else {
        return;
    };
    let database = Database::new(&server);
    let uploads = tempfile::tempdir().unwrap();
    let user = ObjectId::new();
    let upload = |name: &str, bytes: &[u8]| {
        let folder = uploads.path().join("attachments");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), bytes).unwrap();
    };
    let wav = repeated_recording(1);
    upload("first.ogg", &recordings::bundled());
    upload("second.wav", &wav);
    upload("same.wav", &wav);
    upload("broken.ogg", b"OggS, or not");
    upload("forwarded.wav", &repeated_recording(2));
    let attachment = |file: &str, minute: i64, is_forwarded: bool| {
        doc! {
            "_id": ObjectId::new(),
            "uploadedBy": user,
            "mimeType": "audio/ogg",
            "filePath": format!("attachments/{file}"),
            "isForwarded": is_forwarded,
            "createdAt": DateTime::from_millis(1_700_000_000_000 + minute * 60_000),
        }
    };
    database.insert(
        "MessageAttachment",
        vec![
            attachment("first.ogg", 1, false),
            attachment("second.wav", 2, false),
            attachment("same.wav", 3, false),
            attachment("broken.ogg", 4, false),
            attachment("missing.ogg", 5, false),
            attachment("forwarded.wav", 6, true),
            attachment("../../etc/passwd", 7, false),
        ],
    );
    // The print of the replaced service, of another model than the bundled one: it says nothing.
    let print = mongodb::bson::Binary {
        subtype: BinarySubtype::Generic,
        bytes: 0.5f32.to_le_bytes().repeat(256),
    };
    database.insert(
        "UserVoiceModel",
        vec![doc! { "_id": ObjectId::new(), "userId": user, "embedding": print }],
    );
    let daemon = database.daemon(&[("UPLOAD_PATH", uploads.path().to_str().unwrap())]);
    let mut gateway = Gateway::connect(daemon.ports);
    let short = flac_like(&wav);
    let message = message_of(&user.to_hex(), "first");
    let answer = Answer::to(&mut gateway, &daemon, &message, &[&short], FRENCH);
    let profile = profile_of(&answer);
    assert_eq!(profile["audioCount"], 3, "{profile}");
    assert_eq!(profile["qualityScore"], 0.6);
}

#[test]
fn what_the_replaced_service_left_is_read_or_refused_and_never_in_the_way() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    let recording = repeated_recording(2);
    let make = |gateway: &mut Gateway, user: &str| {
        let message = message_of(user, user);
        let answer = Answer::to(gateway, &daemon, &message, &[&recording], FRENCH);
        assert_eq!(answer.translated("fr")["voiceCloned"], true);
        identity(&stored_voice(&daemon, user))
    };
    let heard = make(&mut gateway, "ann");

    let leave = |user: &str, file: &str, bytes: &[u8]| {
        let folder = voice_folder(&daemon, user);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(
            folder.join("metadata.json"),
            b"{\"user_id\": \"x\", \"version\": 3}",
        )
        .unwrap();
        std::fs::write(folder.join(file), bytes).unwrap();
    };
    leave(
        "bob",
        "embedding.pkl",
        b"\x80\x04\x95cnumpy.core.multiarray\n_reconstruct\n",
    );
    assert_eq!(make(&mut gateway, "bob"), heard);
    daemon.wait_logged("Python pickle");
    assert_eq!(stored_metadata(&daemon, "bob")["version"], 1);

    let known: Vec<f32> = heard.iter().map(|value| 2.0 * value).collect();
    leave("cid", "embedding.npy", &npy(&known));
    let made = make(&mut gateway, "cid");
    for (made, heard) in made.iter().zip(&heard) {
        // As in an improvement: 0.7 of what was known, 0.3 of what was heard.
        assert!((made - 1.7 * heard).abs() < 1e-4, "{made} {heard}");
    }

    leave("dan", "embedding.npy", &npy(&known)[..100]);
    assert_eq!(make(&mut gateway, "dan"), heard);
}

/// A file as `numpy.save` writes it.
fn npy(values: &[f32]) -> Vec<u8> {
    let shape = format!("(1, {}, 1)", values.len());
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

#[test]
fn an_old_voice_is_improved_and_a_young_one_by_a_first_rate_recording() {
    let mut daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    let recording = repeated_recording(2);
    let first = message_of("ann", "first");
    Answer::to(&mut gateway, &daemon, &first, &[&recording], FRENCH);
    let second = message_of("ann", "second");
    let answer = Answer::to(&mut gateway, &daemon, &second, &[&recording], FRENCH);
    assert_eq!(answer.completed().json.get("newVoiceProfile"), None);

    let old = time::OffsetDateTime::now_utc() - time::Duration::days(31);
    let old = old.format(&time::format_description::well_known::Rfc3339);
    daemon.terminate();
    change_metadata(&daemon, "ann", "updated_at", json!(old.unwrap()));
    daemon.restart();
    let mut gateway = Gateway::connect(daemon.ports);
    let third = message_of("ann", "third");
    let answer = Answer::to(&mut gateway, &daemon, &third, &[&recording], FRENCH);
    let profile = profile_of(&answer);
    assert_eq!(profile["version"], 2);
    assert_eq!(profile["audioCount"], 2);
    assert_eq!(profile["qualityScore"], 0.55);
    assert_eq!(profile["totalDurationMs"], 2 * duration_of(&answer));
    let metadata = stored_metadata(&daemon, "ann");
    assert_eq!(metadata["version"], 2);
    assert!(
        Path::new(&voice_folder(&daemon, "ann"))
            .join("voice.bin")
            .exists()
    );
    let heard = Expected::spoken(&["fr"]);
    let fourth = message_of("ann", "fourth");
    let answer = Answer::to(&mut gateway, &daemon, &fourth, &[&recording], heard);
    assert_eq!(answer.completed().json.get("newVoiceProfile"), None);
}
