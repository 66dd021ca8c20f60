//! How long a client may take: for the head of a request, between two pieces of a body, to take what it asked for.

use std::io::{Read as _, Write as _};

use crate::support::daemon::Daemon;
use crate::support::forms::{Connection, Form, uploads};
use crate::support::http::connect;
use crate::support::{recordings, wait_for};

/// Longer than the buffers of a connection, so that sending it has to wait for who takes it.
const LARGE_FILE_BYTES: u64 = 64 << 20;

/// Sends the beginning of something, and reads what comes until the daemon ends the connection.
fn answer_to(daemon: &Daemon, beginning: &[u8]) -> String {
    let mut stream = connect(daemon);
    stream.write_all(beginning).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

/// True while the daemon has a file of that name open.
fn has_open(daemon: &Daemon, name: &str) -> bool {
    let folder = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap();
    // What is closed meanwhile leads nowhere.
    let mut open = folder.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    open.any(|path| path.ends_with(name))
}

// All at once, so that it takes about as long as the longest of them: a minute.
#[test]
fn who_is_too_slow_is_answered_or_left() {
    let daemon = Daemon::start();
    let folder = daemon.folder().join("outputs/audio/translated/2026/01");
    std::fs::create_dir_all(&folder).unwrap();
    let file = std::fs::File::create(folder.join("large.wav")).unwrap();
    file.set_len(LARGE_FILE_BYTES).unwrap();
    let daemon = &daemon;
    std::thread::scope(|scope| {
        // Takes nothing of what it asked for.
        scope.spawn(|| {
            let mut idle = connect(daemon);
            let request = b"GET /audio/large.wav HTTP/1.1\r\nhost: a\r\n\r\n";
            idle.write_all(request).unwrap();
            wait_for("the file", || has_open(daemon, "large.wav").then_some(()));
            wait_for("the end of the connection", || {
                (!has_open(daemon, "large.wav")).then_some(())
            });
            let mut taken = Vec::new();
            // What was on its way, and then an end or an error, but never all of it.
            drop(idle.read_to_end(&mut taken));
            assert!((taken.len() as u64) < LARGE_FILE_BYTES);
        });
        // Sends no head, or not all of it; says nothing more after an answer.
        for beginning in ["", "GET /live HTTP/1.1\r\nhost: a\r\n"] {
            scope.spawn(move || assert_eq!(answer_to(daemon, beginning.as_bytes()), ""));
        }
        scope.spawn(|| {
            let answer = answer_to(daemon, b"GET /live HTTP/1.1\r\nhost: a\r\n\r\n");
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        });
        // Does not go on with a body.
        for (path, kind, body) in [
            ("/translate", "application/json", "{\"text\": \"hel"),
            ("/v1/audio/speech", "application/json", "{"),
            (
                "/audio/tts",
                "application/x-www-form-urlencoded",
                "text=hel",
            ),
        ] {
            scope.spawn(move || {
                let head = format!(
                    "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: {kind}\r\ncontent-length: 100\r\n\r\n{body}"
                );
                let answer = answer_to(daemon, head.as_bytes());
                assert!(answer.starts_with("HTTP/1.1 408 "), "{path}: {answer}");
            });
        }
        // Goes on with it, a byte at a time.
        scope.spawn(|| {
            let mut connection = connect(daemon);
            let head = "POST /api/v1/voice/analyze HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
                        content-length: 1000\r\n\r\n";
            connection.write_all(head.as_bytes()).unwrap();
            let mut trickling = connection.try_clone().unwrap();
            scope.spawn(move || {
                // Until the daemon has closed the connection.
                while trickling.write_all(b" ").is_ok() {
                    std::thread::sleep(std::time::Duration::from_secs(2));
                }
            });
            let mut answer = Vec::new();
            // What is still sent may reset the connection behind the answer.
            drop(connection.read_to_end(&mut answer));
            let answer = String::from_utf8(answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        });
        for path in ["/audio/transcribe", "/v1/register-voice"] {
            scope.spawn(move || {
                let body = Form::default().file("audio", &recordings::bundled()).body();
                let mut connection = Connection::post(daemon, path, body.len());
                connection.write(&body[..body.len() / 2]);
                let answer = connection.answer();
                assert!(answer.starts_with("HTTP/1.1 408 "), "{path}: {answer}");
                assert!(answer.contains("did not come in time"), "{path}: {answer}");
            });
        }
    });
    assert_eq!(uploads(daemon), 0);
    assert_eq!(daemon.get_json("/jobs")["total"], 0);
}
