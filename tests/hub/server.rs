//! A small Hub on a loopback port, and the storage host it redirects to on another.
//!
//! It speaks the routes that a download uses, over real sockets and one request per connection. A test says
//! what it holds ([`Site::commit`]) and how it shall misbehave ([`Fault`]), and reads afterwards what was
//! asked and how many bytes of body went out ([`Site::log`]).

use std::collections::{HashMap, VecDeque};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::http::{self, Reply, decode, git_oid, hex};

/// The token that the tests use. It must never reach the storage host.
pub const TOKEN: &str = "hf_test_token";

/// Entries on a page of the tree: small, so that every listing of three files has a second page.
const PAGE: usize = 2;

/// What shall happen to the next response that carries a file's bytes or a listing, instead of the right thing.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This status and these headers, with no content.
    Status(u16, Vec<(&'static str, String)>),
    /// The right head, then so many bytes of body, then the connection is cut.
    CutAfter(usize),
    /// The right head, then so many bytes of body, then silence until [`Site::release`].
    HoldAfter(usize),
    /// 200 and the whole file, whatever range was asked for.
    IgnoreRange,
    /// As `IgnoreRange`, and the connection is cut after so many bytes.
    IgnoreRangeAndCutAfter(usize),
    /// Right length, wrong bytes.
    Corrupt,
    /// 206, but for bytes that begin elsewhere.
    WrongRange,
}

/// One request as it came in.
#[derive(Clone, Debug)]
pub struct Request {
    pub cdn: bool,
    /// Path and query, still encoded.
    pub path: String,
    pub range: Option<String>,
    pub authorization: Option<String>,
    /// Bytes of a file's content that were sent.
    pub sent: usize,
}

struct File {
    path: String,
    content: Arc<Vec<u8>>,
    lfs: bool,
}

#[derive(Default)]
struct State {
    /// Route prefix (`org/name` or `datasets/org/name`) and commit → files.
    commits: HashMap<(String, String), Arc<Vec<File>>>,
    /// Route prefix and branch → commit.
    branches: HashMap<(String, String), String>,
    /// Names that are added to listings as they are.
    listed: Vec<String>,
    /// Replaces the `Link` header of listings.
    next_page: Option<String>,
    /// Last part of a path (a file's name, `tree` or `revision`) → what goes wrong there, in order.
    faults: HashMap<String, VecDeque<Fault>>,
    /// Route prefix → status and `X-Error-Code` of every answer.
    closed: HashMap<String, (u16, &'static str)>,
    log: Vec<Request>,
    released: bool,
}

/// The Hub and its storage host. They run until the process ends.
#[derive(Clone)]
pub struct Site {
    state: Arc<(Mutex<State>, Condvar)>,
    pub hub_port: u16,
    cdn_port: u16,
}

impl Site {
    pub fn start() -> Site {
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (hub, cdn) = (listen(), listen());
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        let site = Site {
            state: Arc::default(),
            hub_port: port(&hub),
            cdn_port: port(&cdn),
        };
        for (listener, cdn) in [(hub, false), (cdn, true)] {
            let site = site.clone();
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let site = site.clone();
                    // A client that goes away in the middle is part of the tests.
                    std::thread::spawn(move || site.serve(stream, cdn).ok());
                }
            });
        }
        site
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.hub_port)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.0.lock().unwrap()
    }

    /// Puts a commit on a branch. `files`: path, content, whether it is in LFS.
    pub fn commit(&self, repo: &str, branch: &str, commit: &str, files: &[(&str, &[u8], bool)]) {
        let files = files
            .iter()
            .map(|(path, content, lfs)| File {
                path: path.to_string(),
                content: Arc::new(content.to_vec()),
                lfs: *lfs,
            })
            .collect();
        let mut state = self.state();
        state
            .commits
            .insert((repo.to_owned(), commit.to_owned()), Arc::new(files));
        state
            .branches
            .insert((repo.to_owned(), branch.to_owned()), commit.to_owned());
    }

    /// Adds a name to every listing, without a file behind it.
    pub fn also_list(&self, name: &str) {
        self.state().listed.push(name.to_owned());
    }

    /// Puts this into the `Link` header of every listing that has another page.
    pub fn link_next_page_to(&self, link: &str) {
        self.state().next_page = Some(link.to_owned());
    }

    pub fn fault(&self, place: &str, fault: Fault) {
        self.state()
            .faults
            .entry(place.to_owned())
            .or_default()
            .push_back(fault);
    }

    /// Answers every request for `repo` with this status and `X-Error-Code`.
    pub fn close(&self, repo: &str, status: u16, code: &'static str) {
        self.state().closed.insert(repo.to_owned(), (status, code));
    }

    /// Lets held responses end.
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

    /// Waits until the condition on the log holds.
    pub fn wait_for(&self, condition: impl Fn(&[Request]) -> bool) {
        let state = self.state();
        let waited = self
            .state
            .1
            .wait_timeout_while(state, Duration::from_secs(60), |state| {
                !condition(&state.log)
            });
        assert!(
            !waited.unwrap().1.timed_out(),
            "the server was never asked for what the test waits for"
        );
    }

    fn serve(&self, stream: TcpStream, cdn: bool) -> std::io::Result<()> {
        let Some(head) = http::read_head(&stream)? else {
            return Ok(());
        };
        let request = Request {
            cdn,
            path: head.path.clone(),
            range: head.headers.get("range").cloned(),
            authorization: head.headers.get("authorization").cloned(),
            sent: 0,
        };
        let index = {
            let mut state = self.state();
            state.log.push(request.clone());
            state.log.len() - 1
        };
        self.state.1.notify_all();
        let count = |bytes| {
            if let Some(request) = self.state().log.get_mut(index) {
                request.sent += bytes;
            }
            self.state.1.notify_all();
        };
        let mut reply = Reply {
            stream,
            head_only: head.method == "HEAD",
            count: &count,
        };
        let path = head.path.strip_prefix('/').unwrap_or(&head.path);
        if cdn {
            self.serve_content(&mut reply, path, &request)
        } else {
            self.serve_hub(&mut reply, path, &request)
        }
    }

    fn next_fault(&self, place: &str) -> Option<Fault> {
        self.state().faults.get_mut(place)?.pop_front()
    }

    fn serve_hub(&self, reply: &mut Reply, path: &str, request: &Request) -> std::io::Result<()> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let (prefix, verb, rest) = match split_route(path) {
            Some(route) => route,
            None => return reply.status(404, &[]),
        };
        let closed = self.state().closed.get(&prefix).copied();
        if let Some((status, code)) = closed {
            return reply.status(
                status,
                &[
                    ("X-Error-Code", code.into()),
                    ("X-Error-Message", "you shall not pass".into()),
                ],
            );
        }
        if matches!(verb, "tree" | "revision")
            && let Some(Fault::Status(status, headers)) = self.next_fault(verb)
        {
            return reply.status(status, &headers);
        }
        let (revision, file) = rest.split_once('/').unwrap_or((rest, ""));
        let revision = decode(revision);
        let commit = {
            let state = self.state();
            let key = (prefix.clone(), revision.clone());
            let commit = state
                .branches
                .get(&key)
                .cloned()
                .or(state.commits.contains_key(&key).then_some(revision));
            let known = state.branches.keys().any(|(repo, _)| *repo == prefix);
            match commit {
                Some(commit) => commit,
                None => {
                    drop(state);
                    let code = if known {
                        "RevisionNotFound"
                    } else {
                        "RepoNotFound"
                    };
                    return reply.status(404, &[("X-Error-Code", code.into())]);
                }
            }
        };
        let files = self.state().commits[&(prefix.clone(), commit.clone())].clone();
        match verb {
            "revision" => {
                let body = format!("{{\"id\":\"{prefix}\",\"sha\":\"{commit}\",\"siblings\":[]}}");
                reply.json(&[], &body)
            }
            "tree" => {
                let mut entries: Vec<String> =
                    vec![r#"{"type":"directory","oid":"0","size":0,"path":"d"}"#.into()];
                entries.extend(files.iter().map(tree_entry));
                let evil = |name: &String| {
                    format!(
                        r#"{{"type":"file","oid":"{}","size":1,"path":{name:?}}}"#,
                        "0".repeat(40)
                    )
                };
                entries.extend(self.state().listed.iter().map(evil));
                let page: usize = query
                    .split("cursor=")
                    .nth(1)
                    .map_or(0, |page| page.parse().unwrap());
                let next = (page + 1) * PAGE;
                let link = (next < entries.len()).then(|| {
                    let own = || {
                        format!(
                            "<{}/{path}?recursive=true&cursor={}>; rel=\"next\"",
                            self.endpoint(),
                            page + 1
                        )
                    };
                    ("Link", self.state().next_page.clone().unwrap_or_else(own))
                });
                let shown = &entries[page * PAGE..next.min(entries.len())];
                reply.json(link.as_slice(), &format!("[{}]", shown.join(",")))
            }
            _ => {
                let path = decode(file);
                let Some(file) = files.iter().find(|file| file.path == path) else {
                    return reply.status(404, &[("X-Error-Code", "EntryNotFound".into())]);
                };
                let etag = file.etag();
                if !file.lfs {
                    let headers = [("X-Repo-Commit", commit), ("ETag", format!("\"{etag}\""))];
                    return self.send(reply, file, request, &headers);
                }
                let location = format!(
                    "http://127.0.0.1:{}/{prefix}/{commit}/{path}",
                    self.cdn_port
                );
                reply.status(
                    302,
                    &[
                        ("Location", location),
                        ("X-Repo-Commit", commit),
                        ("X-Linked-Etag", format!("\"{etag}\"")),
                        ("X-Linked-Size", file.content.len().to_string()),
                    ],
                )
            }
        }
    }

    /// The storage host: `<prefix>/<commit>/<path>`.
    fn serve_content(
        &self,
        reply: &mut Reply,
        path: &str,
        request: &Request,
    ) -> std::io::Result<()> {
        let found = self
            .state()
            .commits
            .iter()
            .find_map(|((prefix, commit), files)| {
                let file = path.strip_prefix(&format!("{prefix}/{commit}/"))?;
                let index = files.iter().position(|entry| entry.path == decode(file))?;
                Some((files.clone(), index))
            });
        match found {
            Some((files, index)) => self.send(reply, &files[index], request, &[]),
            None => reply.status(404, &[]),
        }
    }

    fn send(
        &self,
        reply: &mut Reply,
        file: &File,
        request: &Request,
        headers: &[(&'static str, String)],
    ) -> std::io::Result<()> {
        let fault = self.next_fault(file.path.rsplit('/').next().unwrap());
        if let Some(Fault::Status(status, headers)) = fault {
            return reply.status(status, &headers);
        }
        let whole = file.content.len();
        let asked = request.range.as_deref().and_then(|range| {
            range
                .strip_prefix("bytes=")?
                .strip_suffix('-')?
                .parse::<usize>()
                .ok()
        });
        let ignores = matches!(
            fault,
            Some(Fault::IgnoreRange | Fault::IgnoreRangeAndCutAfter(_))
        );
        let start = asked.filter(|_| !ignores);
        let mut headers = headers.to_vec();
        let status = match start {
            None => 200,
            Some(start) => {
                let stated = if matches!(fault, Some(Fault::WrongRange)) {
                    start - 1
                } else {
                    start
                };
                headers.push((
                    "Content-Range",
                    format!("bytes {stated}-{}/{whole}", whole - 1),
                ));
                206
            }
        };
        let mut body = file.content[start.unwrap_or(0)..].to_vec();
        if matches!(fault, Some(Fault::Corrupt)) {
            body.iter_mut().for_each(|byte| *byte ^= 1);
        }
        reply.head(status, &headers, body.len())?;
        match fault {
            Some(Fault::CutAfter(bytes) | Fault::IgnoreRangeAndCutAfter(bytes)) => {
                reply.body(&body[..bytes])
            }
            Some(Fault::HoldAfter(bytes)) => {
                reply.body(&body[..bytes])?;
                let held = self
                    .state
                    .1
                    .wait_while(self.state(), |state| !state.released);
                drop(held);
                Ok(())
            }
            _ => reply.body(&body),
        }
    }
}

impl File {
    fn etag(&self) -> String {
        if self.lfs {
            hex(&Sha256::digest(self.content.as_slice()))
        } else {
            git_oid(&self.content)
        }
    }
}

fn tree_entry(file: &File) -> String {
    let (size, path) = (file.content.len(), &file.path);
    if !file.lfs {
        return format!(
            r#"{{"type":"file","oid":"{}","size":{size},"path":"{path}"}}"#,
            file.etag()
        );
    }
    let sha256 = file.etag();
    let pointer =
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n");
    format!(
        r#"{{"type":"file","oid":"{}","size":{size},"lfs":{{"oid":"{sha256}","size":{size},"pointerSize":{}}},"path":"{path}"}}"#,
        git_oid(pointer.as_bytes()),
        pointer.len(),
    )
}

/// Splits `[api/models/ | api/datasets/ | datasets/]<repo>/<verb>/<rest>`; the repository keeps `datasets/`.
fn split_route(path: &str) -> Option<(String, &str, &str)> {
    let path = path
        .strip_prefix("api/")
        .map_or(path, |path| path.strip_prefix("models/").unwrap_or(path));
    ["resolve", "tree", "revision"]
        .into_iter()
        .find_map(|verb| {
            let (prefix, rest) = path.split_once(&format!("/{verb}/"))?;
            Some((prefix.to_owned(), verb, rest))
        })
}
