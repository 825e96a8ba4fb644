//! The HTTP and the checksums that the test server is made of.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Result, Write};
use std::net::TcpStream;

use sha1::Sha1;
use sha2::Digest;

/// A request without its body; the routes of a download have none.
pub struct Head {
    pub method: String,
    /// Path and query, still encoded.
    pub path: String,
    /// By name in lower case.
    pub headers: HashMap<String, String>,
}

/// Reads a request; `None` if the client has gone.
pub fn read_head(stream: &TcpStream) -> Result<Option<Head>> {
    let mut lines = BufReader::new(stream).lines();
    let line = lines.next().transpose()?.unwrap_or_default();
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return Ok(None);
    };
    let mut headers = HashMap::new();
    for line in lines {
        match line?.split_once(':') {
            Some((name, value)) => {
                headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
            }
            None => break,
        }
    }
    Ok(Some(Head {
        method,
        path,
        headers,
    }))
}

/// The answer to one request.
pub struct Reply<'a> {
    pub stream: TcpStream,
    pub head_only: bool,
    /// Hears how many bytes of a file went out.
    pub count: &'a dyn Fn(usize),
}

impl Reply<'_> {
    pub fn head(
        &mut self,
        status: u16,
        headers: &[(&'static str, String)],
        length: usize,
    ) -> Result<()> {
        let mut head = format!(
            "HTTP/1.1 {status} Status\r\nConnection: close\r\nContent-Length: {length}\r\n"
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        self.stream.write_all(format!("{head}\r\n").as_bytes())
    }

    pub fn status(&mut self, status: u16, headers: &[(&'static str, String)]) -> Result<()> {
        self.head(status, headers, 0)
    }

    pub fn json(&mut self, headers: &[(&'static str, String)], body: &str) -> Result<()> {
        self.head(200, headers, body.len())?;
        if self.head_only {
            return Ok(());
        }
        self.stream.write_all(body.as_bytes())
    }

    /// A file's bytes, which are counted.
    pub fn body(&mut self, bytes: &[u8]) -> Result<()> {
        if self.head_only {
            return Ok(());
        }
        self.stream.write_all(bytes)?;
        (self.count)(bytes.len());
        Ok(())
    }
}

pub fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'%' {
            let digits = std::str::from_utf8(&tail[..2]).unwrap();
            bytes.push(u8::from_str_radix(digits, 16).unwrap());
            rest = &tail[2..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// Git's object id of a file with this content.
pub fn git_oid(content: &[u8]) -> String {
    let header = Sha1::new_with_prefix(format!("blob {}\0", content.len()));
    hex(&header.chain_update(content).finalize())
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
