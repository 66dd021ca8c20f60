//! Many clients at once, honest ones and others: whoever is honest gets the right answer, and nobody leaves a file, a
//! job, a place or memory behind.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::forms::{Connection, Form, get, post, send, uploads};
use crate::support::http::connect;
use crate::support::{recordings, wait_for};

/// Where clients break off, and who comes when, follows from it.
const SEED: u64 = 0x5eed;
/// Recordings in these tests.
const MAX_AUDIO_BYTES: usize = 1 << 20;
/// Forms that are received at once (docs/rest.md).
const PLACES: usize = 32;
/// What the daemon may take more than when it was idle: the bodies that it may hold (64 MiB, and as much while they
/// grow), the work of ten recordings, and what the allocator keeps.
const MAX_GROWTH_BYTES: u64 = 384 << 20;
/// How long an honest client waits. All of them share two slow cores.
const PATIENCE: Duration = Duration::from_secs(400);

/// A request, and what is in its answer.
#[derive(Clone)]
struct Request {
    path: &'static str,
    content_type: String,
    body: Vec<u8>,
    /// Whole requests are answered with 200 and this.
    expected: &'static [u8],
    /// One byte more is too much.
    max_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Sends everything and takes the answer.
    Honest,
    /// The same, in trickles.
    Slow,
    LeavesInHead,
    LeavesInPartHead,
    LeavesInBody,
    LeavesBeforeAnswer,
    /// Announces more than it may send.
    AnnouncesTooMuch,
    /// Sends more than it may, in chunks, so that nobody can know before.
    SendsTooMuch,
    /// Says that half of the body is all.
    Understates,
    /// Sends something where the length of a chunk has to be.
    BreaksChunks,
    SendsManyParts,
    SendsEndlessPartHead,
    /// Sends half of the body, and then nothing until all others are gone.
    Holds,
}

use Manner::*;

const MANNERS: [Manner; 13] = [
    Honest,
    Slow,
    LeavesInHead,
    LeavesInPartHead,
    LeavesInBody,
    LeavesBeforeAnswer,
    AnnouncesTooMuch,
    SendsTooMuch,
    Understates,
    BreaksChunks,
    SendsManyParts,
    SendsEndlessPartHead,
    Holds,
];

const MULTIPART: &str = "multipart/form-data";
const URL_ENCODED: &str = "application/x-www-form-urlencoded";

fn form(path: &'static str, form: &Form, expected: &'static [u8]) -> Request {
    Request {
        path,
        content_type: Form::content_type(),
        body: form.body(),
        expected,
        max_bytes: MAX_AUDIO_BYTES,
    }
}

fn encoded(path: &'static str, body: String, expected: &'static [u8]) -> Request {
    Request {
        path,
        content_type: URL_ENCODED.to_owned(),
        body: body.into_bytes(),
        expected,
        max_bytes: 3 << 20,
    }
}

fn of_json(path: &'static str, body: &Value, expected: &'static [u8]) -> Request {
    let is_speech = path == "/v1/audio/speech";
    Request {
        path,
        content_type: "application/json".to_owned(),
        body: body.to_string().into_bytes(),
        expected,
        max_bytes: if is_speech { 4 << 20 } else { 2 << 20 },
    }
}

/// One for each route outside `/api/v1` that takes a body, and each form of it; what is under `/api/v1` is read by the same
/// code.
fn requests() -> Vec<Request> {
    let audio = || Form::default().file("audio", &recordings::bundled());
    let message = || {
        audio()
            .field("sender_id", "sender")
            .field("conversation_id", "conversation")
            .field("target_languages", "fr")
    };
    let text =
        json!({"text": "Hello my friend.", "source_language": "en", "target_language": "fr"});
    let spoken = Form::of(&[("text", "Hello my friend."), ("format", "wav")]);
    let base64 = STANDARD.encode(recordings::bundled()).replace('+', "%2B");
    let detected = json!({
        "text": "I have just left the office and the traffic is terrible, so I will be late.",
    });
    vec![
        form("/audio/process-message", &message(), b"bonjour"),
        form("/v1/audio/process-message", &message(), b"bonjour"),
        form("/audio/transcribe", &audio(), b"hello"),
        form("/v1/audio/transcribe", &audio(), b"hello"),
        form(
            "/v1/audio/transcriptions",
            &Form::default().file("file", &recordings::bundled()),
            b"hello",
        ),
        encoded(
            "/v1/audio/transcriptions",
            format!("audio_base64={base64}"),
            b"hello",
        ),
        form(
            "/v1/register-voice",
            &audio().field("user_id", "ann"),
            b"registered",
        ),
        form(
            "/v1/voice-message",
            &audio()
                .field("user_id", "bob")
                .field("target_language", "fr"),
            b"bonjour",
        ),
        form("/audio/tts", &spoken, b"RIFF"),
        form("/v1/audio/tts", &spoken, b"RIFF"),
        encoded(
            "/audio/tts",
            "text=Hello+my+friend.&format=wav".to_owned(),
            b"RIFF",
        ),
        form("/v1/tts", &spoken, b"audio/mpeg"),
        of_json(
            "/v1/audio/speech",
            &json!({"input": "Hello my friend.", "response_format": "wav", "language": "en"}),
            b"RIFF",
        ),
        of_json("/translate", &text, b"Bonjour mon ami."),
        of_json("/translate/batch", &json!([text]), b"Bonjour mon ami."),
        of_json("/detect-language", &detected, b"\"en\""),
    ]
}

impl Request {
    fn is_multipart(&self) -> bool {
        self.content_type.starts_with(MULTIPART)
    }

    fn has_file(&self) -> bool {
        let file = b"filename=";
        self.body.windows(file.len()).any(|window| window == file)
    }

    /// False for what makes no sense of this request.
    fn allows(&self, manner: Manner) -> bool {
        match manner {
            LeavesInPartHead | SendsManyParts | SendsEndlessPartHead => self.is_multipart(),
            // Half of it may be a whole one.
            Understates => self.content_type != URL_ENCODED,
            _ => true,
        }
    }

    fn head(&self, length: &str) -> String {
        format!(
            "POST {} HTTP/1.1\r\nhost: daemon\r\nconnection: close\r\ncontent-type: {}\r\n{length}\r\n\r\n",
            self.path, self.content_type
        )
    }

    fn head_of(&self, bytes: usize) -> String {
        self.head(&format!("content-length: {bytes}"))
    }

    /// The beginning of a body whose next bytes belong to one field.
    fn endless_field(&self) -> Vec<u8> {
        let boundary = self.content_type.rsplit_once("boundary=");
        match boundary {
            Some((_, boundary)) => {
                let field = if self.has_file() { "audio" } else { "text" };
                let field = if self.path.ends_with("transcriptions") {
                    "file"
                } else {
                    field
                };
                format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"a\"\r\n\r\n")
                    .into_bytes()
            }
            None if self.content_type == URL_ENCODED => b"text=".to_vec(),
            None => b"\"".to_vec(),
        }
    }
}

/// The status and all of an answer; `None` where the connection broke first.
fn answer(mut stream: TcpStream) -> Option<(u16, Vec<u8>)> {
    let mut answer = Vec::new();
    // What was not read of a refused body may take the answer with it.
    drop(stream.read_to_end(&mut answer));
    let status = answer.get(9..12)?;
    let status = std::str::from_utf8(status).ok()?.parse().ok()?;
    Some((status, answer))
}

/// A client that comes at its own time.
struct Client<'d> {
    daemon: &'d Daemon,
    request: Request,
    manner: Manner,
    dice: ChaCha8Rng,
}

impl Client<'_> {
    /// What is wrong with how it was treated; a connection that has to stay open.
    fn run(mut self) -> Result<Option<TcpStream>, String> {
        let pause = self.below(1500) as u64;
        std::thread::sleep(Duration::from_millis(pause));
        match self.manner {
            Honest | Slow => return self.insist().map(|()| None),
            Holds => {
                let half = self.request.body.len() / 2;
                let stream = self.sent(half);
                return Ok(stream);
            }
            LeavesInHead => {
                let head = self.request.head_of(self.request.body.len());
                let at = 1 + self.below(head.len() - 1);
                self.write(&head.as_bytes()[..at]);
            }
            LeavesInPartHead => {
                let at = 1 + self.below(30);
                drop(self.sent(at));
            }
            LeavesInBody => {
                let at = self.below(self.request.body.len());
                drop(self.sent(at));
            }
            LeavesBeforeAnswer => drop(self.sent(self.request.body.len())),
            AnnouncesTooMuch => return self.is_refused(self.too_much(false), &[413]),
            SendsTooMuch => return self.is_refused(self.too_much(true), &[413]),
            Understates => {
                let bytes = self
                    .request
                    .head_of(self.request.body.len() / 2)
                    .into_bytes();
                let bytes = [bytes, self.request.body.clone()].concat();
                return self.is_refused(bytes, &[400, 422]);
            }
            BreaksChunks => {
                let head = self.request.head("transfer-encoding: chunked");
                return self.is_refused(format!("{head}zz\r\n").into_bytes(), &[400]);
            }
            SendsManyParts => {
                let (_, boundary) = self.request.content_type.rsplit_once("boundary=").unwrap();
                let part = format!(
                    "--{boundary}\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\r\n"
                );
                let body = part.repeat(200) + &format!("--{boundary}--\r\n");
                let bytes = self.request.head_of(body.len()) + &body;
                return self.is_refused(bytes.into_bytes(), &[413]);
            }
            SendsEndlessPartHead => {
                let (_, boundary) = self.request.content_type.rsplit_once("boundary=").unwrap();
                let head = self.request.head_of(1 << 20);
                let endless = "a".repeat(65 << 10);
                let bytes = format!("{head}--{boundary}\r\nContent-Disposition: {endless}");
                return self.is_refused(bytes.into_bytes(), &[413]);
            }
        }
        Ok(None)
    }

    /// A number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        (self.dice.next_u64() % bound as u64) as usize
    }

    /// Sends as many bytes of the body as are said.
    fn sent(&self, bytes: usize) -> Option<TcpStream> {
        let head = self.request.head_of(self.request.body.len()).into_bytes();
        self.write(&[&head, &self.request.body[..bytes]].concat())
    }

    /// A connection over which that was sent; `None` where it broke meanwhile.
    fn write(&self, bytes: &[u8]) -> Option<TcpStream> {
        let mut stream = connect(self.daemon);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(bytes).ok()?;
        Some(stream)
    }

    /// More than a body may have; what comes is over the bound by little, lest much of it stays unread.
    fn too_much(&self, is_chunked: bool) -> Vec<u8> {
        let mut body = self.request.endless_field();
        body.resize(body.len() + self.request.max_bytes + 1, b'a');
        let head = match is_chunked {
            true => {
                let head = self.request.head("transfer-encoding: chunked");
                format!("{head}{:x}\r\n", body.len())
            }
            false => self.request.head_of(1 << 30),
        };
        [head.into_bytes(), body].concat()
    }

    /// Checks that a request is refused with one of these; what is not read may take the answer with it.
    fn is_refused(&self, bytes: Vec<u8>, statuses: &[u16]) -> Result<Option<TcpStream>, String> {
        let status = self
            .write(&bytes)
            .and_then(answer)
            .map(|(status, _)| status);
        match status {
            None | Some(429) => Ok(None),
            Some(status) if statuses.contains(&status) => Ok(None),
            Some(status) => Err(format!("it is answered {status}")),
        }
    }

    /// Asks until there is room, as it is told to.
    fn insist(&mut self) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let stream = match self.manner {
                Slow => self.trickled(),
                _ => self.sent(self.request.body.len()),
            };
            let Some((status, answer)) = stream.and_then(answer) else {
                // It was refused before all was sent.
                std::thread::sleep(Duration::from_millis(300));
                continue;
            };
            let expected = self.request.expected;
            match status {
                429 => std::thread::sleep(Duration::from_millis(300)),
                200 if answer.windows(expected.len()).any(|part| part == expected) => return Ok(()),
                status => {
                    let answer = String::from_utf8_lossy(&answer).into_owned();
                    return Err(format!("it is answered {status}: {answer}"));
                }
            }
        }
        Err(format!("it is not answered in {PATIENCE:?}"))
    }

    fn trickled(&mut self) -> Option<TcpStream> {
        let head = self.request.head_of(self.request.body.len()).into_bytes();
        let bytes = [head, self.request.body.clone()].concat();
        let pieces = 8 + self.below(24);
        let mut stream = self.write(&[])?;
        for piece in bytes.chunks(bytes.len().div_ceil(pieces)) {
            stream.write_all(piece).ok()?;
            let pause = 20 + self.below(80) as u64;
            std::thread::sleep(Duration::from_millis(pause));
        }
        Some(stream)
    }
}

/// The clients in the order in which they come.
fn clients(daemon: &Daemon) -> Vec<Client<'_>> {
    let mut dice = ChaCha8Rng::seed_from_u64(SEED);
    let mut clients = Vec::new();
    for request in requests() {
        for manner in MANNERS {
            // Those that hold a place leave some for others.
            if request.allows(manner) && (manner != Holds || clients.len() % 2 == 0) {
                clients.push(Client {
                    daemon,
                    request: request.clone(),
                    manner,
                    dice: ChaCha8Rng::seed_from_u64(dice.next_u64()),
                });
            }
        }
    }
    clients
}

#[test]
fn honest_clients_are_answered_and_no_others_leave_anything_behind() {
    let daemon = Daemon::start_with(&[
        ("AUDIO_MAX_SIZE_MB", "1"),
        ("VOICE_MIN_DURATION_MS", "3000"),
    ]);
    let before = daemon.resident_bytes();
    let clients = clients(&daemon);
    let count = clients.len();
    assert!(count > 150, "{count}");
    let start = Barrier::new(count);
    let (problems, held) = std::thread::scope(|scope| {
        let threads: Vec<_> = clients
            .into_iter()
            .map(|client| {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    let who = format!("{} {:?}", client.request.path, client.manner);
                    client.run().map_err(|problem| format!("{who}: {problem}"))
                })
            })
            .collect();
        let (mut problems, mut held) = (Vec::new(), Vec::new());
        for thread in threads {
            match thread.join().unwrap() {
                Ok(stream) => held.extend(stream),
                Err(problem) => problems.push(problem),
            }
        }
        (problems, held)
    });
    assert!(problems.is_empty(), "seed {SEED}: {problems:#?}");
    assert!(!held.is_empty());
    drop(held);
    assert_nothing_is_left(&daemon);
    assert_all_places_are_free(&daemon);
    assert_nothing_is_left(&daemon);
    let growth = daemon.peak_resident_bytes().saturating_sub(before);
    assert!(growth < MAX_GROWTH_BYTES, "{} MiB", growth >> 20);
    // What is not read of a body may take its answer with it, but it was given.
    for status in ["400", "413"] {
        let name = "translator_http_request_duration_seconds_count";
        let answered = daemon.metric(name, &[&format!("status=\"{status}\"")]);
        assert!(answered > 10.0, "{answered} times {status}");
    }
    let log = daemon.log();
    assert!(!log.contains(" ERROR ") && !log.contains("panicked"));
}

fn assert_nothing_is_left(daemon: &Daemon) {
    wait_for("the end of all uploads", || {
        (uploads(daemon) == 0).then_some(())
    });
    wait_for("the end of all jobs", || {
        let page = get(daemon, "/jobs?limit=500").json();
        let jobs = page["jobs"].as_array().unwrap();
        let is_open = |job: &&Value| job["status"] == "queued" || job["status"] == "running";
        (jobs.iter().find(is_open)).is_none().then_some(())
    });
    wait_for("empty queues", || {
        let queues = get(daemon, "/queues").json();
        let mut lanes = queues["lanes"].as_array().unwrap().iter();
        lanes
            .all(|lane| lane["waiting"] == 0 && lane["running"] == 0 && lane["bytes"] == 0)
            .then_some(())
    });
}

fn assert_all_places_are_free(daemon: &Daemon) {
    let path = "/audio/transcribe";
    let form = Form::default().file("audio", &recordings::bundled());
    let body = form.body();
    let (begin, end) = body.split_at(body.len() / 2);
    let mut forms: Vec<Connection> = (0..PLACES)
        .map(|_| Connection::post(daemon, path, body.len()))
        .collect();
    for form in &mut forms {
        form.write(begin);
    }
    wait_for("all uploads", || (uploads(daemon) == PLACES).then_some(()));
    assert_eq!(post(daemon, path, &form).status, 429);
    for form in &mut forms {
        form.write(end);
    }
    for form in forms {
        let answer = form.answer();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}

#[test]
fn bodies_that_are_held_take_no_more_than_their_share() {
    const BODIES: usize = 200;
    const BODY_BYTES: usize = 2 << 20;
    /// 64 MiB, as much again while they grow, and what the allocator keeps.
    const MAX_GROWTH_BYTES: u64 = 192 << 20;
    let daemon = Daemon::start();
    let text = br#"{"text": "Hello my friend.", "source_language": "en", "target_language": "fr"}"#;
    let json = [("content-type", "application/json")];
    let translate = |body: &[u8]| send(&daemon, "POST", "/translate", &json, body).status;
    let large = [&text[..], &vec![b' '; BODY_BYTES - text.len()]].concat();
    assert_eq!(translate(&large), 200);
    let before = daemon.resident_bytes();
    let head = format!(
        "POST /translate HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {BODY_BYTES}\r\n\r\n"
    );
    let held: Vec<TcpStream> = (0..BODIES)
        .filter_map(|_| {
            let mut stream = connect(&daemon);
            stream.write_all(head.as_bytes()).ok()?;
            stream.write_all(&large[1..]).ok()?;
            Some(stream)
        })
        .collect();
    assert!(!held.is_empty());
    wait_for("refusals", || {
        let name = "translator_http_request_duration_seconds_count";
        (daemon.metric(name, &["status=\"429\""]) > 0.0).then_some(())
    });
    // A text of the usual length gets in all the same.
    assert_eq!(translate(text), 200);
    let growth = daemon.peak_resident_bytes().saturating_sub(before);
    assert!(growth < MAX_GROWTH_BYTES, "{} MiB", growth >> 20);
    drop(held);
    wait_for("room", || (translate(&large) == 200).then_some(()));
}
