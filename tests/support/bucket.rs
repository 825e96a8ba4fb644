//! A public bucket on a loopback port, with the XML routes of Google Cloud Storage.
//!
//! It serves a directory: `root/<bucket>/<key>`, read from the disk at every request, over real sockets and
//! one request per connection. A test says how it shall misbehave ([`BucketServer::fault`],
//! [`BucketServer::set`]) and reads afterwards what was asked and how many bytes of objects went out.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use sha1::{Digest, Sha1};

use crate::hub::http::{self, Head, Reply, decode, hex};

/// Instead of the right answer. Positions in a body count from the first byte that is sent.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This status and these headers, with an error document.
    Status(u16, Vec<(&'static str, String)>),
    /// The right head, then so many bytes of body, then the connection is cut.
    CutAfter(usize),
    /// The right head, then so many bytes of body, then silence until [`BucketServer::release`].
    HoldAfter(usize),
    /// 200 and the whole object, whatever range was asked for.
    IgnoreRange,
    /// 206, but for bytes that begin elsewhere.
    WrongRange,
    /// The byte at this place of the object is another one, if it is sent at all.
    FlipAt(usize),
    /// From this request on the object has these contents.
    Replace(Vec<u8>),
}

/// What answers state about the contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// Two headers, MD5 first.
    Right,
    /// One header with both.
    Together,
    /// Another object's CRC32C.
    Wrong,
    /// No header.
    Absent,
}

/// How all answers are.
#[derive(Clone, Debug)]
pub struct Manner {
    pub hash: Hash,
    /// Before every answer.
    pub delay: Duration,
    /// Objects on a page of a list.
    pub page: usize,
    /// Lists show another ETag than answers, both of them no hash.
    pub odd_e_tags: bool,
    /// Keys and sizes that are listed with no object behind them.
    pub also_listed: Vec<(String, u64)>,
}

/// One request as it came in.
#[derive(Clone, Debug)]
pub struct Request {
    /// `bucket/key`, decoded; `bucket` alone for a list.
    pub path: String,
    /// First and last byte that were asked for.
    pub range: Option<(usize, usize)>,
    pub head: bool,
    pub authorized: bool,
    /// Bytes of the object that were sent.
    pub sent: usize,
}

struct State {
    manner: Manner,
    /// Path, how often still, what.
    faults: Vec<(String, usize, Fault)>,
    log: Vec<Request>,
    released: bool,
}

/// The server; it runs until the process ends.
#[derive(Clone)]
pub struct BucketServer {
    root: PathBuf,
    port: u16,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl BucketServer {
    pub fn start(root: &Path) -> BucketServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let state = State {
            manner: Manner {
                hash: Hash::Right,
                delay: Duration::ZERO,
                page: 1000,
                odd_e_tags: false,
                also_listed: Vec::new(),
            },
            faults: Vec::new(),
            log: Vec::new(),
            released: false,
        };
        let server = BucketServer {
            root: root.to_path_buf(),
            port: listener.local_addr().unwrap().port(),
            state: Arc::new((Mutex::new(state), Condvar::new())),
        };
        let running = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = running.clone();
                // A client that goes away in the middle is part of the tests.
                std::thread::spawn(move || server.serve(stream).ok());
            }
        });
        server
    }

    /// The endpoint.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.0.lock().unwrap()
    }

    /// Changes how all answers are.
    pub fn set(&self, change: impl FnOnce(&mut Manner)) {
        change(&mut self.state().manner);
    }

    /// Lets the next `times` requests for `path` (`bucket/key`, or `bucket` for its lists) go wrong.
    /// Several faults of one path take their turns in order.
    pub fn fault(&self, path: &str, times: usize, fault: Fault) {
        self.state().faults.push((path.to_owned(), times, fault));
    }

    /// Lets held answers end.
    pub fn release(&self) {
        self.state().released = true;
        self.state.1.notify_all();
    }

    /// What was asked so far.
    pub fn log(&self) -> Vec<Request> {
        self.state().log.clone()
    }

    pub fn clear_log(&self) {
        self.state().log.clear();
    }

    /// Bytes of objects that were sent since the log was cleared.
    pub fn sent(&self) -> usize {
        self.state().log.iter().map(|request| request.sent).sum()
    }

    /// Waits until the condition on the log holds.
    pub fn wait_for(&self, condition: impl Fn(&[Request]) -> bool) {
        let waited =
            self.state
                .1
                .wait_timeout_while(self.state(), Duration::from_secs(60), |state| {
                    !condition(&state.log)
                });
        assert!(
            !waited.unwrap().1.timed_out(),
            "the server was never asked for what the test waits for"
        );
    }

    fn next_fault(&self, path: &str) -> Option<Fault> {
        let mut state = self.state();
        let (_, times, fault) = state
            .faults
            .iter_mut()
            .find(|(place, times, _)| place == path && *times > 0)?;
        *times = times.saturating_sub(1);
        Some(fault.clone())
    }

    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let Some(head) = http::read_head(&stream)? else {
            return Ok(());
        };
        let path = head.path.split('?').next().unwrap_or_default();
        // A proxy is asked for whole addresses.
        let path = path.strip_prefix("http://").map_or(path, |rest| {
            rest.split_once('/').map_or("", |(_, path)| path)
        });
        let path = decode(path.trim_start_matches('/'));
        let request = Request {
            path: path.clone(),
            range: head.headers.get("range").map(|range| parse_range(range)),
            head: head.method == "HEAD",
            authorized: head.headers.contains_key("authorization"),
            sent: 0,
        };
        let (index, manner) = {
            let mut state = self.state();
            state.log.push(request.clone());
            (state.log.len() - 1, state.manner.clone())
        };
        self.state.1.notify_all();
        let count = |bytes| {
            if let Some(request) = self.state().log.get_mut(index) {
                request.sent += bytes;
            }
            self.state.1.notify_all();
        };
        std::thread::sleep(manner.delay);
        let mut reply = Reply {
            stream,
            head_only: request.head,
            count: &count,
        };
        let fault = self.next_fault(&path);
        if let Some(Fault::Status(status, headers)) = &fault {
            return refuse(&mut reply, *status, headers, "out of order");
        }
        match path.split_once('/') {
            None => self.list(&mut reply, &path, &head, &manner),
            Some(_) => self.object(&mut reply, &request, &manner, fault),
        }
    }

    fn list(
        &self,
        reply: &mut Reply,
        bucket: &str,
        head: &Head,
        manner: &Manner,
    ) -> std::io::Result<()> {
        let query = parameters(&head.path);
        let dir = self.root.join(bucket);
        if !dir.is_dir() || query.get("list-type").map(String::as_str) != Some("2") {
            return refuse(reply, 404, &[], "The specified bucket does not exist.");
        }
        let prefix = query.get("prefix").cloned().unwrap_or_default();
        let mut objects = BTreeMap::new();
        keys(&dir, "", &mut objects);
        for (key, size) in &manner.also_listed {
            objects.insert(key.clone(), Listed::Size(*size));
        }
        objects.retain(|key, _| key.starts_with(&prefix));
        let first: usize = match query.get("continuation-token") {
            Some(token) => token.strip_prefix(TOKEN).unwrap().parse().unwrap(),
            None => 0,
        };
        let mut xml = String::from(
            "<?xml version='1.0' encoding='UTF-8'?>\
             <ListBucketResult xmlns='http://doc.s3.amazonaws.com/2006-03-01'>",
        );
        for (key, listed) in objects.iter().skip(first).take(manner.page) {
            let (content, size) = match listed {
                Listed::File(path) => {
                    let content = fs::read(path)?;
                    let size = content.len() as u64;
                    (content, size)
                }
                Listed::Size(size) => (Vec::new(), *size),
            };
            let e_tag = match manner.odd_e_tags {
                true => format!("\"-{}=\"", &e_tag(&content)[1..9]),
                false => e_tag(&content),
            };
            xml.push_str(&format!(
                "<Contents><Key>{}</Key><Generation>1</Generation>\
                 <LastModified>2024-10-01T00:00:00.000Z</LastModified><ETag>{}</ETag>\
                 <Size>{size}</Size></Contents>",
                escape(key),
                escape(&e_tag),
            ));
        }
        let next = first + manner.page;
        if next < objects.len() {
            let token = escape(&format!("{TOKEN}{next}"));
            xml.push_str(&format!(
                "<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>"
            ));
        }
        xml.push_str("</ListBucketResult>");
        reply.head(200, &[], xml.len())?;
        reply.stream.write_all(xml.as_bytes())
    }

    fn object(
        &self,
        reply: &mut Reply,
        request: &Request,
        manner: &Manner,
        fault: Option<Fault>,
    ) -> std::io::Result<()> {
        let path = self.root.join(&request.path);
        if let Some(Fault::Replace(content)) = &fault {
            fs::write(&path, content)?;
        }
        if !path.is_file() {
            return refuse(reply, 404, &[], "The specified key does not exist.");
        }
        let content = fs::read(&path)?;
        let e_tag = match manner.odd_e_tags {
            true => format!("\"{}=\"", &e_tag(&content)[1..9]),
            false => e_tag(&content),
        };
        let mut headers = vec![
            ("ETag", e_tag),
            ("Last-Modified", "Tue, 01 Oct 2024 00:00:00 GMT".to_owned()),
            ("x-goog-generation", "1".to_owned()),
        ];
        let crc32c = match manner.hash {
            Hash::Wrong => crc32c::crc32c(&content) ^ 1,
            _ => crc32c::crc32c(&content),
        };
        let crc32c = format!("crc32c={}", base64(crc32c.to_be_bytes()));
        let md5 = "md5=Ojk9c3dhfxgoKVVHYwFbHQ==".to_owned();
        match manner.hash {
            Hash::Right | Hash::Wrong => {
                headers.extend([("x-goog-hash", md5), ("x-goog-hash", crc32c)]);
            }
            Hash::Together => headers.push(("x-goog-hash", format!("{crc32c},{md5}"))),
            Hash::Absent => {}
        }
        let size = content.len();
        let range = request
            .range
            .filter(|_| !matches!(fault, Some(Fault::IgnoreRange)));
        let (status, begin, end) = match range {
            None => (200, 0, size),
            Some((begin, _)) if begin >= size => {
                let headers = [("Content-Range", format!("bytes */{size}"))];
                return refuse(
                    reply,
                    416,
                    &headers,
                    "The requested range cannot be satisfied.",
                );
            }
            Some((begin, last)) => {
                let end = size.min(last + 1);
                let stated = match fault {
                    Some(Fault::WrongRange) => begin + 1,
                    _ => begin,
                };
                let range = format!("bytes {stated}-{}/{size}", end - 1);
                headers.push(("Content-Range", range));
                (206, begin, end)
            }
        };
        let mut body = content[begin..end].to_vec();
        if let Some(Fault::FlipAt(at)) = fault
            && (begin..end).contains(&at)
        {
            body[at - begin] ^= 1;
        }
        reply.head(status, &headers, body.len())?;
        match fault {
            Some(Fault::CutAfter(bytes)) => send(reply, &body[..bytes.min(body.len())]),
            Some(Fault::HoldAfter(bytes)) => {
                send(reply, &body[..bytes.min(body.len())])?;
                let held = self
                    .state
                    .1
                    .wait_while(self.state(), |state| !state.released);
                drop(held);
                Ok(())
            }
            _ => send(reply, &body),
        }
    }
}

/// An object's bytes. They are counted first: a client that has got them all may look at the count at once.
fn send(reply: &mut Reply, bytes: &[u8]) -> std::io::Result<()> {
    if reply.head_only {
        return Ok(());
    }
    (reply.count)(bytes.len());
    reply.stream.write_all(bytes)
}

/// With characters that an address must not hold as they are.
const TOKEN: &str = "page+/=&? ";

fn refuse(
    reply: &mut Reply,
    status: u16,
    headers: &[(&'static str, String)],
    message: &str,
) -> std::io::Result<()> {
    let xml = format!(
        "<?xml version='1.0' encoding='UTF-8'?><Error><Code>X</Code><Message>{message}</Message></Error>"
    );
    reply.head(status, headers, xml.len())?;
    match reply.head_only {
        true => Ok(()),
        false => reply.stream.write_all(xml.as_bytes()),
    }
}

/// What an entry of a list stands for.
enum Listed {
    File(PathBuf),
    Size(u64),
}

/// Every file below `dir`, by its path from there.
fn keys(dir: &Path, under: &str, found: &mut BTreeMap<String, Listed>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let key = format!("{under}{name}");
        match path.is_dir() {
            true => keys(&path, &format!("{key}/"), found),
            false => {
                found.insert(key, Listed::File(path));
            }
        }
    }
}

fn parameters(path: &str) -> BTreeMap<String, String> {
    let query = path.split_once('?').map_or("", |(_, query)| query);
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), decode(&value.replace('+', " "))))
        .collect()
}

fn parse_range(range: &str) -> (usize, usize) {
    let (first, last) = range
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'))
        .unwrap();
    (first.parse().unwrap(), last.parse().unwrap())
}

/// In the form of an MD5, as a bucket's usually are.
fn e_tag(content: &[u8]) -> String {
    format!("\"{}\"", &hex(&Sha1::digest(content))[..32])
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn base64(bytes: [u8; 4]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits = u64::from(u32::from_be_bytes(bytes)) << 4;
    let digit = |place: u32| char::from(DIGITS[(bits >> (6 * place) & 63) as usize]);
    let digits: String = (0..6).rev().map(digit).collect();
    format!("{digits}==")
}
