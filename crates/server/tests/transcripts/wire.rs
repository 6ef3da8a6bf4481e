//! The client's side of the wire, as plain as can be: one HTTP request per connection, and WebSocket frames one by
//! one, so that a transcript sees what a library would hide (status codes, compressed frames, aborted requests).

use std::fmt::Write as _;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use flate2::{Decompress, FlushDecompress};

/// Longer than anything a transcript waits for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What ends a compressed message, and is left out of it (RFC 7692, section 7.2.1).
const DEFLATE_TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// A request whose answer may still be to come.
#[derive(Debug)]
pub(crate) struct Exchange(TcpStream);

/// An HTTP answer.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

fn dial(server: SocketAddr) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(server).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    Ok(stream)
}

impl Exchange {
    /// Sends a request on a connection of its own.
    pub(crate) fn begin(
        server: SocketAddr,
        method: &str,
        target: &str,
        headers: &[String],
        body: Option<&[u8]>,
    ) -> Result<Self, String> {
        let mut stream = dial(server)?;
        let mut head = format!("{method} {target} HTTP/1.1\r\nhost: {server}\r\n");
        if !headers.iter().any(|header| header.starts_with("Connection")) {
            head.push_str("connection: close\r\n");
        }
        for header in headers {
            let _ = write!(head, "{header}\r\n");
        }
        if let Some(body) = body {
            let _ = write!(head, "content-length: {}\r\n", body.len());
        }
        let request = [head.as_bytes(), b"\r\n", body.unwrap_or_default()].concat();
        stream.write_all(&request).map_err(|error| error.to_string())?;
        Ok(Self(stream))
    }

    /// Waits for the answer.
    pub(crate) fn finish(mut self) -> Result<Answer, String> {
        let head = read_head(&mut self.0)?;
        let mut answer = head;
        self.0.read_to_end(&mut answer.body).map_err(|error| format!("no answer: {error}"))?;
        Ok(answer)
    }

    /// Gives up: the connection is closed before the answer.
    pub(crate) fn abort(self) {
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// Reads byte by byte up to the empty line, so that nothing behind it is taken.
fn read_head(stream: &mut TcpStream) -> Result<Answer, String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(0) => return Err("the connection was closed without an answer".to_owned()),
            Ok(_) => head.push(byte[0]),
            Err(error) => return Err(format!("no answer: {error}")),
        }
    }
    let head = String::from_utf8_lossy(&head);
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    Ok(Answer { status: status.unwrap_or(0), headers: lines.filter_map(header).collect(), body: Vec::new() })
}

/// A WebSocket.
#[derive(Debug)]
pub(crate) struct WebSocket(TcpStream);

impl WebSocket {
    /// Asks for a WebSocket; the answer, when the server does not want to.
    pub(crate) fn open(server: SocketAddr, target: &str, headers: &[String]) -> Result<Result<Self, Answer>, String> {
        let mut stream = dial(server)?;
        let mut request = format!(
            "GET {target} HTTP/1.1\r\nhost: {server}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        );
        for header in headers {
            let _ = write!(request, "{header}\r\n");
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
        let mut answer = read_head(&mut stream)?;
        if answer.status == 101 {
            let accept = answer.headers.iter().any(|(_, value)| value == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
            return if accept { Ok(Ok(Self(stream))) } else { Err("wrong sec-websocket-accept".to_owned()) };
        }
        stream.read_to_end(&mut answer.body).map_err(|error| error.to_string())?;
        Ok(Err(answer))
    }

    /// Sends messages, in one segment where `⏎` stands between them.
    pub(crate) fn say(&mut self, messages: &str) -> Result<(), String> {
        let frames: Vec<_> = messages.split('⏎').map(frame).collect::<Result<_, _>>()?;
        self.0.write_all(&frames.concat()).map_err(|error| format!("cannot send: {error}"))
    }

    /// The next frame in the words of a transcript: text as it is, `bytes 0102`, `close 1005`; `deflated` before a
    /// compressed one.
    pub(crate) fn hear(&mut self) -> Result<String, String> {
        let mut head = [0; 2];
        let [first, second] = match self.0.read_exact(&mut head) {
            Ok(()) => head,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err("nothing came".to_owned()),
            Err(_) => return Ok("close 1006".to_owned()),
        };
        let length = match second {
            126 => u64::from(u16::from_be_bytes(self.take()?)),
            127 => u64::from_be_bytes(self.take()?),
            masked @ 128.. => return Err(format!("the server masks its frames: {masked}")),
            short => u64::from(short),
        };
        let mut payload = vec![0; usize::try_from(length).map_err(|error| error.to_string())?];
        self.0.read_exact(&mut payload).map_err(|error| format!("nothing came: {error}"))?;
        let squeezed = first & 0x40 != 0;
        if squeezed {
            payload = inflate(&payload)?;
        }
        let said = match first & 0x0f {
            1 => String::from_utf8(payload).map_err(|error| error.to_string())?,
            2 => format!("bytes {}", to_hex(&payload)),
            8 if payload.len() < 2 => "close 1005".to_owned(),
            8 => format!("close {}", u16::from_be_bytes([payload[0], payload[1]])),
            9 => "ping".to_owned(),
            10 => "pong".to_owned(),
            other => return Err(format!("unexpected opcode {other}")),
        };
        Ok(if squeezed { format!("deflated {said}") } else { said })
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        match self.0.read_exact(&mut bytes) {
            Ok(()) => Ok(bytes),
            Err(error) => Err(format!("nothing came: {error}")),
        }
    }
}

/// The frame of one message: `bytes 0102` is a binary one, `close 1000` and `ping` are control frames.
fn frame(message: &str) -> Result<Vec<u8>, String> {
    let (opcode, payload) = match message.split_once(' ') {
        Some(("bytes", hex)) => (2, from_hex(hex)?),
        Some(("close", code)) => (8, code.parse::<u16>().map_err(|e| e.to_string())?.to_be_bytes().to_vec()),
        None if message == "ping" => (9, Vec::new()),
        _ => (1, message.as_bytes().to_vec()),
    };
    let mask = [0x12, 0x34, 0x56, 0x78];
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        short @ 0..=125 => frame.push(0x80 | u8::try_from(short).unwrap_or(0)),
        // The shortest form that fits, or the server would be right to complain.
        medium if u16::try_from(medium).is_ok() => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(medium).unwrap_or(0).to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    Ok(frame)
}

/// A compressed message on its own: no context is taken over from the one before.
fn inflate(payload: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(1 << 20);
    let whole = [payload, &DEFLATE_TAIL].concat();
    let mut inflater = Decompress::new(false);
    inflater.decompress_vec(&whole, &mut out, FlushDecompress::Sync).map_err(|error| error.to_string())?;
    Ok(out)
}

/// Bytes in hexadecimal.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Bytes from hexadecimal; spaces are for the reader.
pub(crate) fn from_hex(hex: &str) -> Result<Vec<u8>, String> {
    let digits: String = hex.split_whitespace().collect();
    let byte = |at| digits.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    (0..digits.len()).step_by(2).map(|at| byte(at).ok_or_else(|| format!("not hexadecimal: {hex}"))).collect()
}
