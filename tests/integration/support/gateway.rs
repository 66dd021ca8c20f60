//! The gateway's end of the sockets: libzmq in a Python process.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::PATIENCE;
use super::daemon::Ports;

/// Longest text that a message about a failure shows.
const MAX_SHOWN_BYTES: usize = 100;

/// An event as it arrived.
#[derive(Clone)]
pub struct Event {
    pub json: Value,
    /// The JSON as it was sent.
    pub body: Vec<u8>,
    pub frames: Vec<Vec<u8>>,
}

impl Event {
    /// The event's `type`.
    pub fn kind(&self) -> &str {
        self.json["type"].as_str().unwrap_or_default()
    }

    /// A string field, empty when it is absent.
    pub fn text(&self, key: &str) -> &str {
        self.json[key].as_str().unwrap_or_default()
    }
}

/// Shows long texts, such as audio in base64, by their length only.
impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sizes: Vec<usize> = self.frames.iter().map(Vec::len).collect();
        let mut json = self.json.clone();
        shorten(&mut json);
        write!(f, "{json} {sizes:?}")
    }
}

fn shorten(json: &mut Value) {
    match json {
        Value::String(text) if text.len() > MAX_SHOWN_BYTES => {
            *text = format!("({} bytes)", text.len());
        }
        Value::Array(items) => items.iter_mut().for_each(shorten),
        Value::Object(fields) => fields.values_mut().for_each(shorten),
        _ => {}
    }
}

/// A connected peer.
pub struct Gateway {
    child: Child,
    commands: ChildStdin,
    events: Receiver<Event>,
}

impl Gateway {
    /// Connects both sockets.
    pub fn connect(ports: Ports) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/gateway.py");
        let libraries =
            std::env::var_os("PYTHONPATH").unwrap_or_else(|| super::local("python").into());
        let mut child = Command::new("python3")
            .arg(script)
            .env("PYTHONPATH", libraries)
            .args([ports.pull.to_string(), ports.publish.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 plays the gateway");
        let commands = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().and_then(Result::ok);
        assert_eq!(
            first.as_deref(),
            Some("ready"),
            "the gateway's part needs pyzmq: run `make setup-tests`"
        );
        let (sender, events) = sync_channel(10_000);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let frames: Vec<String> = serde_json::from_str(&line).unwrap();
                let mut frames = frames.iter().map(|frame| STANDARD.decode(frame).unwrap());
                let body = frames.next().unwrap();
                let event = Event {
                    json: serde_json::from_slice(&body).unwrap(),
                    body,
                    frames: frames.collect(),
                };
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            commands,
            events,
        }
    }

    /// Pushes a request with its binary frames.
    pub fn send(&mut self, request: &Value, frames: &[&[u8]]) {
        let head = serde_json::to_vec(request).unwrap();
        let mut all: Vec<&[u8]> = vec![&head];
        all.extend(frames);
        self.send_raw(&all);
    }

    /// Pushes frames as they are.
    pub fn send_raw(&mut self, frames: &[&[u8]]) {
        let encoded: Vec<String> = frames.iter().map(|frame| STANDARD.encode(frame)).collect();
        self.command(&json!({ "send": encoded }));
    }

    /// Closes the SUB socket.
    pub fn unsubscribe(&mut self) {
        self.command(&json!({ "unsubscribe": true }));
    }

    /// Opens the SUB socket again.
    pub fn subscribe(&mut self) {
        self.command(&json!({ "subscribe": true }));
    }

    fn command(&mut self, command: &Value) {
        writeln!(self.commands, "{command}").unwrap();
        self.commands.flush().unwrap();
    }

    /// Events up to and with the first for which `is_last` holds; `pong`s are left out.
    ///
    /// # Panics
    /// It does not come in time.
    pub fn events_until(&self, what: &str, mut is_last: impl FnMut(&Event) -> bool) -> Vec<Event> {
        let until = Instant::now() + PATIENCE;
        let mut events = Vec::new();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(event) if event.kind() == "pong" => {}
                Ok(event) => {
                    let done = is_last(&event);
                    events.push(event);
                    if done {
                        return events;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("no {what}; events so far: {events:?}"),
                Err(RecvTimeoutError::Disconnected) => panic!("the gateway's process has ended"),
            }
        }
    }

    /// Events up to and with the first of one of these types for this message.
    pub fn events_of(&self, message_id: &str, last: &[&str]) -> Vec<Event> {
        let events = self.events_until(&format!("{last:?} of {message_id}"), |event| {
            last.contains(&event.kind()) && concerns(event, message_id)
        });
        events
            .into_iter()
            .filter(|event| concerns(event, message_id))
            .collect()
    }

    /// Everything of one task up to and with its `count`th event.
    pub fn events_of_task(&self, task_id: &str, count: usize) -> Vec<Event> {
        let mut seen = 0;
        let events = self.events_until(&format!("{count} events of {task_id}"), |event| {
            seen += usize::from(event.text("taskId") == task_id);
            seen == count
        });
        let of_task = events.into_iter().filter(|e| e.text("taskId") == task_id);
        of_task.collect()
    }

    /// The next event of that type.
    pub fn next(&self, kind: &str) -> Event {
        self.events_until(kind, |event| event.kind() == kind)
            .pop()
            .unwrap()
    }

    /// What else arrives of this message before the answer to a text that is sent now.
    pub fn rest_of(&mut self, message_id: &str) -> Vec<Event> {
        let events = self.rest().into_iter();
        events.filter(|event| concerns(event, message_id)).collect()
    }

    /// What else arrives before the answer to a text that is sent now.
    pub fn rest(&mut self) -> Vec<Event> {
        let last = uuid::Uuid::new_v4().to_string();
        let text = json!({
            "type": "translation", "taskId": last, "messageId": last, "text": "over",
            "sourceLanguage": "en", "targetLanguages": ["en"],
        });
        self.send(&text, &[]);
        let mut events = self.events_until("answer to the last text", |event| {
            event.kind() == "translation_completed" && event.text("taskId") == last
        });
        events.pop();
        events
    }

    /// Connects, and returns when events arrive: what the daemon answers at once is not kept for
    /// subscribers that come later.
    pub fn connect_subscribed(ports: Ports) -> Self {
        let mut gateway = Self::connect(ports);
        gateway.events_of_what_was_sent();
        gateway
    }

    /// Everything that was published up to now, given that all requests sent so far have been read.
    ///
    /// An unknown request is answered at once and in turn, so its answer marks the place.
    ///
    /// # Panics
    /// The daemon does not answer.
    pub fn events_of_what_was_sent(&mut self) -> Vec<Event> {
        const KIND: &str = "voice_of_nobody";
        let until = Instant::now() + PATIENCE;
        let mut events = Vec::new();
        while Instant::now() < until {
            let task_id = uuid::Uuid::new_v4().to_string();
            self.send(&json!({ "type": KIND, "taskId": task_id }), &[]);
            // Lost when the subscription is not there yet: then it is sent again.
            while let Ok(event) = self.events.recv_timeout(Duration::from_secs(1)) {
                if event.text("taskId") == task_id {
                    return events;
                }
                if event.kind() != "pong" && event.text("requestType") != KIND {
                    events.push(event);
                }
            }
        }
        panic!("the daemon does not answer; events so far: {events:?}");
    }

    /// Asks for a sign of life.
    ///
    /// # Panics
    /// There is none.
    pub fn ping(&mut self) -> Event {
        self.send(&json!({ "type": "ping", "timestamp": 1 }), &[]);
        let until = Instant::now() + PATIENCE;
        while let Ok(event) = self
            .events
            .recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            if event.kind() == "pong" {
                return event;
            }
        }
        panic!("no pong");
    }

    /// Everything that comes while nothing is asked for, `pong`s included.
    pub fn listen(&self, how_long: Duration) -> Vec<Event> {
        let until = Instant::now() + how_long;
        std::iter::from_fn(|| {
            let left = until.saturating_duration_since(Instant::now());
            self.events.recv_timeout(left).ok()
        })
        .collect()
    }
}

fn concerns(event: &Event, message_id: &str) -> bool {
    event.text("messageId") == message_id || event.json["result"]["messageId"] == message_id
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It ends by itself when its input closes; nobody waits for that.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
