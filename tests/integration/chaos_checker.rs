//! The prover's checker against accounts that were doctored: it must find what is wrong in each.

#[path = "../chaos/checker/mod.rs"]
#[allow(dead_code, reason = "only the prover itself counts")]
mod checker;

use checker::evidence::{
    Ending, EventFacts, Receipt, Sent, StoredDocument, StoredEvent, StoredJob, fingerprint, sha256,
};
use checker::{Evidence, Rule, Verification, check};
use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::gateway::Gateway;
use crate::support::voice_message::VoiceMessage;

const TEXT: &str = "text-1";
const AUDIO: &str = "audio-1";

fn stored(event: &Value) -> StoredEvent {
    let body = event.to_string().into_bytes();
    StoredEvent {
        fingerprint: fingerprint(&body, []),
        facts: EventFacts::read(&body),
    }
}

fn receipt(event: &Value, at_ms: i64) -> Receipt {
    let StoredEvent { fingerprint, facts } = stored(event);
    Receipt {
        subscriber: 1,
        at_ms,
        fingerprint,
        facts,
    }
}

fn translation(language: &str) -> Value {
    json!({"type": "translation_completed", "taskId": TEXT, "targetLanguage": language})
}

fn audio_events() -> Vec<Value> {
    vec![
        json!({"type": "transcription_ready", "taskId": AUDIO}),
        json!({"type": "audio_translation_ready", "taskId": AUDIO, "language": "fr"}),
        json!({
            "type": "audio_process_completed", "taskId": AUDIO, "attachmentId": "attachment",
            "transcription": {"text": "hello"},
            "translatedAudios": [{"targetLanguage": "fr", "translatedText": "bonjour"}],
        }),
    ]
}

fn document(collection: &str, key: &str, text: &str) -> StoredDocument {
    StoredDocument {
        collection: collection.to_owned(),
        key: key.to_owned(),
        text: Some(text.to_owned()),
    }
}

/// A text in two languages and a voice message in one, both done, heard and written down.
fn sound() -> Evidence {
    let events = [vec![translation("fr"), translation("es")], audio_events()];
    let sent = |task_id: &str, ending| Sent {
        task_id: task_id.to_owned(),
        ending,
        at_ms: 0,
    };
    let languages = vec!["fr".to_owned(), "es".to_owned()];
    let audio = Ending::Audio {
        attachment_id: "attachment".to_owned(),
        sender_id: "sender".to_owned(),
    };
    let jobs = [TEXT, AUDIO].iter().zip(&events);
    Evidence {
        sent: vec![sent(TEXT, Ending::Text { languages }), sent(AUDIO, audio)],
        jobs: jobs
            .map(|(task_id, events)| StoredJob {
                task_id: (*task_id).to_owned(),
                state: "done".to_owned(),
                events: events.iter().map(stored).collect(),
            })
            .collect(),
        accepted_before: [TEXT.to_owned()].into(),
        received: (1..)
            .zip(events.concat())
            .map(|(at_ms, event)| receipt(&event, at_ms))
            .collect(),
        documents: Some(vec![
            document("message_audio_transcriptions", "attachment", "hello"),
            document("message_translated_audios", "attachment fr", "bonjour"),
        ]),
    }
}

fn rules(verification: &Verification) -> Vec<Rule> {
    verification
        .problems
        .iter()
        .map(|problem| problem.rule)
        .collect()
}

/// Checks that the change breaks that rule and no other.
fn assert_found(rule: Rule, lost: usize, doctor: impl FnOnce(&mut Evidence)) {
    let mut evidence = sound();
    doctor(&mut evidence);
    let verification = check(&evidence);
    assert_eq!(rules(&verification), [rule], "{:?}", verification.problems);
    assert_eq!(
        verification.counts.lost, lost,
        "{:?}",
        verification.problems
    );
}

#[test]
fn sound_accounts_have_no_problems() {
    let verification = check(&sound());
    assert_eq!(verification.problems, []);
    let counts = [
        verification.counts.pushed,
        verification.counts.accepted,
        verification.counts.terminal,
        verification.counts.lost,
        verification.counts.never_accepted,
    ];
    assert_eq!(counts, [2, 2, 2, 0, 0]);
}

#[test]
fn a_lost_event_is_found() {
    assert_found(Rule::IsHeard, 1, |evidence| {
        evidence.received.remove(1);
    });
}

#[test]
fn a_job_that_is_stuck_is_found() {
    assert_found(Rule::IsTerminal, 1, |evidence| {
        evidence.jobs[0].state = "running".to_owned();
    });
}

#[test]
fn a_job_that_vanishes_from_the_ledger_is_found() {
    assert_found(Rule::StaysInLedger, 1, |evidence| {
        evidence.jobs.remove(0);
    });
}

#[test]
fn a_job_without_its_last_event_is_found() {
    assert_found(Rule::EndsOnce, 1, |evidence| {
        evidence.jobs[1].events.pop();
        evidence.received.pop();
        evidence.documents = None;
        // Of an event that is stored nowhere nobody may hear.
    });
    assert_found(Rule::EndsOnce, 1, |evidence| {
        evidence.jobs[0].events.pop();
        evidence.received.remove(1);
    });
}

#[test]
fn a_failed_job_without_its_error_is_found() {
    for state in ["failed", "quarantined"] {
        assert_found(Rule::EndsOnce, 1, |evidence| {
            evidence.jobs[0].state = state.to_owned();
        });
    }
}

#[test]
fn two_ends_of_one_job_are_found() {
    assert_found(Rule::EndsOnce, 1, |evidence| {
        let error = json!({"type": "audio_process_error", "taskId": AUDIO});
        evidence.jobs[1].events.push(stored(&error));
        evidence.received.push(receipt(&error, 9));
    });
}

#[test]
fn a_repeat_that_differs_is_found_and_one_that_does_not_is_none() {
    let mut evidence = sound();
    evidence.received.extend(sound().received);
    assert_eq!(check(&evidence).problems, []);
    assert_found(Rule::IsUnchanged, 0, |evidence| {
        let mut event = translation("fr");
        event["timestamp"] = 2.into();
        evidence.received.push(receipt(&event, 9));
    });
    assert_found(Rule::IsUnchanged, 0, |evidence| {
        let event = json!({"type": "voice_translation_completed", "jobId": "unknown"});
        evidence.received.push(receipt(&event, 9));
    });
}

#[test]
fn a_frame_that_differs_is_another_event() {
    let body = b"{}";
    let frame = |bytes: &[u8]| fingerprint(body, [sha256(bytes).as_str()]);
    assert_ne!(frame(b"one"), frame(b"two"));
    assert_ne!(frame(b"one"), fingerprint(body, []));
}

#[test]
fn events_in_another_order_are_found() {
    assert_found(Rule::KeepsOrder, 0, |evidence| evidence.received.swap(3, 4));
    // One that subscribes anew gets earlier events after later ones that another had.
    let mut evidence = sound();
    for mut again in sound().received {
        again.subscriber = 2;
        evidence.received.push(again);
    }
    assert_eq!(check(&evidence).problems, []);
}

#[test]
fn a_duplicate_document_is_found() {
    let mut evidence = sound();
    let documents = evidence.documents.as_mut().unwrap();
    documents.push(documents[0].clone());
    let verification = check(&evidence);
    assert_eq!(rules(&verification), [Rule::OneDocument]);
    assert_eq!(verification.counts.duplicate_documents, 1);
}

#[test]
fn a_missing_document_and_one_with_other_words_are_found() {
    assert_found(Rule::RightDocument, 0, |evidence| {
        evidence.documents.as_mut().unwrap().pop();
    });
    assert_found(Rule::RightDocument, 0, |evidence| {
        evidence.documents.as_mut().unwrap()[1].text = Some("au revoir".to_owned());
    });
}

#[test]
fn what_was_never_accepted_or_was_refused_is_no_loss_and_is_counted() {
    let mut evidence = sound();
    for task_id in ["on-its-way", "surplus"] {
        evidence.sent.push(Sent {
            task_id: task_id.to_owned(),
            ending: Ending::VoiceReply,
            at_ms: 0,
        });
    }
    let refusal =
        json!({"type": "voice_api_error", "taskId": "surplus", "error": "translation pool full"});
    evidence.received.push(receipt(&refusal, 9));
    let verification = check(&evidence);
    assert_eq!(verification.problems, []);
    assert_eq!(
        (
            verification.counts.never_accepted,
            verification.counts.refused
        ),
        (1, 1)
    );
}

#[test]
fn the_ledger_of_a_daemon_is_read_as_its_events_arrive() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    let message = VoiceMessage::named("checked");
    message.send(&mut gateway, &["fr"]);
    let events = gateway.events_of(&message.message_id, &["audio_process_completed"]);
    let ledger = checker::ledger::LedgerView::open(&daemon.folder().join("data")).unwrap();
    let [job] = ledger.jobs().unwrap().try_into().unwrap();
    assert_eq!(job.state, "done");
    let stored: Vec<&str> = job
        .events
        .iter()
        .map(|event| event.fingerprint.as_str())
        .collect();
    let received: Vec<String> = events
        .iter()
        .map(|event| {
            let hashes: Vec<String> = event.frames.iter().map(|frame| sha256(frame)).collect();
            fingerprint(&event.body, hashes.iter().map(String::as_str))
        })
        .collect();
    assert_eq!(stored, received);
}
