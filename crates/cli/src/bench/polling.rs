//! Engine.IO's long polling on one connection: after each response the next request, a POST if there is something to
//! say, else a GET.

use serde_json::Value;

/// What a polling client knows.
#[derive(Debug)]
pub(super) struct Polling {
    target: String,
    host: String,
    sid: String,
    /// What is to be said.
    pub(super) queue: Vec<String>,
    /// Whether the request under way is a POST.
    pub(super) posted: bool,
}

impl Polling {
    /// A client of the polling transport at a path with query.
    pub(super) fn new(target: &str, host: &str) -> Self {
        let (target, host) = (target.to_owned(), host.to_owned());
        Self { target, host, sid: String::new(), queue: Vec::new(), posted: false }
    }

    /// The server has opened a session.
    pub(super) fn opened(&mut self, open: &[u8]) {
        let open: Value = serde_json::from_slice(open).unwrap_or_default();
        self.sid = open.get("sid").and_then(Value::as_str).unwrap_or_default().to_owned();
    }

    /// Appends the next request.
    pub(super) fn request(&mut self, out: &mut Vec<u8>) {
        let Self { target, host, sid, .. } = self;
        self.posted = !self.queue.is_empty();
        let session = if sid.is_empty() { String::new() } else { format!("&sid={sid}") };
        let head = if self.posted {
            let body = self.queue.join("\u{1e}");
            self.queue.clear();
            let length = body.len();
            let kind = "Content-Type: text/plain;charset=UTF-8";
            format!(
                "POST {target}{session} HTTP/1.1\r\nHost: {host}\r\n{kind}\r\nContent-Length: {length}\r\n\r\n{body}"
            )
        } else {
            format!("GET {target}{session} HTTP/1.1\r\nHost: {host}\r\n\r\n")
        };
        out.extend_from_slice(head.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_said_goes_before_listening() {
        let mut polling = Polling::new("/socket.io/?EIO=4&transport=polling", "h");
        let next = |polling: &mut Polling| {
            let mut out = Vec::new();
            polling.request(&mut out);
            String::from_utf8(out).expect("text")
        };
        assert_eq!(next(&mut polling), "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: h\r\n\r\n");
        polling.opened(br#"{"sid":"abc"}"#);
        polling.queue.extend(["40".to_owned(), "3".to_owned()]);
        let posted = next(&mut polling);
        assert!(posted.starts_with("POST /socket.io/?EIO=4&transport=polling&sid=abc HTTP/1.1\r\n"), "{posted}");
        assert!(posted.ends_with("Content-Length: 4\r\n\r\n40\u{1e}3") && polling.posted, "{posted}");
        assert!(next(&mut polling).starts_with("GET ") && !polling.posted);
    }
}
