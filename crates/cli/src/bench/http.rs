//! As much of HTTP/1.1 as a client needs that asks one server the same thing over and over.

use std::borrow::Cow;

/// The most bytes of a response's head.
const HEAD: usize = 16 * 1024;

/// A complete response at the beginning of what was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Response<'a> {
    /// Its status.
    pub(super) status: u16,
    /// What it carries.
    pub(super) body: Cow<'a, [u8]>,
    /// How many bytes it takes in all.
    pub(super) length: usize,
}

impl Response<'_> {
    /// Status and body, for a person.
    pub(super) fn summary(&self) -> String {
        let body: String = String::from_utf8_lossy(&self.body).trim().chars().take(200).collect();
        format!("{} {body}", self.status).trim_end().to_owned()
    }
}

/// Reads the response at the beginning of `bytes`; `None` while it is not complete.
pub(super) fn first(bytes: &[u8]) -> Result<Option<Response<'_>>, &'static str> {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
        return if bytes.len() > HEAD { Err("the head of an HTTP response does not end") } else { Ok(None) };
    };
    let head = str::from_utf8(&bytes[..end]).map_err(|_| "the head of an HTTP response is no text")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok());
    let status = status.ok_or("the server does not answer in HTTP/1.1")?;
    let header = |name: &str| {
        let mut headers = lines.clone().filter_map(|line| line.split_once(':'));
        headers.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    let start = end + 4;
    if header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        let chunks = chunks(&bytes[start..])?;
        return Ok(chunks.map(|(body, length)| Response { status, body: body.into(), length: start + length }));
    }
    let length = match header("content-length") {
        Some(value) => value.parse().map_err(|_| "an HTTP response has no valid Content-Length")?,
        None if status < 200 || status == 204 => 0,
        None => return Err("an HTTP response does not say how long it is"),
    };
    let body = bytes[start..].get(..length);
    Ok(body.map(|body| Response { status, body: body.into(), length: start + length }))
}

/// A chunked body and its length on the wire; `None` while it is not complete. Trailers are not expected.
fn chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, &'static str> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(line) = memchr::memmem::find(&bytes[at..], b"\r\n") else { return Ok(None) };
        let size = str::from_utf8(&bytes[at..at + line]).ok().and_then(|line| line.split(';').next());
        let size = size.and_then(|size| usize::from_str_radix(size.trim(), 16).ok()).ok_or("a chunk has no size")?;
        let start = at + line + 2;
        let Some(chunk) = bytes[start..].get(..size.saturating_add(2)) else { return Ok(None) };
        body.extend_from_slice(&chunk[..size]);
        at = start + size + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_read_one_after_the_other() {
        let check = |text: &str, expect: Option<(u16, &str, usize)>| {
            let response = first(text.as_bytes()).expect("HTTP");
            let found = response.as_ref().map(|it| (it.status, str::from_utf8(&it.body).expect("text"), it.length));
            assert_eq!(found, expect, "{text}");
        };
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 …", Some((200, "ok", 40)));
        check("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\u{1}", Some((101, "", 56)));
        check("HTTP/1.1 204 No Content\r\n\r\n", Some((204, "", 27)));
        let chunked =
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n";
        check(chunked, Some((200, "ok0123456789", chunked.len())));
        for cut in 0..chunked.len() {
            check(&chunked[..cut], None);
        }
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", None);
    }

    #[test]
    fn what_is_no_response_is_told() {
        for wrong in [
            "SSH-2.0\r\n\r\n",
            "HTTP/1.1 x\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        ] {
            assert!(first(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
