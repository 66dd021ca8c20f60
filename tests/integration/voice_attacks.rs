//! Peers of the voice API that are hostile or only odd: everybody else is served as before.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::gateway::{Event, Gateway};
use crate::support::voice_api::{error_of, recording, request, result_of};
use crate::support::voices::voice_folder;
use crate::support::wait_for;

/// Takes posts, and answers those whose path is not `/never`.
struct WebhookServer {
    port: u16,
    posts: Arc<Mutex<Vec<Value>>>,
    most_at_once: Arc<AtomicUsize>,
}

impl WebhookServer {
    /// Starts taking posts; ends with the test's process.
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            posts: Arc::default(),
            most_at_once: Arc::default(),
        };
        let (posts, most_at_once) = (Arc::clone(&server.posts), Arc::clone(&server.most_at_once));
        let at_once = Arc::new(AtomicUsize::new(0));
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let (posts, at_once) = (Arc::clone(&posts), Arc::clone(&at_once));
                let now = at_once.fetch_add(1, Ordering::SeqCst) + 1;
                most_at_once.fetch_max(now, Ordering::SeqCst);
                std::thread::spawn(move || {
                    // A client that hangs up is its own business.
                    drop(take(connection, &posts));
                    at_once.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        server
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn posts(&self) -> Vec<Value> {
        self.posts.lock().unwrap().clone()
    }
}

fn take(mut connection: TcpStream, posts: &Mutex<Vec<Value>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut head = String::new();
    while reader.read_line(&mut head)? > 2 {}
    let length = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, length)| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    if head.starts_with("POST /never ") {
        // Until the client gives up.
        return connection.read_to_end(&mut body).map(drop);
    }
    posts
        .lock()
        .unwrap()
        .push(serde_json::from_slice(&body).unwrap());
    connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

/// A job that cannot succeed.
fn failing_job(webhook_url: &str) -> Value {
    let wanted = json!({
        "audioBase64": "AAAA", "targetLanguages": ["fr"], "webhookUrl": webhook_url,
    });
    request("voice_translate_async", "awa", wanted)
}

fn is_failed(event: &Event) -> bool {
    event.kind() == "voice_translation_failed"
}

#[test]
fn requests_that_were_searched_for_alike_hashes_are_two_jobs() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    // The first 48 bits of both requests' hashes are the same.
    for task_id in ["task01058552", "task15308400"] {
        let wanted = json!({
            "taskId": task_id, "audioBase64": recording(), "targetLanguages": ["fr"],
        });
        gateway.send(&request("voice_translate_async", "awa", wanted), &[]);
    }
    let (mut accepted, mut ended) = (HashSet::new(), HashSet::new());
    gateway.events_until("end of both jobs", |event| {
        match event.kind() {
            "voice_api_success" => accepted.insert(job_id_of(event)),
            "voice_translation_completed" => ended.insert(job_id_of(event)),
            _ => false,
        };
        ended.len() == 2
    });
    assert_eq!(accepted, ended);
}

#[test]
fn a_webhook_is_told_of_a_failed_job_too() {
    let daemon = Daemon::start_with(&[
        ("WEBHOOK_HOSTS", "127.0.0.1"),
        ("AUDIO_URL_NETWORKS", "127.0.0.0/8"),
    ]);
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    let server = WebhookServer::start();
    gateway.send(&failing_job(&server.url("/hook")), &[]);
    let failed = gateway.next("voice_translation_failed");
    let posts = wait_for("post", || {
        Some(server.posts()).filter(|posts| !posts.is_empty())
    });
    assert_eq!(posts, [failed.json]);
    assert!(!daemon.log().contains("/hook"), "an address may be secret");
}

#[test]
fn webhooks_that_never_answer_hold_up_nothing() {
    let daemon = Daemon::start_with(&[
        // One sender may have half of the places.
        ("MAX_QUEUE_SIZE", "2000"),
        ("WEBHOOK_HOSTS", "127.0.0.1"),
        ("AUDIO_URL_NETWORKS", "127.0.0.0/8"),
    ]);
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    let server = WebhookServer::start();
    // Small events count 128 KiB each, of 64 MiB.
    let jobs = 600;
    for _ in 0..jobs {
        gateway.send(&failing_job(&server.url("/never")), &[]);
    }
    let mut ended = 0;
    gateway.events_until("end of every job", |event| {
        ended += usize::from(is_failed(event));
        ended == jobs
    });
    daemon.wait_logged("webhook not called error=too many are to be called");
    // Recordings are decoded by the pool of threads that the posts wait in.
    let analyze = request("voice_analyze", "awa", json!({"audioBase64": recording()}));
    assert!(result_of(&mut gateway, &analyze)["pitch"].is_object());
    assert_eq!(server.most_at_once.load(Ordering::SeqCst), 8);
}

#[test]
fn a_cancelled_job_ends_once_and_is_no_error_of_the_daemon() {
    let daemon = Daemon::start_with(&[("MAX_CONCURRENT_JOBS", "2")]);
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    let wanted = json!({"audioBase64": recording(), "targetLanguages": ["fr"]});
    let jobs = 8;
    let mut events = Vec::new();
    for _ in 0..jobs {
        gateway.send(
            &request("voice_translate_async", "awa", wanted.clone()),
            &[],
        );
        events.extend(gateway.events_until("acceptance", is_acceptance));
        let cancel = json!({ "jobId": job_id_of(events.last().unwrap()) });
        for _ in 0..2 {
            gateway.send(&request("voice_job_cancel", "awa", cancel.clone()), &[]);
        }
    }
    let count = |events: &[Event], is_one: fn(&Event) -> bool| {
        events.iter().filter(|event| is_one(event)).count()
    };
    let is_answer = |event: &Event| event.text("requestType") == "voice_job_cancel";
    let mut missing = 2 * jobs - count(&events, is_answer);
    missing += jobs - count(&events, is_end);
    events.extend(
        gateway.events_until("end of every job, and every answer", |event| {
            missing -= usize::from(is_answer(event) || is_end(event));
            missing == 0
        }),
    );
    let jobs_of = |is_one: fn(&Event) -> bool| -> HashSet<String> {
        events
            .iter()
            .filter(|event| is_one(event))
            .map(job_id_of)
            .collect()
    };
    assert_eq!(jobs_of(is_end), jobs_of(is_acceptance));
    assert_eq!(
        (count(&events, is_end), count(&events, is_answer)),
        (jobs, 2 * jobs)
    );
    assert!(!daemon.log().contains("ERROR"), "{}", daemon.log());
}

fn is_acceptance(event: &Event) -> bool {
    event.kind() == "voice_api_success" && event.text("requestType") == "voice_translate_async"
}

fn is_end(event: &Event) -> bool {
    is_failed(event) || event.kind() == "voice_translation_completed"
}

/// The job that an event accepts or ends.
fn job_id_of(event: &Event) -> String {
    let job_id = event.json["result"]
        .get("jobId")
        .or_else(|| event.json.get("jobId"));
    job_id.unwrap().as_str().unwrap().to_owned()
}

#[test]
fn a_deletion_takes_no_answer_away() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    let mut waiting = HashSet::new();
    for _ in 0..5 {
        for _ in 0..20 {
            let feedback = json!({"translationId": "vt_1", "rating": 5});
            let feedback = request("voice_feedback", "awa", feedback);
            waiting.insert(feedback["taskId"].as_str().unwrap().to_owned());
            gateway.send(&feedback, &[]);
        }
        // It may find nothing yet.
        daemon.call("DELETE", "/audio/voice-models/awa");
    }
    gateway.events_until("answer to everything", |event| {
        waiting.remove(event.text("taskId"));
        waiting.is_empty()
    });
    daemon.call("DELETE", "/audio/voice-models/awa");
    let stats = result_of(&mut gateway, &request("voice_stats", "awa", json!({})));
    assert_eq!(stats["feedbackCount"], 0);
}

#[test]
fn a_deletion_that_is_killed_half_way_is_completed() {
    let mut daemon = Daemon::start_with(&[
        ("VOICE_MIN_DURATION_MS", "5000"),
        ("TRANSLATOR_FAULT", "embed.deleted:pause"),
    ]);
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    for (kind, wanted) in [
        ("voice_profile_create", json!({"audioBase64": recording()})),
        (
            "voice_feedback",
            json!({"translationId": "vt_1", "rating": 5}),
        ),
    ] {
        gateway.send(&request(kind, "awa", wanted), &[]);
        let reply = gateway.next("voice_api_success");
        assert_eq!(reply.text("requestType"), kind);
    }
    let delete = request("voice_profile_delete", "awa", json!({}));
    gateway.send(&delete, &[]);
    daemon.wait_logged("fault: paused");
    assert!(!voice_folder(&daemon, "awa").exists());
    daemon.kill();
    daemon.restart_with(&[]);
    let task_id = delete["taskId"].as_str().unwrap();
    let replies = gateway.events_until("reply to the deletion", |event| {
        event.text("taskId") == task_id
    });
    let reply = replies.last().unwrap();
    assert_eq!(reply.json["result"]["success"], true, "{reply:?}");
    let stats = result_of(&mut gateway, &request("voice_stats", "awa", json!({})));
    assert_eq!(stats["feedbackCount"], 0);
}

#[test]
fn a_panic_is_an_internal_error_and_the_daemon_goes_on() {
    let daemon = Daemon::start_with(&[("TRANSLATOR_FAULT", "measure:panic")]);
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    let analyze = request("voice_analyze", "awa", json!({"audioBase64": recording()}));
    assert_eq!(error_of(&mut gateway, &analyze), "INTERNAL_ERROR");
    let translate = json!({"audioBase64": recording(), "targetLanguages": ["fr"]});
    result_of(&mut gateway, &request("voice_translate", "awa", translate));
}
