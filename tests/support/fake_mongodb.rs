//! A server that speaks just enough of MongoDB's protocol to answer what a test wants, above all with
//! errors that FerretDB cannot produce.

use std::collections::HashMap;
use std::io::{self, Cursor, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mongodb::bson::{Bson, Document, doc};

const OP_REPLY: i32 = 1;
const OP_QUERY: i32 = 2004;
const OP_MSG: i32 = 2013;
const HEADER_BYTES: usize = 16;
/// Longest message that is read.
const MAX_MESSAGE_BYTES: usize = 16 << 20;

#[derive(Default)]
struct Script {
    /// Answers by the name of the command; the others are `{ok: 1}`.
    answers: HashMap<String, Document>,
    /// Commands that came, and the updates in them.
    seen: Vec<(String, Vec<Document>)>,
}

/// The server; it ends with the process.
pub struct FakeMongo {
    port: u16,
    script: Arc<Mutex<Script>>,
}

impl FakeMongo {
    /// Starts it on a free port.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let script = Arc::new(Mutex::new(Script::default()));
        let shared = Arc::clone(&script);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let script = Arc::clone(&shared);
                // A connection that ends is the driver's decision.
                std::thread::spawn(move || drop(serve(stream, &script)));
            }
        });
        Ok(Self { port, script })
    }

    /// Its address, with user and password or without.
    pub fn url(&self, user: &str) -> String {
        format!("mongodb://{user}127.0.0.1:{}/fake", self.port)
    }

    /// From now on, what a command is answered.
    pub fn answer(&self, command: &str, answer: Document) {
        lock(&self.script)
            .answers
            .insert(command.to_owned(), answer);
    }

    /// From now on, every command is answered well.
    pub fn recover(&self) {
        lock(&self.script).answers.clear();
    }

    /// The updates that were answered well, in order.
    pub fn updates(&self) -> Vec<Document> {
        let script = lock(&self.script);
        let updates = script
            .seen
            .iter()
            .filter(|(command, _)| command == "update");
        updates.flat_map(|(_, updates)| updates.clone()).collect()
    }

    /// Times that a command came.
    pub fn count(&self, command: &str) -> usize {
        let script = lock(&self.script);
        script
            .seen
            .iter()
            .filter(|(seen, _)| seen == command)
            .count()
    }
}

fn lock(script: &Mutex<Script>) -> MutexGuard<'_, Script> {
    script.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(mut stream: TcpStream, script: &Mutex<Script>) -> io::Result<()> {
    loop {
        let mut header = [0; HEADER_BYTES];
        stream.read_exact(&mut header)?;
        let length = int32(&header, 0) as usize;
        let (request_id, opcode) = (int32(&header, 4), int32(&header, 12));
        if !(HEADER_BYTES..MAX_MESSAGE_BYTES).contains(&length) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut body = vec![0; length - HEADER_BYTES];
        stream.read_exact(&mut body)?;
        let (command, updates) = match opcode {
            OP_QUERY => (query(&body)?, Vec::new()),
            OP_MSG => message(&body)?,
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        let name = command.keys().next().cloned().unwrap_or_default();
        let answer = {
            let mut script = lock(script);
            let answer = script.answers.get(&name).cloned();
            let is_error = answer.is_some();
            script
                .seen
                .push((name.clone(), if is_error { Vec::new() } else { updates }));
            answer.unwrap_or_else(|| usual_answer(&name))
        };
        let answer = answer.to_vec().map_err(io::Error::other)?;
        let mut reply = Vec::new();
        if opcode == OP_QUERY {
            // Flags, cursor, position, number of documents.
            reply.extend(8_i32.to_le_bytes());
            reply.extend([0; 12]);
            reply.extend(1_i32.to_le_bytes());
        } else {
            // Flags, and one section that is the document.
            reply.extend([0; 5]);
        }
        reply.extend(answer);
        let opcode = if opcode == OP_QUERY { OP_REPLY } else { OP_MSG };
        let length = (HEADER_BYTES + reply.len()) as i32;
        for number in [length, 0, request_id, opcode] {
            stream.write_all(&number.to_le_bytes())?;
        }
        stream.write_all(&reply)?;
    }
}

fn usual_answer(command: &str) -> Document {
    match command {
        "hello" | "ismaster" | "isMaster" => doc! {
            "helloOk": true, "ismaster": true, "isWritablePrimary": true,
            "maxBsonObjectSize": 16 << 20, "maxMessageSizeBytes": 48_000_000, "maxWriteBatchSize": 1000,
            "minWireVersion": 0, "maxWireVersion": 21, "ok": 1,
        },
        "find" => doc! {
            "cursor": { "id": Bson::Int64(0), "ns": "fake.any", "firstBatch": [] }, "ok": 1,
        },
        _ => doc! { "ok": 1, "n": 1, "nModified": 1 },
    }
}

/// The command in an `OP_QUERY`: flags, name of a collection, two numbers, then the document.
fn query(body: &[u8]) -> io::Result<Document> {
    let name = body.get(4..).unwrap_or_default();
    let end = name.iter().position(|byte| *byte == 0).unwrap_or_default();
    document(&mut Cursor::new(name.get(end + 9..).unwrap_or_default()))
}

/// The command in an `OP_MSG`, and the documents of its sequences.
fn message(body: &[u8]) -> io::Result<(Document, Vec<Document>)> {
    let mut cursor = Cursor::new(body);
    cursor.set_position(4);
    let (mut command, mut updates) = (Document::new(), Vec::new());
    while (cursor.position() as usize) < body.len() {
        let mut kind = [0];
        cursor.read_exact(&mut kind)?;
        if kind == [0] {
            command = document(&mut cursor)?;
            continue;
        }
        let start = cursor.position() as usize;
        let end = start + int32(body, start) as usize;
        let name = body.get(start + 4..end).unwrap_or_default();
        let name_bytes = name.iter().position(|byte| *byte == 0).unwrap_or_default() + 1;
        cursor.set_position((start + 4 + name_bytes) as u64);
        while (cursor.position() as usize) < end {
            updates.push(document(&mut cursor)?);
        }
    }
    // They may also be in the command itself.
    if let Ok(inside) = command.get_array("updates") {
        updates.extend(
            inside
                .iter()
                .filter_map(|update| update.as_document().cloned()),
        );
    }
    Ok((command, updates))
}

fn document(cursor: &mut Cursor<&[u8]>) -> io::Result<Document> {
    Document::from_reader(cursor).map_err(io::Error::other)
}

fn int32(bytes: &[u8], at: usize) -> i32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    i32::from_le_bytes(number)
}
