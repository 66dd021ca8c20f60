//! SIGTERM, neighbours, and starts that must not succeed.

use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::command_line::CommandLine;
use crate::support::daemon::{Daemon, Ports};
use crate::support::gateway::{Event, Gateway};
use crate::support::voice_message::VoiceMessage;
use crate::support::wait_for;

const COMPLETED: &str = "audio_process_completed";
const FAILED: &str = "audio_process_error";

/// Enough languages that the job is still running a moment later.
const MANY: [&str; 12] = [
    "fr", "es", "de", "it", "pt", "pl", "tr", "ru", "nl", "cs", "ar", "hu",
];

/// A file of settings that gives running jobs `drain_secs`, and its folder.
fn short_drain(drain_secs: u32) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("translator.toml");
    std::fs::write(&file, format!("[jobs]\ndrain_secs = {drain_secs}\n")).unwrap();
    let path = file.to_str().unwrap().to_owned();
    (folder, path)
}

fn spoken_languages(completed: &Event) -> usize {
    completed.json["translatedAudios"].as_array().unwrap().len()
}

#[test]
fn a_running_job_ends_before_the_daemon_does() {
    let mut daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    let message = VoiceMessage::named("draining");
    message.send(&mut gateway, &MANY[..5]);
    gateway.next("transcription_ready");
    assert_eq!(daemon.terminate().code(), Some(0));
    assert!(daemon.log().contains("running jobs are given time to end"));
    let events = gateway.events_of(&message.message_id, &[COMPLETED, FAILED]);
    assert_eq!(events.last().unwrap().kind(), COMPLETED);
    assert_eq!(spoken_languages(events.last().unwrap()), 5);
}

#[test]
fn a_stop_in_the_middle_of_a_job_is_no_failure_of_it() {
    let (_folder, config) = short_drain(0);
    let mut daemon = Daemon::start_with(&[("TRANSLATOR_CONFIG", &config)]);
    let mut gateway = Gateway::connect(daemon.ports);
    let message = VoiceMessage::named("stopped");
    message.send(&mut gateway, &MANY[..5]);
    gateway.next("transcription_ready");
    assert_eq!(daemon.terminate().code(), Some(0));
    assert!(daemon.log().contains("jobs go on at the next start"));
    daemon.restart();
    let events = gateway.events_of(&message.message_id, &[COMPLETED, FAILED]);
    assert_eq!(events.last().unwrap().kind(), COMPLETED);
    assert_eq!(spoken_languages(events.last().unwrap()), 5);
}

#[test]
fn stops_do_not_count_as_crashes() {
    let (_folder, config) = short_drain(1);
    let config = ("TRANSLATOR_CONFIG", config.as_str());
    let paused = [config, ("TRANSLATOR_FAULT", "synthesize:pause")];
    let mut daemon = Daemon::start_with(&paused);
    let mut gateway = Gateway::connect(daemon.ports);
    let message = VoiceMessage::named("restarted");
    message.send(&mut gateway, &["fr"]);
    for stop in 1..=4 {
        wait_for("pause in the log", || {
            (daemon.log().matches("fault: paused").count() >= stop).then_some(())
        });
        assert_eq!(daemon.terminate().code(), Some(0));
        daemon.restart_with(if stop < 4 { &paused } else { &[] });
    }
    let events = gateway.events_of(&message.message_id, &[COMPLETED, FAILED]);
    assert_eq!(events.last().unwrap().kind(), COMPLETED);
    assert_eq!(spoken_languages(events.last().unwrap()), 1);
}

#[test]
fn daemons_work_side_by_side() {
    let daemons = [Daemon::start(), Daemon::start()];
    let mut gateways = daemons
        .each_ref()
        .map(|daemon| Gateway::connect(daemon.ports));
    let message = VoiceMessage::named("neighbour");
    for gateway in &mut gateways {
        message.send(gateway, &["fr"]);
    }
    for gateway in &gateways {
        gateway.events_of(&message.message_id, &[COMPLETED]);
    }
    for daemon in &daemons {
        wait_for("end of the job", || {
            (daemon.metric("translator_jobs_finished_total", &[]) == 1.0).then_some(())
        });
    }
}

#[test]
fn a_second_daemon_on_the_same_data_says_so_and_ends() {
    let first = Daemon::start();
    let data = first.folder().join("data");
    let mut second = Daemon::launch(&[("TRANSLATOR_DATA_DIR", data.to_str().unwrap())]);
    assert_eq!(second.wait_ended().code(), Some(1));
    second.wait_logged(&format!(
        "another daemon uses the data directory {}",
        data.display()
    ));

    let mut gateway = Gateway::connect(first.ports);
    let message = VoiceMessage::named("first");
    message.send(&mut gateway, &["fr"]);
    gateway.events_of(&message.message_id, &[COMPLETED]);
}

#[test]
fn a_misspelt_setting_is_named_and_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("translator.toml");
    std::fs::write(&file, "[zmq]\npull_prot = 5555\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_translator"))
        .arg("serve")
        .env_clear()
        .env("TRANSLATOR_CONFIG", &file)
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("unknown key `zmq.pull_prot`"), "{said}");
    assert!(said.contains("did you mean `zmq.pull_port`?"), "{said}");
    assert!(said.contains("translator.toml"), "{said}");
}

#[test]
fn a_log_that_cannot_be_written_stops_nothing() {
    let ports = Ports::free();
    let commands = CommandLine::new().at(ports);
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut daemon = commands.command(&["serve"]).stderr(full).spawn().unwrap();
    wait_for("a daemon that is alive", || {
        let probe = commands.run(&["healthcheck"]);
        probe.status.success().then_some(())
    });
    let shown = commands.succeed(&["submit", "message.ogg", "--to", "fr"]);
    assert!(shown.contains("bonjour mon ami"), "{shown}");
    let process = Pid::from_raw(daemon.id() as i32).unwrap();
    kill_process(process, Signal::TERM).unwrap();
    assert_eq!(daemon.wait().unwrap().code(), Some(0));
}
