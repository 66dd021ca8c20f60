//! A web server on a free port of the loopback interface: files that clients uploaded, and webhooks.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Serves one file at `/recording`; everything else is not there, moved, or endless.
pub struct WebServer {
    port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// A request, once it was read.
struct Asked {
    path: String,
    body: Vec<u8>,
}

impl WebServer {
    /// Starts serving; ends with the test's process.
    pub fn start(recording: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let requests = Arc::clone(&asked);
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                // A client that hangs up is its own business.
                drop(answer(connection, &recording, &requests));
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
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|asked| asked.path.clone()).collect()
    }

    /// Bodies that were posted to a path so far.
    pub fn posted(&self, path: &str) -> Vec<Vec<u8>> {
        let asked = self.asked.lock().unwrap();
        let of_path = asked.iter().filter(|asked| asked.path == path);
        of_path.map(|asked| asked.body.clone()).collect()
    }
}

fn answer(
    mut connection: TcpStream,
    recording: &[u8],
    asked: &Mutex<Vec<Asked>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut length = 0;
    while line.trim() != "" {
        line.clear();
        reader.read_line(&mut line)?;
        let header = line.to_ascii_lowercase();
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    asked.lock().unwrap().push(Asked {
        path: path.clone(),
        body,
    });
    let (status, body) = match path.as_str() {
        "/recording" => ("200 OK", recording),
        "/webhook" => ("204 No Content", &[][..]),
        "/moved" => ("302 Found\r\nLocation: /recording", &[][..]),
        "/away" => ("302 Found\r\nLocation: http://localhost/recording", &[][..]),
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
