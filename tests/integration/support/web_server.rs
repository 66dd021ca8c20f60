//! A web server on a free port of the loopback interface, for files that clients uploaded.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Serves one file at `/recording`; everything else is not there, moved, or endless.
pub struct WebServer {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl WebServer {
    /// Starts serving; ends with the test's process.
    pub fn start(recording: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let paths = Arc::clone(&asked);
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                // A client that hangs up is its own business.
                drop(answer(connection, &recording, &paths));
            }
        });
        Self { port, asked }
    }

    /// Address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Paths that were asked for so far.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn answer(
    mut connection: TcpStream,
    recording: &[u8],
    asked: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(connection.try_clone()?).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    while lines
        .next()
        .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
    {}
    asked.lock().unwrap().push(path.clone());
    let (status, body) = match path.as_str() {
        "/recording" => ("200 OK", recording),
        "/moved" => ("302 Found\r\nLocation: /recording", &[][..]),
        "/endless" => {
            connection.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            loop {
                connection.write_all(&[0; 1 << 16])?;
            }
        }
        _ => ("404 Not Found", &b"not here"[..]),
    };
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    connection.write_all(head.as_bytes())?;
    connection.write_all(body)
}
