//! Jobs as operators see them: `/admin/jobs` and `translator jobs`.

use std::process::Output;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Ports};
use crate::support::gateway::{Event, Gateway};
use crate::support::requests::translation;
use crate::support::voice_message::VoiceMessage;
use crate::support::{settings_file, wait_for};

const TOKEN: &str = "0123456789abcdef-of-operators";
const ERROR: &str = "audio_process_error";
const COMPLETED: &str = "audio_process_completed";

/// A daemon whose operators have a token.
fn start(environment: &[(&str, &str)]) -> Daemon {
    Daemon::start_with(&with_token(environment))
}

fn with_token<'a>(environment: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [environment, &[("TRANSLATOR_ADMIN_TOKEN", TOKEN)]].concat()
}

struct Answer {
    status: u16,
    challenge: Option<String>,
    body: Value,
}

fn ask(daemon: &Daemon, method: &str, path: &str, authorization: Option<&str>) -> Answer {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(60)))
        .build()
        .into();
    let mut request = ureq::http::Request::builder()
        .method(method)
        .uri(format!("http://127.0.0.1:{}{path}", daemon.ports.http));
    if let Some(authorization) = authorization {
        request = request.header("Authorization", authorization);
    }
    let mut response = agent.run(request.body(()).unwrap()).unwrap();
    let challenge = response.headers().get("www-authenticate");
    let challenge = challenge.map(|value| value.to_str().unwrap().to_owned());
    let body = response.body_mut().read_to_string().unwrap();
    Answer {
        status: response.status().as_u16(),
        challenge,
        body: serde_json::from_str(&body).unwrap_or(Value::String(body)),
    }
}

/// What an operator is answered.
fn admin(daemon: &Daemon, method: &str, path: &str) -> (u16, Value) {
    let answer = ask(daemon, method, path, Some(&format!("Bearer {TOKEN}")));
    (answer.status, answer.body)
}

fn get(daemon: &Daemon, path: &str) -> Value {
    let (status, body) = admin(daemon, "GET", path);
    assert_eq!(status, 200, "{path}: {body}");
    body
}

fn detail(answer: &(u16, Value)) -> &str {
    answer.1["detail"].as_str().unwrap_or_default()
}

/// `translator …` on the daemon's machine, with a token or without.
fn run(ports: Ports, token: Option<&str>, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    assert_cmd::Command::new(env!("CARGO_BIN_EXE_translator"))
        .args(arguments)
        .current_dir(folder.path())
        .env_clear()
        .env("HTTP_PORT", ports.http.to_string())
        .envs(token.map(|token| ("TRANSLATOR_ADMIN_TOKEN", token)))
        .timeout(crate::support::PATIENCE)
        .output()
        .unwrap()
}

fn succeed(daemon: &Daemon, arguments: &[&str]) -> String {
    let output = run(daemon.ports, Some(TOKEN), arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn fail(daemon: &Daemon, arguments: &[&str]) -> String {
    let output = run(daemon.ports, Some(TOKEN), arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Sends a voice message to a daemon that cannot decode, and waits for its error.
fn failed_job(daemon: &Daemon, gateway: &mut Gateway, name: &str) -> i64 {
    let message = VoiceMessage::named(name);
    message.send(gateway, &["fr"]);
    gateway.events_of(&message.message_id, &[ERROR]);
    let listed = get(daemon, "/admin/jobs?limit=1");
    listed["jobs"][0]["id"].as_i64().unwrap()
}

#[test]
fn nobody_gets_in_without_the_token() {
    let closed = Daemon::start();
    let answer = ask(&closed, "GET", "/admin/jobs", Some("Bearer guess"));
    assert_eq!(answer.status, 403);
    let told = answer.body["detail"].as_str().unwrap();
    assert!(told.contains("TRANSLATOR_ADMIN_TOKEN"), "{told}");
    let output = run(closed.ports, None, &["jobs", "list"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("TRANSLATOR_ADMIN_TOKEN"), "{told}");
    let told = fail(&closed, &["jobs", "list"]);
    assert!(
        told.contains("403") && told.contains("http.admin_token"),
        "{told}"
    );

    let daemon = start(&[("LOG_LEVEL", "trace")]);
    let wrong = format!("Bearer {TOKEN}x");
    let basic = format!("Basic {TOKEN}");
    for authorization in [
        None,
        Some(""),
        Some("Bearer"),
        Some(&wrong),
        Some(&basic),
        Some(TOKEN),
    ] {
        for (method, path) in [
            ("GET", "/admin/jobs"),
            ("GET", "/admin/jobs/1"),
            ("POST", "/admin/jobs/1/retry"),
            ("POST", "/admin/jobs/1/cancel"),
            ("DELETE", "/admin/jobs/1"),
            ("DELETE", "/admin/jobs?state=done&older_than_hours=0"),
        ] {
            let answer = ask(&daemon, method, path, authorization);
            assert_eq!(answer.status, 401, "{method} {path} {authorization:?}");
            assert!(answer.challenge.unwrap().starts_with("Bearer"));
            assert!(answer.body["detail"].is_string());
        }
    }
    let answer = ask(
        &daemon,
        "GET",
        "/admin/jobs",
        Some(&format!("bearer {TOKEN}")),
    );
    assert_eq!(answer.status, 200);
    let output = run(
        daemon.ports,
        Some("0123456789abcdef-guess"),
        &["jobs", "list"],
    );
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("401"), "{told}");
    assert!(!daemon.log().contains(TOKEN));
    let shown = run(daemon.ports, Some(TOKEN), &["check-config"]);
    assert!(!String::from_utf8(shown.stdout).unwrap().contains(TOKEN));
    // Too short to be safe.
    let output = run(daemon.ports, Some("short"), &["jobs", "list"]);
    assert_eq!(output.status.code(), Some(64), "{output:?}");

    let output = run(Ports::free(), Some(TOKEN), &["jobs", "list"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("start one with `translator serve`"), "{told}");
}

#[test]
fn jobs_are_listed_shown_and_purged() {
    let daemon = start(&[]);
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    for task in ["one", "two", "three"] {
        gateway.send(&translation(task, "The secret garden.", "en", &["fr"]), &[]);
        gateway.events_of_task(task, 1);
    }
    daemon.wait_published();
    let ids = |page: &Value| -> Vec<i64> {
        let jobs = page["jobs"].as_array().unwrap().iter();
        jobs.map(|job| job["id"].as_i64().unwrap()).collect()
    };
    assert_eq!(ids(&get(&daemon, "/admin/jobs?event=published")), [3, 2, 1]);
    assert_eq!(
        ids(&get(&daemon, "/admin/jobs?event=unconfirmed")),
        [] as [i64; 0]
    );
    let first = get(
        &daemon,
        "/admin/jobs?limit=2&state=done&kind=translation&lane=text_fast",
    );
    let second = first["next_before"].as_i64().unwrap();
    let second = get(&daemon, &format!("/admin/jobs?limit=2&before={second}"));
    assert_eq!(second["next_before"], Value::Null);
    assert_eq!([ids(&first), ids(&second)].concat(), [3, 2, 1]);
    assert_eq!(ids(&get(&daemon, "/admin/jobs?task=two")), [2]);
    assert_eq!(
        ids(&get(&daemon, "/admin/jobs?state=failed")),
        [] as [i64; 0]
    );
    assert_eq!(
        ids(&get(&daemon, "/admin/jobs?user=nobody")),
        [] as [i64; 0]
    );

    let job = get(&daemon, "/admin/jobs/2");
    assert_eq!(job["task_id"], "two");
    assert_eq!(
        (&job["state"], &job["attempts"]),
        (&json!("done"), &json!(1))
    );
    assert_eq!(job["events"][0]["state"], "published");
    assert_eq!(job["events"][0]["publish_count"], 1);
    let shown = job.to_string();
    assert!(
        !shown.contains("garden") && !shown.contains("jardin"),
        "{shown}"
    );

    for (method, path, status) in [
        ("GET", "/admin/jobs/99", 404),
        ("GET", "/admin/jobs/x", 400),
        ("GET", "/admin/jobs/99999999999999999999", 400),
        ("GET", "/admin/jobs?state=lost", 400),
        ("GET", "/admin/jobs?event=lost", 400),
        ("GET", "/admin/jobs?limit=-1", 400),
        ("GET", "/admin/jobs?colour=red", 400),
        ("POST", "/admin/jobs/99/retry", 404),
        ("POST", "/admin/jobs/2/retry", 409),
        ("DELETE", "/admin/jobs/99", 404),
        ("DELETE", "/admin/jobs", 400),
        ("DELETE", "/admin/jobs?state=done", 400),
        (
            "DELETE",
            "/admin/jobs?state=running&older_than_hours=0",
            400,
        ),
        (
            "DELETE",
            "/admin/jobs?state=done&older_than_hours=0&limit=1",
            400,
        ),
        ("PUT", "/admin/jobs/2", 405),
        ("GET", "/admin/nothing", 404),
    ] {
        let (found, body) = admin(&daemon, method, path);
        assert_eq!(found, status, "{method} {path}: {body}");
    }

    let table = succeed(&daemon, &["jobs", "list", "--limit", "2"]);
    assert!(
        table.contains("translation") && table.contains("more: --before 2"),
        "{table}"
    );
    let json: Value = serde_json::from_str(&succeed(&daemon, &["jobs", "list", "--json"])).unwrap();
    assert_eq!(ids(&json), [3, 2, 1]);
    let shown = succeed(&daemon, &["jobs", "show", "two"]);
    assert!(
        shown.contains("job           2") && shown.contains("published 1 times"),
        "{shown}"
    );
    let told = fail(&daemon, &["jobs", "show", "four"]);
    assert!(told.contains("there is no job four"), "{told}");
    // Without the daemon's help.
    let data = daemon.folder().join("data");
    let table = succeed(
        &daemon,
        &["jobs", "list", "--data-dir", data.to_str().unwrap()],
    );
    assert!(table.contains("two"), "{table}");

    assert_eq!(
        succeed(&daemon, &["jobs", "purge", "two"]),
        "purged: 1 jobs, 0 payloads\n"
    );
    assert_eq!(admin(&daemon, "GET", "/admin/jobs/2").0, 404);
    let purge = ["jobs", "purge", "--state", "done", "--older-than-hours"];
    let none = succeed(&daemon, &[&purge[..], &["1"]].concat());
    assert_eq!(none, "purged: 0 jobs, 0 payloads\n");
    let all = succeed(&daemon, &[&purge[..], &["0"]].concat());
    assert_eq!(all, "purged: 2 jobs, 0 payloads\n");
    assert_eq!(ids(&get(&daemon, "/admin/jobs")), [] as [i64; 0]);
    // What is forgotten is done anew.
    gateway.send(
        &translation("two", "The secret garden.", "en", &["fr"]),
        &[],
    );
    assert_eq!(
        gateway.events_of_task("two", 1)[0].kind(),
        "translation_completed"
    );
}

#[test]
fn a_poison_job_is_found_and_done_again() {
    let fault = [("TRANSLATOR_FAULT", "synthesize:pause")];
    let mut daemon = start(&fault);
    let mut gateway = Gateway::connect(daemon.ports);
    let poison = VoiceMessage::named("poison");
    poison.send(&mut gateway, &["fr"]);
    for attempt in 1..=3 {
        wait_for("pause in the log", || {
            (daemon.log().matches("fault: paused").count() >= attempt).then_some(())
        });
        daemon.kill();
        let next = if attempt < 3 { &fault[..] } else { &[] };
        daemon.restart_with(&with_token(next));
    }
    let events = gateway.events_of(&poison.message_id, &[ERROR]);
    let task_id = events.last().unwrap().text("taskId").to_owned();
    daemon.wait_published();
    let listed = get(&daemon, "/admin/jobs?state=quarantined");
    assert_eq!(listed["jobs"].as_array().unwrap().len(), 1);
    let id = listed["jobs"][0]["id"].as_i64().unwrap();
    assert_eq!(listed["jobs"][0]["task_id"], task_id);
    let job = get(&daemon, &format!("/admin/jobs/{id}"));
    let stages: Vec<&str> = job["checkpoints"]
        .as_array()
        .unwrap()
        .iter()
        .map(|checkpoint| checkpoint["stage"].as_str().unwrap())
        .collect();
    assert!(stages.contains(&"transcribe"), "{job}");
    assert!(job["payload_bytes"].as_u64().unwrap() > 10_000, "{job}");

    // It runs without a restart, and from where it stood.
    let shown = succeed(&daemon, &["jobs", "retry", &task_id]);
    assert!(shown.contains(&task_id), "{shown}");
    let events = gateway.events_of(&poison.message_id, &[COMPLETED]);
    let kinds: Vec<&str> = events.iter().map(Event::kind).collect();
    assert_eq!(kinds, ["audio_translation_ready", COMPLETED]);
    let heard = ["stage=\"transcribe\"", "outcome=\"ok\""];
    assert_eq!(
        daemon.metric("translator_stage_duration_seconds_count", &heard),
        0.0
    );
    daemon.wait_published();
    let job = get(&daemon, &format!("/admin/jobs/{id}"));
    assert_eq!(job["state"], "done");
    let keys: Vec<&str> = job["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["key"].as_str().unwrap())
        .collect();
    assert!(!keys.contains(&"error"), "{keys:?}");
    // Its recording goes with it.
    let purged = succeed(&daemon, &["jobs", "purge", &id.to_string()]);
    assert!(purged.starts_with("purged: 1 jobs"), "{purged}");
    assert_eq!(admin(&daemon, "GET", &format!("/admin/jobs/{id}")).0, 404);
}

#[test]
fn a_job_that_fails_again_tells_it_again() {
    let daemon = start(&[("TRANSLATOR_FAULT", "decode:fail")]);
    let mut gateway = Gateway::connect(daemon.ports);
    let id = failed_job(&daemon, &mut gateway, "failing");
    let job = get(&daemon, &format!("/admin/jobs/{id}"));
    assert_eq!(
        (&job["state"], &job["reason"]),
        (&json!("failed"), &json!("bad_output"))
    );
    // Of those who want it at once, one gets it.
    let answers: Vec<u16> = std::thread::scope(|scope| {
        let ask = || admin(&daemon, "POST", &format!("/admin/jobs/{id}/retry")).0;
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let granted = answers.iter().filter(|status| **status == 200).count();
    assert!(granted >= 1, "{answers:?}");
    assert!(
        answers.iter().all(|status| [200, 409].contains(status)),
        "{answers:?}"
    );
    for _ in 0..granted {
        let error = gateway.next(ERROR);
        assert_eq!(error.text("messageId"), "message-failing");
    }
}

#[test]
fn what_is_under_way_is_neither_retried_nor_purged() {
    let daemon = start(&[
        ("TRANSLATOR_FAULT", "transcribe:pause"),
        ("MAX_CONCURRENT_JOBS", "1"),
    ]);
    let mut gateway = Gateway::connect(daemon.ports);
    for name in ["running", "waiting"] {
        VoiceMessage::named(name).send(&mut gateway, &["fr"]);
    }
    daemon.wait_logged("fault: paused");
    wait_for("both jobs", || {
        let jobs = get(&daemon, "/admin/jobs");
        (jobs["jobs"].as_array().unwrap().len() == 2).then_some(())
    });
    for (id, state) in [(1, "running"), (2, "accepted")] {
        for (method, path) in [
            ("POST", format!("/admin/jobs/{id}/retry")),
            ("DELETE", format!("/admin/jobs/{id}")),
            ("DELETE", format!("/admin/jobs/{id}?force=true")),
        ] {
            let answer = admin(&daemon, method, &path);
            assert_eq!(answer.0, 409, "{method} {path}");
            assert!(detail(&answer).contains(state), "{answer:?}");
        }
    }
}

#[test]
fn a_job_that_nobody_wants_is_ended_with_its_error_event() {
    let daemon = start(&[("TRANSLATOR_FAULT", "translate:pause")]);
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    gateway.send(&translation("unwanted", "Hello.", "en", &["fr"]), &[]);
    daemon.wait_logged("fault: paused");
    let shown = succeed(&daemon, &["jobs", "cancel", "unwanted", "--json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(
        (&shown["state"], &shown["reason"]),
        (&json!("failed"), &json!("cancelled"))
    );
    let events = gateway.events_of_task("unwanted", 1);
    assert_eq!(events[0].kind(), "translation_error");
    assert_eq!(events[0].text("reason"), "cancelled");
    wait_for("a free slot", || {
        (daemon.metric("translator_jobs_running", &[]) == 0.0).then_some(())
    });

    let id = shown["id"].as_i64().unwrap();
    let again = admin(&daemon, "POST", &format!("/admin/jobs/{id}/cancel"));
    assert_eq!(
        (again.0, detail(&again)),
        (409, "The job has ended already")
    );
    let unknown = admin(&daemon, "POST", "/admin/jobs/99/cancel");
    assert_eq!(unknown.0, 404);
    assert!(fail(&daemon, &["jobs", "cancel", "unwanted"]).contains("409"));
}

#[test]
fn what_cannot_be_done_again_now_stays_as_it_is() {
    let settings = settings_file("[jobs]\nmax_concurrent_audio = 1\nmax_queued_audio = 1\n");
    let disk = tempfile::NamedTempFile::new().unwrap();
    let daemon = start(&[
        ("TRANSLATOR_CONFIG", settings.path().to_str().unwrap()),
        ("TRANSLATOR_FAULT_FILE", disk.path().to_str().unwrap()),
        (
            "TRANSLATOR_FAULT",
            "decode@message-failing:fail;decode@message-endless:pause",
        ),
    ]);
    let mut gateway = Gateway::connect(daemon.ports);
    let id = failed_job(&daemon, &mut gateway, "failing");
    let retry = || admin(&daemon, "POST", &format!("/admin/jobs/{id}/retry"));
    std::fs::write(disk.path(), "disk.*:enospc\n").unwrap();
    // The first finds out that the disk is full.
    for _ in 0..2 {
        let answer = retry();
        assert_eq!((answer.0, detail(&answer).contains("full")), (507, true));
    }
    std::fs::write(disk.path(), "").unwrap();
    wait_for("a disk with space", || {
        (daemon.get_json("/health")["components"]["storage"] == "ok").then_some(())
    });

    VoiceMessage::named("endless").send(&mut gateway, &["fr"]);
    daemon.wait_logged("fault: paused");
    VoiceMessage::named("waiting").send(&mut gateway, &["fr"]);
    wait_for("a full lane", || {
        let jobs = get(&daemon, "/admin/jobs?state=accepted");
        (jobs["jobs"].as_array().unwrap().len() == 1).then_some(())
    });
    assert_eq!(retry().0, 429);
    let job = get(&daemon, &format!("/admin/jobs/{id}"));
    assert_eq!(
        (&job["state"], &job["crashes"]),
        (&json!("failed"), &json!(0))
    );
    assert_eq!(job["events"][0]["key"], "error");
}

#[test]
fn an_event_that_nobody_has_seen_keeps_its_job() {
    let daemon = start(&[]);
    let mut gateway = Gateway::connect(daemon.ports);
    gateway.unsubscribe();
    gateway.send(
        &translation("unseen", "Hello my friend.", "en", &["fr"]),
        &[],
    );
    wait_for("end of the job", || {
        let job = admin(&daemon, "GET", "/admin/jobs/1").1;
        (job["state"] == "done").then_some(())
    });
    // Whether the subscription was gone when it was published is up to the network.
    let ledger = rusqlite::Connection::open(daemon.folder().join("data/ledger.sqlite3")).unwrap();
    ledger
        .execute("UPDATE events SET state = 'pending'", [])
        .unwrap();
    let refused = admin(&daemon, "DELETE", "/admin/jobs/1");
    assert_eq!(refused.0, 409);
    assert!(detail(&refused).contains("force=true"), "{refused:?}");
    let purged = admin(
        &daemon,
        "DELETE",
        "/admin/jobs?state=done&older_than_hours=0",
    );
    assert_eq!(purged.1["purged"]["jobs"], 0);
    assert_eq!(purged.1["kept"], 1);
    ledger
        .execute_batch(
            "UPDATE events SET state = 'settled';
             INSERT INTO documents (job_id, order_key, collection, filter, document)
             VALUES (1, 'k', 'message_audio_transcriptions', '{}', '{}');",
        )
        .unwrap();
    let refused = admin(&daemon, "DELETE", "/admin/jobs/1");
    assert_eq!(refused.0, 409);
    assert!(detail(&refused).contains("MongoDB"), "{refused:?}");
    let purged = admin(&daemon, "DELETE", "/admin/jobs/1?force=true");
    assert_eq!((purged.0, &purged.1["purged"]["jobs"]), (200, &json!(1)));
}
