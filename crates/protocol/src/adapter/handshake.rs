//! How a socket connected, as Node describes it to the other servers.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::message::Args;

/// Node's `socket.handshake`: exactly these keys, in this order.
#[derive(Debug, Clone)]
pub struct Handshake<'a> {
    /// The headers of the first request, names in lower case.
    pub headers: &'a [(String, String)],
    /// The client's address.
    pub address: &'a str,
    /// Whether the request came from another origin.
    pub xdomain: bool,
    /// Whether it came over TLS.
    pub secure: bool,
    /// When, in milliseconds since 1970.
    pub issued: u64,
    /// The target of the request.
    pub url: &'a str,
    /// The query of the target, decoded.
    pub query: &'a [(String, String)],
    /// What the client sent with its CONNECT, an object.
    pub auth: Option<&'a RawValue>,
}

impl Handshake<'_> {
    /// As one JSON object.
    #[must_use]
    pub fn value(&self) -> Args {
        #[derive(Serialize)]
        struct Wire<'a> {
            headers: Pairs<'a>,
            time: String,
            address: &'a str,
            xdomain: bool,
            secure: bool,
            issued: u64,
            url: &'a str,
            query: Pairs<'a>,
            auth: &'a RawValue,
        }
        let empty: Result<&RawValue, _> = serde_json::from_str("{}");
        let (Some(auth), time) = (self.auth.or(empty.ok()), date(self.issued)) else {
            return Args::none();
        };
        let Self { headers, address, xdomain, secure, issued, url, query, .. } = *self;
        Args::one(&Wire {
            headers: Pairs(headers),
            time,
            address,
            xdomain,
            secure,
            issued,
            url,
            query: Pairs(query),
            auth,
        })
    }
}

/// An object; of names that come twice, the last.
struct Pairs<'a>(&'a [(String, String)]);

impl Serialize for Pairs<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let object: serde_json::Map<String, serde_json::Value> =
            self.0.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        object.serialize(serializer)
    }
}

/// As `Date.prototype.toString` writes it where the clocks show UTC.
fn date(ms: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let iso = i64::try_from(ms).ok().and_then(crate::socketio::msgpack::values::iso_date);
    // Years of more than four digits are nobody's handshake.
    let Some(iso) = iso.filter(|iso| iso.len() == "1970-01-01T00:00:00.000Z".len()) else {
        return "Invalid Date".to_owned();
    };
    let weekday = usize::try_from(ms / 86_400_000 % 7).unwrap_or(0);
    let month = iso[5..7].parse::<usize>().unwrap_or(1);
    let (day, month, year, time) = (DAYS[weekday], MONTHS[month - 1], &iso[..4], &iso[11..19]);
    format!("{day} {month} {} {year} {time} GMT+0000 (Coordinated Universal Time)", &iso[8..10])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handshake_of_a_socket_in_node() {
        let headers = [("host".to_owned(), "127.0.0.1:4302".to_owned()), ("x".to_owned(), "1".to_owned())];
        let query = [("EIO".to_owned(), "4".to_owned())];
        let handshake = Handshake {
            headers: &headers,
            address: "127.0.0.1",
            xdomain: false,
            secure: false,
            issued: 1_795_218_987_202,
            url: "/socket.io/?EIO=4",
            query: &query,
            auth: None,
        };
        let expect = r#"{"headers":{"host":"127.0.0.1:4302","x":"1"},"time":"Fri Nov 20 2026 23:56:27 GMT+0000 (Coordinated Universal Time)","address":"127.0.0.1","xdomain":false,"secure":false,"issued":1795218987202,"url":"/socket.io/?EIO=4","query":{"EIO":"4"},"auth":{}}"#;
        assert_eq!(handshake.value().text(), expect);
    }

    #[test]
    fn dates() {
        assert_eq!(date(0), "Thu Jan 01 1970 00:00:00 GMT+0000 (Coordinated Universal Time)");
        assert_eq!(date(951_782_400_000), "Tue Feb 29 2000 00:00:00 GMT+0000 (Coordinated Universal Time)");
        assert_eq!(date(u64::MAX), "Invalid Date");
    }
}
