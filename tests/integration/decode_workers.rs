//! Recordings that kill what decodes them: their own job fails, and nothing else.

use std::path::PathBuf;
use std::process::Command;

use meeshy_translator::decoder::{DecoderError, DecoderOptions, DecoderPool};
use meeshy_translator::domain::digest::sha256_hex;
use meeshy_translator::domain::{Deadline, Stop};
use meeshy_translator::error::error_chain;
use meeshy_translator::stages::StageError as _;
use meeshy_translator::stages::decode::{DecodeLimits, decode};

use crate::support::daemon::Daemon;
use crate::support::gateway::{Event, Gateway};
use crate::support::processes::{Process, children};
use crate::support::requests::audio_process;
use crate::support::wav::wav;
use crate::support::{recordings, wait_for};

const MEMORY_BYTES: u64 = 128 << 20;

fn pool(max_workers: usize) -> DecoderPool {
    DecoderPool::new(DecoderOptions {
        program: PathBuf::from(env!("CARGO_BIN_EXE_translator")),
        max_workers,
        memory_bytes: MEMORY_BYTES,
        cpu_secs: 60,
    })
    .unwrap()
}

/// Silence of that many samples, so that no two are the same recording.
fn silence(samples: usize) -> Vec<u8> {
    wav(std::iter::repeat_n(0.0, samples), 1, 16_000)
}

#[test]
fn a_worker_decodes_what_the_library_decodes() {
    let pool = pool(1);
    let (limits, deadline) = (DecodeLimits::default(), Deadline::none());
    let [ogg, other] = [recordings::bundled(), recordings::second_speaker()];
    for recording in [&ogg, &other, &ogg[..ogg.len() / 2].to_vec(), &silence(123)] {
        let here = decode(recording, &limits, &deadline).unwrap().pcm;
        let there = pool.decode(recording, &limits, &deadline).unwrap();
        assert_eq!(there.sample_rate_hz(), here.sample_rate_hz());
        assert!(there.samples() == here.samples());
    }

    let short = DecodeLimits {
        max_duration_ms: 500,
        ..DecodeLimits::default()
    };
    let small = DecodeLimits {
        max_bytes: 500,
        ..DecodeLimits::default()
    };
    for (recording, limits) in [
        (&b""[..], &limits),
        (b"no recording at all", &limits),
        (&ogg, &short),
        (&ogg, &small),
    ] {
        let here = decode(recording, limits, &deadline).unwrap_err();
        let there = pool.decode(recording, limits, &deadline).unwrap_err();
        assert_eq!(there.reason(), here.reason());
        assert_eq!(there.to_string(), error_chain(&here));
    }
    let cancelled = Deadline::none();
    cancelled.cancel();
    let error = pool.decode(&ogg, &limits, &cancelled).unwrap_err();
    assert!(matches!(error, DecoderError::Stopped(Stop::Cancelled)));
}

#[test]
fn samples_need_no_memory_in_a_worker() {
    // At the rate of browsers; as floats they take 115 MB.
    const SECONDS: usize = 600;
    let recording = wav(std::iter::repeat_n(0.25, SECONDS * 48_000), 1, 48_000);
    let limits = DecodeLimits {
        max_bytes: recording.len(),
        ..DecodeLimits::default()
    };
    let pool = DecoderPool::new(DecoderOptions {
        program: PathBuf::from(env!("CARGO_BIN_EXE_translator")),
        max_workers: 1,
        memory_bytes: recording.len() as u64 + (32 << 20),
        cpu_secs: 60,
    })
    .unwrap();
    let pcm = pool.decode(&recording, &limits, &Deadline::none()).unwrap();
    assert_eq!(pcm.samples().len(), SECONDS * 48_000);
}

/// A pool whose workers break one rule.
fn rogues(rule: u64) -> DecoderPool {
    let program = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/support/rogue_worker.sh");
    DecoderPool::new(DecoderOptions {
        program,
        max_workers: 1,
        memory_bytes: rule,
        cpu_secs: 60,
    })
    .unwrap()
}

#[test]
fn nothing_that_a_worker_says_is_believed() {
    let limits = DecodeLimits {
        max_decoded_bytes: 1 << 20,
        ..DecodeLimits::default()
    };
    let ask = |rule| rogues(rule).decode(b"recording", &limits, &Deadline::none());
    // The script does answer where it keeps to the rules.
    assert_eq!(ask(14).unwrap().samples(), [0.0]);
    for rule in 1..=3 {
        let error = ask(rule).unwrap_err();
        assert!(matches!(error, DecoderError::Start(_)), "{rule}: {error:?}");
    }
    for rule in 4..=11 {
        let error = ask(rule).unwrap_err();
        assert!(matches!(error, DecoderError::Crashed), "{rule}: {error:?}");
    }
    let error = ask(12).unwrap_err();
    assert!(matches!(error, DecoderError::Killed), "{error:?}");
}

#[test]
fn a_worker_that_does_not_answer_is_waited_for_until_the_deadline() {
    let pool = rogues(13);
    let limits = DecodeLimits::default();
    let soon = Deadline::after(std::time::Duration::from_millis(300));
    let error = pool.decode(b"recording", &limits, &soon).unwrap_err();
    assert!(matches!(
        error,
        DecoderError::Stopped(Stop::DeadlineExceeded)
    ));

    let deadline = Deadline::none();
    std::thread::scope(|threads| {
        let waiting = || pool.decode(b"recording", &limits, &deadline);
        // One is with the worker, the other waits for it.
        let both = [threads.spawn(waiting), threads.spawn(waiting)];
        std::thread::sleep(std::time::Duration::from_millis(300));
        deadline.cancel();
        for one in both {
            let error = one.join().unwrap().unwrap_err();
            assert!(matches!(error, DecoderError::Stopped(Stop::Cancelled)));
        }
    });
}

/// The last event of a message with that recording.
fn last_event(gateway: &mut Gateway, message_id: &str, recording: &[u8]) -> Event {
    gateway.send(&audio_process(message_id, &["fr"]), &[recording]);
    let ends = ["audio_process_completed", "audio_process_error"];
    gateway.events_of(message_id, &ends).pop().unwrap()
}

/// The fault that hits one recording.
fn fault(recording: &[u8], action: &str) -> String {
    format!("decode_worker.{}:{action};", &sha256_hex(recording)[..8])
}

#[test]
fn a_recording_that_kills_its_worker_fails_alone() {
    let cases = [
        ("abort", "malformed_audio", "crashed"),
        ("panic", "malformed_audio", "crashed"),
        ("leak", "malformed_audio", "crashed"),
        ("hang", "deadline_exceeded", "deadline_exceeded"),
        ("fail", "bad_output", "refused"),
    ];
    let recording = |number: usize| silence(1000 + number);
    let faults: String = cases
        .iter()
        .enumerate()
        .map(|(number, (action, ..))| fault(&recording(number), action))
        .collect();
    // Five seconds of computing time, as short recordings get, instead of twenty.
    let mut daemon = Daemon::start_with(&[
        ("TRANSLATOR_FAULT", &faults),
        ("AUDIO_MAX_DURATION_SECS", "60"),
        ("MAX_CONCURRENT_JOBS", "1"),
    ]);
    let mut gateway = Gateway::connect(daemon.ports);
    for (number, (action, reason, outcome)) in cases.into_iter().enumerate() {
        let before = daemon.metric("translator_decodes_total", &[outcome]);
        let error = last_event(&mut gateway, action, &recording(number));
        let told = [error.kind(), error.text("errorCode"), error.text("reason")];
        let expected = ["audio_process_error", "transcription_failed", reason];
        assert_eq!(told, expected, "{action}: {error:?}");
        // Once: it is not tried again.
        let after = daemon.metric("translator_decodes_total", &[outcome]);
        assert_eq!(after - before, 1.0, "{action}");

        let next = format!("after-{action}");
        let completed = last_event(&mut gateway, &next, &recordings::bundled());
        assert_eq!(completed.kind(), "audio_process_completed", "{action}");
    }
    let restarts = daemon.metric("translator_decode_worker_restarts_total", &[]);
    assert_eq!(restarts, 4.0, "one that only fails lives on");

    let workers = children(daemon.pid());
    assert_eq!(workers.len(), 1, "{workers:?}: dead ones are reaped");
    assert!(daemon.terminate().success());
    wait_for("end of the worker", || (!workers[0].exists()).then_some(()));
}

#[test]
fn a_worker_has_given_up_all_that_it_does_not_need() {
    let mut daemon = Daemon::start_with(&[("MAX_CONCURRENT_JOBS", "1")]);
    assert_eq!(children(daemon.pid()), [], "none before it is needed");
    let mut gateway = Gateway::connect(daemon.ports);
    last_event(&mut gateway, "message", &recordings::bundled());
    let [worker] = children(daemon.pid())[..] else {
        panic!("not one worker");
    };

    let status = worker.status();
    assert_eq!(status["Name"], "decode-worker");
    assert_eq!(status["Threads"], "1");
    assert_eq!(status["NoNewPrivs"], "1");
    assert_eq!(status["Seccomp"], "2", "system calls are filtered");
    assert_eq!(worker.descriptors(), [0, 1, 2]);
    for (limit, value) in [
        ("Max core file size", "0"),
        ("Max file size", "0"),
        ("Max open files", "0"),
        ("Max processes", "0"),
    ] {
        assert_eq!(worker.limit(limit), value, "{limit}");
    }
    assert_ne!(worker.limit("Max address space"), "unlimited");
    assert_ne!(worker.limit("Max cpu time"), "unlimited");
    let environment = std::fs::read(format!("/proc/{}/environ", worker.0)).unwrap();
    assert_eq!(environment, b"");
    let mapped = std::fs::read_to_string(format!("/proc/{}/maps", worker.0)).unwrap();
    assert!(!mapped.contains("onnxruntime"), "no engine is loaded");

    // It is used again, and replaced where somebody kills it between two recordings.
    last_event(&mut gateway, "second", &recordings::bundled());
    assert_eq!(children(daemon.pid()), [worker]);
    kill(worker);
    let completed = last_event(&mut gateway, "third", &recordings::bundled());
    assert_eq!(completed.kind(), "audio_process_completed");
    let [successor] = children(daemon.pid())[..] else {
        panic!("not one worker");
    };
    assert_ne!(successor, worker);

    // A daemon that is killed leaves no child behind, busy or idle.
    daemon.kill();
    wait_for("end of the worker", || (!successor.exists()).then_some(()));
}

#[test]
fn a_worker_dies_with_its_daemon_even_while_it_decodes() {
    let recording = silence(1000);
    let faults = fault(&recording, "hang");
    let mut daemon = Daemon::start_with(&[("TRANSLATOR_FAULT", &faults)]);
    let mut gateway = Gateway::connect(daemon.ports);
    gateway.send(&audio_process("hang", &["fr"]), &[&recording]);
    let worker = wait_for("a busy worker", || {
        let worker = *children(daemon.pid()).first()?;
        let state = worker.status().remove("State")?;
        state.starts_with('R').then_some(worker)
    });
    daemon.kill();
    wait_for("end of the worker", || (!worker.exists()).then_some(()));
}

fn kill(process: Process) {
    let status = Command::new("kill")
        .args(["-KILL", &process.0.to_string()])
        .status();
    assert!(status.unwrap().success());
}

/// Prints what a worker costs; run it alone, with `--ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn what_a_worker_costs() {
    let (limits, deadline) = (DecodeLimits::default(), Deadline::none());
    let wave = wav(std::iter::repeat_n(0.25, 480_000), 1, 48_000);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &wave).unwrap();
    let opus = recordings::convert(file.path(), &["-c:a", "libopus", "-f", "ogg"]);
    for (name, recording) in [("wav", Some(wave)), ("opus", opus)] {
        let Some(recording) = recording else { continue };
        let time = |work: &dyn Fn()| {
            let times = (0..20).map(|_| {
                let start = std::time::Instant::now();
                work();
                start.elapsed().as_secs_f64() * 1000.0
            });
            let mut times: Vec<f64> = times.collect();
            times.sort_by(f64::total_cmp);
            format!("{:.1} ms median, {:.1} ms worst", times[10], times[19])
        };
        let here = || drop(decode(&recording, &limits, &deadline).unwrap());
        println!("{name}, 10 s, in process: {}", time(&here));
        let warm = pool(1);
        warm.decode(&recording, &limits, &deadline).unwrap();
        let there = || drop(warm.decode(&recording, &limits, &deadline).unwrap());
        println!("{name}, 10 s, warm worker: {}", time(&there));
        let cold = || drop(pool(1).decode(&recording, &limits, &deadline).unwrap());
        println!("{name}, 10 s, cold worker: {}", time(&cold));
        let [worker] = children(std::process::id())[..] else {
            panic!("run it alone");
        };
        let status = worker.status();
        let [rss, own, size] = ["VmRSS", "RssAnon", "VmSize"].map(|field| &status[field]);
        println!("{name}, idle worker: RSS {rss}, {own} its own, address space {size}");
    }
}
