//! A client that only listens: connects over WebSocket, says what it wants to hear, and prints it.

mod packet;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use rustls::ClientConfig;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};

use self::packet::{Heard, Talk};
use crate::failure::Failure;
use crate::{say, trust};

/// Connecting may take this long.
const CONNECT: Duration = Duration::from_secs(10);
/// The first pause before connecting again; each next one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(10);

/// What is spoken on the WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Socket.IO 5 on Engine.IO 4.
    SocketIo {
        /// The namespace.
        namespace: String,
        /// The field of the `auth` object that takes the token.
        field: String,
    },
    /// A JSON object to a text frame.
    Plain {
        /// The field that names the event.
        event: String,
        /// The parameter of the query that takes the token.
        query: String,
    },
}

/// Where to listen, as whom, to what.
#[derive(Clone)]
pub(crate) struct Target {
    /// The WebSocket's URL; may hold the token.
    pub(crate) url: String,
    /// What is spoken there.
    pub(crate) protocol: Protocol,
    /// Who listens.
    pub(crate) token: String,
    /// What helps where the token is not accepted.
    pub(crate) remedy: &'static str,
    /// The event that subscribes, and its data.
    pub(crate) subscribe: Option<(String, Value)>,
    /// How TLS begins, if not with the system's authorities.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

/// Why a connection is over.
#[derive(Debug)]
enum End {
    /// The server does not want us: trying again would not help.
    Refused(String),
    /// Not with this token.
    Unbelieved(String),
    /// Nor would it here.
    Failed(Failure),
    /// Anything that may pass.
    Broken(String),
    /// Nobody reads what is printed.
    Unread,
}

type Connection = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The URL of the WebSocket for a server's `http(s)://` or `ws(s)://` address.
pub(crate) fn url(server: &str, path: &str, protocol: &Protocol, token: &str) -> Result<String, Failure> {
    let (scheme, rest) = server.split_once("://").unwrap_or(("http", server));
    let scheme = match scheme {
        "http" | "ws" => "ws",
        "https" | "wss" => "wss",
        other => return Err(Failure::new(format!("`{other}://` is not spoken here")).help("write http:// or https://")),
    };
    let mut query = form_urlencoded::Serializer::new(String::new());
    match protocol {
        Protocol::SocketIo { .. } => query.append_pair("EIO", "4").append_pair("transport", "websocket"),
        Protocol::Plain { query: name, .. } => query.append_pair(name, token),
    };
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok(format!("{scheme}://{}{path}?{}", rest.trim_end_matches('/'), query.finish()))
}

/// Listens for ever; ends when the server refuses, or when nobody reads what is printed.
pub(crate) async fn follow(target: &Target) -> Result<(), Failure> {
    let mut pause = FIRST_PAUSE;
    loop {
        let mut talk = Talk::new(target);
        match listen(target, &mut talk).await {
            End::Refused(why) => return Err(Failure::new(format!("the server refuses: {why}"))),
            End::Unbelieved(why) => {
                return Err(Failure::new(format!("the server refuses: {why}")).help(target.remedy));
            }
            End::Failed(why) => return Err(why),
            End::Unread => return Ok(()),
            End::Broken(why) => {
                if talk.is_admitted() {
                    pause = FIRST_PAUSE;
                }
                say::problem(format_args!("disconnected ({why}); again in {} s", pause.as_secs_f32()));
                // Clients that lost one server together should not come back together.
                sleep(pause.mul_f32(0.5 + rand::random::<f32>() / 2.0)).await;
                pause = (pause * 2).min(LAST_PAUSE);
            }
        }
    }
}

/// One connection, from its beginning to its end.
async fn listen(target: &Target, talk: &mut Talk) -> End {
    let mut connection = match timeout(CONNECT, connect(target)).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(end)) => return end,
        Err(_) => return End::Broken("no answer in time".to_owned()),
    };
    if let Some(text) = talk.opening()
        && let Err(error) = connection.send(Message::text(text)).await
    {
        return broken(&error);
    }
    loop {
        let message = match timeout(talk.patience(), connection.next()).await {
            Err(_) => return End::Broken("the server is silent".to_owned()),
            Ok(None) => return End::Broken("closed".to_owned()),
            Ok(Some(Err(error))) => return broken(&error),
            Ok(Some(Ok(message))) => message,
        };
        let heard = match message {
            Message::Text(text) => talk.hear(&text),
            Message::Close(Some(frame)) => return End::Broken(format!("closed with {} {}", frame.code, frame.reason)),
            // Attachments of binary events are not shown; pings are answered by the library.
            _ => continue,
        };
        for heard in heard {
            match heard {
                Heard::Say(text) => {
                    if let Err(error) = connection.send(Message::text(text)).await {
                        return broken(&error);
                    }
                }
                Heard::Event(event) => {
                    if !say::line(event) {
                        return End::Unread;
                    }
                }
                Heard::Refused(why) => return End::Refused(why),
                Heard::Unbelieved(why) => return End::Unbelieved(why),
                Heard::Closed => return End::Broken("the server has ended the session".to_owned()),
            }
        }
    }
}

async fn connect(target: &Target) -> Result<Connection, End> {
    let refused = |error: &Error| End::Refused(error.to_string());
    let mut request = target.url.as_str().into_client_request().map_err(|error| refused(&error))?;
    let bearer = HeaderValue::from_str(&format!("Bearer {}", target.token))
        .map_err(|_| End::Refused("the token has characters that cannot be sent".to_owned()))?;
    request.headers_mut().insert(AUTHORIZATION, bearer);
    let connector = target.tls.clone().map(Connector::Rustls);
    match connect_async_tls_with_config(request, None, false, connector).await {
        Ok((connection, _)) => Ok(connection),
        Err(Error::Http(response)) => {
            let body = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            let answer = format!("{} {}", response.status(), body.trim());
            // 5xx and 429 pass; the others are about what we asked.
            Err(match response.status().as_u16() {
                429 | 500.. => End::Broken(answer),
                401 => End::Unbelieved(answer),
                _ => End::Refused(answer),
            })
        }
        Err(error @ (Error::Url(_) | Error::HttpFormat(_))) => Err(refused(&error)),
        Err(error) => Err(match trust::remedy(&error.to_string()) {
            Some(help) => End::Failed(Failure::new(format!("cannot connect: {error}")).help(help)),
            None => broken(&error),
        }),
    }
}

fn broken(error: &Error) -> End {
    End::Broken(error.to_string())
}
