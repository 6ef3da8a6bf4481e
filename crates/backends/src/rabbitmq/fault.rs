//! What is wrong with a connection to RabbitMQ, and what to do about it.

use lapin::uri::AMQPUri;
use lapin::{Error, ErrorKind};
use oyez_hub::source::Trouble;

use super::source::Options;
use crate::supervise::{BELIEVE, Fault, unbelieved};

/// What was being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Connect,
    Exchange,
    DeadLetters,
    Queue,
    Read,
}

/// What the client library says.
pub(super) fn fault(error: &Error, step: Step, options: &Options) -> Fault {
    let (trouble, said) = match error.kind() {
        ErrorKind::ProtocolError(error) => (by_code(error.get_id(), step), error.get_message().to_string()),
        _ if unbelieved(&error.to_string()) => (Trouble::Credentials, error.to_string()),
        _ if step == Step::Connect => (Trouble::Unreachable, error.to_string()),
        _ => (Trouble::Lost, error.to_string()),
    };
    let help = if unbelieved(&said) { BELIEVE.to_owned() } else { help(trouble, step, options) };
    Fault { trouble, said, help }
}

/// The broker took too long.
pub(super) fn silence(step: Step, options: &Options) -> Fault {
    let trouble = if step == Step::Connect { Trouble::Unreachable } else { Trouble::Lost };
    Fault { trouble, said: "no answer in time".to_owned(), help: help(trouble, step, options) }
}

/// The broker took the queue away.
pub(super) fn cancelled(options: &Options) -> Fault {
    let (trouble, said) = (Trouble::Missing, format!("the queue {} was deleted", options.queue));
    Fault { trouble, said, help: "it is made again".to_owned() }
}

/// What the file says cannot be.
pub(super) fn unfit(said: impl Into<String>) -> Fault {
    let help = "as in amqp://user:password@host:5672/vhost, and names of at most 255 bytes".to_owned();
    Fault { trouble: Trouble::Other, said: said.into(), help }
}

/// The reply codes of AMQP.
fn by_code(code: u16, step: Step) -> Trouble {
    match code {
        403 if step == Step::Connect => Trouble::Credentials,
        403 => Trouble::Forbidden,
        // A virtual host that is not there, or not for this user.
        530 if step == Step::Connect => Trouble::Missing,
        404 => Trouble::Missing,
        // Messages were under way for longer than the broker allows.
        406 if step == Step::Read => Trouble::Lost,
        405 | 406 => Trouble::Conflict,
        320 => Trouble::Lost,
        _ => Trouble::Other,
    }
}

fn help(trouble: Trouble, step: Step, options: &Options) -> String {
    let Options { exchange, queue, .. } = options;
    let vhost = &options.uri.vhost;
    let user = &options.uri.authority.userinfo.username;
    match (trouble, step) {
        (Trouble::Unreachable, _) => format!("is RabbitMQ running at {}?", place(&options.uri)),
        (Trouble::Lost, _) => "it is connected again by itself".to_owned(),
        (Trouble::Credentials, _) => format!("correct the user `{user}` or the password in `url`"),
        (Trouble::Forbidden, _) => {
            format!("rabbitmqctl set_permissions -p {vhost} {user} '^{queue}' '^{queue}' '^({queue}.*|{exchange})$'")
        }
        (Trouble::Missing, Step::Connect) => {
            format!(
                "rabbitmqctl add_vhost {vhost}, and let {user} in: rabbitmqctl set_permissions -p {vhost} {user} …; or correct `url`"
            )
        }
        (Trouble::Missing, Step::Exchange) => {
            format!(
                "start who publishes to the exchange `{exchange}`, or make it: rabbitmqadmin -V {vhost} declare exchange name={exchange} type=topic durable=true; or correct `exchange`; it is not made here"
            )
        }
        (Trouble::Conflict, Step::DeadLetters) => format!(
            "`{queue}.dead` is there with other settings: give `queue` another name, or empty and delete it, exchange and queue"
        ),
        (Trouble::Conflict, _) => format!(
            "the queue is there with other settings: give `queue` another name, or, once it is empty: rabbitmqctl delete_queue -p {vhost} {queue} --if-empty"
        ),
        _ => "see the log of RabbitMQ".to_owned(),
    }
}

/// Where it is, without the credentials.
pub(super) fn place(uri: &AMQPUri) -> String {
    format!("{}:{}, vhost {}", uri.authority.host, uri.authority.port, uri.vhost)
}
