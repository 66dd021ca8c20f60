//! Subscribers that take nothing: memory is bounded by bytes, the others go on, and nothing is lost.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use meeshy_translator::ledger::{Accepted, Emission, Finish, Ledger, NewJob, OutgoingEvent};
use serde_json::json;

use crate::support::daemon::Daemon;
use crate::support::voice_api::request;
use crate::support::{settings_file, wait_for};

const EVENTS: usize = 40;
const EVENT_BYTES: usize = 10_000_000;
const MIB: u64 = 1 << 20;

/// Puts large events into the ledger of a daemon that does not run, as if a job had made them.
fn store_events(data_dir: &Path) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let ledger = Ledger::open(data_dir).unwrap();
        let job = NewJob {
            key: "large".into(),
            lane: "audio".into(),
            ..NewJob::default()
        };
        let Accepted::New(job_id) = ledger.accept(job).await.unwrap() else {
            panic!("a new job");
        };
        let events = (0..EVENTS).map(|number| {
            let mut frame = vec![0; EVENT_BYTES];
            // Equal frames would be stored once.
            frame[0] = number as u8;
            OutgoingEvent {
                key: number.to_string(),
                body: format!(r#"{{"type":"large","number":{number}}}"#)
                    .into_bytes()
                    .into(),
                frames: vec![frame.into()].into(),
                ..OutgoingEvent::default()
            }
        });
        let emission = Emission {
            events: events.collect(),
            finish: Some(Finish::Done),
            ..Emission::default()
        };
        ledger.emit(job_id, emission).await.unwrap();
    });
}

/// A daemon that has the events to publish, with these settings.
fn daemon_with_events(settings: &str) -> (Daemon, tempfile::NamedTempFile) {
    let settings = settings_file(settings);
    let mut daemon =
        Daemon::start_with(&[("TRANSLATOR_CONFIG", settings.path().to_str().unwrap())]);
    assert_eq!(daemon.terminate().code(), Some(0));
    store_events(&daemon.folder().join("data"));
    daemon.restart();
    (daemon, settings)
}

/// A subscriber whose own buffers hold next to nothing.
fn subscribe(daemon: &Daemon) -> zmq::Socket {
    let socket = zmq::Context::new().socket(zmq::SUB).unwrap();
    socket.set_rcvhwm(1).unwrap();
    socket.set_rcvbuf(4096).unwrap();
    socket.set_rcvtimeo(60_000).unwrap();
    socket
        .connect(&format!("tcp://127.0.0.1:{}", daemon.ports.publish))
        .unwrap();
    socket.set_subscribe(b"{\"type\":\"large\"").unwrap();
    socket.set_subscribe(b"").unwrap();
    socket
}

/// Requests that are refused: more than answers may wait before the publisher.
const REFUSED: usize = 200;

#[test]
fn every_refused_request_is_answered_once_the_subscriber_reads() {
    let (daemon, _settings) = daemon_with_events(
        "[zmq]\npublish_buffer_bytes = 33_554_432\n[voice_api]\nenabled = false\n",
    );
    let subscriber = subscribe(&daemon);
    let buffered = || daemon.metric("translator_outbox_buffered_bytes", &[]) as u64;
    wait_for("a full buffer", || (buffered() > 20 * MIB).then_some(()));
    let sender = zmq::Context::new().socket(zmq::PUSH).unwrap();
    sender
        .connect(&format!("tcp://127.0.0.1:{}", daemon.ports.pull))
        .unwrap();
    let mut unanswered = HashSet::new();
    for _ in 0..REFUSED {
        let refused = request("voice_health", "awa", json!({}));
        sender.send(refused.to_string().as_bytes(), 0).unwrap();
        unanswered.insert(refused["taskId"].as_str().unwrap().to_owned());
    }
    // The intake holds them now, for want of room before the publisher.
    wait_for("a refusal", || {
        let labels = ["reason=\"model_unavailable\""];
        (daemon.metric("translator_requests_rejected_total", &labels) > 0.0).then_some(())
    });
    while !unanswered.is_empty() {
        let frames = subscriber.recv_multipart(0).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&frames[0]).unwrap();
        if let Some(task_id) = json["taskId"].as_str() {
            assert_eq!(json["type"], "voice_api_error", "{json}");
            assert!(unanswered.remove(task_id), "answered twice: {task_id}");
        }
    }
}

/// Reads events until all have come once.
fn read_all(socket: &zmq::Socket) {
    let mut missing: Vec<bool> = vec![true; EVENTS];
    while missing.contains(&true) {
        let frames = socket.recv_multipart(0).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&frames[0]).unwrap();
        if json["type"] == "large" {
            let number = json["number"].as_u64().unwrap() as usize;
            assert_eq!(frames[1].len(), EVENT_BYTES);
            assert_eq!(frames[1][0], number as u8);
            missing[number] = false;
        }
    }
}

#[test]
fn a_subscriber_that_reads_nothing_costs_bounded_memory_and_misses_nothing() {
    let (daemon, _settings) = daemon_with_events("[zmq]\npublish_buffer_bytes = 33_554_432\n");
    let idle = daemon.resident_bytes();
    let subscriber = subscribe(&daemon);
    let buffered = || daemon.metric("translator_outbox_buffered_bytes", &[]) as u64;
    wait_for("a full buffer", || (buffered() > 20 * MIB).then_some(()));
    // It stays full: 400 MB wait.
    let until = Instant::now() + Duration::from_secs(3);
    let mut most = 0;
    while Instant::now() < until {
        assert!(buffered() <= 32 * MIB);
        most = most.max(daemon.resident_bytes());
        std::thread::sleep(Duration::from_millis(50));
    }
    // The buffer, the event that is read for the next try, and the rest of the daemon's life.
    let growth = most.saturating_sub(idle);
    assert!(growth < 96 * MIB, "the daemon grew by {} MiB", growth / MIB);
    read_all(&subscriber);
    wait_for("an empty outbox", || {
        (daemon.metric("translator_outbox_events", &["state=\"published\""]) as usize == EVENTS)
            .then_some(())
    });
}

#[test]
fn a_subscriber_that_reads_nothing_holds_up_another_for_the_configured_time_only() {
    let (daemon, _settings) = daemon_with_events("[zmq]\nsubscriber_stall_secs = 3\n");
    let stalled = subscribe(&daemon);
    let healthy = subscribe(&daemon);
    read_all(&healthy);
    // Who was cut off comes back, and gets what it has missed.
    read_all(&stalled);
}
