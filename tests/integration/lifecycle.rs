//! Start, health, missing and damaged models, stop.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::gateway::Gateway;
use crate::support::models::{copied_models, replace};
use crate::support::recordings;
use crate::support::requests::{audio_process, transcription_only, translation};
use crate::support::wait_for;

const ENGINES: [&str; 5] = [
    "condition",
    "embed",
    "synthesize",
    "transcribe",
    "translate",
];

/// Turns one bit in the middle of a file.
fn damage(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

fn config_file(folder: &Path, text: &str) -> PathBuf {
    let file = folder.join("translator.toml");
    std::fs::write(&file, text).unwrap();
    file
}

fn engines(daemon: &Daemon) -> Value {
    daemon.get_json("/health")["components"]["translation_models"].clone()
}

#[test]
fn a_healthy_daemon_says_so_in_the_contracts_shapes() {
    let daemon = Daemon::start();

    let live = daemon.get_json("/live");
    assert_eq!(live["status"], "alive");
    assert_eq!(live["service"], "meeshy-translator");
    assert!(live["timestamp"].as_str().unwrap().contains('T'));
    assert!(live["uptime_seconds"].as_f64().unwrap() > 0.0);

    let health = daemon.get_json("/health");
    assert_eq!(health["status"], "healthy");
    assert_eq!(health["service"], "meeshy-translator");
    assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
    assert!(health["build"].is_string() && health["timestamp"].is_string());
    assert_eq!(health["models_loading"], false);
    assert_eq!(health["components"]["database"], "disabled");
    assert_eq!(health["components"]["zmq_server"], "running");
    let expected: Value = ENGINES
        .iter()
        .map(|name| ((*name).to_owned(), json!("ready")))
        .collect();
    assert_eq!(engines(&daemon), expected);
    let expected = json!({
        "database_connected": false, "zmq_running": true, "models_loaded": true,
        "models_loading": false, "total_models": 5, "ready_models": 5,
    });
    assert_eq!(health["summary"], expected);

    let ready = daemon.get_json("/ready");
    assert_eq!(ready["status"], "ready");
    assert!(ready["message"].is_string());
    for flag in ["zmq_ready", "models_ready", "database_ready"] {
        assert_eq!(ready[flag], true, "{flag}");
    }

    let (status, metrics) = daemon.get("/metrics").unwrap();
    assert_eq!(status, 200);
    assert!(
        metrics.contains("# TYPE translator_engine_ready gauge"),
        "{metrics}"
    );
    assert_eq!(daemon.metric("translator_engine_ready", &[]), 5.0);
    assert_eq!(daemon.get("/nowhere").unwrap().0, 404);

    let pong = Gateway::connect_subscribed(daemon.ports).ping();
    assert_eq!(pong.text("translator_status"), "alive");
    assert_eq!(pong.json["translator_port_pull"], daemon.ports.pull);
    assert_eq!(pong.json["translator_port_pub"], daemon.ports.publish);
    assert_eq!(pong.json["audio_pipeline_available"], true);
    assert!(pong.json["timestamp"].is_number());
}

#[test]
fn without_models_the_daemon_lives_and_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let config = config_file(folder.path(), "[jobs]\nmodel_wait_secs = 1\n");
    let models = folder.path().join("models");
    std::fs::create_dir(&models).unwrap();
    let daemon = Daemon::launch(&[
        ("MODELS_PATH", models.to_str().unwrap()),
        ("TRANSLATOR_CONFIG", config.to_str().unwrap()),
    ]);
    daemon.wait_loaded();
    let mut gateway = Gateway::connect_subscribed(daemon.ports);

    assert_eq!(daemon.get("/live").unwrap().0, 200);
    let health = daemon.get_json("/health");
    assert_eq!(health["status"], "degraded");
    assert_eq!(health["summary"]["ready_models"], 0);
    for (engine, status) in engines(&daemon).as_object().unwrap() {
        let status = status.as_str().unwrap();
        assert!(
            status.starts_with("failed: no models at "),
            "{engine}: {status}"
        );
    }
    let (status, body) = daemon.get("/ready").unwrap();
    assert_eq!(status, 503);
    let detail = serde_json::from_str::<Value>(&body).unwrap()["detail"].clone();
    assert_eq!(detail["status"], "not_ready");
    assert_eq!(detail["zmq_ready"], true);
    assert_eq!(detail["models_ready"], false);
    assert_eq!(detail["database_ready"], true);
    assert_eq!(daemon.metric("translator_engine_ready", &[]), 0.0);
    assert_eq!(gateway.ping().json["audio_pipeline_available"], false);

    // A model that is not there within the wait is not waited for again.
    let recording = recordings::bundled();
    gateway.send(&audio_process("a", &["fr"]), &[&recording]);
    let events = gateway.events_of("a", &["audio_process_error"]);
    let [error] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(error.text("errorCode"), "pipeline_unavailable");
    assert_eq!(error.text("reason"), "model_unavailable");
    assert_eq!(error.text("stage"), "transcribe");
    let failures = daemon.metric("translator_errors_total", &["model_unavailable"]);
    assert_eq!(failures, 1.0, "one attempt is enough");

    gateway.send(&transcription_only("t"), &[&recording]);
    let error = gateway.next("transcription_error");
    assert_eq!(error.text("errorCode"), "transcription_failed");
    assert_eq!(error.text("reason"), "model_unavailable");

    gateway.send(&translation("x", "Hello.", "en", &["fr"]), &[]);
    let error = gateway.next("translation_error");
    assert_eq!(error.text("reason"), "model_unavailable");
    assert_eq!(error.json["metadata"]["failedLanguages"], json!(["fr"]));

    // The device's transcript needs no model; its translations do.
    let mut spoken = audio_process("mobile", &["fr"]);
    spoken["mobileTranscription"] = json!({"text": "Hello my friend.", "language": "en"});
    gateway.send(&spoken, &[&recording]);
    let kinds: Vec<String> = gateway
        .events_of("mobile", &["audio_process_error"])
        .iter()
        .map(|event| event.kind().to_owned())
        .collect();
    let expected = [
        "transcription_ready",
        "audio_process_completed",
        "audio_process_error",
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn a_damaged_model_stops_its_engine_only_until_it_is_repaired() {
    let models = copied_models();
    let file = models.path().join("openvoice/tone_embedding.onnx");
    let intact = std::fs::read(&file).unwrap();
    damage(&file);
    let daemon = Daemon::launch(&[("MODELS_PATH", models.path().to_str().unwrap())]);
    daemon.wait_loaded();
    let found = engines(&daemon);
    for engine in ENGINES {
        let status = found[engine].as_str().unwrap();
        if engine == "embed" {
            assert!(status.starts_with("failed: "), "{status}");
            assert!(status.contains("tone_embedding.onnx"), "{status}");
            assert!(status.contains("SHA-256"), "{status}");
        } else {
            assert_eq!(status, "ready", "{engine}");
        }
    }
    assert_eq!(daemon.get_json("/health")["status"], "degraded");
    assert_eq!(daemon.get("/ready").unwrap().0, 503);
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    gateway.send(&translation("t", "Hello my friend.", "en", &["fr"]), &[]);
    let event = gateway.next("translation_completed");
    assert_eq!(event.json["result"]["translatedText"], "Bonjour mon ami.");

    // Loading is tried again every 15 s.
    std::fs::write(&file, intact).unwrap();
    daemon.wait_ready();
    assert_eq!(daemon.get_json("/health")["status"], "healthy");
}

#[test]
fn files_that_do_not_belong_to_a_model_stop_its_engine_only() {
    const WEIGHTS: &str = "xtts/gpt_batched.int8r.onnx.data";
    let damaged: fn(&Path) = |models| damage(&models.join(WEIGHTS));
    let missing: fn(&Path) = |models| std::fs::remove_file(models.join(WEIGHTS)).unwrap();
    // The manifest knows them, but the graph points behind their end.
    let cut: fn(&Path) = |models| {
        let weights = std::fs::read(models.join(WEIGHTS)).unwrap();
        replace(models, WEIGHTS, &weights[..weights.len() / 2]);
    };
    // As before the vocoder was told which frames to give out.
    let old: fn(&Path) = |models| {
        let other = std::fs::read(models.join("xtts/speaker_encoder.onnx")).unwrap();
        replace(models, "xtts/vocoder_frames.onnx", &other);
    };
    for (spoil, file, problem) in [
        (damaged, WEIGHTS, "SHA-256"),
        (missing, WEIGHTS, "cannot be read"),
        (cut, "xtts/gpt_batched.int8r.onnx", "could not be loaded"),
        (
            old,
            "xtts/vocoder_frames.onnx",
            "export the checkpoint again",
        ),
    ] {
        let models = copied_models();
        spoil(models.path());
        let daemon = Daemon::launch(&[("MODELS_PATH", models.path().to_str().unwrap())]);
        daemon.wait_loaded();
        let found = engines(&daemon);
        let status = found["synthesize"].as_str().unwrap();
        assert!(status.starts_with("failed: "), "{status}");
        assert!(
            status.contains(file) && status.contains(problem),
            "{status}"
        );
        assert_eq!(found["translate"], "ready");
        let mut gateway = Gateway::connect_subscribed(daemon.ports);
        gateway.send(&translation("t", "Hello my friend.", "en", &["fr"]), &[]);
        gateway.next("translation_completed");
    }
}

#[test]
fn a_damaged_or_foreign_voice_activity_detector_stops_transcription_only() {
    const DETECTOR: &str = "vad/silero_vad.onnx";
    let damaged: fn(&Path) = |models| damage(&models.join(DETECTOR));
    // A graph that the manifest knows, but of another model.
    let foreign: fn(&Path) = |models| {
        let other = std::fs::read(models.join("openvoice/tone_embedding.onnx")).unwrap();
        replace(models, DETECTOR, &other);
    };
    for (name, spoil) in [("damaged", damaged), ("foreign", foreign)] {
        let models = copied_models();
        spoil(models.path());
        let daemon = Daemon::launch(&[("MODELS_PATH", models.path().to_str().unwrap())]);
        daemon.wait_loaded();
        let found = engines(&daemon);
        for engine in ENGINES {
            let status = found[engine].as_str().unwrap();
            if engine == "transcribe" {
                assert!(status.starts_with("failed: "), "{name}: {status}");
            } else {
                assert_eq!(status, "ready", "{name}: {engine}");
            }
        }
        let mut gateway = Gateway::connect_subscribed(daemon.ports);
        gateway.send(&translation("t", "Hello my friend.", "en", &["fr"]), &[]);
        let event = gateway.next("translation_completed");
        assert_eq!(event.json["result"]["translatedText"], "Bonjour mon ami.");
    }
}

#[test]
fn the_daemon_answers_and_takes_jobs_while_models_load() {
    // Whoever opens a pipe without a writer waits: loading takes as long as this test wants.
    let models = copied_models();
    let manifest = models.path().join("manifest.toml");
    let (whole, pipe) = (models.path().join("whole"), models.path().join("pipe"));
    std::fs::rename(&manifest, &whole).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    std::fs::hard_link(&pipe, &manifest).unwrap();
    let daemon = Daemon::launch(&[("MODELS_PATH", models.path().to_str().unwrap())]);
    let health = wait_for("the sockets", || {
        let (_, body) = daemon.get("/health")?;
        let health: Value = serde_json::from_str(&body).unwrap();
        (health["components"]["zmq_server"] == "running").then_some(health)
    });
    assert_eq!(health["status"], "healthy");
    assert_eq!(health["models_loading"], true);
    assert_eq!(health["summary"]["models_loaded"], false);
    let (status, body) = daemon.get("/ready").unwrap();
    assert_eq!(status, 503);
    let detail = serde_json::from_str::<Value>(&body).unwrap()["detail"].clone();
    assert_eq!(detail["models_ready"], false);
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    assert_eq!(gateway.ping().json["audio_pipeline_available"], false);

    gateway.send(&translation("t", "Hello my friend.", "en", &["fr"]), &[]);
    let events = gateway.events_of_what_was_sent();
    assert!(events.is_empty(), "{events:?}");
    wait_for("acceptance", || {
        (daemon.metric("translator_jobs_accepted_total", &[]) >= 1.0).then_some(())
    });

    // Those who wait read an empty manifest, and the whole one when they try again, after 15 s.
    std::fs::rename(&whole, &manifest).unwrap();
    drop(std::fs::OpenOptions::new().write(true).open(&pipe).unwrap());
    let event = gateway.next("translation_completed");
    assert_eq!(event.json["result"]["translatedText"], "Bonjour mon ami.");
    daemon.wait_ready();
}

#[test]
fn what_keeps_the_daemon_from_starting_is_told() {
    let running = Daemon::start();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let data = running.folder().join("data");
    for (variable, value, expected) in [
        ("TRANSLATOR_ZMQ_PULL_PORT", port.as_str(), port.as_str()),
        ("TRANSLATOR_ZMQ_PUB_PORT", port.as_str(), port.as_str()),
        ("HTTP_PORT", port.as_str(), port.as_str()),
        ("TRANSLATOR_ZMQ_BIND_ADDRESS", "203.0.113.7", "203.0.113.7"),
        (
            "TRANSLATOR_DATA_DIR",
            data.to_str().unwrap(),
            "another daemon uses the data directory",
        ),
        // Without a driver, as where these tests usually run, and with the library for the processor.
        ("TTS_DEVICE", "cuda", "device `cuda` was asked for, but"),
        ("WHISPER_DEVICE", "cuda", "transcription on cuda"),
    ] {
        let mut daemon = Daemon::launch(&[(variable, value)]);
        let status = daemon.wait_ended();
        assert_eq!(status.code(), Some(1), "{variable}: {}", daemon.log());
        // The reason is written last.
        daemon.wait_logged("translator: ");
        let log = daemon.log();
        let reason = log
            .lines()
            .find(|line| line.starts_with("translator: "))
            .unwrap();
        assert!(reason.contains(expected), "{variable}: {reason}");
        assert!(!log.contains("panicked"), "{log}");
    }
    assert_eq!(running.get("/ready").unwrap().0, 200);
}

#[test]
fn the_first_signal_stops_in_order_and_the_second_at_once() {
    let mut daemon = Daemon::start();
    assert!(daemon.terminate().success(), "{}", daemon.log());
    assert!(daemon.log().ends_with("stopped\n"), "{}", daemon.log());

    daemon.restart_with(&[("TRANSLATOR_FAULT", "transcribe:pause")]);
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    gateway.send(&audio_process("kept", &["fr"]), &[&recordings::bundled()]);
    daemon.wait_logged("fault: paused");
    daemon.signal("TERM");
    daemon.wait_logged("running jobs are given time to end");
    // Not ready while it stops, but alive.
    wait_for("the end of readiness", || {
        daemon
            .get("/ready")
            .is_none_or(|(status, _)| status == 503)
            .then_some(())
    });
    daemon.signal("TERM");
    assert_eq!(daemon.wait_ended().code(), Some(130));

    // What was accepted is done by the next daemon.
    daemon.restart_with(&[]);
    let last = gateway.events_of("kept", &["audio_process_completed", "audio_process_error"]);
    assert_eq!(
        last.last().unwrap().kind(),
        "audio_process_completed",
        "{last:?}"
    );
}

/// Native libraries tear down their globals when a process ends, also under a thread that is inside.
#[test]
fn a_daemon_that_is_stopped_while_models_load_ends_in_order() {
    for _ in 0..5 {
        let mut daemon = Daemon::launch(&[]);
        daemon.wait_logged("translator is listening");
        let status = daemon.terminate();
        assert!(status.success(), "{status}: {}", daemon.log());
    }
}

/// Takes 35 s: the contract's silence is 30.
#[test]
fn an_idle_daemon_gives_signs_of_life() {
    let daemon = Daemon::start();
    let gateway = Gateway::connect(daemon.ports);
    let events = gateway.listen(Duration::from_secs(40));
    assert!(!events.is_empty(), "silence");
    assert!(
        events.iter().all(|event| event.kind() == "pong"),
        "{events:?}"
    );
    assert_eq!(events[0].json["audio_pipeline_available"], true);
}

/// Which engines have their models in memory, as `/ready` tells.
fn loaded(daemon: &Daemon) -> Vec<String> {
    let ready = daemon.get_json("/ready");
    let engines = ready["engines"].as_object().unwrap();
    assert_eq!(engines.keys().collect::<Vec<_>>(), ENGINES);
    let loaded = engines
        .iter()
        .filter(|(_, engine)| engine["loaded"] == true);
    loaded.map(|(name, _)| name.clone()).collect()
}

#[test]
fn lazy_models_are_loaded_by_their_first_request() {
    let lazy = (
        "TRANSLATOR_LAZY_MODELS",
        "translate,embed,condition,synthesize",
    );
    let daemon = Daemon::start_with(&[lazy]);
    assert_eq!(loaded(&daemon), ["transcribe"]);
    assert_eq!(engines(&daemon)["embed"], "not loaded");
    let health = daemon.get_json("/health");
    assert_eq!(health["status"], "healthy");
    assert_eq!(health["summary"]["models_loaded"], false);
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    assert_eq!(gateway.ping().json["audio_pipeline_available"], true);

    gateway.send(&translation("t", "Hello my friend.", "en", &["fr"]), &[]);
    let event = gateway.next("translation_completed");
    assert_eq!(event.json["result"]["translatedText"], "Bonjour mon ami.");
    assert_eq!(loaded(&daemon), ["transcribe", "translate"]);

    gateway.send(&audio_process("a", &["fr"]), &[&recordings::bundled()]);
    gateway.next("audio_process_completed");
    assert_eq!(loaded(&daemon), ENGINES);
    assert_eq!(daemon.get_json("/health")["summary"]["models_loaded"], true);
}

#[test]
fn a_daemon_with_a_damaged_lazy_model_is_not_ready() {
    let models = copied_models();
    damage(&models.path().join("openvoice/tone_embedding.onnx"));
    let daemon = Daemon::launch(&[
        ("MODELS_PATH", models.path().to_str().unwrap()),
        ("TRANSLATOR_LAZY_MODELS", "embed"),
    ]);
    daemon.wait_loaded();
    let status = engines(&daemon)["embed"].clone();
    let status = status.as_str().unwrap();
    assert!(status.contains("SHA-256"), "{status}");
    assert_eq!(daemon.get("/ready").unwrap().0, 503);
}
