//! URLs that try to lead where they must not, against sockets that would notice.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// A server that requests may reach, by a network that is allowed.
const FRIEND: &str = "127.0.0.1";
/// One that they must not reach.
const VICTIM: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// The host that is allowed.
const HOST: &str = "media.example.test";

/// Counts connections, and answers them.
struct Server {
    port: u16,
    connections: Arc<AtomicUsize>,
}

impl Server {
    fn start(address: impl Into<IpAddr>, port: u16, locations: Vec<String>) -> Self {
        let listener = TcpListener::bind((address.into(), port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::<AtomicUsize>::default();
        let counter = Arc::clone(&connections);
        // Ends with the test's process.
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                counter.fetch_add(1, Ordering::SeqCst);
                // A client that hangs up is its own business.
                drop(answer(connection, &locations));
            }
        });
        Self { port, connections }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn answer(mut connection: TcpStream, locations: &[String]) -> io::Result<()> {
    let mut lines = BufReader::new(connection.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    while lines
        .next()
        .transpose()?
        .is_some_and(|line| !line.is_empty())
    {}
    let path = first.split(' ').nth(1).unwrap_or_default();
    let moved = |location: &str| format!("302 Found\r\nLocation: {location}\r\nContent-Length: 0");
    let number = |prefix| path.strip_prefix(prefix)?.parse::<usize>().ok();
    let head = if let Some(number) = number("/to/") {
        moved(&locations[number])
    } else if let Some(more @ 1..) = number("/hops/") {
        moved(&format!("/hops/{}", more - 1))
    } else if path == "/silent" {
        std::thread::sleep(Duration::from_secs(5));
        return Ok(());
    } else {
        "200 OK\r\nContent-Length: 5".to_owned()
    };
    let is_found = head.starts_with("200");
    write!(connection, "HTTP/1.1 {head}\r\nConnection: close\r\n\r\n")?;
    connection.write_all(if is_found { b"audio" } else { b"" })
}

/// A name server that answers as it likes, the first time and later; numbers are not names.
#[derive(Debug, Clone)]
struct Names {
    answer: fn(&str, usize) -> Vec<Ipv4Addr>,
    asked: Arc<AtomicUsize>,
}

impl Names {
    fn new(answer: fn(&str, usize) -> Vec<Ipv4Addr>) -> Self {
        Self {
            answer,
            asked: Arc::default(),
        }
    }

    /// The allowed host is the friend, every other one the victim.
    fn honest() -> Self {
        Self::new(|host, _| match host {
            HOST => vec![Ipv4Addr::LOCALHOST],
            _ => vec![VICTIM],
        })
    }
}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let time = self.asked.fetch_add(1, Ordering::SeqCst);
        let host = uri.host().unwrap();
        let is_number = |c: char| c.is_ascii_hexdigit() || "xX.:[]".contains(c);
        if host.chars().all(is_number) && !host.ends_with('.') {
            let found = DefaultResolver::default().resolve(uri, config, timeout);
            return found.map_err(|_| ureq::Error::HostNotFound);
        }
        let mut found = self.empty();
        for address in (self.answer)(host, time) {
            found.push(SocketAddr::new(
                address.into(),
                uri.port_u16().unwrap_or(80),
            ));
        }
        Ok(found)
    }
}

fn options(hosts: &[&str]) -> WebOptions {
    WebOptions {
        allowed_hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        allowed_networks: vec![FRIEND.parse::<IpAddr>().unwrap().into()],
        timeout: Duration::from_secs(20),
    }
}

/// Every way to write a forbidden address, and to hide a host, that we know of.
fn bypasses(port: u16) -> Vec<String> {
    let mut urls = Vec::new();
    for target in [
        VICTIM,
        Ipv4Addr::new(127, 1, 2, 3),
        Ipv4Addr::new(0, 0, 0, 0),
        Ipv4Addr::new(10, 0, 0, 1),
        Ipv4Addr::new(100, 100, 100, 200),
        Ipv4Addr::new(168, 63, 129, 16),
        Ipv4Addr::new(169, 254, 169, 254),
        Ipv4Addr::new(172, 16, 0, 1),
        Ipv4Addr::new(192, 0, 0, 192),
        Ipv4Addr::new(192, 168, 0, 1),
        Ipv4Addr::new(198, 18, 0, 1),
        Ipv4Addr::new(224, 0, 0, 1),
        Ipv4Addr::new(255, 255, 255, 255),
    ] {
        let [a, b, c, d] = target.octets();
        let number = target.to_bits();
        let (high, low) = (number >> 16, number & 0xffff);
        let hosts = [
            target.to_string(),
            format!("{target}."),
            format!("{number}"),
            format!("{number:#x}"),
            format!("0{number:o}"),
            format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
            format!("000{a:o}.0{b:o}.0{c:o}.00{d:o}"),
            format!("{a:#x}.{b:#x}.{c:#x}.{d:#x}"),
            format!("{a:#x}.0{b:o}.{c}.{d}"),
            format!("{a}.{}", number & 0xff_ffff),
            format!("{a}.{b}.{low}"),
            format!("[::ffff:{target}]"),
            format!("[::ffff:{high:x}:{low:x}]"),
            format!("[0:0:0:0:0:ffff:{high:x}:{low:x}]"),
            format!("[::{target}]"),
            format!("[64:ff9b::{target}]"),
            format!("[64:ff9b:1::{target}]"),
            format!("[2002:{high:x}:{low:x}::1]"),
            format!("[2001:0:{high:x}:{low:x}::]"),
        ];
        urls.extend(hosts.map(|host| format!("http://{host}:{port}/")));
    }
    let names = [
        "localhost",
        "LOCALHOST",
        "localhost.",
        "localtest.test",
        "metadata.google.test",
        "media.example.test.evil.test",
        "media.example.test.",
        "media.example.testing",
        "xmedia.example.test",
        "example.test",
        "media-example.test",
        "media%2eexample%2etest",
        "media.example.test%00.evil.test",
        "media.example.test%2f.evil.test",
        "media。example。test",
        "media．example．test",
        "media｡example｡test",
        "mеdia.example.test",
        "ⓜedia.example.test",
        "①②⑦.⓪.⓪.②",
        "xn--mdia-q4d.example.test",
        "[::]",
        "[::1]",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "[fc00::1]",
        "[ff02::1]",
        "[2001:db8::1]",
        "[::1%25lo]",
    ];
    urls.extend(names.map(|host| format!("http://{host}:{port}/")));
    let credentials = [
        "media.example.test@VICTIM",
        "media.example.test:80@VICTIM",
        "user:media.example.test@VICTIM",
        "user@media.example.test@VICTIM",
        "user@media.example.test",
        "user:word@media.example.test",
        "@media.example.test",
        ":@media.example.test",
        "VICTIM%40media.example.test",
        "VICTIM\\@media.example.test",
        "VICTIM#@media.example.test/",
        "VICTIM?@media.example.test/",
        "VICTIM/@media.example.test/",
        "VICTIM;media.example.test",
        "VICTIM,media.example.test",
        "VICTIM&@media.example.test",
        "VICTIM media.example.test",
        "VICTIM\tmedia.example.test",
        "media.example.test\\.VICTIM",
        "media.example.test:VICTIM",
    ];
    let victim = format!("{VICTIM}:{port}");
    urls.extend(credentials.map(|text| format!("http://{}", text.replace("VICTIM", &victim))));
    let schemes = [
        "file:///etc/passwd",
        "file://media.example.test/etc/passwd",
        "FILE:///etc/passwd",
        "ftp://media.example.test/a",
        "gopher://VICTIM/_a",
        "dict://VICTIM/a",
        "ldap://VICTIM/a",
        "tftp://VICTIM/a",
        "ws://media.example.test/a",
        "data:audio/ogg;base64,AAAA",
        "javascript:alert(1)",
        "jar:http://VICTIM!/",
        "socks5://VICTIM/",
        "unix:/run/docker.sock",
        "view-source:http://VICTIM/",
        "//VICTIM/",
        "\\\\VICTIM\\a",
        "http:/VICTIM/",
        "http:VICTIM",
        "http:///VICTIM/",
        "http://",
        "http://:80/",
        "https://VICTIM/",
        "HTTP://VICTIM/",
        " http://VICTIM/",
    ];
    urls.extend(schemes.map(|url| url.replace("VICTIM", &victim)));
    urls
}

/// Not made, rather than made and failed.
fn assert_refused(url: &str, found: Result<Bytes, WebError>) {
    let error = found.unwrap_err();
    let is_refused = match &error {
        WebError::HostNotAllowed | WebError::AddressNotAllowed | WebError::NoAddress => true,
        WebError::Request(error) => matches!(
            **error,
            ureq::Error::HostNotFound | ureq::Error::Http(_) | ureq::Error::Protocol(_)
        ),
        _ => false,
    };
    assert!(is_refused, "{url}: {error:?}");
}

#[test]
fn no_url_leads_to_an_address_that_is_not_public() {
    let victim = Server::start(VICTIM, 0, Vec::new());
    let urls = bypasses(victim.port);
    assert!(urls.len() >= 200, "{}", urls.len());
    for url in &urls {
        let listed = options(&[HOST]);
        assert_refused(url, listed.get_with(Names::honest(), url, 100));
        // Even where somebody has allowed the very host.
        let Some(host) = url
            .parse::<Uri>()
            .ok()
            .and_then(|uri| Some(uri.host()?.to_owned()))
        else {
            continue;
        };
        if host == HOST {
            continue;
        }
        let listed = options(&[&host]);
        assert_refused(url, listed.get_with(Names::honest(), url, 100));
    }
    assert_eq!(victim.connections(), 0);

    // The same server is reached where its network is allowed: the listener does notice.
    let mut listed = options(&["localhost"]);
    listed.allowed_networks = vec!["127.0.0.0/8".parse().unwrap()];
    let url = format!("http://localhost:{}/", victim.port);
    let body = listed.get_with(Names::honest(), &url, 100).unwrap();
    assert_eq!((&body[..], victim.connections()), (&b"audio"[..], 1));
}

#[test]
fn no_redirect_leads_to_an_address_that_is_not_public() {
    let victim = Server::start(VICTIM, 0, Vec::new());
    // What cannot be said in a header cannot be a redirect; what is no URL is a path on the same host.
    let urls: Vec<String> = bypasses(victim.port)
        .into_iter()
        .filter(|url| url.parse::<Uri>().is_ok_and(|uri| uri.host() != Some(HOST)))
        .filter(|url| url.contains("://") || url.starts_with("//"))
        .collect();
    assert!(urls.len() >= 200, "{}", urls.len());
    let friend = Server::start(Ipv4Addr::LOCALHOST, 0, urls.clone());
    let hosts: Vec<String> = urls
        .iter()
        .filter_map(|url| Some(url.parse::<Uri>().ok()?.host()?.to_owned()))
        .collect();
    let every_host: Vec<&str> = hosts.iter().map(String::as_str).chain([HOST]).collect();
    for (number, url) in urls.iter().enumerate() {
        let start = format!("http://{HOST}:{}/to/{number}", friend.port);
        for hosts in [&[HOST][..], &every_host] {
            let found = options(hosts).get_with(Names::honest(), &start, 100);
            assert_refused(url, found);
        }
    }
    assert_eq!(victim.connections(), 0);
    assert_eq!(friend.connections(), 2 * urls.len(), "each was asked");
}

#[test]
fn a_few_redirects_are_followed() {
    let friend = Server::start(Ipv4Addr::LOCALHOST, 0, Vec::new());
    let get = |path: &str| {
        let url = format!("http://{HOST}:{}{path}", friend.port);
        options(&[HOST]).get_with(Names::honest(), &url, 100)
    };
    assert_eq!(get("/hops/3").unwrap(), "audio");
    let error = get("/hops/4").unwrap_err();
    assert!(matches!(error, WebError::Request(_)), "{error:?}");
}

#[test]
fn the_address_that_was_looked_at_is_the_one_that_is_asked() {
    let victim = Server::start(VICTIM, 0, Vec::new());
    let location = format!("http://{HOST}:{}/", victim.port);
    let friend = Server::start(Ipv4Addr::LOCALHOST, victim.port, vec![location]);
    // The friend first, the victim afterwards.
    let rebinding = || {
        Names::new(|_, time| {
            vec![if time == 0 {
                Ipv4Addr::LOCALHOST
            } else {
                VICTIM
            }]
        })
    };
    let get = |names: Names, path: &str| {
        let url = format!("http://{HOST}:{}{path}", friend.port);
        options(&[HOST]).get_with(names, &url, 100)
    };
    let names = rebinding();
    assert_eq!(get(names.clone(), "/").unwrap(), "audio");
    assert_eq!(
        names.asked.load(Ordering::SeqCst),
        1,
        "names are asked once"
    );
    for path in ["/to/0", "/hops/1"] {
        assert_refused(path, get(rebinding(), path));
    }
    // One forbidden address among several is enough.
    for answer in [
        |_: &str, _| vec![Ipv4Addr::LOCALHOST, VICTIM],
        |_: &str, _| vec![VICTIM, Ipv4Addr::LOCALHOST],
    ] {
        assert_refused("several", get(Names::new(answer), "/"));
    }
    assert_eq!(victim.connections(), 0);
    assert_eq!(friend.connections(), 3);
}

#[test]
fn a_server_is_not_waited_for_longer_than_allowed_and_not_read_further() {
    let friend = Server::start(Ipv4Addr::LOCALHOST, 0, Vec::new());
    let mut options = options(&[HOST]);
    let get = |options: &WebOptions, path: &str, most| {
        let url = format!("http://{HOST}:{}{path}", friend.port);
        options.get_with(Names::honest(), &url, most)
    };
    assert_eq!(get(&options, "/", 5).unwrap(), "audio");
    let error = get(&options, "/", 4).unwrap_err();
    assert!(matches!(error, WebError::TooLarge(4)), "{error:?}");
    options.timeout = Duration::from_millis(200);
    let error = get(&options, "/silent", 5).unwrap_err();
    assert!(matches!(error, WebError::Request(_)), "{error:?}");
}

#[test]
fn a_source_that_trickles_is_given_up() {
    let started = Instant::now().checked_sub(MAX_SILENCE * 2).unwrap();
    let mut slow = Paced {
        source: &b"audio"[..],
        started,
        bytes: 0,
    };
    let error = slow.read(&mut [0; 5]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    let mut enough = Paced {
        source: &b"audio"[..],
        started,
        bytes: 1 << 20,
    };
    assert_eq!(enough.read(&mut [0; 5]).unwrap(), 5);
}
