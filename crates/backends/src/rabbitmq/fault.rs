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
    DeadExchange,
    DeadLetters,
    Queue,
    Read,
}

/// What the client library says.
pub(super) fn fault(error: &Error, step: Step, options: &Options) -> Fault {
    let (trouble, said) = match error.kind() {
        ErrorKind::ProtocolError(error) => {
            let said = error.get_message().to_string();
            (by_code(error.get_id(), &said, step), said)
        }
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

/// The reply codes of AMQP, and what was said with those that stand for several things.
fn by_code(code: u16, said: &str, step: Step) -> Trouble {
    match code {
        403 if step == Step::Connect => Trouble::Credentials,
        403 => Trouble::Forbidden,
        // The virtual host is full, or not up, which no rights would mend.
        530 if step == Step::Connect && [" limit ", " is down"].iter().any(|why| said.contains(why)) => Trouble::Other,
        530 if step == Step::Connect && said.contains(" refused for user ") => Trouble::Forbidden,
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
        (Trouble::Forbidden, _) => permissions(options),
        (Trouble::Missing, Step::Connect) => {
            format!("rabbitmqctl add_vhost {vhost} && {}; or correct `url`", permissions(options))
        }
        (Trouble::Missing, Step::Exchange) => {
            format!(
                "start who publishes to the exchange `{exchange}`, or make it: rabbitmqadmin -V {vhost} declare exchange name={exchange} type=topic durable=true; or correct `exchange`; it is not made here"
            )
        }
        (Trouble::Conflict, Step::DeadExchange) => format!(
            "the exchange `{queue}.dead` is there with other settings: give `queue` another name, or delete it: rabbitmqadmin -V {vhost} delete exchange name={queue}.dead"
        ),
        (Trouble::Conflict, Step::DeadLetters) => instead(&format!("{queue}.dead"), options),
        (Trouble::Conflict, _) => instead(queue, options),
        _ => "see the log of RabbitMQ".to_owned(),
    }
}

/// What lets the user do here what is done here, and no more.
fn permissions(Options { uri, exchange, queue, .. }: &Options) -> String {
    let (vhost, user) = (&uri.vhost, &uri.authority.userinfo.username);
    format!("rabbitmqctl set_permissions -p {vhost} {user} '^{queue}' '^{queue}' '^({queue}.*|{exchange})$'")
}

/// What makes room for a queue. `--if-empty` would not: RabbitMQ refuses it for quorum queues, and ends with 0.
fn instead(queue: &str, options: &Options) -> String {
    let vhost = &options.uri.vhost;
    format!(
        "the queue `{queue}` is there with other settings: give `queue` another name, or see that it has 0 messages: rabbitmqctl list_queues -p {vhost} name messages, and delete it: rabbitmqctl delete_queue -p {vhost} {queue}"
    )
}

/// Where it is, without the credentials.
pub(super) fn place(uri: &AMQPUri) -> String {
    format!("{}:{}, vhost {}", uri.authority.host, uri.authority.port, uri.vhost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_530_means_is_in_the_words() {
        for (said, trouble) in [
            ("NOT_ALLOWED - vhost desk not found", Trouble::Missing),
            ("NOT_ALLOWED - access to vhost 'desk' refused for user 'shop'", Trouble::Forbidden),
            (
                "NOT_ALLOWED - access to vhost 'desk' refused for user 'shop': connection limit (1) is reached",
                Trouble::Other,
            ),
            ("NOT_ALLOWED - connection refused for user 'shop': user connection limit (1) is reached", Trouble::Other),
            ("NOT_ALLOWED - access to vhost 'desk' refused for user 'shop': vhost 'desk' is down", Trouble::Other),
        ] {
            assert_eq!(by_code(530, said, Step::Connect), trouble, "{said}");
        }
    }

    #[test]
    fn what_is_in_the_way_goes_by_commands_that_every_kind_of_queue_knows() {
        let options = Options::new("amqp://shop:hidden@mq/desk", "events", &[], "oyez.desk.events").expect("a URL");
        for (step, command) in [
            (Step::Queue, "rabbitmqctl delete_queue -p desk oyez.desk.events"),
            (Step::DeadLetters, "rabbitmqctl delete_queue -p desk oyez.desk.events.dead"),
            (Step::DeadExchange, "rabbitmqadmin -V desk delete exchange name=oyez.desk.events.dead"),
        ] {
            let help = help(Trouble::Conflict, step, &options);
            assert!(help.ends_with(command), "{help}");
        }
    }
}
