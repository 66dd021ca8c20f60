mod documents;

use std::collections::{HashMap, HashSet};

use tempfile::TempDir;

use super::*;
use crate::ledger::{Accepted, Finish, NewJob, OutgoingEvent};
use crate::transport::zmq::PublishOptions;

struct Daemon {
    ledger: Ledger,
    outbox: Outbox,
    endpoint: String,
    // Stopped before the ledger's directory goes.
    thread: PublisherThread,
    directory: TempDir,
}

fn start() -> Daemon {
    start_with(&[])
}

fn start_with(republish: &[Duration]) -> Daemon {
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let socket = PublishSocket::bind(&PublishOptions {
        endpoint: "tcp://127.0.0.1:*".into(),
        ..PublishOptions::default()
    })
    .unwrap();
    let endpoint = socket.endpoint().to_owned();
    let (outbox, thread) = Outbox::start(ledger.clone(), socket, republish).unwrap();
    Daemon {
        ledger,
        outbox,
        endpoint,
        thread,
        directory,
    }
}

fn job(key: &str) -> NewJob {
    NewJob {
        key: key.into(),
        kind: "translation".into(),
        lane: "text".into(),
        task_id: key.into(),
        request: "{}".into(),
        ..NewJob::default()
    }
}

impl Daemon {
    async fn accept(&self, key: &str) -> JobId {
        match self.ledger.accept(job(key)).await.unwrap() {
            Accepted::New(job_id) => job_id,
            other => panic!("{other:?}"),
        }
    }

    async fn accept_again(&self, key: &str) -> JobId {
        match self.ledger.accept(job(key)).await.unwrap() {
            Accepted::Duplicate { job_id, .. } => job_id,
            other => panic!("{other:?}"),
        }
    }

    /// Emits events `<job>:<number>`, each with a binary frame of the same text.
    async fn emit(&self, job_id: JobId, numbers: std::ops::Range<usize>, finish: Option<Finish>) {
        let events = numbers.map(|number| OutgoingEvent {
            key: number.to_string(),
            body: format!("{job_id}:{number}").into_bytes().into(),
            frames: vec![Bytes::from(format!("{job_id}:{number}"))].into(),
            ..OutgoingEvent::default()
        });
        let emission = Emission {
            events: events.collect(),
            finish,
            ..Emission::default()
        };
        self.outbox.emit(job_id, emission).await.unwrap();
    }
}

/// A gateway; what it does not get within 20 s fails the test.
fn subscribe(daemon: &Daemon) -> zmq::Socket {
    let socket = zmq::Context::new().socket(zmq::SUB).unwrap();
    socket.set_rcvtimeo(20_000).unwrap();
    socket.connect(&daemon.endpoint).unwrap();
    socket.set_subscribe(b"").unwrap();
    socket
}

async fn receive(socket: zmq::Socket, count: usize) -> (zmq::Socket, Vec<String>) {
    tokio::task::spawn_blocking(move || {
        let events = (0..count).map(|_| {
            let frames = socket.recv_multipart(0).unwrap();
            assert!(frames.iter().all(|frame| *frame == frames[0]));
            String::from_utf8(frames[0].clone()).unwrap()
        });
        let events = events.collect();
        (socket, events)
    })
    .await
    .unwrap()
}

async fn until(condition: impl AsyncFn() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap();
}

#[tokio::test]
async fn events_wait_for_a_subscriber_and_arrive_in_order() {
    let daemon = start();
    let job_id = daemon.accept("a").await;
    daemon.emit(job_id, 0..100, Some(Finish::Done)).await;
    assert_eq!(daemon.ledger.counts().await.unwrap().pending_events, 100);
    let (_socket, events) = receive(subscribe(&daemon), 100).await;
    let expected: Vec<_> = (0..100)
        .map(|number| format!("{job_id}:{number}"))
        .collect();
    assert_eq!(events, expected);
    until(async || daemon.ledger.counts().await.unwrap().pending_events == 0).await;
}

#[tokio::test]
async fn a_gateway_that_comes_back_gets_what_it_may_have_missed() {
    let daemon = start();
    let job_id = daemon.accept("a").await;
    daemon.emit(job_id, 0..3, None).await;
    let (socket, events) = receive(subscribe(&daemon), 3).await;
    drop(socket);
    until(async || !daemon.outbox.has_subscriber()).await;
    daemon.emit(job_id, 3..5, Some(Finish::Done)).await;

    let (socket, again) = receive(subscribe(&daemon), 5).await;
    assert_eq!(
        again[..3],
        events,
        "what the first connection got comes first"
    );
    assert_eq!(again[3..], [format!("{job_id}:3"), format!("{job_id}:4")]);
    // And it is not replayed for ever: the next thing to arrive is new.
    daemon.emit(daemon.accept("b").await, 0..1, None).await;
    let (_socket, next) = receive(socket, 1).await;
    assert!(!again.contains(&next[0]), "{next:?} came twice");
}

#[tokio::test]
async fn a_repeated_request_is_answered_from_the_store() {
    let daemon = start();
    let job_id = daemon.accept("a").await;
    daemon.emit(job_id, 0..2, Some(Finish::Done)).await;
    let (socket, first) = receive(subscribe(&daemon), 2).await;
    until(async || daemon.ledger.counts().await.unwrap().pending_events == 0).await;
    assert_eq!(daemon.accept_again("a").await, job_id);
    daemon.outbox.wake();
    let (_socket, second) = receive(socket, 2).await;
    assert_eq!(first, second);
}

#[tokio::test]
async fn a_damaged_event_does_not_hold_up_the_others() {
    let daemon = start();
    let job_id = daemon.accept("a").await;
    daemon.emit(job_id, 0..2, None).await;
    let blobs = daemon.directory.path().join("blobs");
    let shard = std::fs::read_dir(blobs).unwrap().next().unwrap().unwrap();
    std::fs::remove_dir_all(shard.path()).unwrap();
    let (_socket, events) = receive(subscribe(&daemon), 1).await;
    assert_eq!(events.len(), 1);
    until(async || daemon.ledger.counts().await.unwrap().pending_events == 0).await;
}

#[tokio::test]
async fn direct_messages_arrive_without_being_stored() {
    let daemon = start();
    let subscriber = subscribe(&daemon);
    until(async || daemon.outbox.has_subscriber()).await;
    daemon
        .outbox
        .publish_now(vec![Bytes::from_static(b"pong")])
        .unwrap();
    let (_socket, events) = receive(subscriber, 1).await;
    assert_eq!(events, ["pong"]);
    assert_eq!(daemon.ledger.counts().await.unwrap().pending_events, 0);
}

#[tokio::test]
async fn stopping_publishes_what_waits() {
    let daemon = start();
    let job_id = daemon.accept("a").await;
    let subscriber = subscribe(&daemon);
    until(async || daemon.outbox.has_subscriber()).await;
    daemon.emit(job_id, 0..100, Some(Finish::Done)).await;
    let Daemon {
        ledger,
        thread,
        directory: _directory,
        ..
    } = daemon;
    tokio::task::spawn_blocking(move || thread.stop(Duration::from_secs(20)))
        .await
        .unwrap();
    assert_eq!(ledger.counts().await.unwrap().pending_events, 0);
    assert_eq!(receive(subscriber, 100).await.1.len(), 100);
}

/// Emits two events of a text: its translation, which a gateway knows when it comes again, and an error.
async fn emit_text(daemon: &Daemon, key: &str) {
    let job_id = daemon.accept(key).await;
    let event = |kind: &'static str, is_repeatable| OutgoingEvent {
        key: kind.into(),
        kind,
        is_repeatable,
        body: format!("{key}:{kind}").into_bytes().into(),
        frames: Vec::new().into(),
    };
    let emission = Emission {
        events: vec![
            event("translation_completed", true),
            event("translation_error", false),
        ],
        finish: Some(Finish::Done),
        ..Emission::default()
    };
    daemon.outbox.emit(job_id, emission).await.unwrap();
}

#[tokio::test]
async fn what_a_gateway_drops_is_repeated_by_the_clock_until_it_has_settled() {
    let second = Duration::from_secs(1);
    let daemon = start_with(&[second, 2 * second]);
    let subscriber = subscribe(&daemon);
    emit_text(&daemon, "a").await;
    let translation = "a:translation_completed";
    let expected = [translation, "a:translation_error", translation, translation];
    let (subscriber, events) = receive(subscriber, 4).await;
    assert_eq!(events, expected);

    // What has settled is not repeated; what is new comes before any repeat.
    emit_text(&daemon, "b").await;
    let (subscriber, events) = receive(subscriber, 2).await;
    assert_eq!(events, ["b:translation_completed", "b:translation_error"]);
    until(async || daemon.ledger.counts().await.unwrap().pending_events == 0).await;
    let all = daemon
        .ledger
        .unsettled_blocking(0, i64::MAX, JobId(0), 99)
        .unwrap();
    daemon.ledger.settle(all).await.unwrap();
    tokio::time::sleep(3 * second).await;
    emit_text(&daemon, "c").await;
    let (_subscriber, events) = receive(subscriber, 2).await;
    assert_eq!(events, ["c:translation_completed", "c:translation_error"]);
}

#[tokio::test]
async fn nothing_is_repeated_to_nobody() {
    let daemon = start_with(&[Duration::from_millis(1)]);
    let subscriber = subscribe(&daemon);
    emit_text(&daemon, "a").await;
    let (subscriber, _) = receive(subscriber, 2).await;
    drop(subscriber);
    until(async || !daemon.outbox.has_subscriber()).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    // A new subscriber gets the replay, and with it the repeat that was due.
    let (_subscriber, events) = receive(subscribe(&daemon), 2).await;
    assert_eq!(events, ["a:translation_completed", "a:translation_error"]);
}

#[tokio::test]
async fn who_subscribes_again_and_again_keeps_no_event_from_others() {
    const JOBS: usize = 40;
    let daemon = start();
    let mut ids = HashSet::new();
    for number in 0..JOBS {
        let job_id = daemon.accept(&number.to_string()).await;
        daemon.emit(job_id, 0..3, Some(Finish::Done)).await;
        ids.extend((0..3).map(|number| format!("{job_id}:{number}")));
    }
    let (gateway, _) = receive(subscribe(&daemon), ids.len()).await;
    until(async || daemon.ledger.counts().await.unwrap().pending_events == 0).await;

    let is_over = Arc::new(AtomicBool::new(false));
    let restless = subscribe(&daemon);
    let stop = Arc::clone(&is_over);
    let attacker = std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            restless.set_unsubscribe(b"").unwrap();
            restless.set_subscribe(b"").unwrap();
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    // 50 at once, and ten a second: 7 s.
    let gathered = tokio::task::spawn_blocking(move || {
        let until = Instant::now() + Duration::from_secs(60);
        let mut times: HashMap<String, usize> = HashMap::new();
        while times.len() < ids.len() && Instant::now() < until {
            let frames = gateway.recv_multipart(0).unwrap();
            let event = String::from_utf8(frames[0].clone()).unwrap();
            *times.entry(event).or_default() += 1;
        }
        times
    });
    let times = gathered.await.unwrap();
    is_over.store(true, Ordering::Relaxed);
    attacker.join().unwrap();
    assert_eq!(times.len(), 3 * JOBS, "events that came again");
    // Only a job that was cut short begins anew.
    let twice = times.values().filter(|times| **times > 1).count();
    assert!(twice <= 3, "{twice} events came again before others had");
    assert!(times.values().all(|times| *times <= 2));
}
